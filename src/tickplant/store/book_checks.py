"""Compares stored books with the checksums that their venue sent.

A feed compares each checksum on arrival, and stores it. Here the stored records alone must lead to the same book, so
any record that was stored wrongly, or lost without a GAP, shows. Memory grows with the instruments that have checksums.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_states import BookStates
from tickplant.books.checksums import ALGORITHMS, ORDERS_LEVELS, checks, checks_orders
from tickplant.books.level_books import Books
from tickplant.books.order_books import OrderBooks
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import Flag, Kind, Side

Records = NDArray[np.void]

MOST_LEVELS: Final = 20_000
"""Per side; a checksum covers only the best few."""

MOST_ORDERS: Final = 1 << 20
"""In all books together. If there are more, a book that lacks some of them is not reported as wrong."""

B = TypeVar("B", bound=BookStates)


class Place(NamedTuple):
    """A record in the journal."""

    path: str
    offset: int  # of its chunk
    seq: int


class BookChecks(msgspec.Struct):
    """The checksums of one book."""

    instrument: Instrument
    agreed: int = 0
    wrong: int = 0
    first: Place | None = None  # the first wrong one
    last_seq: int = 0

    def __str__(self) -> str:
        one = self.instrument
        return (
            f"{one.venue} {one.symbol}: the book as stored disagrees with {self.wrong:,} of "
            f"{self.wrong + self.agreed:,} checksums"
        )


class StoredChecksums:
    """Checks the ticks of one producer, oldest first."""

    def __init__(self, instruments: InstrumentTable) -> None:
        self._instruments = instruments
        self._kinds = (_LevelChecks(), _OrderChecks())
        self._next_seq = 0

    def add(self, records: Records, path: str, offset: int) -> None:
        """Take the records of one chunk. If records before it are missing, each book counts from its next CLEAR on."""
        if not len(records):
            return
        missing = int(records["seq"][0]) != self._next_seq
        self._next_seq = int(records["seq"][-1]) + 1
        for kind in self._kinds:
            if missing:
                kind.books = None
            kind.add(records, self._instruments, path, offset)

    def interrupt(self) -> None:
        """Note that records are missing here: each book counts from its next CLEAR on."""
        self._next_seq = -1

    @property
    def agreed(self) -> int:
        """Number of checksums with which the books agree."""
        return sum(each.agreed for kind in self._kinds for each in kind.checks.values())

    def wrong(self) -> Iterator[tuple[BookChecks, Place]]:
        """Books that disagree with a checksum, and the first place where they do."""
        for kind in self._kinds:
            for each in kind.checks.values():
                if each.first is not None:
                    yield each, each.first


class _Checks(abc.ABC, Generic[B]):
    """The books of one kind, made once there is one to compare."""

    on_orders = 0  # the flag of its CLEAR and CHECKSUM
    venues: Collection[str] = ()

    def __init__(self) -> None:
        self.books: B | None = None
        self.checks: dict[int, BookChecks] = {}

    @abc.abstractmethod
    def _make(self) -> B: ...

    @abc.abstractmethod
    def _agrees(self, books: B, record: np.void, instrument: Instrument) -> bool | None: ...

    def add(self, records: Records, table: InstrumentTable, path: str, offset: int) -> None:
        """Take the records of one chunk."""
        own = records["flags"] & Flag.ON_ORDERS == self.on_orders
        for ident in np.unique(records["instrument"][(records["kind"] == Kind.CLEAR) & own]).tolist():
            if ident not in self.checks and 1 <= ident <= len(table):
                instrument = table.by_id(ident)
                if instrument.venue in self.venues:
                    self.checks[ident] = BookChecks(instrument)
        if not self.checks:
            return
        if self.books is None:
            self.books = self._make()
        mine = np.isin(records["instrument"], [*self.checks])
        records, own = records[mine], own[mine]
        start = 0
        for place in np.flatnonzero((records["kind"] == Kind.CHECKSUM) & own).tolist():
            self.books.apply(records[start : place + 1])
            start = place + 1
            self._compare(self.books, records[place], path, offset)
        self.books.apply(records[start:])

    def _compare(self, books: B, record: np.void, path: str, offset: int) -> None:
        ident = int(record["instrument"])
        if books.is_stale(ident):
            return
        found = self.checks[ident]
        agrees = self._agrees(books, record, found.instrument)
        if agrees:
            found.agreed += 1
        elif agrees is False and ident in books.whole():
            found.wrong += 1
            found.last_seq = int(record["seq"])
            found.first = found.first or Place(path, offset, found.last_seq)


class _LevelChecks(_Checks[Books]):
    venues = ALGORITHMS.keys()

    def _make(self) -> Books:
        return Books(MOST_LEVELS)

    def _agrees(self, books: Books, record: np.void, instrument: Instrument) -> bool | None:
        return checks(record, instrument, *(books.levels(instrument.id, side) for side in (Side.BID, Side.ASK)))


class _OrderChecks(_Checks[OrderBooks]):
    on_orders = int(Flag.ON_ORDERS)
    venues = ORDERS_LEVELS.keys()

    def _make(self) -> OrderBooks:
        return OrderBooks(MOST_ORDERS)

    def _agrees(self, books: OrderBooks, record: np.void, instrument: Instrument) -> bool | None:
        levels = ORDERS_LEVELS[instrument.venue]
        bids, asks = (books.orders(instrument.id, side, levels) for side in (Side.BID, Side.ASK))
        return checks_orders(record, instrument, _pairs(bids), _pairs(asks))


def _pairs(orders: Records) -> NDArray[np.int64]:
    return np.stack([orders["price"], orders["size"]], axis=1)
