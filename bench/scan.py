"""Scans over mapped days (`Store.scan(…).days()`), warm: records/s over all columns, GB/s over price and time alone.

    journal ──Scan.days, once──> columns in files ──mmap──> sums and extremes, one pass a column

Each scan touches every value: integers are summed. It is compared with the same sums over columns that `Store.blocks`
decodes, and over memory-mapped Arrow files of the same columns. All sums must be equal before anything is timed. CPU
time of one core.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.harness import Result, main, median_of
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Flag, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.format.columns import COLUMN_IDS
from tickplant.writer.journal import Journal

RECORDS: Final = 8_000_000
QUICK_RECORDS: Final = 200_000
BLOCK: Final = 1 << 20
DAY_NS: Final = 86_400 * 10**9
TWO: Final = ("ts_recv", "price")
Sums = dict[str, int]


def make_store(folder: Path, records: int) -> Store:
    """Two days of trades and changes of a book."""
    InstrumentTable.load(folder / "instruments.jsonl").register("venue", "AAA", 2, 3)
    journal = Journal(folder, Schema.TICK, "feed")
    random = np.random.default_rng(1)
    for start in range(0, records, BLOCK):
        count = min(BLOCK, records - start)
        ticks = np.zeros(count, TICK)
        place = np.arange(start, start + count)
        ticks["ts_recv"] = 20_000 * DAY_NS + place * (2 * DAY_NS // records)
        ticks["ts_event"] = ticks["ts_recv"] - 10**6
        ticks["price"] = 6_000_000 + np.cumsum(random.integers(-2, 3, count))
        ticks["size"], ticks["venue_seq"], ticks["seq"] = random.integers(1, 5000, count), place * 3, place
        ticks["kind"], ticks["side"] = np.where(place % 5, Kind.LEVEL, Kind.TRADE), 1 + place % 2
        ticks["instrument"], ticks["flags"] = 1, Flag.LAST
        journal.append(ticks)
        journal.flush()
    journal.close()
    return Store(folder)


def _sum(values: NDArray[Any]) -> int:
    # In the column's own 64 bits: it may wrap around, and in all ways of reading alike.
    return int(values.view(np.uint64).sum()) if values.itemsize == 8 else int(values.sum(dtype=np.uint64))


def mapped(store: Store, names: Sequence[str]) -> Sums:
    """The sums over mapped days."""
    sums = dict.fromkeys(names, 0)
    for day in store.scan().days(names):
        for name in names:
            sums[name] += _sum(day.columns[name])
    return sums


def decoded(store: Store, names: Sequence[str]) -> Sums:
    """The sums over decoded chunks."""
    sums = dict.fromkeys(names, 0)
    for block in store.blocks("feed", Schema.TICK, Selection(), names):
        for name in names:
            sums[name] += _sum(np.ascontiguousarray(block.columns[name]))
    return sums


def arrow(path: Path, names: Sequence[str]) -> Sums:
    """The sums over a memory-mapped Arrow file."""
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
        return {name: int(pc.sum(table[name]).as_py()) for name in names}


def run(repeats: int, quick: bool) -> list[Result]:
    """See the module."""
    with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as temporary:
        folder = Path(temporary)
        records = QUICK_RECORDS if quick else RECORDS
        store = make_store(folder, records)
        everything = tuple(COLUMN_IDS[Schema.TICK])
        assert {key: value % 2**64 for key, value in mapped(store, everything).items()} == {
            key: value % 2**64 for key, value in decoded(store, everything).items()
        }
        days = list(store.scan().days(everything))
        assert all(day.mapped for day in days)
        path = folder / "columns.arrow"
        table = pa.table({name: np.concatenate([day.columns[name] for day in days]) for name in everything})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        assert arrow(path, ("price",)) == mapped(store, ("price",))

        def rate(work: Callable[[], Sums]) -> float:
            def once() -> float:
                started_s = time.process_time()
                work()
                return records / (time.process_time() - started_s)

            return median_of(repeats, once)

        row_bytes = sum(TICK[name].itemsize for name in TWO)
        ours, theirs = rate(lambda: mapped(store, everything)), rate(lambda: decoded(store, everything))
        two, of_arrow = rate(lambda: mapped(store, TWO)), rate(lambda: arrow(path, TWO))
    return [
        Result(
            name="scan: records/s over mapped days, all columns summed",
            value=ours,
            unit="records/s",
            compared_with="chunks decoded",
            ratio=ours / theirs,
        ),
        Result(
            name="scan: price and receive time of mapped days",
            value=two * row_bytes,
            unit="bytes/s",
            compared_with="pyarrow over a mapped Arrow file",
            ratio=two / of_arrow,
        ),
    ]


if __name__ == "__main__":
    main(run)
