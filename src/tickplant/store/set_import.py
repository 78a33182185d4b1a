"""A Parquet data set that `parquet_set` wrote, back into a store: the same records, in the same order.

A producer's records are put together by their seq, in windows, so that no more than a row group of each of its files
is held. A store that holds the beginning of them already is continued, once that beginning is found equal: a run
that was killed goes on where its journal ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tickplant.derive.series import SeriesTable
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.schemas import FACTS
from tickplant.store.parquet_set import Origin, files_of, read_fields
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.selection import Selection
from tickplant.writer.journal import Journal

Records = NDArray[np.void]

WINDOW: Final = 1 << 19
"""Records that are put in order at a time."""


def import_set(folder: Path, data_dir: Path, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Store the records of a set; returns how many were added.

    A set of all instruments keeps each record's seq, and a hole in it stays one. A set of some has holes between all
    its records: those are numbered anew.

    Args:
        folder: of the set.
        data_dir: the store, made where it is missing. Nobody else may write to it.
        progress: called with the records added so far.

    Raises:
        StoreError: the folder holds no set, or the store holds other records of such a producer.
    """
    sets: dict[tuple[str, str], list[tuple[Path, Origin]]] = {}
    for path, origin in files_of(folder):
        sets.setdefault((origin.producer, origin.schema), []).append((path, origin))
    if not sets:
        raise StoreError("holds no set that tickplant exported: schema=…/venue=…/symbol=…/day=…/*.parquet", path=folder)
    rows = {row.id: row for files in sets.values() for _, origin in files for row in origin.instruments}
    table = InstrumentTable.load(data_dir / INSTRUMENTS_FILE)
    ordered = [rows[ident] for ident in sorted(rows)]
    made = table.register_all([(row.venue, row.symbol, row.price_scale, row.size_scale) for row in ordered])
    ids = np.zeros(max(rows) + 1, np.uint32)
    for old, new in zip(ordered, made, strict=True):
        ids[old.id] = new.id
    added = 0
    for (producer, name), files in sorted(sets.items()):
        schema = Schema[name.upper()]
        journal = Journal(data_dir, schema, producer)
        try:
            held = Store(data_dir)
            anew = not all(origin.whole for _, origin in files)
            numbers = _series(data_dir, max((origin.series for _, origin in files), key=len))
            number = 0
            for records in _in_order([path for path, _ in files], schema):
                records["instrument"] = ids[records["instrument"]]
                if FACTS[schema].named:
                    records["series"] = numbers[records["series"]]
                if anew:
                    records["seq"] = np.arange(number, number + len(records), dtype=np.uint64)
                    number += len(records)
                added += append_new(journal, held, records)
                progress(added)
        finally:
            journal.close()
    return added


def _series(data_dir: Path, names: list[str]) -> NDArray[np.uint16]:
    """By number of a series in the set, its number in the store; 0 is 0: a record of none."""
    known = SeriesTable(data_dir).numbers(names, add=True)
    return np.array([0, *(known[name] for name in names)], np.uint16)


def append_new(journal: Journal, store: Store, records: Records) -> int:
    """Add what the journal does not hold yet, having compared what it does."""
    known = int(np.searchsorted(records["seq"], np.uint64(journal.durable_seq)))
    if known:
        first, last = int(records["seq"][0]), int(records["seq"][known - 1])
        place = 0
        for part in store.read(journal.producer, journal.schema, Selection(), first_seq=first, last_seq=last):
            if place + len(part) > known or part.tobytes() != records[place : place + len(part)].tobytes():
                break
            place += len(part)
        if place < known:
            raise StoreError(
                f"holds other records of {journal.producer}; import into another store", path=journal.directory
            )
    new = records[known:]
    breaks = np.flatnonzero(np.diff(new["seq"]) != 1) + 1
    for part in np.split(new, breaks) if len(new) else []:
        if int(part["seq"][0]) > journal.durable_seq:
            journal.skip_to(int(part["seq"][0]))
        journal.append(part)
        journal.flush()
    return len(new)


class _Group:
    """A row group of a file."""

    def __init__(self, path: Path, number: int, first_seq: int) -> None:
        self.first_seq = first_seq
        self._path = path
        self._number = number

    def read(self, schema: Schema) -> Records:
        """Its records."""
        with pq.ParquetFile(self._path) as file:
            fields = read_fields(file.read_row_group(self._number), schema)
        records = np.empty(len(fields["seq"]), DTYPES[schema])
        for name, values in fields.items():
            records[name] = values
        return records


def _groups(paths: list[Path]) -> Iterator[_Group]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            place = file.schema_arrow.names.index("seq")
            for number in range(file.metadata.num_row_groups):
                statistics: Any = file.metadata.row_group(number).column(place).statistics
                if statistics is None or not statistics.has_min_max:
                    raise StoreError("has no statistics of its column seq", path=path)
                yield _Group(path, number, int(statistics.min))


def _in_order(paths: list[Path], schema: Schema) -> Iterator[Records]:
    """Records of all files by seq."""
    waiting = sorted(_groups(paths), key=lambda group: group.first_seq, reverse=True)
    held: list[Records] = []
    while waiting or held:
        starts = [int(records["seq"][0]) for records in held] + [group.first_seq for group in waiting[-1:]]
        end = min(starts) + WINDOW
        while waiting and waiting[-1].first_seq < end:
            held.append(waiting.pop().read(schema))
        cuts = [int(np.searchsorted(records["seq"], np.uint64(end))) for records in held]
        found = np.concatenate([records[:cut] for records, cut in zip(held, cuts, strict=True)])
        held = [records[cut:] for records, cut in zip(held, cuts, strict=True) if cut < len(records)]
        yield found[np.argsort(found["seq"], kind="stable")]
