"""What the kit asks of whatever follows one book at the venue: `BookSync` by update ids, `CheckedBook` by checksums.

Methods return what is to be recorded, in order. After each call `wants_snapshot` says whether a snapshot has to be
asked for; the caller resets it when it asks.
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
    """Changes between two ids are missing. `cause` is None where the ids themselves jumped."""

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
        """Whether readers of the records have a book: no Gap since its snapshot, though it may be fetched anew."""
        ...

    @property
    def counts_ids(self) -> bool:
        """Whether ids grow by one with each change, so that the number of missing changes is known."""
        ...

    def reject(self, first: int, last: int, cause: Any) -> Sequence[Output]:
        """An event has come that cannot be recorded, its ids UNKNOWN where they cannot be read."""
        ...

    def give_up(self, cause: Any) -> Sequence[Output]:
        """The stream was interrupted: returns what was held. The next snapshot is preceded by a Gap of this cause."""
        ...

    def hand_over(self) -> Sequence[Output]:
        """The instrument goes on under another id: returns what was held. A new snapshot is due."""
        ...

    def release(self) -> Sequence[Output]:
        """Let go of what is held: no snapshot will come, so a Gap that waited for it comes now."""
        ...

    def refresh(self) -> None:
        """Fetch the book again though nothing is missing."""
        ...

    def resume(self, last_id: int, cause: Any) -> None:
        """A book was followed to this id before: the next snapshot is preceded by a Gap of this cause."""
        ...

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """Follow on from what the records up to this id say, as if this object had seen them itself."""
        ...
