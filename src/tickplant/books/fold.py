"""Folding stored records into the book of one instrument.

The rules are those of every reader of the data: CLEAR empties the book, LEVEL sets the size at a price (0 removes
it), LAST ends an atomic event. A GAP or a STATUS DISCONNECTED, with ON_BOOK, makes the book stale; levels are ignored
then until a CLEAR, and with the LAST of its event the book is live again. PARTIAL levels are no part of it. A
dictionary is quick enough from one snapshot to a time, and stands apart from the engine's kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side, StatusCode

Records = NDArray[np.void]

BOOK_KINDS: Final = frozenset({Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM, Kind.GAP, Kind.STATUS})
"""Kinds of records that a fold looks at."""


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
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.state = "stale"  # then "loading", from a CLEAR to the LAST of its event, then "live"
        self.ts_event = 0
        self.ts_recv = 0

    def apply(self, records: Records) -> None:
        """Take in records, in stored order. Others than this book's are passed over."""
        records = records[self._concerns(records)]
        turns = np.flatnonzero(records["kind"] != Kind.LEVEL)
        start = 0
        for turn in turns.tolist():
            self._set_levels(records[start:turn])
            self._turn(records[turn])
            start = turn + 1
        self._set_levels(records[start:])

    def _concerns(self, records: Records) -> NDArray[np.bool_]:
        kinds, flags = records["kind"], records["flags"]
        book = (kinds == Kind.LEVEL) | (kinds == Kind.CLEAR) | (kinds == Kind.CHECKSUM)
        book &= (flags & Flag.PARTIAL) == 0
        breaks = (kinds == Kind.GAP) | ((kinds == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED))
        breaks &= (flags & Flag.ON_BOOK) != 0
        concerns: NDArray[np.bool_] = (records["instrument"] == self.instrument_id) & (book | breaks)
        return concerns

    def _turn(self, record: np.void) -> None:
        """Anything but a LEVEL."""
        kind = record["kind"]
        if kind in (Kind.GAP, Kind.STATUS):
            self.state = "stale"
        elif kind == Kind.CLEAR:
            self.bids.clear()
            self.asks.clear()
            if self.state == "stale":
                self.state = "loading"
        if kind in (Kind.CLEAR, Kind.CHECKSUM) and self.state != "stale":
            self._took(record, last=bool(record["flags"] & Flag.LAST))

    def _set_levels(self, levels: Records) -> None:
        if not len(levels) or self.state == "stale":
            return
        self._took(levels[-1], last=bool((levels["flags"] & Flag.LAST).any()))
        valid = levels[(levels["size"] >= 0) & (levels["price"] != NO_PRICE)]
        for side, book in ((Side.BID, self.bids), (Side.ASK, self.asks)):
            changes = valid[valid["side"] == side]
            # Only the last size at each price matters; dict() keeps just that.
            for price, size in dict(zip(changes["price"].tolist(), changes["size"].tolist(), strict=True)).items():
                if size:
                    book[price] = size
                else:
                    book.pop(price, None)

    def _took(self, record: np.void, *, last: bool) -> None:
        self.ts_event, self.ts_recv = int(record["ts_event"]), int(record["ts_recv"])
        if last:
            self.state = "live"

    def lose(self) -> None:
        """Records are missing here: the book is stale from here on, up to the next CLEAR."""
        self.state = "stale"

    def book(self, instrument: Instrument) -> Book:
        """The book as it stands."""
        return Book(
            instrument=instrument,
            bids=_levels(sorted(self.bids.items(), reverse=True)),
            asks=_levels(sorted(self.asks.items())),
            ts_event=self.ts_event,
            ts_recv=self.ts_recv,
            stale=self.state != "live",
        )


def _levels(rows: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(list(rows), np.int64).reshape(-1, 2)
