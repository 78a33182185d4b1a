"""DuckDB over a store, compared with DuckDB over Parquet of the same columns; and reading a store without SQL.

    recording, COPIES times one after another ──> journal, chunks of 64 Ki ──> tickplant.duckdb ──┐
                                              └──> Parquet, zstd, row groups of 1 Mi ──> DuckDB ──┴─> compared

Both have the same rows, columns and types (prices as float64, then as decimals), use one thread, and read from the page
cache. The answers are compared before anything is timed. Times are CPU time of this process.

Without SQL: all rows, two columns, and RANGES random ranges of RANGE_ROWS rows, as arrays of the stored integers;
compared with pyarrow over Parquet of the same columns, and ranges also with a table in DuckDB's own file.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tickplant
from bench.codec import RECORDINGS, recorded_ticks
from bench.harness import Result, main, median_of
from tickplant.instruments import InstrumentTable
from tickplant.records.arrow_columns import Prices
from tickplant.records.layouts import Schema
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.tables import columns_of
from tickplant.writer.journal import Journal

COPIES: Final = 10
QUICK_COPIES: Final = 1
ROW_GROUP: Final = 1 << 20

VWAP: Final = """
    select recv_ns // 60000000000 as minute, symbol, sum(price * size) / sum(size) as vwap, count(*) as trades
    from {} where kind = 'trade' group by all order by all
