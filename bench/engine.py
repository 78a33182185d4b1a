"""An engine by itself: ticks per second through books, best offers, bars and series, published and stored.

    TICK records in batches ──Engine.take──> messages of the publisher, BBO, BAR and VALUE records in rings
    the same, as tuples of Python ints ──bench/engine_rival.py──> the same bests, bars and values in lists

One core, CPU time. The engine is the same as in a plant, with its publisher and its rings, but without a subscriber and
a writer, which run in processes of their own. The rival is spared publishing and storing. Its bests, bars and values
must equal the engine's, and those of all batch sizes must agree to the bit, before anything is timed. Streams: the
Binance recordings, if available, and the synthetic venue with 3 and with 100 symbols.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import NDArray

from bench.codec import RECORDINGS, recorded_ticks
from bench.engine_rival import FIELDS, Rival, Row
from bench.harness import Result, main, median_of
from tickplant.derive.derivation import Series, Settings
from tickplant.derive.registry import channels_of, wanted
from tickplant.engine.core import Engine, warm_up
from tickplant.engine.derived_sink import Output
from tickplant.engine.publisher import Publisher
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, TICK, Flag, Kind, Schema, Side
from tickplant.shm.ring import LATEST, Mode, Ring
from tickplant.sim.dialects.binance.instruments import traded
from tickplant.sim.market import Market
from tickplant.sim.order_flow import AGGREGATE, TICKER, TRADE

Records = NDArray[np.void]

BATCHES: Final = (1, 16, 256, 4096)
RING_RECORDS: Final = 1 << 16
SCALE: Final = 8
BAR_S: Final = (1, 60)
TEN: Final = (
    *("sma-20.1s", "ema-20.1s", "rsi-14.1s", "macd-12-26-9.1s", "atr-14.1s"),
    *("hawkes-0.1-0.5-1.trade", "hawkes-0.2-0.4-2.trade", "spread.bbo", "microprice.bbo", "order_flow-100.bbo"),
)
"""Five over one-second bars, two over trades, three over best bids and offers."""

SERIES: Final[dict[str, tuple[str, ...]]] = {
    "books, bars": (),
    "and depth-10.book_1s": ("depth-10.book_1s",),
    "and depth-10.book_100ms": ("depth-10.book_100ms",),
    "and ten indicators": TEN,
}
"""The series of each timed variant, by its name."""

SYMBOLS: Final = (3, 100)
MESSAGES_PER_S: Final = 5_000.0
CHECKED_RECORDS: Final = 60_000
TIMED_RECORDS: Final = 240_000
QUICK_RECORDS: Final = 20_000
START_NS: Final = 1_760_000_000 * 10**9
DEPTH: Final = 100


def venue_ticks(symbols: int, count: int) -> Records:
    """A feed's ticks from the synthetic venue: snapshots, then trades, quotes and diffs. Instruments count from 1."""
    listed = [traded(f"S{number}USDT", futures=False) for number in range(symbols)]
    market = Market(listed, seed=1, messages_per_s=MESSAGES_PER_S, intervals_ns=[100_000_000], depth_levels=DEPTH)
    rows: list[tuple[int, ...]] = []  # kind, side, price, size, flags, instrument, time
    for symbol in range(symbols):
        book = [(side + 1, *level) for side in (0, 1) for level in market.book(symbol, side, DEPTH)]
        rows.append((Kind.CLEAR, 0, 0, 0, Flag.SNAPSHOT, symbol, 0))
        rows += [(Kind.LEVEL, *level, Flag.SNAPSHOT, symbol, 0) for level in book]
        rows[-1] = (*rows[-1][:4], Flag.SNAPSHOT | Flag.LAST, *rows[-1][5:])
    wanted_streams, until_ns = np.ones(symbols * market.kinds, np.bool_), 0
    while len(rows) < count:
        until_ns += 100_000_000
        for messages, levels in market.advance(until_ns, wanted_streams):
            for message in messages:
                rows += _rows_of(message, levels)
    ticks = np.zeros(count, TICK)
    columns = np.array(rows[:count], np.int64).T
    for name, column in zip(("kind", "side", "price", "size", "flags", "instrument"), columns, strict=False):
        ticks[name] = column
    ticks["price"] *= 10**6
    ticks["size"] *= 10**3
    ticks["instrument"] += 1
    ticks["ts_event"] = START_NS + columns[6]
    ticks["ts_recv"] = ticks["ts_event"] + 10**6
    ticks["seq"] = ticks["venue_seq"] = np.arange(count)
    return ticks


