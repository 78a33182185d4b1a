"""Venues' own checksums: after every update of a recording, the kept book has the checksum that the venue sent."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import zstandard
from independent import recording

from tickplant.books.checksums import ALGORITHMS, BookChecksum, Digits, pack_decimals
from tickplant.books.depth_book import DepthBook
from tickplant.books.fold import wrong_checksums
from tickplant.books.level_books import Books
from tickplant.instruments import Instrument, to_mantissa
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import Flag, Kind, Side


class Event(NamedTuple):
    symbol: str
    whole: bool
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    checksum: int | None


def kraken_events(messages: Iterator[dict]) -> Iterator[Event]:
    """Of messages whose numbers are text."""
    for message in messages:
        if message.get("channel") == "book":
            for data in message["data"]:
                bids, asks = ([(level["price"], level["qty"]) for level in data[side]] for side in ("bids", "asks"))
                checksum = int(data["checksum"]) if "checksum" in data else None
                yield Event(data["symbol"], message["type"] == "snapshot", bids, asks, checksum)


def okx_events() -> Iterator[Event]:
    text = zstandard.ZstdDecompressor().stream_reader(recording("venues/OKX.ws.1.0.zst").read_bytes()).read().decode()
    for line in text.splitlines():
        _, _, frame = line.partition(": ")
        message = json.loads(frame) if not line.startswith("wss:") else {}
        if message.get("arg", {}).get("channel") == "books" and "data" in message:
            for data in message["data"]:
                bids, asks = ([(level[0], level[1]) for level in data[side]] for side in ("bids", "asks"))
                yield Event(message["arg"]["instId"], message["action"] == "snapshot", bids, asks, data["checksum"])


def rows_of(event: Event, digits: Digits) -> TickBatch:
    batch = TickBatch()
    if event.whole:
        batch.add(Kind.CLEAR, 1)
    for side, side_levels in ((Side.BID, event.bids), (Side.ASK, event.asks)):
        for price, size in side_levels:
            mantissas = to_mantissa(price, digits.price_scale), to_mantissa(size, digits.size_scale)
            batch.add(Kind.LEVEL, 1, price=mantissas[0], size=mantissas[1], side=side)
    return batch


def finer(price: int, size: int) -> Digits:
    """Integers that have more decimals than the wire."""
    return Digits(price + 2, size + 2, price, size)


class Pair:
    """What a feed keeps of one instrument, and an engine that folds what the feed records."""

    def __init__(self, venue: str, depth: int | None, digits: Digits) -> None:
        self.book = DepthBook(depth)
        self.folded = Books()
        self.digits = digits
        self.checksum = BookChecksum(ALGORITHMS[venue], digits)
        self.cut = 0
        self.ticks: list[np.ndarray] = []

    def take(self, event: Event) -> bool | None:
        """Whether the checksums agree; None where there is none."""
        batch = rows_of(event, self.digits)
        removed = self.book.update(batch.rows[: batch.length])
        self.cut += len(removed)
        batch.extend(removed, Kind.LEVEL)
        decimals = pack_decimals(self.digits.price, self.digits.size)
        batch.add(Kind.CHECKSUM, 1, size=event.checksum or 0, order_id=decimals, flags=Flag.LAST)
        self.ticks.append(batch.take().copy())
        self.folded.apply(self.ticks[-1])
        mine = self.checksum.of_book(self.book)
        bids, asks = (np.ascontiguousarray(self.folded.levels(1, side)) for side in (Side.BID, Side.ASK))
        assert self.checksum.of_levels(bids, asks) == mine
        return None if event.checksum is None else mine == event.checksum


def texts(frames: list[str]) -> Iterator[dict]:
    return (json.loads(frame, parse_float=str) for frame in frames)


def test_kraken_golden_messages_end_as_they_say() -> None:
    golden = [json.loads(line) for line in recording("../golden/kraken.jsonl").read_text().splitlines()]
    pairs = {
        "BTC/USD": Pair("kraken", 10, finer(1, 8)),
        "ETH/BTC": Pair("kraken", 10, finer(6, 8)),
        "USDC/USD": Pair("kraken", 10, finer(4, 8)),
    }
    outcomes = []
    for line in golden:
        for event in kraken_events(texts([line["raw"]])):
            pair = pairs[event.symbol]
            assert pair.take(event) is line["state"]["checksum_ok"]
            assert pair.checksum.of_book(pair.book) == line["state"]["computed"]
            bid, _, ask, _ = pair.book.best
            best = [(line["state"].get(name), price) for name, price in (("best_bid", bid), ("best_ask", ask))]
            scale = pair.digits.price_scale
            assert all(to_mantissa(stated[0], scale) == price for stated, price in best if stated)
            assert line["state"].get("levels", [len(side) for side in pair.book.levels()]) == [
                len(side) for side in pair.book.levels()
            ]
            outcomes.append(line["state"]["checksum_ok"])
    assert Counter(outcomes) == {True: 8, False: 1}
    assert pairs["BTC/USD"].book.unknown_deletes == 1


def test_kraken_depth_10_agrees_after_every_update() -> None:
    frames = recording("kraken/kraken_btcusd_d10_20260816.first64.ndjson").read_text().splitlines()[1:]
    messages = (line["frame"] for line in texts(frames))
    pair = Pair("kraken", 10, finer(1, 8))
    assert Counter(map(pair.take, kraken_events(messages))) == {True: 54}
    assert pair.cut > 10
    row = Instrument(1, "kraken", "BTC/USD", pair.digits.price_scale, pair.digits.size_scale)
    assert not list(wrong_checksums(pair.ticks, row)), "as a reader of the store sees them"
    del pair.ticks[20]
    assert list(wrong_checksums(pair.ticks, row)), "a lost event shows"


def test_kraken_depth_1000_of_ten_pairs_agrees_after_every_update() -> None:
    pairs: dict[str, Pair] = {}
    outcomes: Counter[bool | None] = Counter()
    stored = gzip.decompress(recording("kraken_v2_books.gz").read_bytes()).decode().splitlines()
    messages = list(texts([line.partition(" ")[2] for line in stored]))
    for message in messages:
        if message.get("channel") == "instrument":
            for row in message["data"]["pairs"]:
                decimals = int(row["price_precision"]), int(row["qty_precision"])
                pairs[row["symbol"]] = Pair("kraken", 1000, finer(*decimals))
    for event in kraken_events(iter(messages)):
        outcomes[pairs[event.symbol].take(event)] += 1
    assert len(pairs) == 10
    assert outcomes == {True: 2560}


def test_okx_agrees_after_every_update_whatever_decimals_are_assumed() -> None:
    pairs: dict[str, Pair] = {}
    outcomes: Counter[bool | None] = Counter()
    for event in okx_events():
        pair = pairs.setdefault(event.symbol, Pair("okx", 400, Digits(9, 9, 0, 0)))
        outcomes[pair.take(event)] += 1
    assert outcomes == {True: 290}
    assert not any(pair.cut for pair in pairs.values()), "the venue removes what falls out of its 400 levels"


def test_without_the_cut_to_its_depth_most_checksums_of_a_book_fail() -> None:
    frames = recording("kraken/kraken_btcusd_d10_20260816.first64.ndjson").read_text().splitlines()[1:]
    pair = Pair("kraken", None, finer(1, 8))
    outcomes = Counter(map(pair.take, kraken_events(line["frame"] for line in texts(frames))))
    assert outcomes[False] > outcomes[True]
