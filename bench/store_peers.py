"""The same ticks in a store and in what a user would pick instead: bytes per record, writing, reading, ranges.

    recording, COPIES times ──> columns ──> store: journal, daily files ──┐
                                       ├──> Parquet, pcodec, ArcticDB     ├─> columns again, compared
                                       └──> DuckDB's tables, chdb's       ┘

All keep all fields. Everything read is compared with what was written before anything is timed. Times are CPU time of
all threads of this process, on a single core, since threads that share a cache cost more than their work; files are
read from the page cache. A range is RANGE_ROWS rows at a random place, two columns; the previous range is always
another one. For market by order, a Databento file with its own compression is compared with a store of it.
"""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from numpy.typing import NDArray

from bench.codec import DATA, RECORDINGS, encode, recorded_ticks
from bench.harness import Result, main, median_of
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Schema
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.writer.format.columns import COLUMN_IDS
from tickplant.writer.journal import Journal

COPIES: Final = 10
RANGES: Final = 50
RANGE_ROWS: Final = 1000
ROW_GROUP: Final = 1 << 20
NAMES: Final = tuple(COLUMN_IDS[Schema.TICK])
TWO: Final = ("ts_recv", "price")
FLUSH_RECORDS: Final = 550
ORDERS: Final = "dbn/CLX5_mbo.dbn"

Columns = dict[str, NDArray[Any]]


class Keeper(Protocol):
    """Keeps columns on disk."""

    def write(self, columns: Columns) -> None:
        """Store them."""

    def read(self, names: Sequence[str]) -> Columns:
        """All rows of these columns, in order."""

    def between(self, start_ns: int, end_ns: int) -> Columns:
        """The columns TWO of the rows received in this half-open range."""


class _Tickplant:
    """The journal of a store, in chunks of 64 Ki; or the daily files that a compaction makes from it."""

    def __init__(self, folder: Path, *, daily: bool = False) -> None:
        self._folder, self._daily = folder, daily

    def write(self, columns: Columns) -> None:
        InstrumentTable.load(self._folder / INSTRUMENTS_FILE).register("binance", "BTCUSDT", 8, 8)
        journal = Journal(self._folder, Schema.TICK, "bench")
        records = np.zeros(len(columns["seq"]), DTYPES[Schema.TICK])
        for name, column in columns.items():
            records[name] = column
        journal.append(records)
        journal.close()
        if self._daily:
            assert not Compaction(self._folder, Policy(open_days=True)).run().trouble
            for path in (self._folder / "journal").rglob("*.tp?"):
                path.unlink()
        self._store = Store(self._folder)

    def read(self, names: Sequence[str]) -> Columns:
        return self._store.ticks(columns=names, prices="integer").numpy()

    def between(self, start_ns: int, end_ns: int) -> Columns:
        return self._store.ticks(None, None, start_ns, end_ns, columns=TWO, prices="integer").numpy()


class _Parquet:
    """One file by pyarrow, compressed by zstd; tuned: with the smallest encoding of each column."""

    def __init__(self, folder: Path, *, tuned: bool = False) -> None:
        self._path, self._tuned = folder / "ticks.parquet", tuned

    def write(self, columns: Columns) -> None:
        deltas, plain = ("ts_recv", "seq"), ("ts_event", "size", "venue_seq")
        tuned: dict[str, Any] = {
            "use_dictionary": [name for name in columns if name not in deltas + plain],
            "column_encoding": dict.fromkeys(deltas, "DELTA_BINARY_PACKED") | dict.fromkeys(plain, "PLAIN"),
            "compression_level": 9,
            "row_group_size": 1 << 18,
        }
        how: dict[str, Any] = tuned if self._tuned else {"row_group_size": ROW_GROUP}
        pq.write_table(pa.table(columns), self._path, compression="zstd", **how)

    def read(self, names: Sequence[str]) -> Columns:
        return _plain(pq.read_table(self._path, columns=list(names), use_threads=False))

    def between(self, start_ns: int, end_ns: int) -> Columns:
        wanted = [("ts_recv", ">=", start_ns), ("ts_recv", "<", end_ns)]
        return _plain(pq.read_table(self._path, columns=list(TWO), filters=wanted, use_threads=False))


