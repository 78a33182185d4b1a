"""The conformance suite's scripts of sessions, and the rules that the records of any session must follow."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
from folded_book import FoldedBook
from venue_sample import Levels
from venue_session import VenueSession

from tickplant.feeds.contract import Resync
from tickplant.instruments import Instrument
from tickplant.records.layouts import UNKNOWN, Flag, Kind, Side, StatusCode

STREAMS: Final = {
    Flag.ON_TRADE: "trade",
    Flag.ON_QUOTE: "quote",
    Flag.ON_BOOK: "book",
    Flag.ON_OTHER: "what has no ids",
}


def trouble(session: VenueSession, seed: int, *, times: int = 15) -> None:
    """Faults of all kinds, one after another, each hitting something; a seed always gives the same ones."""
    chance = random.Random(seed)

    assert session.venue is not None
    words = session.venue.dialect.words

    def on_frames(fault: str, most: int = 3) -> Callable[[], None]:
        stream = session.sample.lossy if fault in ("drop", "reorder") else "*"
        return lambda: session.fault(fault, stream=stream, count=chance.randint(1, most), skip=chance.randint(0, 5))

    deeds: list[Callable[[], None]] = [
        on_frames("drop", 20),
        on_frames("duplicate", 20),
        on_frames("truncate"),
        on_frames("garbage"),
        on_frames("reorder"),
        lambda: session.fault("refuse-subscription", count=1),
        *([lambda: session.fault("stall", for_s=0.3)] if "stall" in words.kinds else []),
        lambda: session.event(Resync(chance.choice(["", *session.sample.symbols]))),
        session.disconnect,
        session.disconnect,
        lambda: session.replace(overlap=True),
        lambda: session.replace(overlap=False),
    ]
    if session.sample.has_book:
        deeds.append(lambda: session.fault("stale-snapshot"))
    if session.sample.corrupts:
        deeds.append(lambda: session.fault("corrupt", stream=words.book_of("*")))
    plan = [*deeds, *chance.choices(deeds, k=max(times - len(deeds), 0))][:times]
    chance.shuffle(plan)
    for deed in plan:
        session.run(chance.choice([0.03, 0.4, 0.8]))
        deed()
    session.run(1.5)


def levels_of(book: FoldedBook, instrument: Instrument) -> Levels:
    """A folded book in decimals."""

    def decimal(mantissa: int, scale: int) -> Decimal:
        return Decimal(mantissa).scaleb(-scale)

    return {
        side: {
            decimal(price, instrument.price_scale): decimal(size, instrument.size_scale)
            for price, size in book.levels[side].items()
        }
        for side in (Side.BID, Side.ASK)
    }


class Row(NamedTuple):
    """The fields of a record that the rules use."""

    kind: int
    price: int
    size: int
    venue_seq: int
    order_id: int
    side: int
    flags: int
    ts_recv: int


class StreamRules:
    """Checks the records of one symbol, in order: how an interruption, a hole and a repeat must look."""

    def __init__(self, *, in_line: bool = True) -> None:
        """`in_line`: the ids of trades have no holes, so they reveal what is missing."""
        self._in_line = in_line
        self.last: dict[int, int] = {}  # id of the newest trade, by whether it is an aggregate
        self.trades: set[tuple[int, int]] = set()
        self.begun: set[Flag] = set()  # streams that have had data
        self.cut: set[Flag] = set()  # streams that were interrupted since their last data
        self.gaps: dict[Flag, Row] = {}  # newest GAP of a stream since its last data
        self.disconnected = 0
        self._before: set[Flag] = set()

    def check(self, records: np.ndarray) -> StreamRules:
        """Check records of one symbol, under all its ids. Raises AssertionError."""
        for row in records[list(Row._fields)].tolist():
            record = Row(*row)
            flags = record.flags
            match record.kind:
                case Kind.STATUS if record.price == StatusCode.DISCONNECTED:
                    self.disconnected += 1
                    self._before = set(self.cut)
                    self.cut |= {on for on in STREAMS if on & flags and on in self.begun}
                case Kind.STATUS if record.price == StatusCode.INSTRUMENT_CHANGED:
                    self.cut = self._before  # the old id was cut off, its streams go on
                case Kind.GAP:
                    self.gaps |= {on: record for on in STREAMS if on & flags}
                case Kind.TRADE if not flags & Flag.BACKFILL:
                    self._trade(record, flags & Flag.AGGREGATE)
                case Kind.TRADE:
                    self._once(record, flags & Flag.AGGREGATE)
                case Kind.QUOTE if record.side == Side.BID:
                    self._data(Flag.ON_QUOTE, record)
                case Kind.VENUE_BAR | Kind.STATISTIC | Kind.LIQUIDATION:
                    self._data(Flag.ON_OTHER, record)
                case Kind.CLEAR if not flags & Flag.PARTIAL:
                    self._data(Flag.ON_BOOK, record)
                case _:
                    pass
        return self

    def _data(self, on: Flag, record: Row) -> None:
        assert on not in self.cut or on in self.gaps, f"{STREAMS[on]} goes on without a GAP: {record}"
        self.begun.add(on)
        self.cut.discard(on)
        self.gaps.pop(on, None)

    def _once(self, record: Row, aggregate: int) -> None:
        key = aggregate, record.venue_seq
        assert key not in self.trades, f"twice: {record}"
        self.trades.add(key)

    def _trade(self, record: Row, aggregate: int) -> None:
        ident, last, gap = record.venue_seq, self.last.get(aggregate), self.gaps.get(Flag.ON_TRADE)
        self._once(record, aggregate)
        if not self._in_line:
            pass
        elif last is not None and ident != last + 1:
            assert ident > last, f"behind {last}: {record}"
            assert gap is not None, f"a hole without a GAP before {record}"
            assert (gap.order_id, gap.venue_seq) == (last, ident), f"{gap} before {record}"
            assert gap.size in (ident - last - 1, UNKNOWN)
        elif last is not None:
            self.cut.discard(Flag.ON_TRADE)  # the ids prove that nothing is missing
        self.last[aggregate] = ident
        self._data(Flag.ON_TRADE, record)
