"""How a book follows a venue that numbers nothing: snapshots in band, a cut to a depth, a checksum behind each event.

The checksum is the only sign that nothing is missing. An event behind which it does not agree makes the book stale: a
GAP (CHECKSUM), then the event, which nobody applies, and a new snapshot is asked for. A snapshot that disagrees itself
has flag PARTIAL, so that no fold begins with it. Updates until the next snapshot are recorded as they come. Levels that
fall out of the depth are recorded as removed, so the fold of the records is the book.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tickplant.books.checksums import Algorithm, BookChecksum, Digits, pack_decimals
from tickplant.books.depth_book import DepthBook
from tickplant.feeds.kit.book_tracker import UNKNOWN, Diff, Gap, Output, Snapshot
from tickplant.records.batch import FLAGS_SHIFT, ORDER_ID, PACKED, SIZE, Rows
from tickplant.records.layouts import Flag, GapCause


class CheckedBook:
    """State of one book; see book_tracker.BookTracker. Rows of an event end with that of its CHECKSUM."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.live = False
        self.wants_snapshot = False
        self.duplicates = 0
        self.agreed = 0  # checksums
        self.failed = 0
        self._algorithm = algorithm
        self._book = DepthBook()
        self._checksum: BookChecksum | None = None
        self._decimals = 0
        self._lost: Any = None  # why a Gap comes before the next snapshot
        self._unseen: Any = None  # why a Gap comes before the next event: the book is not at hand

    @property
    def seen_id(self) -> int | None:
        """There are no ids."""
        return None

    @property
    def counts_ids(self) -> bool:
        """There are no ids."""
        return False

    def on_snapshot(self, rows: Rows, digits: Digits, depth: int) -> list[Output]:
        """CLEAR and LEVEL rows, then the CHECKSUM. `digits` says how the venue prints the numbers of this book."""
        outputs: list[Output] = []
        if (cause := self._lost or self._unseen) is not None:
            outputs.append(Gap(0, 0, UNKNOWN, cause))
        self._lost = self._unseen = None
        if self._book.depth != depth:
            self._book = DepthBook(depth)
        if self._checksum is None or self._checksum.digits != digits:
            self._checksum = BookChecksum(self._algorithm, digits)
            self._decimals = pack_decimals(digits.price, digits.size)
        removed = self._book.snapshot(rows[:-1])
        self.live = True
        self.wants_snapshot = False
        if not self._agrees(rows):
            rows[:, PACKED] |= Flag.PARTIAL << FLAGS_SHIFT  # else a fold would take it for the book
            return [*outputs, self._disagreement(), Snapshot(0, rows)]
        return [*outputs, Snapshot(0, _with(rows, removed))]

    def on_update(self, rows: Rows) -> list[Output]:
        """LEVEL rows of one event, then the CHECKSUM."""
        if not self.live:
            rows[-1, ORDER_ID] = self._decimals
            if self._unseen is not None:
                cause, self._unseen = self._unseen, None
                self.wants_snapshot = True
                return [Gap(0, 0, UNKNOWN, cause), _event(rows)]
            return [_event(rows)]
        removed = self._book.update(rows[:-1])
        if not self._agrees(rows):
            return [self._disagreement(), _event(rows)]
        return [_event(_with(rows, removed))]

    def _agrees(self, rows: Rows) -> bool:
        rows[-1, ORDER_ID] = self._decimals
        if self._checksum is not None and self._checksum.of_book(self._book) == rows[-1, SIZE]:
            self.agreed += 1
            return True
        self.failed += 1
        return False

    def _disagreement(self) -> Gap:
        self._lose()
        self.wants_snapshot = True
        return Gap(0, 0, UNKNOWN, GapCause.CHECKSUM)

    def _lose(self) -> None:
        self.live = False
        self._book.lose()

    def reject(self, first: int, last: int, cause: Any) -> Sequence[Output]:
        """An event has come that cannot be recorded: the book is given up."""
        del first, last
        self._lose()
        self._unseen = None
        self.wants_snapshot = True
        return [Gap(0, 0, UNKNOWN, cause)]

    def give_up(self, cause: Any) -> Sequence[Output]:
        """The stream was interrupted; the next subscription brings a snapshot."""
        if self.live or self._unseen is not None:
            self._lost = cause
        self._lose()
        self._unseen = None
        self.wants_snapshot = False
        return ()

    def hand_over(self) -> Sequence[Output]:
        """The instrument goes on under another id, whose book begins with a snapshot."""
        self._lose()
        self.wants_snapshot = True
        return ()

    def release(self) -> Sequence[Output]:
        """Nothing is ever held."""
        return ()

    def refresh(self) -> None:
        """Ask for another snapshot; the book goes on until it comes."""
        self.wants_snapshot = True

    def resume(self, last_id: int, cause: Any) -> None:
        """An earlier process has followed the book: the next snapshot is preceded by a Gap of this cause."""
        del last_id
        self._lost = cause

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """A recording goes on with updates of a book that is not at hand: it cannot be cut or checked any more."""
        del book_id, after_snapshot
        self._unseen = GapCause.RESTART if live else None


def _event(rows: Rows) -> Diff:
    return Diff(UNKNOWN, UNKNOWN, UNKNOWN, rows, len(rows))


def _with(rows: Rows, removed: Rows) -> Rows:
    # The levels that were cut off stand before the checksum, which ends the event.
    return np.concatenate([rows[:-1], removed, rows[-1:]]) if len(removed) else rows