class _Pcodec:
    """Each column by itself, in pages chosen by pcodec."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pcodec: Any = importlib.import_module("pcodec")
        self._types: dict[str, np.dtype[Any]] = {}

    def write(self, columns: Columns) -> None:
        for name, column in columns.items():
            self._types[name] = column.dtype
            wide = column.astype(np.uint16) if column.itemsize == 1 else column
            packed = self._pcodec.standalone.simple_compress(wide, self._pcodec.ChunkConfig())
            (self._folder / name).write_bytes(packed)

    def read(self, names: Sequence[str]) -> Columns:
        found = {name: self._pcodec.standalone.simple_decompress((self._folder / name).read_bytes()) for name in names}
        return {name: column.astype(self._types[name], copy=False) for name, column in found.items()}

    def between(self, start_ns: int, end_ns: int) -> Columns:
        found = self.read(TWO)
        low, high = np.searchsorted(found["ts_recv"], [start_ns, end_ns]).tolist()
        return {name: column[low:high] for name, column in found.items()}


class _Arctic:
    """A frame of ArcticDB in LMDB, indexed by receive time."""

    def __init__(self, folder: Path) -> None:
        self._pandas: Any = importlib.import_module("pandas")
        arctic: Any = importlib.import_module("arcticdb")
        self._library = arctic.Arctic(f"lmdb://{folder}").get_library("ticks", create_if_missing=True)

    def write(self, columns: Columns) -> None:
        index = self._pandas.DatetimeIndex(columns["ts_recv"].view("M8[ns]"), name="ts_recv")
        rest = {name: column for name, column in columns.items() if name != "ts_recv"}
        self._library.write("ticks", self._pandas.DataFrame(rest, index=index))

    def read(self, names: Sequence[str]) -> Columns:
        return self._columns(names)

    def between(self, start_ns: int, end_ns: int) -> Columns:
        stamp = self._pandas.Timestamp
        return self._columns(TWO, date_range=(stamp(start_ns), stamp(end_ns - 1)))

    def _columns(self, names: Sequence[str], **how: Any) -> Columns:
        frame = self._library.read("ticks", columns=[name for name in names if name != "ts_recv"], **how).data
        times = frame.index.to_numpy().view(np.int64)
        return {name: times if name == "ts_recv" else frame[name].to_numpy() for name in names}


class _DuckTable:
    """A table in DuckDB's own file."""

    def __init__(self, folder: Path) -> None:
        duckdb: Any = importlib.import_module("duckdb")
        self._base = duckdb.connect(str(folder / "ticks.duckdb"))
        self._base.execute("SET threads = 1")

    def write(self, columns: Columns) -> None:
        self._base.register("given", pa.table(columns))
        self._base.execute("CREATE TABLE ticks AS SELECT * FROM given; CHECKPOINT")
        self._base.unregister("given")

    def read(self, names: Sequence[str]) -> Columns:
        found: Columns = self._base.execute(f"SELECT {', '.join(names)} FROM ticks").fetchnumpy()
        return found

    def between(self, start_ns: int, end_ns: int) -> Columns:
        asked = f"SELECT {', '.join(TWO)} FROM ticks WHERE ts_recv >= ? AND ts_recv < ?"
        found: Columns = self._base.execute(asked, [start_ns, end_ns]).fetchnumpy()
        return found


class _Chdb:
    """A MergeTree of chdb, ordered by receive time and seq."""

    def __init__(self, folder: Path) -> None:
        self._file = folder.with_suffix(".parquet")
        session: Any = importlib.import_module("chdb.session")
        self._session = session.Session(str(folder))

    def write(self, columns: Columns) -> None:
        words = {"i": "Int", "u": "UInt"}
        kinds = ", ".join(f"{name} {words[c.dtype.kind]}{8 * c.itemsize}" for name, c in columns.items())
        pq.write_table(pa.table(columns), self._file, compression=None)
        made = f"CREATE TABLE bench.ticks ({kinds}) ENGINE = MergeTree ORDER BY (ts_recv, seq)"
        for statement in (
            "CREATE DATABASE bench",
            f"{made} SETTINGS default_compression_codec = 'ZSTD(3)'",
            f"INSERT INTO bench.ticks SELECT * FROM file('{self._file}', Parquet) SETTINGS max_threads = 1",
            "OPTIMIZE TABLE bench.ticks FINAL",
        ):
            self._session.query(statement)
        self._file.unlink()

    def read(self, names: Sequence[str]) -> Columns:
        return self._asked(names, "1")

    def between(self, start_ns: int, end_ns: int) -> Columns:
        return self._asked(TWO, f"ts_recv >= {start_ns} AND ts_recv < {end_ns}")

    def _asked(self, names: Sequence[str], where: str) -> Columns:
        asked = f"SELECT {', '.join(names)} FROM bench.ticks WHERE {where} SETTINGS max_threads = 1"
        return _plain(pa.ipc.open_file(pa.py_buffer(self._session.query(asked, "Arrow").bytes())).read_all())


OURS: Final = "daily files"
JOURNAL: Final = "journal, chunks of 64 Ki"
KEEPERS: Final[dict[str, Callable[[Path], Keeper]]] = {
    OURS: partial(_Tickplant, daily=True),
    JOURNAL: _Tickplant,
    "Parquet-zstd": _Parquet,
    "Parquet-zstd, tuned": partial(_Parquet, tuned=True),
    "pcodec": _Pcodec,
    "ArcticDB": _Arctic,
    "DuckDB": _DuckTable,
    "chdb": _Chdb,
}


def _plain(table: pa.Table) -> Columns:
    return {name: table[name].to_numpy() for name in table.column_names}


