"""What books have in common whose venue numbers nothing: snapshots come in band, with each subscription.

Where a checksum stands behind each event, it is the only sign that nothing is missing. An event behind which it does
not agree makes the book stale: a GAP (CHECKSUM), then the event, which nobody applies, and a new snapshot is asked for.
A snapshot that disagrees itself has flag PARTIAL, so that no fold begins with it. Events until the next snapshot are
recorded as they come.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from tickplant.feeds.kit.book_tracker import UNKNOWN, Diff, Gap, Output
from tickplant.records.batch import FLAGS_SHIFT, PACKED, Rows
from tickplant.records.layouts import Flag, GapCause


class UnnumberedBook(abc.ABC):
    """State of one book; see book_tracker.BookTracker. What it holds is kept by the subclass."""

    def __init__(self) -> None:
        self.live = False
        self.wants_snapshot = False
        self.duplicates = 0
        self.agreed = 0  # checksums
        self.failed = 0
        self._lost: Any = None  # why a Gap comes before the next snapshot
        self._unseen: Any = None  # why a Gap comes before the next event: the book is not at hand

    @abc.abstractmethod
    def _forget(self) -> None:
        """What the book holds is worth nothing any more."""

    @property
    def seen_id(self) -> int | None:
        """There are no ids."""
        return None

    @property
    def whole(self) -> bool:
        """See BookTracker."""
        return self.live or self._unseen is not None

    @property
    def counts_ids(self) -> bool:
        """There are no ids."""
        return False

    # For subclasses: what is recorded around an event.

    def _begin(self) -> list[Output]:
        """A snapshot has come: what is recorded before it."""
        cause = self._lost or self._unseen
        self._lost = self._unseen = None
        self.live, self.wants_snapshot = True, False
        return [] if cause is None else [Gap(0, 0, UNKNOWN, cause)]

    def _passed_by(self, rows: Rows) -> list[Output]:
        """An event of a book that is not live."""
        if self._unseen is None:
            return [event_of(rows)]
        cause, self._unseen = self._unseen, None
        self.wants_snapshot = True
        return [Gap(0, 0, UNKNOWN, cause), event_of(rows)]

    def _disagreed(self, rows: Rows, *, snapshot: bool) -> list[Output]:
        """The checksum in the last of these rows is another one than that of the book."""
        self.failed += 1
        self._lose()
        self.wants_snapshot = True
        if snapshot:
            rows[:, PACKED] |= Flag.PARTIAL << FLAGS_SHIFT  # else a fold would take it for the book
        return [Gap(0, 0, UNKNOWN, GapCause.CHECKSUM), event_of(rows)]

    def _lose(self) -> None:
        self.live = False
        self._forget()

    # The rest of a BookTracker.

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


def event_of(rows: Rows) -> Diff:
    """An event without ids."""
    return Diff(UNKNOWN, UNKNOWN, UNKNOWN, rows, len(rows))
