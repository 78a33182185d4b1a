"""Holding stored books against the checksums that their venue sent with them.

A feed compares each checksum when it comes, and stores it. Here records alone must lead to the same book, so whatever
was stored wrongly, or lost without a GAP, shows. Memory follows the instruments that have checksums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.checksums import ALGORITHMS, checks
from tickplant.books.level_books import Books
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import Flag, Kind, Side

Records = NDArray[np.void]

MOST_LEVELS: Final = 20_000
"""Of a side; a checksum is over the best few."""


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
    first: Place | None = None  # wrong one
    last_seq: int = 0

    def __str__(self) -> str:
        one = self.instrument
        return (
            f"{one.venue} {one.symbol}: the book as stored disagrees with {self.wrong:,} of "
            f"{self.wrong + self.agreed:,} checksums"
        )


class StoredChecksums:
    """Goes through the ticks of one producer, oldest first."""

    def __init__(self, instruments: InstrumentTable) -> None:
        self._instruments = instruments
        self._books = Books(MOST_LEVELS)
        self._checks: dict[int, BookChecks] = {}
        self._next_seq = 0

    def add(self, records: Records, path: str, offset: int) -> None:
        """The records of one chunk. Where records are missing before it, each book is compared from its next CLEAR."""
        if not len(records):
            return
        if int(records["seq"][0]) != self._next_seq:
            self._books = Books(MOST_LEVELS)
        self._next_seq = int(records["seq"][-1]) + 1
        of_levels = records["flags"] & Flag.ON_ORDERS == 0
        for ident in np.unique(records["instrument"][(records["kind"] == Kind.CLEAR) & of_levels]).tolist():
            if ident not in self._checks and 1 <= ident <= len(self._instruments):
                instrument = self._instruments.by_id(ident)
                if instrument.venue in ALGORITHMS:
                    self._checks[ident] = BookChecks(instrument)
        if not self._checks:
            return
        mine = np.isin(records["instrument"], [*self._checks]) & of_levels
        records = records[mine]
        is_checksum = records["kind"] == Kind.CHECKSUM
        start = 0
        for place in np.flatnonzero(is_checksum).tolist():
            self._books.apply(records[start : place + 1])
            start = place + 1
            self._compare(records[place], path, offset)
        self._books.apply(records[start:])

    def _compare(self, record: np.void, path: str, offset: int) -> None:
        ident, books = int(record["instrument"]), self._books
        if books.is_stale(ident):
            return
        found = self._checks[ident]
        agrees = checks(record, found.instrument, books.levels(ident, Side.BID), books.levels(ident, Side.ASK))
        if agrees:
            found.agreed += 1
        elif agrees is False:
            found.wrong += 1
            found.last_seq = int(record["seq"])
            found.first = found.first or Place(path, offset, found.last_seq)

    @property
    def agreed(self) -> int:
        """Checksums with which the books agree."""
        return sum(each.agreed for each in self._checks.values())

    def wrong(self) -> Iterator[tuple[BookChecks, Place]]:
        """Books that disagree with a checksum, and where they do first."""
        for each in self._checks.values():
            if each.first is not None:
                yield each, each.first