def _rows_of(message: Any, levels: NDArray[np.int64]) -> list[tuple[int, ...]]:
    """The records of one message of the market."""
    kind, symbol, at = int(message["kind"]), int(message["symbol"]), int(message["time"])
    price, size = int(message["price"]), int(message["size"])
    if kind == TRADE:
        return [(Kind.TRADE, Side.SELL if message["maker"] else Side.BUY, price, size, Flag.LAST, symbol, at)]
    if kind == TICKER:
        ask, ask_size = int(message["ask"]), int(message["ask_size"])
        return [(Kind.QUOTE, 1, price, size, 0, symbol, at), (Kind.QUOTE, 2, ask, ask_size, Flag.LAST, symbol, at)]
    if kind == AGGREGATE:
        return []
    bids, asks = int(message["bids"]), int(message["asks"])
    changed = levels[message["levels"] : message["levels"] + bids + asks].tolist()
    found = [(Kind.LEVEL, 1 + (i >= bids), *level, 0, symbol, at) for i, level in enumerate(changed)]
    return [*found[:-1], (*found[-1][:4], Flag.LAST, symbol, at)] if found else []


def settings(names: tuple[str, ...]) -> Settings:
    """Settings for these series."""
    return Settings(bar_s=BAR_S, series=tuple(Series(number, name) for number, name in enumerate(names, 1)))


class Bench:
    """An engine with its rings and its publisher."""

    def __init__(self, folder: Path, symbols: int, wanted_settings: Settings, resources: contextlib.ExitStack) -> None:
        table = InstrumentTable.load(folder / "instruments.jsonl")
        for number in range(symbols):
            table.register("binance", f"S{number}USDT", SCALE, SCALE)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        resources.callback(context.term)
        channels = channels_of(wanted_settings)
        self.publisher = publisher = Publisher(context, f"ipc://{folder}/publish", table.by_id, channels=channels)
        resources.callback(publisher.close, 0)
        self.rings: dict[Schema, Ring] = {}
        sinks = {}
        for schema in wanted(wanted_settings):
            if schema in channels:
                name = f"tickplant-bench-{folder.name[-8:]}-{schema.name.lower()}"
                ring = Ring.create(name, schema, RING_RECORDS, epoch=time.time_ns(), doorbell_dir=folder)
                self.rings[schema] = resources.enter_context(ring)
                resources.callback(ring.unlink)
                sinks[schema] = Output(schema, ring, "bench", lossless=False, resumes=False, while_waiting=lambda: None)
                resources.callback(sinks[schema].close)
        self.engine = Engine(table, publisher, sinks)
        self.feed = self.engine.add_feed("feed", wanted_settings)

    def take(self, ticks: Records, batch: int) -> None:
        """The timed work."""
        engine, feed = self.engine, self.feed
        for start in range(0, len(ticks), batch):
            engine.take(feed, ticks[start : start + batch])

    def fill(self, ticks: Records) -> None:
        """Publish these until the oldest messages are forgotten, as in a plant after its first minutes."""
        before = -1
        while self.publisher.kept_bytes > before:
            before = self.publisher.kept_bytes
            self.publisher.publish_ticks(ticks, self.feed.origin)

    def derive(self, ticks: Records, batch: int) -> dict[Schema, Records]:
        """Do the timed work; returns what the rings then hold."""
        with contextlib.ExitStack() as stack:
            readers = {
                schema: stack.enter_context(ring.consumer("check", Mode.LOSSY, start=LATEST))
                for schema, ring in self.rings.items()
            }
            parts: dict[Schema, list[Records]] = {schema: [np.zeros(0, DTYPES[schema])] for schema in readers}
            for start in range(0, len(ticks), batch):
                self.engine.take(self.feed, ticks[start : start + batch])
                for schema, reader in readers.items():
                    while len(part := reader.read(RING_RECORDS)):
                        parts[schema].append(part.copy())
            assert not any(reader.lost for reader in readers.values())
        return {schema: np.concatenate(found) for schema, found in parts.items()}


