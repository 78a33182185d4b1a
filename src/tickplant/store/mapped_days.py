"""Scans of a store: as arrays of records, or as whole days of memory-mapped, uncompressed columns.

    scan = Store("data").scan("binance", "BTCUSDT", kinds=["trade"])
    for records in scan: …                                   # arrays of DTYPES[schema], merged by receive time
    for day in scan.days(["ts_recv", "price", "size"]): …    # day.columns["price"] is a view of a file, shape (rows,)

A day is decoded once, on first use, into a file in numpy's own format for each column:

    <data>/mapped/PRODUCER/SCHEMA/DAY/WHAT/COLUMN-RECORDS-LAST_SEQ.npy

RECORDS and LAST_SEQ identify the source: a day that has grown is decoded again. These files are only a cache: the least
recently used ones are removed when a budget is exceeded, and all of them may be removed at any time. If they cannot be
written (a full disk, a read-only folder, a day larger than the budget), the columns are in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.merge import merge_by_receive_time
from tickplant.store.daily_files import DAY_NS
from tickplant.store.selection import Selection
from tickplant.writer.format.columns import COLUMN_IDS

if TYPE_CHECKING:  # the reader offers scans as a method
    from tickplant.store.export_notes import Note
    from tickplant.store.reader import Store

Records = NDArray[np.void]

FOLDER: Final = "mapped"
BUDGET_BYTES: Final = 64 << 30
ROOM_BYTES: Final = 256 << 20
"""How much of the disk these files always leave free."""

SCRATCH: Final = ".part"
ABANDONED_S: Final = 3600.0


class MappedDay(NamedTuple):
    """Columns of the records of one producer on one UTC day, by receive time, in stored order.

    Attributes:
        schema: schema of the records.
        producer: the producer that recorded them.
        day: `numpy.datetime64` with unit day.
        rows: number of records, at least 1.
        columns: by name, read-only arrays of shape (rows,) and the dtype of the field in `DTYPES[schema]`.
        mapped: whether the columns are views of files; if not, they are in memory.
    """

    schema: Schema
    producer: str
    day: np.datetime64
    rows: int
    columns: dict[str, NDArray[Any]]
    mapped: bool


class Scan:
    """See `Store.scan`. Each iteration reads the store again."""

    def __init__(self, store: Store, schema: Schema, selection: Selection, producers: Sequence[str]) -> None:
        self._store = store
        self._schema = schema
        self._selection = selection
        self._producers = producers

    def __iter__(self) -> Iterator[Records]:
        """Arrays of `DTYPES[schema]`, none of them empty. Raises DamageError."""
        return merge_by_receive_time(
            [self._store.read(name, self._schema, self._selection) for name in self._producers]
        )

    def days(
        self,
        columns: Sequence[str] | None = None,
        *,
        budget_bytes: int = BUDGET_BYTES,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Iterator[MappedDay]:
        """The records as columns, day by day, one producer after another.

        Args:
            columns: names of fields of `DTYPES[schema]`; None takes all.
            budget_bytes: the most that the mapped files of this store may take together.
            progress: called with the number of rows decoded so far; days that were already mapped do not count.

        Raises:
            DamageError: a day has damage, even if the store has an `on_damage`.
            ValueError: the schema has no such column.
        """
        from tickplant.store.export_notes import days_of, note_of  # noqa: PLC0415  # it needs Arrow

        names = tuple(COLUMN_IDS[self._schema] if columns is None else columns)
        if unknown := [name for name in names if name not in COLUMN_IDS[self._schema]]:
            raise ValueError(f"{self._schema.name.lower()} has no column {unknown[0]!r}")
        asked, maker = self._selection, _Maker(self._store, self._schema, budget_bytes, progress)
        by_receive_time = asked.clock == "recv"
        start_ns, end_ns = (asked.start_ns, asked.end_ns) if by_receive_time else (None, None)
        looked_at = () if (asked.start_ns, asked.end_ns) == (None, None) else (f"ts_{asked.clock}",)
        for producer in self._producers:
            for day in days_of(self._store, producer, self._schema, start_ns, end_ns):
                first_ns = day * DAY_NS
                whole = Selection(ids=asked.ids, kinds=asked.kinds, start_ns=first_ns, end_ns=first_ns + DAY_NS)
                note = note_of(self._store, producer, self._schema, whole)
                inside = by_receive_time and (asked.start_ns or first_ns) <= first_ns
                inside &= asked.end_ns is None or asked.end_ns >= first_ns + DAY_NS
                wanted = names if inside or not looked_at else tuple(dict.fromkeys((*names, *looked_at)))
                found, mapped = maker.columns(producer, day, whole, note, wanted)
                if not inside and looked_at:
                    chosen = Selection(start_ns=asked.start_ns, end_ns=asked.end_ns, clock=asked.clock).rows(found)
                    if chosen is not None:
                        found, mapped = {name: found[name][chosen] for name in names}, False
                found = {name: found[name] for name in names}
                rows = len(next(iter(found.values()))) if found else 0
                if rows:
                    yield MappedDay(self._schema, producer, np.datetime64(day, "D"), rows, found, mapped)


class _Maker:
    """Finds the files of a day, or creates them."""

    def __init__(self, store: Store, schema: Schema, budget_bytes: int, progress: Callable[[int], object]) -> None:
        self._store = type(store)(store.data_dir, while_reading=store.while_reading)  # any damage is an error
        self._root = store.data_dir / FOLDER
        self._schema = schema
        self._budget_bytes = budget_bytes
        self._progress = progress
        self._rows = 0

    def columns(
        self, producer: str, day: int, whole: Selection, note: Note, names: Sequence[str]
    ) -> tuple[dict[str, NDArray[Any]], bool]:
        """Columns of a whole day, and whether they are mapped."""
        folder = self._root / quote(producer, safe="") / self._schema.name.lower() / str(np.datetime64(day, "D"))
        folder /= _what(whole)
        paths = {name: folder / f"{name}-{note.records}-{note.last_seq}.npy" for name in names}
        missing = [name for name in names if not paths[name].exists()]
        made: dict[str, NDArray[Any]] = {}
        if missing:
            needed = note.records * sum(DTYPES[self._schema][name].itemsize for name in missing)
            if not self._make_room(needed, keep=set(paths.values())):
                return self._in_memory(producer, whole, names), False
            try:
                self._write(producer, whole, {name: paths[name] for name in missing})
            except OSError:
                return self._in_memory(producer, whole, names), False
        for name, path in paths.items():
            with contextlib.suppress(OSError):
                os.utime(path)  # mark as used, since the budget removes the least recently used
            try:
                made[name] = np.asarray(np.load(path, mmap_mode="r"))  # not a memmap, which is slower to slice
            except (OSError, ValueError):  # removed just now, or incomplete after a power cut
                path.unlink(missing_ok=True)
                return self._in_memory(producer, whole, names), False
        return made, True

    def _in_memory(self, producer: str, whole: Selection, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for block in self._store.blocks(producer, self._schema, whole, names):
            for name in names:
                parts[name].append(block.columns[name])
            self._count(block.rows)
        dtype = DTYPES[self._schema]
        return {name: np.concatenate(found) if found else np.zeros(0, dtype[name]) for name, found in parts.items()}

    def _write(self, producer: str, whole: Selection, paths: dict[str, Path]) -> None:
        """Decode the columns of a day into files that appear whole or not at all. Raises OSError, DamageError."""
        dtype = DTYPES[self._schema]
        mark = secrets.token_hex(4)  # two readers may create the same day at once
        scratch = {name: path.with_name(f".{path.name}.{mark}{SCRATCH}") for name, path in paths.items()}
        try:
            with contextlib.ExitStack() as files:
                next(iter(paths.values())).parent.mkdir(parents=True, exist_ok=True)
                opened = {name: files.enter_context(path.open("wb")) for name, path in scratch.items()}
                for name, file in opened.items():
                    _write_header(file, dtype[name], 0)
                rows = 0
                for block in self._store.blocks(producer, self._schema, whole, tuple(paths)):
                    for name, file in opened.items():
                        file.write(np.ascontiguousarray(block.columns[name]).data)
                    rows += block.rows
                    self._count(block.rows)
                for name, file in opened.items():
                    file.seek(0)
                    _write_header(file, dtype[name], rows)
                    file.flush()
                    os.fsync(file.fileno())
            for name, path in paths.items():
                for older in path.parent.glob(f"{name}-*.npy"):
                    older.unlink(missing_ok=True)
                scratch[name].replace(path)
        finally:
            for path in scratch.values():
                path.unlink(missing_ok=True)

    def _count(self, rows: int) -> None:
        self._rows += rows
        self._progress(self._rows)

    def _make_room(self, needed: int, keep: set[Path]) -> bool:
        """Remove least recently used files until `needed` bytes fit; whether they do. Open files stay readable."""
        for path in self._root.rglob(f"*{SCRATCH}"):  # left by a killed reader
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - ABANDONED_S:
                    path.unlink()
        files = []
        for path in self._root.rglob("*.npy"):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        files.sort()
        total = sum(size for _, size, _ in files)
        fits = needed <= self._budget_bytes
        for _, size, path in files:
            if not fits or (total + needed <= self._budget_bytes and self._free() >= needed + ROOM_BYTES):
                break
            if path not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size
        return fits and total + needed <= self._budget_bytes and self._free() >= needed + ROOM_BYTES

    def _free(self) -> int:
        return shutil.disk_usage(self._root.parent).free


def _what(selection: Selection) -> str:
    """A folder name for a selection of instruments and kinds."""
    if selection.ids is None and selection.kinds is None:
        return "all"
    parts = [None if chosen is None else sorted(map(int, chosen)) for chosen in (selection.ids, selection.kinds)]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def _write_header(file: IO[bytes], dtype: np.dtype[Any], rows: int) -> None:
    """Write the header of a .npy file; numpy pads it, so its length is the same for any number of rows."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    npy.write_array_header_1_0(file, header)
