"""A book under loss, repetition, reordering, reconnects and late snapshots: live means equal to the venue's, always."""

from __future__ import annotations

from itertools import pairwise

from binance_tools import Desk, Record, as_bytes, diff, snapshot, wrapped
from folded_book import FoldedBook
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tickplant.records.layouts import Flag, Kind, Side, StatusCode

UNIT = 10**8
Book = dict[Side, dict[int, int]]


class Venue:
    """A market of few prices: its book after every update id, its diffs, its snapshots."""

    def __init__(self, *, futures: bool, changes: list[tuple[bool, int, int]], groups: list[int]) -> None:
        self.futures = futures
        step = 3 if futures else 1  # futures ids are not consecutive
        self.ids = [100 + step * n for n in range(len(changes) + 1)]
        self.books: dict[int, Book] = {self.ids[0]: {Side.BID: {50: 1}, Side.ASK: {60: 1}}}
        for (before, ident), (bid, price, size) in zip(pairwise(self.ids), changes, strict=True):
            book = {side: dict(levels) for side, levels in self.books[before].items()}
            side = Side.BID if bid else Side.ASK
            if size:
                book[side][price] = size
            else:
                book[side].pop(price, None)
            self.books[ident] = book
        self.diffs: list[dict] = []
        start = 0
        for group in groups:
            stop = min(start + group, len(changes))
            if stop > start:
                self.diffs.append(self._diff(changes, start, stop))
            start = stop

    def _diff(self, changes: list[tuple[bool, int, int]], start: int, stop: int) -> dict:
        sides: dict[bool, dict[int, int]] = {True: {}, False: {}}
        for bid, price, size in changes[start:stop]:
            sides[bid][price] = size
        bids, asks = ([(str(p), str(s)) for p, s in sides[bid].items()] for bid in (True, False))
        first, last = self.ids[start + 1], self.ids[stop]
        return diff(first, last, bids, asks, previous=self.ids[start] if self.futures else None)

    def snapshot(self, ident: int) -> dict:
        bids, asks = ([(str(p), str(s)) for p, s in self.books[ident][side].items()] for side in (Side.BID, Side.ASK))
        return snapshot(ident, bids, asks)