def _cpu_s(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


def bytes_in(folder: Path) -> int:
    """Bytes on disk, as LMDB's file has holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def make_columns(copies: int) -> Columns:
    """`copies` of the spot recording, one after another; receive times never step back, as some peers require."""
    ticks = recorded_ticks(*RECORDINGS["spot"])
    length_ns = int(ticks["ts_recv"].max() - ticks["ts_recv"].min()) + 1
    columns = {name: np.tile(ticks[name], copies) for name in NAMES}
    behind = np.repeat(np.arange(copies) * length_ns, len(ticks))
    columns["ts_recv"] = np.maximum.accumulate(columns["ts_recv"] + behind)
    columns["ts_event"] = np.where(columns["ts_event"], columns["ts_event"] + behind, 0)
    columns["seq"] = np.arange(len(behind), dtype=np.uint64)
    return columns


def measure(keeper: Keeper, folder: Path, columns: Columns, repeats: int) -> dict[str, float]:
    """The results of one keeper, by measure. Raises AssertionError if it returns other data than it was given."""
    rows = len(columns["seq"])
    times = columns["ts_recv"]
    write_s = _cpu_s(partial(keeper.write, columns))
    for names in (NAMES, TWO):
        found = keeper.read(names)
        for name in names:
            assert np.array_equal(found[name], columns[name]), f"{name} comes back different"
    firsts = np.random.default_rng(1).integers(0, rows - RANGE_ROWS, RANGES).tolist()
    bounds = [(int(times[first]), int(times[first + RANGE_ROWS])) for first in firsts]
    for start_ns, end_ns in bounds:
        low, high = np.searchsorted(times, [start_ns, end_ns]).tolist()
        found = keeper.between(start_ns, end_ns)
        assert all(np.array_equal(found[name], columns[name][low:high]) for name in TWO), "a range is different"
    taken = [_cpu_s(partial(keeper.between, start_ns, end_ns)) for start_ns, end_ns in bounds]
    return {
        "bytes a record": bytes_in(folder) / rows,
        "written, M records/CPU s": rows / write_s / 1e6,
        "all columns, M records/CPU s": rows / median_of(repeats, lambda: _cpu_s(lambda: keeper.read(NAMES))) / 1e6,
        "two columns, M records/CPU s": rows / median_of(repeats, lambda: _cpu_s(lambda: keeper.read(TWO))) / 1e6,
        f"a range of {RANGE_ROWS} rows, ms CPU": statistics.median(taken) * 1e3,
    }


def orders(folder: Path) -> Result:
    """Market by order: a Databento file, with Databento's compression, compared with the daily files of a store."""
    path = DATA / ORDERS
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not beside the project")
    command = [sys.executable, "-m", "tickplant", "ingest", str(path), "--data", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    assert not Compaction(folder, Policy(open_days=True)).run().trouble
    rows = sum(len(block["seq"]) for block in Store(folder).scan(schema=Schema.TICK))
    ours = sum(file.stat().st_size for file in (folder / "daily").rglob("tick/*/*.tpd")) / rows
    theirs = len(zstandard.ZstdCompressor(level=3).compress(path.read_bytes())) / rows
    return Result(
        name="store: bytes a record, market by order, daily files",
        value=ours,
        unit="bytes",
        compared_with=f"DBN-zstd ({theirs:.2f})",
        ratio=theirs / ours,
    )


def run(repeats: int, quick: bool) -> list[Result]:
    """See the module. Raises FileNotFoundError if the recordings or the peers are not available."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    columns = make_columns(1 if quick else COPIES)
    rows = len(columns["seq"])
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as temporary:
        results = [orders(Path(temporary) / "orders")]  # first: then nothing is compiled while others are measured
        for label, make in KEEPERS.items():
            folder = Path(temporary) / f"{len(found)}"
            folder.mkdir()
            try:
                keeper = make(folder)
            except ModuleNotFoundError as error:
                raise FileNotFoundError(f"{error.name} is not installed here: make bench-peers") from error
            found[label] = measure(keeper, folder, columns, repeats)
    ticks = recorded_ticks(*RECORDINGS["spot"])
    small = sum(map(len, encode(ticks, FLUSH_RECORDS))) / len(ticks)
    packed = (DATA / RECORDINGS["spot"][1]).stat().st_size / len(ticks)
    for label, value in (("journal, chunks of a second", small), ("gz of the raw JSON", packed)):
        found[label] = {"bytes a record": value}
    for what in found[OURS]:
        # A day is compacted once, at leisure: what keeps up with a feed is the journal.
        own = JOURNAL if what.startswith("written") else OURS
        ours, smaller = found[own][what], what.startswith(("bytes", "a range"))
        results += [
            Result(
                name=f"store: {own}, {rows:,} ticks: {what.partition(', ')[0]}",
                value=ours,
                unit=what.partition(", ")[2] or "bytes",
                compared_with=f"{label} ({values[what]:.3g})",
                ratio=values[what] / ours if smaller else ours / values[what],
            )
            for label, values in found.items()
            if label != own and what in values
        ]
    return results


if __name__ == "__main__":
    main(run)
