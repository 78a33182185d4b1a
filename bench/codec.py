"""Chunks, compared with Parquet (zstd), on the two Binance recordings: bytes per record, encode and decode records/s.

    recording ──adapter──> TICK records ──encode──> chunks ──decode──> TICK records
                                       └──pyarrow──> Parquet, zstd ──> Arrow columns

Both hold all eleven fields, in memory, on one core, in chunks or row groups of the same size; both are read back and
compared with the records before anything is timed. Parquet is written with pyarrow's defaults, except for zstd as its
codec: what a user would pick instead. A busy feed writes chunks of CHUNK_RECORDS. A feed at the recording's rate
flushes FLUSH_RECORDS every second. A compaction may write DAILY_RECORDS, at a slow zstd level. Quotes and one-second
bars are made from the same records, without the engine.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.harness import Result, main, median_of
from tickplant.feeds.capture_lines import parse_line
from tickplant.feeds.contract import Ended, FeedContext
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, Kind, Schema, Side
from tickplant.records.merge import join_records
from tickplant.runtime.recorded_lines import Recording
from tickplant.venues import find_venue
from tickplant.writer.format.codec import ChunkDecoder, encode_chunk

Records = NDArray[np.void]

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
RECORDINGS: Final = {
    "spot": ("binance", "binance_spot_btcusdt_20240808.gz"),
    "USD-M": ("binance-usdm", "binance_usdm_btcusdt_20240808.gz"),
}
CHUNK_RECORDS: Final = 1 << 16
FLUSH_RECORDS: Final = 550
DAILY_RECORDS: Final = 1 << 20
DAILY_LEVEL: Final = 19
TWO_COLUMNS: Final = ("ts_recv", "price")
QUICK_RECORDS: Final = 20_000


def recorded_ticks(venue: str, name: str) -> Records:
    """The records that the adapter makes from a recording. Raises FileNotFoundError if it is not available."""
    path = DATA / name
    if not path.exists():
        raise FileNotFoundError(f"the recording {name} is not beside the project")
    adapter = find_venue(venue).make_adapter(
        FeedContext(
            symbols=None, channels=(), resolve=lambda symbol, *_, **__: Instrument(1, venue, symbol, 8, 8), live=False
        )
    )
    parts = []
    for block in Recording(path).blocks():
        for line in block:
            if (parsed := parse_line(line)) and parsed[1]:
                adapter.on_event(parsed[1], parsed[0])
        parts.append(adapter.take().ticks.copy())
    adapter.on_event(Ended(), 0)
    parts.append(adapter.take().ticks.copy())
    ticks = join_records(parts)
    ticks["seq"] = np.arange(len(ticks))
    return ticks


def quotes_of(ticks: Records) -> Records:
    """A BBO for each pair of QUOTE ticks."""
    quotes = ticks[ticks["kind"] == Kind.QUOTE]
    bids, asks = quotes[:-1:2], quotes[1::2]
    made = np.zeros(len(bids), DTYPES[Schema.BBO])
    for name in ("ts_event", "ts_recv", "instrument"):
        made[name] = asks[name]
    made["bid_price"], made["bid_size"] = bids["price"], bids["size"]
    made["ask_price"], made["ask_size"] = asks["price"], asks["size"]
    made["source_seq"], made["seq"] = asks["seq"], np.arange(len(made))
    return made


def bars_of(ticks: Records) -> Records:
    """One-second bars of the trades."""
    trades = ticks[ticks["kind"] == Kind.TRADE]
    starts = np.flatnonzero(np.diff(trades["ts_event"] // 10**9, prepend=-1))
    ends = np.append(starts[1:], len(trades))
    made = np.zeros(len(starts), DTYPES[Schema.BAR])
    made["ts_open"] = trades["ts_event"][starts] // 10**9 * 10**9
    made["ts_event"], made["ts_recv"] = made["ts_open"] + 10**9, trades["ts_recv"][ends - 1]
    made["open"], made["close"] = trades["price"][starts], trades["price"][ends - 1]
    made["high"] = np.maximum.reduceat(trades["price"], starts)
    made["low"] = np.minimum.reduceat(trades["price"], starts)
    made["volume"] = np.add.reduceat(trades["size"], starts)
    made["buy_volume"] = np.add.reduceat(np.where(trades["side"] == Side.BUY, trades["size"], 0), starts)
    made["trades"], made["source_seq"] = ends - starts, trades["seq"][ends - 1]
    made["instrument"], made["interval_s"], made["seq"] = 1, 1, np.arange(len(made))
    return made


def encode(records: Records, size: int, schema: Schema = Schema.TICK, level: int = 1) -> list[bytes]:
    """Chunks of `size` records."""
    return [
        encode_chunk(records[start : start + size], schema, 0, level=level) for start in range(0, len(records), size)
    ]


def decode(chunks: list[bytes]) -> list[Records]:
    """All records of all chunks."""
    decoder = ChunkDecoder()
    return [decoder.decode(chunk)[0] for chunk in chunks]


def decode_columns(chunks: list[bytes], names: Sequence[str] | None = None) -> None:
    """Decode these columns of all chunks; None: all columns."""
    decoder = ChunkDecoder()
    for chunk in chunks:
        decoder.columns(chunk, names=names)


def write_parquet(ticks: Records, size: int) -> bytes:
    """One file with row groups of `size` records."""
    columns = {name: np.ascontiguousarray(ticks[name]) for name in ticks.dtype.names or ()}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd", row_group_size=size)
    return file.getvalue()


def read_parquet(data: bytes, names: Sequence[str] | None = None) -> pa.Table:
    """These columns, on one core like the chunks; None: all columns."""
    return pq.read_table(io.BytesIO(data), columns=names and list(names), use_threads=False)


def check(ticks: Records, chunks: list[bytes], parquet: bytes) -> None:
    """Assert that both return the records."""
    assert join_records(decode(chunks)).tobytes() == ticks.tobytes(), "the chunks differ from the records"
    table = read_parquet(parquet)
    for name in ticks.dtype.names or ():
        assert np.array_equal(table[name].to_numpy(), ticks[name]), f"the Parquet column {name} differs"


def records_per_s(work: Callable[[], object], records: int, repeats: int) -> float:
    """Median rate by CPU time of all threads, since the machine may have other things to do."""

    def once() -> float:
        start_ns = time.process_time_ns()
        work()
        return records / (time.process_time_ns() - start_ns) * 1e9

    once()
    return median_of(repeats, once)


def run(repeats: int, quick: bool) -> list[Result]:
    """Raises AssertionError if a record comes back different, FileNotFoundError without the recordings."""
    results = []
    for market, (venue, name) in RECORDINGS.items():
        ticks = recorded_ticks(venue, name)
        ticks = ticks[:QUICK_RECORDS] if quick else ticks
        count = len(ticks)
        for size, what in ((CHUNK_RECORDS, "chunks of 64 Ki"), (FLUSH_RECORDS, "chunks of a second")):
            chunks, parquet = encode(ticks, size), write_parquet(ticks, size)
            check(ticks, chunks, parquet)
            stored, rival = sum(map(len, chunks)) / count, len(parquet) / count
            results.append(
                Result(
                    name=f"codec: bytes a record, Binance {market}, {what}",
                    value=stored,
                    unit="bytes",
                    compared_with=f"Parquet-zstd, {rival:.2f}",
                    ratio=rival / stored,
                )
            )
            if size != CHUNK_RECORDS:
                continue
            for verb, ours, theirs in (
                ("encode", partial(encode, ticks, size), partial(write_parquet, ticks, size)),
                ("decode", partial(decode, chunks), partial(read_parquet, parquet)),
                ("decode to columns", partial(decode_columns, chunks), partial(read_parquet, parquet)),
                (
                    "decode two columns",
                    partial(decode_columns, chunks, TWO_COLUMNS),
                    partial(read_parquet, parquet, TWO_COLUMNS),
                ),
            ):
                rate, rival_rate = (records_per_s(work, count, repeats) for work in (ours, theirs))
                results.append(
                    Result(
                        name=f"codec: {verb}, Binance {market}, {what}",
                        value=rate,
                        unit="records/s",
                        compared_with=f"Parquet-zstd, {rival_rate / 1e6:.1f} M/s",
                        ratio=rate / rival_rate,
                    )
                )
        for records, schema, size, level, what in (
            (ticks, Schema.TICK, DAILY_RECORDS, DAILY_LEVEL, "daily ticks, chunks of 1 Mi, level 19"),
            (quotes_of(ticks), Schema.BBO, 81 if market == "spot" else 200, 3, "quotes, chunks of a second"),
            *((bars_of(ticks), Schema.BAR, size, 3, f"bars, chunks of {size}") for size in (1, 4, 10, 20)),
        ):
            results.append(size_of(records, schema, size, level, f"codec: bytes a record, Binance {market}, {what}"))
    return results


def size_of(records: Records, schema: Schema, size: int, level: int, name: str) -> Result:
    """Bytes per record in chunks of `size` records, compared with plain records."""
    chunks = encode(records, size, schema, level)
    assert join_records(decode(chunks)).tobytes() == records.tobytes(), "the chunks differ from the records"
    stored = sum(map(len, chunks)) / len(records)
    whole = records.dtype.itemsize
    return Result(name=name, value=stored, unit="bytes", compared_with=f"as they are, {whole}", ratio=whole / stored)


if __name__ == "__main__":
    main(run)
