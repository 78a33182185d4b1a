"""How a book of levels follows a venue that sends no ids: snapshots in band, a cut at a depth, checksums.

Levels that fall out of the depth are recorded as removed, so that folding the records yields the book.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.books.checksums import Algorithm, BookChecksum, Digits, pack_decimals
from tickplant.books.depth_book import DepthBook
from tickplant.feeds.kit.book_tracker import Output, Snapshot
from tickplant.feeds.kit.unnumbered_book import UnnumberedBook, event_of
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, ORDER_ID, PACKED, SIZE, Rows
from tickplant.records.layouts import Flag, Kind

_CHECKSUM: Final = int(Kind.CHECKSUM)  # looking up a member of an enumeration takes a microsecond in Python 3.11
_LAST: Final = int(Flag.LAST) << FLAGS_SHIFT


class CheckedBook(UnnumberedBook):
    """State of one book. Rows of an event end with its CHECKSUM, where the venue sends one."""

    def __init__(self, algorithm: Algorithm) -> None:
        super().__init__()
        self._algorithm = algorithm
        self._book = DepthBook()
        self._checksum: BookChecksum | None = None
        self._decimals = 0

    def on_snapshot(self, rows: Rows, digits: Digits, depth: int) -> list[Output]:
        """Take in CLEAR and LEVEL rows, then any CHECKSUM. `digits`: how the venue prints the numbers of this book."""
        outputs = self._begin()
        if self._book.depth != depth:
            self._book = DepthBook(depth)
        if self._checksum is None or self._checksum.digits != digits:
            self._checksum = BookChecksum(self._algorithm, digits)
            self._decimals = pack_decimals(digits.price, digits.size)
        checked = _has_checksum(rows)
        removed = self._book.snapshot(rows[:-1] if checked else rows)
        if checked and not self._agrees(rows):
            return [*outputs, *self._disagreed(rows, snapshot=True)]
        return [*outputs, Snapshot(0, _with(rows, removed, checked=checked))]

    def on_update(self, rows: Rows) -> list[Output]:
        """Take in the LEVEL rows of one event, then any CHECKSUM; at least one row."""
        checked = _has_checksum(rows)
        if not self.live:
            if checked:
                rows[-1, ORDER_ID] = self._decimals
            return self._passed_by(rows)
        removed = self._book.update(rows[:-1] if checked else rows)
        if checked and not self._agrees(rows):
            return self._disagreed(rows, snapshot=False)
        return [event_of(_with(rows, removed, checked=checked))]

    def _agrees(self, rows: Rows) -> bool:
        rows[-1, ORDER_ID] = self._decimals
        agrees = self._checksum is not None and self._checksum.of_book(self._book) == rows.item(len(rows) - 1, SIZE)
        self.agreed += agrees
        return agrees

    def _forget(self) -> None:
        self._book.lose()


def _has_checksum(rows: Rows) -> bool:
    return rows.item(len(rows) - 1, PACKED) >> KIND_SHIFT & 0xFF == _CHECKSUM


def _with(rows: Rows, removed: Rows, *, checked: bool) -> Rows:
    # The levels that were cut off stand before the checksum, or else end the event.
    if not len(removed):
        return rows
    if checked:
        return np.concatenate([rows[:-1], removed, rows[-1:]])
    rows = np.concatenate([rows, removed])
    rows[:, PACKED] &= ~_LAST
    rows[-1, PACKED] |= _LAST
    return rows
