"""Folding stored records into the book of one instrument, by the rules that docs/design.md §2 states for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.checksums import checks
from tickplant.books.level_books import Books
from tickplant.books.level_runs import UNBOUNDED
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, GapCause, Kind, Side
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]

BOOK_KINDS: Final = frozenset({Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM, Kind.GAP, Kind.STATUS})
"""Kinds of records that a fold looks at."""

_ONLY: Final = 1  # id of the one book: memory follows the ids, and a store may have a million


class Book(msgspec.Struct, frozen=True):
    """A book of price levels. Prices and sizes are mantissas at the scales of `instrument`."""

    instrument: Instrument
    bids: NDArray[np.int64]  # shape (n, 2): price, size; best first
    asks: NDArray[np.int64]
    ts_event: int  # times of the last record that the book took in; 0 where there was none
    ts_recv: int
    stale: bool  # not in sync with the venue: a gap since, or no snapshot yet


class Fold:
    """Folds TICK records of one instrument into a book."""

    def __init__(self, instrument_id: int) -> None:
        self.instrument_id = instrument_id
        self._books = Books(UNBOUNDED)

    def apply(self, records: Records) -> None:
        """Take in records, in stored order. Others than this book's are passed over."""
        own = records[records["instrument"] == self.instrument_id]
        own["instrument"] = _ONLY
        self._books.apply(own)

    def lose(self) -> None:
        """Records are missing here: the book is stale from here on, up to the next CLEAR."""
        self._books.apply(make_gaps(_ONLY, GapCause.DAMAGE, flags=Flag.ON_BOOK))

    def book(self, instrument: Instrument) -> Book:
        """The book as it stands."""
        ts_event, ts_recv = self._books.times(_ONLY)
        return Book(
            instrument=instrument,
            bids=self._books.levels(_ONLY, Side.BID),
            asks=self._books.levels(_ONLY, Side.ASK),
            ts_event=ts_event,
            ts_recv=ts_recv,
            stale=self._books.is_stale(_ONLY),
        )


def wrong_checksums(parts: Iterable[Records], instrument: Instrument) -> Iterator[np.void]:
    """The CHECKSUM records of an instrument that the book as folded disagrees with.

    Args:
        parts: TICK records in stored order, as from `Store.query`; those of other instruments are passed over.
        instrument: which book. Where its venue has no algorithm in `checksums.ALGORITHMS`, nothing is wrong.
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