"""
SMALL_CHUNK: Final = 1 << 12
RANGES: Final = 100
RANGE_ROWS: Final = 1000
TWO_COLUMNS: Final = ("recv_ns", "price")

RANGE: Final = "select count(*), max(price) from {} where recv_ns >= {} and recv_ns < {}"


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as folder:
        copies = QUICK_COPIES if quick else COPIES
        store, count, length_ns = fill(Path(folder) / "data", copies)
        small, _, _ = fill(Path(folder) / "small", copies, SMALL_CHUNK)
        (first,) = (int(block["ts_recv"][0]) for block in islice(store.scan(), 1))
        middle = first + copies * length_ns // 2
        results = []
        kinds: tuple[Prices, ...] = ("float", "decimal")
        for prices in kinds:
            path = Path(folder) / f"{prices}.parquet"
            rows = store.ticks(columns=columns_of("ticks"), prices=prices)
            pq.write_table(rows.arrow(), path, compression="zstd", row_group_size=ROW_GROUP)
            ours, theirs = tickplant.duckdb(store.data_dir, prices=prices), duckdb.connect()
            for connection in (ours, theirs):
                connection.execute("SET threads = 1")
            for name, question in (
                ("VWAP per minute and symbol", VWAP.format("{}")),
                ("a second out of all", RANGE.format("{}", middle, middle + 10**9)),
            ):
                results.append(
                    _compare(f"queries: DuckDB, {name}, {prices}", ours, theirs, question, path, repeats, count)
                )
        results += _arrays(store, Path(folder), count, repeats)
        results += _ranges({"64 Ki": store, "4 Ki": small}, Path(folder), count, repeats)
        return results


def _arrays(store: Store, folder: Path, count: int, repeats: int) -> list[Result]:
    """Measure all columns, and two of them."""
    results = []
    path = folder / "integers.parquet"
    pq.write_table(
        store.ticks(columns=columns_of("ticks"), prices="integer").arrow(),
        path,
        compression="zstd",
        row_group_size=ROW_GROUP,
    )
    for what, names in (("all columns", columns_of("ticks")), ("two columns", TWO_COLUMNS)):

        def ours(names: Sequence[str] = names) -> pa.Table:
            return store.ticks(columns=names, prices="integer").arrow()

        def theirs(names: Sequence[str] = names) -> pa.Table:
            return pq.read_table(path, columns=list(names), use_threads=False)

        mine, other = ours(), theirs()
        for name in names:
            same = mine[name].combine_chunks().cast(other[name].type) == other[name].combine_chunks()
            assert same, f"{what}: {name} differs"
        taken_s, parquet_s = (median_of(repeats, lambda work=work: _cpu_s(work)) for work in (ours, theirs))
        results.append(
            Result(
                name=f"queries: {what} as Arrow, {count:,} ticks",
                value=count / taken_s,
                unit="rows/CPU s",
                compared_with=f"pyarrow, Parquet with zstd ({count / parquet_s / 1e6:.1f} M/s)",
                ratio=parquet_s / taken_s,
            )
        )
    return results


def _ranges(stores: Mapping[str, Store], folder: Path, count: int, repeats: int) -> list[Result]:
    """Measure random ranges of receive time, in stores by the rows of their chunks."""
    times = np.sort(stores["64 Ki"].ticks(columns=("recv_ns",), prices="integer").numpy()["recv_ns"])
    firsts = np.random.default_rng(1).integers(0, count - RANGE_ROWS, RANGES)
    asked = [(int(times[first]), int(times[first + RANGE_ROWS])) for first in firsts]
    table = duckdb.connect(folder / "own.duckdb")
    table.execute("SET threads = 1")
    table.execute(f"CREATE TABLE ticks AS SELECT * FROM read_parquet('{folder / 'integers.parquet'}')")
    results = []
    for chunks, what, names in (
        (chunks, what, names)
        for chunks in stores
        for what, names in (("all columns", columns_of("ticks")), ("two columns", TWO_COLUMNS))
    ):
        columns = ", ".join(names)

        def ours(start: int, end: int, names: Sequence[str] = names, store: Store = stores[chunks]) -> Any:
            return store.ticks(None, None, start, end, columns=names, prices="integer").numpy()

        def theirs(start: int, end: int, columns: str = columns) -> Any:
            question = f"SELECT {columns} FROM ticks WHERE recv_ns >= ? AND recv_ns < ?"
            return table.execute(question, [start, end]).fetchnumpy()

        for start, end in asked[:10]:
            mine, other = ours(start, end), theirs(start, end)
            for name in TWO_COLUMNS:
                assert np.array_equal(np.sort(mine[name]), np.sort(other[name])), f"{what}: {name} differs"
        taken_s, own_s = (
            statistics.median(_cpu_s(partial(work, *range_)) for _ in range(repeats) for range_ in asked)
            for work in (ours, theirs)
        )
        results.append(
            Result(
                name=f"queries: a range of {RANGE_ROWS:,} rows, {what}, of {count:,} ticks in chunks of {chunks}",
                value=taken_s * 1e3,
                unit="ms CPU",
                compared_with=f"a table of DuckDB ({own_s * 1e3:.2f} ms)",
                ratio=own_s / taken_s,
            )
        )
    return results


def _compare(name: str, ours: Any, theirs: Any, question: str, path: Path, repeats: int, count: int) -> Result:
    mine = question.format("ticks")
    other = question.format(f"read_parquet('{path}')")
    expected = theirs.sql(other).fetchall()
    found = ours.sql(mine).fetchall()
    assert len(found) == len(expected), f"{name}: {len(found)} rows, not {len(expected)}"
    for one, two in zip(found, expected, strict=True):
        for left, right in zip(one, two, strict=True):
            same = np.isclose(left, right, rtol=1e-12) if isinstance(left, float) else left == right
            assert same, f"{name}: {one}, not {two}"
    taken_s = median_of(repeats, lambda: _cpu_s(lambda: ours.sql(mine).fetchall()))
    parquet_s = median_of(repeats, lambda: _cpu_s(lambda: theirs.sql(other).fetchall()))
    return Result(
        name=f"{name}, {count:,} ticks",
        value=taken_s * 1e3,
        unit="ms CPU",
        compared_with=f"Parquet, zstd ({parquet_s * 1e3:.1f} ms)",
        ratio=parquet_s / taken_s,
    )


def _cpu_s(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


def fill(data_dir: Path, copies: int, chunk_records: int = 1 << 16) -> tuple[Store, int, int]:
    """A store with `copies` of the recording; its number of records, and the length of one copy in ns."""
    ticks = recorded_ticks(*RECORDINGS["spot"])
    InstrumentTable.load(data_dir / INSTRUMENTS_FILE).register("binance", "BTCUSDT", 8, 8)
    length_ns = int(ticks["ts_recv"].max() - ticks["ts_recv"].min()) + 1
    journal = Journal(data_dir, Schema.TICK, "bench", chunk_records=chunk_records)
    for _ in range(copies):
        ticks["seq"] = np.arange(journal.next_seq, journal.next_seq + len(ticks))
        journal.append(ticks)
        journal.flush()
        for name in ("ts_recv", "ts_event"):
            ticks[name] = np.where(ticks[name], ticks[name] + length_ns, 0)
    journal.close()
    return Store(data_dir), copies * len(ticks), length_ns


if __name__ == "__main__":
    main(run)
