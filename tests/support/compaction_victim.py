"""A process that compacts a store and kills itself, with SIGKILL, at chosen steps. Run by `process/test_compaction.py`.

    python compaction_victim.py TEMPLATE ROOT FIRST STRIDE

For each mode and every STRIDE-th step from FIRST on, it compacts a copy of the store TEMPLATE, ROOT/MODE-STEP, and dies
at that step. It forks for each attempt, so that one start serves all.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

from journal_victim import MODES, DeadlyFiles, survives

from tickplant.store import span_writer
from tickplant.store.compaction import Compaction, Policy
from tickplant.writer.format.codec import warm_up


def compact(data_dir: Path, step: int, mode: str) -> None:
    """One compaction."""
    Compaction(data_dir, Policy(), files=DeadlyFiles(step, mode)).run()


def main() -> None:
    """See the module."""
    warm_up()
    template, root, first, stride = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    span_writer.STRIPE_ROWS = 40  # type: ignore[misc]  # so that a small store has several
    for mode in MODES:
        step, lived = first, False
        while not lived:
            data_dir = root / f"{mode}-{step}"
            shutil.copytree(template, data_dir)
            lived = survives(partial(compact, data_dir, step, mode), data_dir.name)
            step += stride


if __name__ == "__main__":
    main()
