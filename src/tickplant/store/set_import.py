"""Imports a Parquet data set written by `parquet_set` into a store: the same records, in the same order.

A producer's records are put in the order of their seqs window by window, so that at most a row group of each file is in
memory. If a store already holds the first records, they are compared, and the import continues after them. So the run
after a killed one continues where the journal ends.
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
"""How many seqs are put in order at a time."""


def import_set(folder: Path, data_dir: Path, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Store the records of a set; returns how many were added.

    Records of a set of all instruments keep their seqs, holes included. A set of some instruments has holes everywhere,
    so its records are renumbered.

    Args:
        folder: folder of the set.
        data_dir: the store, created if missing. No other process may write to it.
        progress: called with the number of records added so far.

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
    """For each series number in the set, the number in the store; 0 stays 0, for records without a series."""
    known = SeriesTable(data_dir).numbers(names, add=True)
    return np.array([0, *(known[name] for name in names)], np.uint16)


def append_new(journal: Journal, store: Store, records: Records) -> int:
    """Add the records that the journal does not hold yet, after comparing those that it holds."""
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
        """The records of the row group."""
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
    """The records of all files, ordered by seq."""
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
