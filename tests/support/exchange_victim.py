"""A process that exports or imports and kills itself, with SIGKILL, at chosen steps. Run by
`process/test_exchange_kills.py`.

    python exchange_victim.py WORK SOURCE ROOT STRIDE

WORK is parquet, tardis or dbn (export the store SOURCE), or set or table (import SOURCE). For each mode and every
STRIDE-th step, the process works into ROOT/MODE-STEP, and dies at that step. It forks for each attempt.
"""

from __future__ import annotations

import io
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from journal_victim import MODES, DeadlyFiles, survives

from tickplant.records.layouts import Schema
from tickplant.store import row_files, set_import, table_import
from tickplant.store.day_exports import export_days
from tickplant.store.dbn_files import DbnFiles
from tickplant.store.parquet_set import export_set
from tickplant.store.reader import Store
from tickplant.store.set_import import import_set
from tickplant.store.table_import import import_table
from tickplant.store.tardis_files import TardisFiles
from tickplant.writer.format.codec import warm_up
from tickplant.writer.journal import Journal

COLUMNS = {"price": "price", "size": "amount", "side": "side", "ts_event": "timestamp"}


class _DeadlyFile(io.FileIO):
    """Dies in a write."""

    def __init__(self, path: Path, files: DeadlyFiles) -> None:
        super().__init__(path, "w")
        self._files = files

    def write(self, data: Any, /) -> int:
        self._files._before(writing=True)
        view = memoryview(data).cast("B")
        if self._files._now("half"):
            super().write(view[: len(view) // 2])
            self._files._die()
        written = super().write(view)
        self._files._after()
        return written


def _patch(files: DeadlyFiles) -> None:
    """Count the file operations of an export, and the journal operations of an import."""
    open_, replace, mkdir, fsync = Path.open, Path.replace, Path.mkdir, os.fsync

    def step(real: Any, *words: Any, **named: Any) -> Any:
        files._before()
        done = real(*words, **named)
        files._after()
        return done

    def opened(path: Path, mode: str = "r", *words: Any, **named: Any) -> Any:
        if mode != "wb":
            return open_(path, mode, *words, **named)
        return step(_DeadlyFile, path, files)

    Path.open = opened  # type: ignore[method-assign,assignment]
    Path.replace = lambda path, target: step(replace, path, target)  # type: ignore[method-assign]
    Path.mkdir = lambda path, *words, **named: step(mkdir, path, *words, **named)  # type: ignore[method-assign]
    row_files.os.fsync = lambda fd: step(fsync, fd)  # type: ignore[attr-defined]
    made = partial(Journal, files=files)
    set_import.Journal = table_import.Journal = made  # type: ignore[misc,assignment,attr-defined]


def do(work: str, source: Path, target: Path) -> None:
    """Do the work, undisturbed."""
    if work == "set":
        import_set(source, target)
    elif work == "table":
        import_table(source, target, "v", "S", COLUMNS, producer="import-it", time_unit="us")
    elif work == "parquet":
        for schema in (Schema.TICK, Schema.BBO):
            export_set(Store(source), target, schema=schema)
    else:
        form = TardisFiles() if work == "tardis" else DbnFiles()
        export_days(Store(source), target, form)


def _attempt(work: str, source: Path, target: Path, step: int, mode: str) -> None:
    _patch(DeadlyFiles(step, mode))
    do(work, source, target)


def main() -> None:
    """See the module."""
    warm_up()
    work, source, root, stride = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    for mode in MODES:
        step, lived = 1, False
        while not lived:
            target = root / f"{mode}-{step}"
            target.mkdir()
            lived = survives(partial(_attempt, work, source, target, step, mode), target.name)
            step += stride


if __name__ == "__main__":
    main()
