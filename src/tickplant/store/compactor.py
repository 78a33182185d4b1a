"""The compactor: a process of a plant that compacts its store once, and ends.

`python -m tickplant.store.compactor` reads a job_specs.CompactSpec from stdin; the supervisor starts one every
`compact_every_s`. A compactor must not disturb the recording: it runs at the lowest priority, holds one stripe of
records in memory, and leaves room on the disk. It exits 0 when the work is done, or when it was stopped. If something
could not be done, it prints a sentence and exits 1; the next compactor tries again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from tickplant.errors import TickplantError
from tickplant.runtime.child_loop import ChildLoop, Stopped
from tickplant.runtime.child_process import child_process
from tickplant.runtime.config import RetentionConfig, StoreConfig
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import CompactSpec
from tickplant.store.compaction import Compaction, Policy, compaction_lock
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.journal import Files

LOWEST_PRIORITY: Final = 19

HOUR_NS: Final = 3600 * 10**9


def policy_of(config: StoreConfig, retention: Mapping[str, RetentionConfig]) -> Policy:
    """The policy that a configuration asks for."""
    return Policy(
        open_days=config.open_days,
        keep_journal_ns=config.keep_journal_h * HOUR_NS,
        level=config.compact_level,
        retention=tuple(retention.values()),
    )


class CompactorProcess:
    """One compaction."""

    def __init__(self, spec: CompactSpec, resources: contextlib.ExitStack) -> None:
        self._data_dir = Path(spec.plant.data_dir)
        self._records = 0
        self._log = structlog.get_logger()
        self._loop = resources.enter_context(ChildLoop(spec.plant, spec.name, lambda: (self._counters(), [])))
        self._compaction = Compaction(
            self._data_dir, policy_of(spec.config, spec.retention), beat=self._loop.go_on, progress=self._count
        )

    def run(self) -> None:
        """Compact the store. Raises TickplantError if something could not be done."""
        self._loop.hello()
        files = Files()
        with contextlib.suppress(Stopped), compaction_lock(self._data_dir, files):
            done = self._compaction.run()
            if done.spans or done.journal_files or done.removed:
                self._log.info("compacted", **{name: getattr(done, name) for name in done.__struct_fields__})
            for text in done.damage:
                self._log.warning("damage stays in the journal", damage=text)
            if done.trouble:
                raise TickplantError("; ".join(done.trouble))
        self._loop.report()

    def _counters(self) -> Counters:
        return {"records": self._records}

    def _count(self, records: int) -> None:
        self._records += records


def warm_up() -> None:
    """Compile the kernels of a compactor, or load them from the cache."""
    warm_up_codec()


def main() -> None:
    """Run one compaction; ends the process."""
    with child_process(CompactSpec) as spec:
        os.nice(LOWEST_PRIORITY)
        warm_up()
        with contextlib.ExitStack() as resources:
            CompactorProcess(spec, resources).run()


if __name__ == "__main__":
    main()
