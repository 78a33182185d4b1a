"""What the kit requires of an object that follows one book: `BookSync` by update ids, `CheckedBook` by checksums.

Methods return what to record, in order. After each call `wants_snapshot` says whether a snapshot must be requested;
the caller resets it on doing so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class Diff:
    """One book event. `previous` is UNKNOWN where diffs do not name the one before; `weight` counts towards a limit."""

    first: int
    last: int
    previous: int
    content: Any
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole book at an id."""

    id: int
    content: Any


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes between two ids are missing. `cause` is None if the ids themselves jumped."""

    last_id: int
    next_id: int
    missing: int
    cause: Any = None


Output = Diff | Snapshot | Gap


class BookTracker(Protocol):
    """One book."""

    live: bool
    wants_snapshot: bool
    duplicates: int
    agreed: int  # checksums; 0 where the venue sends none
    failed: int

    @property
    def seen_id(self) -> int | None:
        """Last id recorded or held since the stream was interrupted; None before the first one."""
        ...

    @property
    def whole(self) -> bool:
        """Whether readers of the records have a book: no Gap since its snapshot, even if a new snapshot is due."""
        ...

    @property
    def counts_ids(self) -> bool:
        """Whether ids grow by one with each change, so that the number of missing changes is known."""
        ...

    def reject(self, first: int, last: int, cause: Any) -> Sequence[Output]:
        """Take in an event that cannot be recorded. Its ids are UNKNOWN where they cannot be read."""
        ...

    def give_up(self, cause: Any) -> Sequence[Output]:
        """Interrupt the stream: returns what was held. A Gap of this cause precedes the next snapshot."""
        ...

    def hand_over(self) -> Sequence[Output]:
        """Continue the instrument under another id: returns what was held. A new snapshot is due."""
        ...

    def release(self) -> Sequence[Output]:
        """Let go of what is held: no snapshot will come, so a Gap that waited for it comes now."""
        ...

    def refresh(self) -> None:
        """Fetch the book again though nothing is missing."""
        ...

    def resume(self, last_id: int, cause: Any) -> None:
        """Start after a book that was followed to this id: a Gap of this cause precedes the next snapshot."""
        ...

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """Continue from the records up to this id, as if this object had seen them itself."""
        ...
