"""What must add up on the way from a venue's frame to the disk: each equation, stated once.

Live, each in numbers that one process read at one moment, counted since that process began:

    frames received   = parsed + ignored + rejected      a feed: every frame is one of the three
    ticks made        = published + dropped + waiting    a feed: dropped for want of room in its ring
    ticks dropped     = told + untold                    a feed: told by GAPs (RING_FULL), or as soon as there is room
    records published = stored + lost + in ring          a writer, of each ring that it stores
    records published = taken + lost + behind            an engine, of each ring that it reads
    records made      = published + dropped + waiting    an engine, of each ring that it fills

Afterwards, in what is stored, from each account of a feed (`StatusCode.ACCOUNT_FRAMES`, `ACCOUNT_TICKS`) to the next:

    frames received   = parsed + rejected                parsed holds the ignored ones too
    ticks made        = stored + dropped                 stored is counted by whoever reads
    ticks dropped     = told                             by the GAPs (RING_FULL) that are stored

Frames are WebSocket messages and answers over REST, but for the instrument data that a feed asks for at its start.
Among the ticks are STATUS, GAP and the accounts themselves.
"""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, frozen=True):
    """One equation in numbers. `count` should be the sum of `parts`; it is `off` more than that."""

    producer: str  # whose frames or records are counted
    total: str  # what `count` counts, such as "frames received"
    count: int
    parts: dict[str, int]
    off: int = 0

    def __str__(self) -> str:
        """`frames received 12 = parsed 10 + rejected 2`; parts that are 0 are left out."""
        parts = {name: number for name, number in self.parts.items() if number} or dict([*self.parts.items()][:1])
        text = f"{self.total} {self.count:,} = " + " + ".join(f"{name} {number:,}" for name, number in parts.items())
        return f"{text} IS OFF BY {self.off:,}" if self.off else text


def _account(producer: str, total: str, count: int, **parts: int) -> Account:
    named = {name.replace("_", " "): number for name, number in parts.items()}
    return Account(producer, total, count, named, count - sum(parts.values()))


def frames(feed: str, received: int, *, parsed: int, ignored: int, rejected: int) -> Account:
    """Of a feed that runs."""
    return _account(feed, "frames received", received, parsed=parsed, ignored=ignored, rejected=rejected)


def ticks(feed: str, made: int, *, published: int, dropped: int, waiting: int) -> Account:
    """Of a feed that runs. `published` is how far its ring has moved."""
    return _account(feed, "ticks made", made, published=published, dropped=dropped, waiting=waiting)


def drops(feed: str, dropped: int, *, told: int, untold: int) -> Account:
    """Of a feed that runs."""
    return _account(feed, "ticks dropped", dropped, told=told, untold=untold)


def storing(producer: str, schema: str, published: int, *, stored: int, lost: int, in_ring: int) -> Account:
    """Of a ring and its writer, which has lost what had left the ring when it came."""
    return _account(producer, f"{schema} published", published, stored=stored, lost=lost, in_ring=in_ring)


def reading(engine: str, feed: str, published: int, *, taken: int, lost: int, behind: int) -> Account:
    """Of an engine and a ring that it reads."""
    return _account(engine, f"{feed} published", published, taken=taken, lost=lost, behind=behind)


def deriving(engine: str, schema: str, made: int, *, published: int, dropped: int, waiting: int) -> Account:
    """Of an engine and a ring that it fills."""
    return _account(engine, f"{schema} made", made, published=published, dropped=dropped, waiting=waiting)


def stored_frames(feed: str, received: int, *, parsed: int, rejected: int) -> Account:
    """Of what is stored of a feed."""
    return _account(feed, "frames received", received, parsed=parsed, rejected=rejected)


def stored_ticks(feed: str, made: int, *, stored: int, dropped: int) -> Account:
    """Of what is stored of a feed."""
    return _account(feed, "ticks made", made, stored=stored, dropped=dropped)


def stored_drops(feed: str, dropped: int, *, told: int) -> Account:
    """Of what is stored of a feed."""
    return _account(feed, "ticks dropped", dropped, told=told)