@contextlib.contextmanager
def bench(symbols: int, wanted_settings: Settings) -> Iterator[Bench]:
    """A new engine, without any state."""
    with (
        tempfile.TemporaryDirectory(prefix="tickplant-bench-") as name,
        contextlib.ExitStack() as resources,
    ):
        yield Bench(Path(name), symbols, wanted_settings, resources)


def rows_of(ticks: Records) -> list[Row]:
    """The rival's input."""
    return list(zip(*(ticks[name].tolist() for name in FIELDS), strict=True))


def check(name: str, ticks: Records, symbols: int) -> None:
    """Raises AssertionError if the rival, or another batch size, gives other results."""
    hashes = set()
    for batch in BATCHES:
        with bench(symbols, settings(TEN)) as ours:
            made = ours.derive(ticks, batch)
        hashes.add(tuple(records.tobytes() for records in made.values()))
    assert len(hashes) == 1, f"{name}: what is derived depends on the size of batches"
    rival = Rival(10.0**SCALE, BAR_S)
    rival.take(rows_of(ticks))
    bests = made[Schema.BBO][["bid_price", "bid_size", "ask_price", "ask_size"]].tolist()
    assert bests == rival.bests, f"{name}: other bests"
    fields = ("interval_s", "ts_event", "open", "high", "low", "close", "volume", "buy_volume", "trades")
    assert sorted(zip(*(made[Schema.BAR][field].tolist() for field in fields), strict=True)) == sorted(rival.bars), (
        f"{name}: other bars"
    )
    assert len(bests) > 10
    assert len(rival.bars) > 0
    values = made[Schema.VALUE]
    for number, expected in enumerate(rival.values, 1):
        found = values["value_1"][values["series"] == number]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=f"{name}: {TEN[number - 1]}")


def ns_a_tick(ticks: Records, symbols: int, batch: int, names: tuple[str, ...]) -> float:
    """CPU time per tick. Before the clock starts, the books exist, and memory holds its final number of messages."""
    begin = len(ticks) // 4
    with bench(symbols, settings(names)) as ours:
        ours.take(ticks[:begin], BATCHES[-1])
        ours.fill(ticks[:begin])
        started_ns = time.process_time_ns()
        ours.take(ticks[begin:], batch)
        return (time.process_time_ns() - started_ns) / (len(ticks) - begin)


def rival_ns_a_tick(ticks: Records) -> float:
    """CPU time per tick of the rival."""
    rows = rows_of(ticks)
    rival, begin = Rival(10.0**SCALE, BAR_S), len(rows) // 4
    rival.take(rows[:begin])
    started_ns = time.process_time_ns()
    rival.take(rows[begin:])
    return (time.process_time_ns() - started_ns) / (len(rows) - begin)


def measure(name: str, ticks: Records, symbols: int, repeats: int) -> list[Result]:
    """Measure one stream with all batch sizes."""
    check(name, ticks[:CHECKED_RECORDS], symbols)
    theirs = median_of(repeats, lambda: rival_ns_a_tick(ticks[:CHECKED_RECORDS]))
    results = []
    for batch in BATCHES:
        part = ticks[: max(QUICK_RECORDS, min(len(ticks), 2000 * batch))]
        for label, names in SERIES.items():
            ours = median_of(repeats, partial(ns_a_tick, part, symbols, batch, names))
            result = Result(name=f"engine: {name}, batches of {batch:,}, {label}", value=ours, unit="ns/tick")
            if names == TEN:
                compared = f"plain Python, not published and not stored ({theirs:,.0f})"
                result = Result(
                    name=result.name, value=ours, unit=result.unit, compared_with=compared, ratio=theirs / ours
                )
            results.append(result)
    return results


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure all streams. Raises AssertionError if a best, a bar or a value differs."""
    for names in SERIES.values():
        warm_up(settings(names))
    count = QUICK_RECORDS if quick else TIMED_RECORDS
    results = []
    for symbols in SYMBOLS[:1] if quick else SYMBOLS:
        ticks = venue_ticks(symbols, count + symbols * 2 * DEPTH)
        results += measure(f"synthetic venue, {symbols} symbols", ticks, symbols, repeats)
    for label, (venue, file) in RECORDINGS.items() if not quick else ():
        with contextlib.suppress(FileNotFoundError):
            results += measure(f"{label} recording", recorded_ticks(venue, file)[:count], 1, repeats)
    return results


if __name__ == "__main__":
    main(run)
