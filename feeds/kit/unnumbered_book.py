"""What the books of venues without ids share: snapshots come in band, with each subscription.

Where a checksum follows each event, only the checksum shows whether anything is missing. After a disagreement the book
is stale: a GAP (CHECKSUM) is recorded, then the event, which nobody applies, and a new snapshot is requested. A
snapshot that disagrees itself has flag PARTIAL, so that no fold begins with it. Events until the next snapshot are
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
    """State of one book; see book_tracker.BookTracker. The subclass holds the levels."""

    def __init__(self) -> None:
        self.live = False
        self.wants_snapshot = False
        self.duplicates = 0
        self.agreed = 0  # checksums
        self.failed = 0
        self._lost: Any = None  # cause of the Gap due before the next snapshot
        self._unseen: Any = None  # cause of the Gap due before the next event: the book's levels are not here

    @abc.abstractmethod
    def _forget(self) -> None:
        """Drop the levels, which are no longer valid."""

    @property
    def seen_id(self) -> int | None:
        """None: there are no ids."""
        return None

    @property
    def whole(self) -> bool:
        """See BookTracker."""
        return self.live or self._unseen is not None

    @property
    def counts_ids(self) -> bool:
        """False: there are no ids."""
        return False

    # For subclasses: what to record around an event.

    def _begin(self) -> list[Output]:
        """What to record before a snapshot that has come."""
        cause = self._lost or self._unseen
        self._lost = self._unseen = None
        self.live, self.wants_snapshot = True, False
        return [] if cause is None else [Gap(0, 0, UNKNOWN, cause)]

    def _passed_by(self, rows: Rows) -> list[Output]:
        """What to record for an event of a book that is not live."""
        if self._unseen is None:
            return [event_of(rows)]
        cause, self._unseen = self._unseen, None
        self.wants_snapshot = True
        return [Gap(0, 0, UNKNOWN, cause), event_of(rows)]

    def _disagreed(self, rows: Rows, *, snapshot: bool) -> list[Output]:
        """What to record if the checksum in the last of these rows differs from the book's."""
        self.failed += 1
        self._lose()
        self.wants_snapshot = True
        if snapshot:
            rows[:, PACKED] |= Flag.PARTIAL << FLAGS_SHIFT  # so that no fold takes it for the book
        return [Gap(0, 0, UNKNOWN, GapCause.CHECKSUM), event_of(rows)]

    def _lose(self) -> None:
        self.live = False
        self._forget()

    # The rest of BookTracker.

    def reject(self, first: int, last: int, cause: Any) -> Sequence[Output]:
        """Give up the book: an event cannot be recorded."""
        del first, last
        self._lose()
        self._unseen = None
        self.wants_snapshot = True
        return [Gap(0, 0, UNKNOWN, cause)]

    def give_up(self, cause: Any) -> Sequence[Output]:
        """Interrupt the stream; the next subscription brings a snapshot."""
        if self.live or self._unseen is not None:
            self._lost = cause
        self._lose()
        self._unseen = None
        self.wants_snapshot = False
        return ()

    def hand_over(self) -> Sequence[Output]:
        """Continue the instrument under another id, whose book begins with a snapshot."""
        self._lose()
        self.wants_snapshot = True
        return ()

    def release(self) -> Sequence[Output]:
        """Nothing is ever held back."""
        return ()

    def refresh(self) -> None:
        """Ask for another snapshot; the book continues until it comes."""
        self.wants_snapshot = True

    def resume(self, last_id: int, cause: Any) -> None:
        """Start after an earlier process: a Gap of this cause precedes the next snapshot."""
        del last_id
        self._lost = cause

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """Continue a recording whose book levels are not here: updates can no longer be cut or checked."""
        del book_id, after_snapshot
        self._unseen = GapCause.RESTART if live else None


def event_of(rows: Rows) -> Diff:
    """An event without ids."""
    return Diff(UNKNOWN, UNKNOWN, UNKNOWN, rows, len(rows))
