"""The equations that must hold on the way from a venue's frame to the disk, each stated once.

Live, each with numbers that one process read at one moment, counted since that process began:

    frames received   = parsed + ignored + rejected      a feed: every frame falls into one of the three
    ticks made        = published + dropped + waiting    a feed: dropped for lack of room in its ring
    ticks dropped     = told + untold                    a feed: reported by GAPs (RING_FULL), or not yet
    records published = stored + lost + in ring          a writer, of each ring that it stores
    records published = taken + lost + behind            an engine, of each ring that it reads
    records made      = published + dropped + waiting    an engine, of each ring that it fills

Afterwards, in the stored records, from each account of a feed (`StatusCode.ACCOUNT_FRAMES`, `ACCOUNT_TICKS`) to the
next:

    frames received   = parsed + rejected                parsed includes the ignored ones
    ticks made        = stored + dropped                 stored is counted by the reader
    ticks dropped     = told                             by the GAPs (RING_FULL) that are stored

Frames are WebSocket messages and REST answers, except the instrument data that a feed asks for at its start. Ticks
include STATUS, GAP and the accounts themselves.
"""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, frozen=True):
    """One equation in numbers. `count` should be the sum of `parts`; it exceeds that by `off`."""

    producer: str  # whose frames or records are counted
    total: str  # what `count` counts, such as "frames received"
    count: int
    parts: dict[str, int]
    off: int = 0

    def __str__(self) -> str:
        """`frames received 12 = parsed 10 + rejected 2`; parts of 0 are left out."""
        parts = {name: number for name, number in self.parts.items() if number} or dict([*self.parts.items()][:1])
        text = f"{self.total} {self.count:,} = " + " + ".join(f"{name} {number:,}" for name, number in parts.items())
        return f"{text} IS OFF BY {self.off:,}" if self.off else text


def _account(producer: str, total: str, count: int, **parts: int) -> Account:
    named = {name.replace("_", " "): number for name, number in parts.items()}
    return Account(producer, total, count, named, count - sum(parts.values()))


def frames(feed: str, received: int, *, parsed: int, ignored: int, rejected: int) -> Account:
    """Account of a running feed."""
    return _account(feed, "frames received", received, parsed=parsed, ignored=ignored, rejected=rejected)


def ticks(feed: str, made: int, *, published: int, dropped: int, waiting: int) -> Account:
    """Account of a running feed. `published` is how far its ring has moved."""
    return _account(feed, "ticks made", made, published=published, dropped=dropped, waiting=waiting)


def drops(feed: str, dropped: int, *, told: int, untold: int) -> Account:
    """Account of a running feed."""
    return _account(feed, "ticks dropped", dropped, told=told, untold=untold)


def storing(producer: str, schema: str, published: int, *, stored: int, lost: int, in_ring: int) -> Account:
    """Account of a ring and its writer; lost records had left the ring when the writer came."""
    return _account(producer, f"{schema} published", published, stored=stored, lost=lost, in_ring=in_ring)


def reading(engine: str, feed: str, published: int, *, taken: int, lost: int, behind: int) -> Account:
    """Account of an engine and a ring that it reads."""
    return _account(engine, f"{feed} published", published, taken=taken, lost=lost, behind=behind)


def deriving(engine: str, schema: str, made: int, *, published: int, dropped: int, waiting: int) -> Account:
    """Account of an engine and a ring that it fills."""
    return _account(engine, f"{schema} made", made, published=published, dropped=dropped, waiting=waiting)


def stored_frames(feed: str, received: int, *, parsed: int, rejected: int) -> Account:
    """Account of a feed's stored records."""
    return _account(feed, "frames received", received, parsed=parsed, rejected=rejected)


def stored_ticks(feed: str, made: int, *, stored: int, dropped: int) -> Account:
    """Account of a feed's stored records."""
    return _account(feed, "ticks made", made, stored=stored, dropped=dropped)


def stored_drops(feed: str, dropped: int, *, told: int) -> Account:
    """Account of a feed's stored records."""
    return _account(feed, "ticks dropped", dropped, told=told)
