"""Imports recordings into a store without a plant: the feed of an ingest, its ring and the journal, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from remains import ring_name

from tickplant.errors import TickplantError
from tickplant.feeds import importers
from tickplant.feeds.contract import FeedContext
from tickplant.feeds.file_feed import RecordedFeed
from tickplant.feeds.imported_feed import ImportedFeed
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.instruments import FEED_SYMBOL, Instrument, InstrumentTable
from tickplant.plant.ingest import StoredPast
from tickplant.records.layouts import Kind, Schema
from tickplant.shm.ring import Mode, Ring
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.venues import find_venue
from tickplant.writer.journal import Journal

Records = np.ndarray[Any, Any]

FEED = "feed"
T0_NS = 1_760_000_000 * 10**9


def ingest(
    data_dir: Path, recording: Path, venue: str = "binance-usdm", *, kill_at: int | None = None, capacity: int = 1 << 15
) -> dict[str, Any]:
    """Add a recording to the store; returns the feed's counters.

    With `kill_at`, the feed ends, as if killed, once the ring is full after about this many records.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    table = InstrumentTable.load(data_dir / "instruments.jsonl")

    def resolve(symbol: str, price_scale: int | None, size_scale: int | None) -> Instrument:
        scales = [8 if scale is None else scale for scale in (price_scale, size_scale)]
        return table.register(venue, symbol, *scales)

    journal = Journal(data_dir, Schema.TICK, FEED)
    start = Store(data_dir).next_seq(FEED, Schema.TICK)
    name = ring_name()
    with contextlib.ExitStack() as stack:
        stack.callback(journal.close)
        ring = stack.enter_context(
            Ring.create(name, Schema.TICK, capacity, start=start, epoch=1, doorbell_dir=data_dir)
        )
        stack.callback(ring.unlink)
        consumer = stack.enter_context(ring.consumer("journal", Mode.GATING))
        producer = stack.enter_context(ring.producer())
        source: Any = importers.open_import(venue, recording) if importers.find(recording) == venue else recording
        make_feed: Any = RecordedFeed if source is recording else ImportedFeed
        feed = make_feed(
            lambda: find_venue(venue).make_adapter(FeedContext(symbols=None, channels=(), resolve=resolve, live=False)),
            FeedPublisher(producer, capacity, 0.0),
            RejectLog(data_dir / "rejects.jsonl", 10),
            source,
            resolve=resolve,
            symbol_of=lambda ident: table.by_id(ident).symbol,
            past=StoredPast(data_dir, FEED, venue, recording.name),
        )

        def drain() -> None:
            while len(batch := consumer.read(capacity)):
                journal.append(batch)
                journal.flush()
                consumer.commit(consumer.position)

        async def run() -> None:
            task = asyncio.ensure_future(feed.run())
            still = 0  # turns in which nothing was published
            while not task.done() and still < 5:
                head = ring.head
                if kill_at is None or consumer.position - start < kill_at:
                    drain()
                await asyncio.sleep(0)
                still = still + 1 if ring.head == head > consumer.position and kill_at is not None else 0
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(run())
        drain()
        assert not any(account.off for account in feed.accounts(FEED))
        return dict(feed.counters())


def refused(data_dir: Path, recording: Path) -> str:
    """The error with which the feed refuses a recording."""
    try:
        ingest(data_dir, recording)
    except TickplantError as error:
        return str(error)
    raise AssertionError("it was read")


def stored(data_dir: Path) -> Records:
    """All ticks of the store, in stored order."""
    return np.concatenate([*Store(data_dir).read(FEED, Schema.TICK, Selection())])


def said(data_dir: Path) -> list[tuple[Any, ...]]:
    """All ticks except accounts, without seqs, with symbols instead of instruments."""
    table = InstrumentTable.load(data_dir / "instruments.jsonl")
    rows = []
    for record in stored(data_dir):
        symbol = table.by_id(int(record["instrument"])).symbol
        if not (symbol == FEED_SYMBOL and record["kind"] == Kind.STATUS):
            rows.append((symbol, *record.item()[:6], *record.item()[7:10]))
    return rows


def market(seed: int, events: int, *, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> list[bytes]:
    """Lines of a USD-M recording: trades, aggregates, quotes, books with their snapshots, holes, and frames of junk."""
    rng = random.Random(seed)
    lines = []
    now_ns = T0_NS
    ids = {symbol: {"t": 100, "a": 50, "u": 1000, "book": 2000} for symbol in symbols}

    def add(frame: dict[str, Any] | str) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame, separators=(",", ":"))
        lines.append(f"{now_ns} {text}".encode())

    for number in range(events):
        now_ns += rng.randrange(0, 200_000_000)
        symbol = rng.choice(symbols)
        mine, ms = ids[symbol], now_ns // 10**6
        common = {"E": ms, "s": symbol, "T": ms}
        hole = rng.random() < 0.01
        match rng.choice(("trade", "agg", "quote", "quote", "diff", "diff", "diff")):
            case "trade":
                mine["t"] += 1 + 3 * hole
                add({"e": "trade", **common, "t": mine["t"], "p": "100.5", "q": "1", "X": "MARKET", "m": True})
            case "agg":
                mine["a"] += 1 + 3 * hole
                add({"e": "aggTrade", **common, "a": mine["a"], "p": "100.5", "q": "1", "f": 7, "l": 8, "m": False})
            case "quote":
                mine["u"] += rng.randrange(1, 9)
                add({"e": "bookTicker", **common, "u": mine["u"], "b": "100", "B": "1", "a": "101", "A": "2"})
            case "diff":
                previous = mine["book"] + 5 * hole
                first, mine["book"] = previous + 1, previous + rng.randrange(1, 9)
                bids = [[str(90 + rng.randrange(10)), str(rng.randrange(3))] for _ in range(rng.randrange(1, 4))]
                asks = [[str(101 + rng.randrange(10)), str(rng.randrange(3))]]
                ends = {"U": first, "u": mine["book"], "pu": previous}
                add({"e": "depthUpdate", **common, **ends, "b": bids, "a": asks})
                if hole or number < 40:
                    book = {"lastUpdateId": mine["book"], "E": ms, "T": ms}
                    add({"rest": f"depth {symbol}", "data": book | {"bids": [["95", "1"]], "asks": [["105", "1"]]}})
        if rng.random() < 0.005:
            add('{"e":"trade","broken')
    return lines


def write(path: Path, lines: list[bytes]) -> Path:
    """Write a recording of these lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
