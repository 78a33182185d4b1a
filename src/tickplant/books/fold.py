"""Folding stored records into the book of one instrument, by the common rules of docs/design.md §2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.checksums import checks
from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.market_books import MarketBooks
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, GapCause, Kind, Side
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]

BOOK_KINDS: Final = frozenset(
    {Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM, Kind.GAP, Kind.STATUS}
    | {Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL}
)
"""Kinds of records that affect a fold."""

_ONLY: Final = 1  # id of the only book: memory grows with ids, and a store may have a million


class Book(msgspec.Struct, frozen=True):
    """A book of price levels, with its orders if it has them. Prices and sizes are mantissas at `instrument`'s scales.

    The orders, dtype `order_queues.QUEUED`, are in price-time priority; None if the book is by level or they were not
    asked for.
    """

    instrument: Instrument
    bids: NDArray[np.int64]  # shape (n, 2): price, size; best first
    asks: NDArray[np.int64]
    ts_event: int  # times of the last record applied to the book; 0 if there was none
    ts_recv: int
    stale: bool  # not in sync with the venue: after a gap, or before the first snapshot
    bid_orders: Records | None = None
    ask_orders: Records | None = None


class Fold:
    """Folds TICK records of one instrument into a book.

    Args:
        instrument_id: id of the instrument.
        matching: whether a crossed book of orders is resolved at the end of each event, see `OrderBooks`.
    """

    def __init__(self, instrument_id: int, *, matching: bool = False) -> None:
        self.instrument_id = instrument_id
        self._books = MarketBooks(UNBOUNDED, UNBOUNDED, matching=matching)

    def apply(self, records: Records) -> None:
        """Apply records, in stored order. Records of other instruments are skipped."""
        own = records[records["instrument"] == self.instrument_id]
        own["instrument"] = _ONLY
        self._books.apply(own)

    def lose(self) -> None:
        """Note that records are missing here: the book is stale from here until the next CLEAR."""
        self._books.apply(make_gaps(_ONLY, GapCause.DAMAGE, flags=Flag.ON_BOOK | Flag.ON_ORDERS))

    @property
    def of_orders(self) -> bool:
        """Whether this is a book of orders."""
        return self._books.has_orders(_ONLY)

    def snapshot(self) -> Records:
        """The book as TICK records that fold into it (see `BookStates.snapshot`); a book of orders as orders."""
        records = self._books.own_snapshot(_ONLY)
        records["instrument"] = self.instrument_id
        return records

    def book(self, instrument: Instrument, *, orders: bool = False) -> Book:
        """The current book; with `orders`, also its orders, if it has any."""
        orders = orders and self._books.has_orders(_ONLY)
        ts_event, ts_recv = self._books.times(_ONLY)
        return Book(
            instrument=instrument,
            bids=self._books.levels(_ONLY, Side.BID),
            asks=self._books.levels(_ONLY, Side.ASK),
            ts_event=ts_event,
            ts_recv=ts_recv,
            stale=self._books.is_stale(_ONLY),
            bid_orders=self._books.of_orders.orders(_ONLY, Side.BID) if orders else None,
            ask_orders=self._books.of_orders.orders(_ONLY, Side.ASK) if orders else None,
        )


def wrong_checksums(parts: Iterable[Records], instrument: Instrument) -> Iterator[np.void]:
    """The CHECKSUM records of an instrument with which the folded book disagrees.

    Args:
        parts: TICK records in stored order, as from `Store.query`; those of other instruments are skipped.
        instrument: the instrument. If its venue has no algorithm in `checksums.ALGORITHMS`, no record is wrong.
    """
    fold = Fold(instrument.id)
    for records in parts:
        start = 0
        mine = (records["instrument"] == instrument.id) & (records["kind"] == Kind.CHECKSUM)
        mine &= records["flags"] & Flag.ON_ORDERS == 0
        for place in np.flatnonzero(mine).tolist():
            fold.apply(records[start : place + 1])
            start = place + 1
            book = fold.book(instrument)
            if not book.stale and checks(records[place], instrument, book.bids, book.asks) is False:
                yield records[place]
        fold.apply(records[start:])