class Follower:
    """An adapter, the book that its records make, and the proof that it is the venue's whenever it says so."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.desk = Desk(("BNBBTC",), futures=venue.futures, ws_url="ws://venue")
        self.desk.bootstrap()
        self.book = FoldedBook("BNBBTC")
        self.stored: list[tuple[int, int, int]] = []
        self.price_unit = UNIT
        self.take(self.desk.open())

    def take(self, records: list[Record]) -> None:
        for record in records:
            self.book.apply([record])
            if record.kind == Kind.STATUS and record.price == StatusCode.INSTRUMENT_CHANGED:
                assert not self.book.live
                self.price_unit = 10 ** self.desk.instruments[-1].price_scale
            if record.kind == Kind.LEVEL and not record.flags & Flag.SNAPSHOT:
                self.stored.append((record.venue_seq, record.side, record.price))
            if self.book.live and record.flags & Flag.LAST:
                truth = self.venue.books[self.book.book_id]
                assert self.book.levels == {
                    side: {price * self.price_unit: size * UNIT for price, size in levels.items()}
                    for side, levels in truth.items()
                }

    def answer(self, ident: int) -> None:
        """Answer what has been asked for, if anything has."""
        asked = [request for request in self.desk.requests if request.key != "exchangeInfo"]
        self.desk.requests.clear()
        if asked:
            self.take(self.desk.rest(self.venue.snapshot(ident)))


changes = st.tuples(st.booleans(), st.integers(40, 70), st.integers(0, 3))
faults = st.sampled_from(
    [
        *("", "", "", "", "drop", "repeat", "swap", "reconnect", "resync", "snapshot", "snapshot", "old snapshot"),
        *("reject", "cut", "rescale"),
    ]
)


@settings(max_examples=150)
@example(
    futures=False, market=[(False, 40, 0)] * 6, groups=[1] * 60, script=["drop", "", "reject", "snapshot", "reject"]
)
@example(
    futures=False,
    market=[(False, 40, 0)] * 6,
    groups=[1] * 60,
    script=["swap", "reject", "snapshot", "resync", "reject"],
)
@given(
    futures=st.booleans(),
    market=st.lists(changes, min_size=5, max_size=60),
    groups=st.lists(st.integers(0, 4), min_size=60, max_size=60),
    script=st.lists(faults, max_size=40),
)
def test_a_book_that_says_it_is_live_is_the_venues(
    futures: bool, market: list[tuple[bool, int, int]], groups: list[int], script: list[str]
) -> None:
    venue = Venue(futures=futures, changes=market, groups=groups)
    follower = Follower(venue)
    desk = follower.desk
    *diffs, last = venue.diffs or [None]
    if last is None:
        return
    position = 0
    delivered = [venue.ids[0]]
    if diffs:
        follower.take(desk.feed(diffs[0]))
        follower.answer(diffs[0]["u"])
        position = 1
    for fault in script:
        if fault == "reconnect":
            follower.take(desk.close())
            desk.requests.clear()
            follower.take(desk.open())
        elif fault == "resync":
            desk.resync("", 0)
            follower.take(desk.take())
        elif fault == "snapshot":
            follower.answer(delivered[-1])
        elif fault == "old snapshot":
            follower.answer(delivered[len(delivered) // 2])
        elif fault == "rescale":
            digits = dict.fromkeys(("quotePrecision", "pricePrecision"), min(len(desk.instruments) + 7, 15))
            sizes = dict.fromkeys(("baseAssetPrecision", "quantityPrecision"), 8)
            follower.take(desk.feed({"symbols": [{"symbol": "BNBBTC"} | digits | sizes]}))
        elif position < len(diffs):
            frames = diffs[position : position + 1]
            position += 1
            if fault == "drop":
                frames = []
            elif fault == "repeat":
                frames = frames * 2
            elif fault == "reject":
                frames = [frames[0] | {"b": [["0.00000000000001", "1"]]}]
            elif fault == "cut":
                frames = [as_bytes(wrapped("bnbbtc@depth@100ms", frames[0]))[:60]]
            elif fault == "swap" and position < len(diffs):
                frames = [diffs[position], frames[0]]
                position += 1
            follower.take(desk.feed(*frames))
            delivered.append(diffs[position - 1]["u"])
            assert fault not in ("reject", "cut") or not follower.book.live
    # When the faults end, the book comes back.
    for frame in [*diffs[position:], last]:
        follower.take(desk.feed(frame))
        follower.answer(frame["u"])
    assert follower.book.live
    assert follower.book.levels[Side.BID].keys() == {
        price * follower.price_unit for price in venue.books[last["u"]][Side.BID]
    }
    # Whatever was recorded was recorded once.
    assert len(set(follower.stored)) == len(follower.stored)
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected
    assert counters.rejected <= script.count("reject") + script.count("cut")


@settings(max_examples=100)
@given(
    futures=st.booleans(),
    market=st.lists(changes, min_size=5, max_size=60),
    groups=st.lists(st.integers(1, 4), min_size=60, max_size=60),
    waits=st.integers(1, 10),
)
def test_without_faults_every_level_is_recorded_and_there_is_no_gap(
    futures: bool, market: list[tuple[bool, int, int]], groups: list[int], waits: int
) -> None:
    venue = Venue(futures=futures, changes=market, groups=groups)
    follower = Follower(venue)
    for number, frame in enumerate(venue.diffs):
        follower.take(follower.desk.feed(frame))
        if number == min(waits, len(venue.diffs) - 1):
            follower.answer(frame["u"] if number == len(venue.diffs) - 1 else venue.diffs[number // 2]["u"])
    assert follower.book.live
    assert len(follower.stored) == sum(len(frame["b"]) + len(frame["a"]) for frame in venue.diffs)
    assert follower.desk.adapter.counters.gaps == 0
