"""How a book follows a venue by update ids: which diffs to record, hold back or drop, when to fetch a snapshot. Pure.

One `BookSync` per instrument. It knows ids, not levels. The venue's rule is a parameter (protocol sources: Binance,
"How to manage a local order book correctly", spot and USD-M):

    counted   a diff covers ids first..last; it follows book id B if first <= B + 1 and last > B
    chained   a diff names the diff before it: it follows if previous == B; the first diff after a snapshot B
    follows if first <= B <= last or previous == B

Diffs that arrive while there is no book are held back. A snapshot S within reach of the held diffs is recorded after
the diffs that it contains (last <= S, recorded all the same: nothing received is lost) and before those that follow it.
A diff that leaves a hole gives a Gap and starts a new wait, with itself as the first diff held.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from tickplant.feeds.kit.book_tracker import UNKNOWN, Diff, Gap, Output, Snapshot

EMPTY_SNAPSHOT: Final = -1  # lastUpdateId of a newly listed symbol: the first diff follows, whatever its ids


class BookSync:
    """State of one book. Methods return what to record, in order.

    After each call, `wants_snapshot` says whether a snapshot must be requested; the caller resets it on doing so.
    """

    def __init__(self, *, chained: bool, held_limit: int) -> None:
        self.chained = chained
        self.held_limit = held_limit  # weight of the diffs held back; beyond it the oldest are recorded as they are
        self.held: deque[Diff] = deque()
        self._held_weight = 0
        self._held_overlapping = False  # the held diffs come from two connections
        self.live = False
        self.wants_snapshot = False
        self.duplicates = 0
        self.agreed = self.failed = 0  # this protocol has no checksums
        self.book_id = 0  # of the live book
        self.pending_cause: Any = None  # cause of the next gap, where it is known beforehand
        self._first_after_snapshot = False
        self._intact = False  # every change since the last snapshot was recorded or is held
        self._lost: tuple[int, Any] | None = None  # last id of a book given up without a Gap so far, and the cause
        self._early: Snapshot | None = None  # a snapshot that came before any diff
        self._newest_held = -1  # last id of the newest diff that was ever held
        self._after: int | None = None  # the next diff follows this id, though the book was given up there
        self.low: int | None = None  # id from which on diffs were seen, None before the first
        self.widest = 0  # most ids that one held diff covered

    @property
    def counts_ids(self) -> bool:
        """Whether ids grow by one with each change."""
        return not self.chained

    @property
    def waiting(self) -> bool:
        """Whether diffs are held back for a snapshot."""
        return bool(self.held)

    @property
    def high(self) -> int:
        """Newest id seen."""
        return max(self.book_id, self._newest_held)

    def reaches(self, snapshot_id: int) -> bool:
        """Whether this id is among those seen, so that a snapshot with it may belong to this book."""
        return self.low is not None and self.low <= snapshot_id <= self.high

    def accepts(self, snapshot_id: int) -> bool:
        """Whether the book awaits a snapshot and this id fits the held diffs."""
        return (
            self.waiting
            and self._before(self.held[0]) <= snapshot_id <= self.held[-1].last
            and self._newer(snapshot_id) is not None
        )

    @property
    def end_id(self) -> int | None:
        """Last id up to which every change since the last snapshot is recorded or held; None if changes are missing."""
        if not self._intact:
            return None
        return self.held[-1].last if self.held else self.book_id

    @property
    def whole(self) -> bool:
        """See BookTracker."""
        return self._intact

    @property
    def seen_id(self) -> int | None:
        """Last id recorded or held since the stream was interrupted; None before the first."""
        if self.held:
            return self.held[-1].last
        return self.end_id if self._after is None else self._after

    def advance(self, first: int, last: int, previous: int, *, overlapping: bool = False) -> bool:
        """Whether a diff follows the live book; if so, the book moves on to it.

        While two connections overlap, they may cut their diffs at different ids. A chained diff that starts before the
        book's id and ends after it therefore follows too: it holds absolute sizes.
        """
        if not self.live:
            return False
        if self._first_after_snapshot:
            follows = self._follows_snapshot(first, last, previous, self.book_id)
        elif self.chained:
            follows = previous == self.book_id or (overlapping and previous < self.book_id < last)
        else:
            follows = first <= self.book_id + 1 and last > self.book_id
        if follows:
            self.book_id = last
            self._first_after_snapshot = False
            self.pending_cause = None
        return follows

    def on_diff(self, diff: Diff, *, overlapping: bool = False) -> list[Output]:
        """Take in a diff."""
        if self.advance(diff.first, diff.last, diff.previous, overlapping=overlapping):
            return [diff]
        if self.live:
            if diff.last <= self.book_id:
                self.duplicates += 1
                return []
            gap = self._gap(diff, self.book_id)
            self._wait()
            self.wants_snapshot = True
            self._held_overlapping = overlapping
            return [gap, *self._hold(diff)]
        outputs: list[Output] = []
        seen_id = self.seen_id
        if seen_id is not None:
            if diff.last <= seen_id:
                self.duplicates += 1
                return []
            self._after = None
            if self._is_hole(diff, seen_id, overlapping=overlapping):
                # Reported even if a snapshot is due anyway: each hole has a Gap of its own.
                self._intact = False
                outputs.append(self._gap(diff, seen_id))
        if not self.held and self._early is None:
            self.wants_snapshot = True
        self._held_overlapping |= overlapping
        outputs += self._hold(diff)
        if self._early is not None:
            early, self._early = self._early, None
            outputs += self.on_snapshot(early)
        return outputs

    def on_snapshot(self, snapshot: Snapshot) -> list[Output]:
        """Take in a snapshot. One that is too old is dropped and sets `wants_snapshot`; an unwanted one is dropped."""
        if self.live:
            return []
        if not self.held:
            self._early = snapshot
            return []
        newer = self._newer(snapshot.id)
        if newer is None:
            self.wants_snapshot = True
            return []
        outputs: list[Output] = [*self.held]
        del outputs[len(outputs) - len(newer) :]
        if self._lost is not None:
            last_id, cause = self._lost
            outputs.append(Gap(last_id, max(snapshot.id, 0), UNKNOWN, cause))
        outputs.append(snapshot)
        overlapping = self._held_overlapping
        self._wait()
        self.live = self._intact = True
        self._first_after_snapshot = True
        self.pending_cause = None
        self.book_id = snapshot.id
        for diff in newer:
            outputs += self.on_diff(diff, overlapping=overlapping)
        return outputs

    def reject(self, first: int, last: int, cause: Any) -> list[Output]:
        """Give up the book: a diff cannot be recorded. Its ids are UNKNOWN where they cannot be read.

        Returns the Gap that says so. Another Gap with the exact ids precedes the next diff.
        """
        seen_id = self.seen_id
        if seen_id is not None and UNKNOWN < last <= seen_id:
            return []  # the whole diff is already recorded
        if seen_id is None and first != UNKNOWN:
            seen_id = first - 1
        if self.live:
            self._wait()
        self.pending_cause = cause
        self._after, self._intact, self._early = seen_id, False, None
        return [Gap(seen_id or 0, last + 1 if last != UNKNOWN else 0, UNKNOWN, cause)]

    def hand_over(self) -> list[Output]:
        """Continue the instrument under another id: returns what was held. The ids continue; a new snapshot is due.

        Later diffs are held back for that snapshot.
        """
        held: list[Output] = [*self.held]
        seen_id, lost = self.seen_id, self._lost
        self._wait()
        self._after, self._lost = seen_id, lost
        return held

    def give_up(self, cause: Any) -> list[Output]:
        """Interrupt the stream: returns what was held. A Gap of this cause precedes the next snapshot."""
        held: list[Output] = [*self.held]
        lost = self._lost
        if lost is None and self.seen_id is not None:
            lost = (self.seen_id, cause)
        self._wait()
        self._lost = lost
        self.wants_snapshot = False
        return held

    def resume(self, last_id: int, cause: Any) -> None:
        """Start after a book that was followed to this id: a Gap of this cause precedes the next snapshot."""
        self._lost = (last_id, cause)

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """Continue from the records up to this id, as if this object had seen them itself.

        `after_snapshot`: the id is a snapshot's, so the next diff follows by the rule for the first after a snapshot.
        """
        self.book_id = book_id
        self.live, self._intact = live, True
        self._first_after_snapshot = live and after_snapshot

    def refresh(self) -> None:
        """Fetch the book again though nothing is missing: diffs are held back from here on."""
        if self.live:
            self._wait()
            self._intact = True

    def release(self) -> list[Output]:
        """Let go of what is held: no snapshot will come, so a Gap that waited for it comes now."""
        outputs: list[Output] = [*self.held]
        if self._lost is not None and self._newest_held > self._lost[0]:
            last_id, cause = self._lost
            self._lost = None
            outputs.append(Gap(last_id, self._newest_held, UNKNOWN, cause))
        if self.held:
            # Recorded now: should the stream continue after all, a hole behind these diffs must show.
            self.book_id, self._intact = self.held[-1].last, True
        self._drop_held()
        return outputs

    def _hold(self, diff: Diff) -> list[Output]:
        self.held.append(diff)
        self._newest_held = diff.last
        before = self._before(diff)
        self.low = before if self.low is None else min(self.low, before)
        self.widest = max(self.widest, diff.last - before)
        self._held_weight += diff.weight
        released: list[Output] = []
        # The newest diff stays: a later snapshot is tested against it.
        while self._held_weight > self.held_limit and len(self.held) > 1:
            oldest = self.held.popleft()
            self._held_weight -= oldest.weight
            released.append(oldest)
        return released

    def _drop_held(self) -> None:
        self.held.clear()
        self._held_weight = 0
        self._held_overlapping = False

    def _wait(self) -> None:
        self.live = self._intact = False
        self._drop_held()
        self._lost = None
        self._early = None
        self._after = None

    def _gap(self, diff: Diff, last_id: int) -> Gap:
        cause, self.pending_cause = self.pending_cause, None
        return Gap(last_id, diff.first, UNKNOWN if self.chained else diff.first - last_id - 1, cause)

    def _is_hole(self, diff: Diff, seen_id: int, *, overlapping: bool) -> bool:
        # Whether changes are missing between an id and a diff that ends after it.
        if self.chained:
            return diff.previous != seen_id and not (overlapping and diff.previous < seen_id)
        return diff.first > seen_id + 1

    def _before(self, diff: Diff) -> int:
        # The id of the book to which a diff applies.
        return diff.previous if self.chained and diff.previous != UNKNOWN else diff.first - 1

    def _newer(self, snapshot_id: int) -> list[Diff] | None:
        # The held diffs that a snapshot does not contain; None if they do not follow it.
        newer = [diff for diff in self.held if not self._contained(diff, snapshot_id)]
        if newer and not self._follows_snapshot(newer[0].first, newer[0].last, newer[0].previous, snapshot_id):
            return None
        return newer

    def _contained(self, diff: Diff, snapshot_id: int) -> bool:
        # A chained diff that ends at the snapshot's id is the one that the venue wants applied first.
        return diff.last < snapshot_id if self.chained else diff.last <= snapshot_id

    def _follows_snapshot(self, first: int, last: int, previous: int, snapshot_id: int) -> bool:
        if snapshot_id == EMPTY_SNAPSHOT:
            return True
        if self.chained:
            return first <= snapshot_id <= last or previous == snapshot_id
        return first <= snapshot_id + 1 <= last
