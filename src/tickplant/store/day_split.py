"""Which day a record belongs to, and which seqs of a producer become one span of daily files.

A record belongs to the UTC day of its receipt, with days counted in the order of recording. The first record received
after the end of a day starts the next day. Later records that were received before midnight stay with the new day: a
snapshot, for example, waits for the diffs before it. The day goes back only if a whole chunk of the journal was
received more than an hour before the day began. That is an older recording that was ingested later, or a clock that was
set back, and becomes a span of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.store.daily_files import DAY_NS, day_of, day_start_ns
from tickplant.store.segments import Segment, Stretch

LATE_NS: Final = 3600 * 10**9
"""How long before a day a record of that day may have been received, and how long after its end a day is over."""


class Part(NamedTuple):
    """Contiguous seqs of one day."""

    first_seq: int
    last_seq: int
    day: str
    segment: Segment | None = None  # the span of daily files that holds them; None: the journal holds them


class Target(NamedTuple):
    """A span to be written."""

    first_seq: int
    last_seq: int
    day: str
    joined: tuple[Segment, ...] = ()  # spans that it replaces


def parts_of(sources: Iterable[Segment | Stretch], times_of: Callable[[Stretch], NDArray[np.int64]]) -> list[Part]:
    """Divide a producer's stored seqs into parts.

    Args:
        sources: spans of daily files, and stretches of the journal of one chunk each, in order.
        times_of: returns the receive times of a stretch; called only if its header does not tell the day.
    """
    parts: list[Part] = []
    for source in sources:
        if isinstance(source, Segment):
            if source.span is not None:
                parts.append(Part(source.first_seq, source.span.last_seq, source.span.day, source))
            continue
        header = source.chunks[0].entry["header"]
        low, high = int(header["ts_recv_min"]), int(header["ts_recv_max"])
        follows = bool(parts) and parts[-1].last_seq + 1 == source.first_seq
        day = parts[-1].day if follows and high >= day_start_ns(parts[-1].day) - LATE_NS else None
        if day is None and day_of(low) == day_of(high):
            day = day_of(low)
        if day is not None and high < day_start_ns(day) + DAY_NS:
            _extend(parts, source.first_seq, source.last_seq, day)
            continue
        times = np.maximum.accumulate(times_of(source))
        place = 0
        while place < len(times):
            day = day or day_of(int(times[place]))
            end = int(np.searchsorted(times, day_start_ns(day) + DAY_NS))
            if end > place:
                _extend(parts, source.first_seq + place, source.first_seq + end - 1, day)
            place, day = max(end, place), None
    return parts


def _extend(parts: list[Part], first: int, last: int, day: str) -> None:
    before = parts[-1] if parts else None
    if before and before.segment is None and (before.last_seq + 1, before.day) == (first, day):
        parts[-1] = Part(before.first_seq, last, day)
    else:
        parts.append(Part(first, last, day))


def targets(parts: list[Part], now_ns: int, *, open_days: bool, may_join: Callable[[Segment], bool]) -> list[Target]:
    """The spans to write: one for each day that is over, which joins the parts of that day.

    With `open_days`, also a span of the records so far of a day that is not over.
    """
    groups: list[list[Part]] = []
    for part in parts:
        before = groups[-1][-1] if groups else None
        if before and (before.last_seq + 1, before.day) == (part.first_seq, part.day):
            groups[-1].append(part)
        else:
            groups.append([part])
    found = []
    for group, following in pairwise([*groups, None]):
        if group is None:
            continue
        over = following is not None or day_start_ns(group[0].day) + DAY_NS + LATE_NS <= now_ns
        if over and len(group) > 1 and all(part.segment is None or may_join(part.segment) for part in group):
            joined = tuple(part.segment for part in group if part.segment is not None)
            found.append(Target(group[0].first_seq, group[-1].last_seq, group[0].day, joined))
        elif over or open_days:
            found += [Target(*part[:3]) for part in group if part.segment is None]
    return found
