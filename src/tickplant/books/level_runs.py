"""One side of a book: a run of levels in a pool, ascending by key, so that the best level is last.

A run is `keys` and `sizes`, two parallel arrays that several sides may share. The key of a bid is its price, that of
an ask its negated price: one routine serves both, and a change near the top moves few levels. A removed level stays in
the run with size 0: venues set the same and neighbouring prices again and again, and reusing its place saves moving
thousands of levels. From its `start` to its best level, a run begins and ends with a level; from there to its `end`
there are only removed levels.

`hints` record where in the room an entry last was, by a hash of its key: most levels are found there at once. A hint
has 16 bits and may point anywhere, so a hit counts only if the key is there. If entries have moved since, a level is
mostly near its hint, or near the last level searched for, because venues send the levels of an event in order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel

Integers = NDArray[np.int64]

SIDE: Final = np.dtype(
    [
        ("base", "<i8"),  # `room` entries of the pools from here on belong to this side
        ("room", "<i8"),
        ("start", "<i8"),  # start of the run
        ("count", "<i8"),  # entries from `start` to the best level
        ("alive", "<i8"),  # levels among them
        ("end", "<i8"),  # end of the run
        ("last", "<i8"),  # where the last search ended; may point anywhere
        ("moved", "<i8"),  # entries moved one by one since the last `spread`
    ]
)
"""One side of a book."""

UNBOUNDED: Final = 2**62
"""As `max_levels`: more than any book has."""

MOST_FILLED: Final = 2  # a side that has used one in this many entries of its room needs more
REACH: Final = 8  # how far, in entries, `make_way` looks for the place of a removed level
PATIENCE: Final = 4  # after moving this many times its room in entries, a run is spread again
NEAR: Final = 64  # entries around a guess that are compared all at once
_BELOW: Final = 48  # of these, below the last one: venues send the levels of an event from best to worst

_LOW: Final = 0xFFFFFFFF
_HINT_BITS: Final = 0xFFFF  # of a place in the room; so small that the hints of all sides in use stay in the L1 cache
_SPREAD: Final = 0x4F1BBCDD  # near half of 2**32 / golden ratio: neighbouring keys get places far apart


@kernel
def move_up(keys: Integers, sizes: Integers, first: int, last: int) -> None:
    """Move entries `first` to `last - 1` up by one.

    Indices are unsigned here and below: numba checks signed ones for negative values, which keeps the loop from being
    vectorized; measured: four times slower.
    """
    one = np.uint64(1)
    stop = np.uint64(first)
    i = np.uint64(last)
    while i > stop:
        keys[i] = keys[i - one]
        sizes[i] = sizes[i - one]
        i -= one


@kernel
def move_down(keys: Integers, sizes: Integers, first: int, last: int) -> None:
    """Move entries `first + 1` to `last` down by one."""
    one = np.uint64(1)
    stop = np.uint64(last)
    i = np.uint64(first)
    while i < stop:
        keys[i] = keys[i + one]
        sizes[i] = sizes[i + one]
        i += one


@inlined
def home_of(side: Any, key: int) -> Any:
    """Where the hint of a key is. The arithmetic stays below 2**63, so that plain Python gives the same."""
    return np.uint64(side["base"] + (((key & _LOW) * _SPREAD & _LOW) * side["room"] >> 32))


@inlined
def lower_bound(keys: Integers, start: int, end: int, key: int) -> Any:
    """First place of `keys[start:end]` whose key is >= `key`.

    Three keys are compared at a time and the results added up: no step waits for an unpredictable branch.
    """
    at, left = np.uint64(start), np.uint64(end - start)
    one, three = np.uint64(1), np.uint64(3)
    while left > three:
        quarter = left >> np.uint64(2)
        middle = at + quarter + quarter
        lower = np.uint64(keys[at + quarter - one] < key) + np.uint64(keys[middle - one] < key)
        lower += np.uint64(keys[middle + quarter - one] < key)
        at += lower * quarter
        left -= three * quarter
    while left and keys[at] < key:
        at += one
        left -= one
    return np.int64(at)


@inlined
def guess(side: Any, hints: Integers, key: int) -> Any:
    """Where a key last was, as an argument for `find`; it may be anywhere by now."""
    return side["base"] + np.int64(hints[home_of(side, key)])


@inlined
def brackets(keys: Integers, start: Any, end: Any, low: Any, key: int) -> Any:
    """Whether the place of a key is among the NEAR entries from `low` on; `low` may be any number."""
    if low < start or low + NEAR > end:
        return False
    return keys[np.uint64(low)] < key <= keys[np.uint64(low + NEAR - 1)]


@inlined
def find(side: Any, keys: Integers, hints: Integers, key: int, at: Any) -> Any:
    """First entry of a run whose key is >= `key`, or the run's end. `at` is a `guess`, which may be any number."""
    start, end = side["start"], side["end"]
    if start <= at < end and keys[np.uint64(at)] == key:
        return at
    low = side["last"] - _BELOW
    if not brackets(keys, start, end, low, key):
        low = at - NEAR // 2
    if brackets(keys, start, end, low, key):
        first = np.uint64(low)
        at = low
        for i in range(NEAR):  # vectorized
            at += np.int64(keys[first + np.uint64(i)] < key)
    else:
        at = lower_bound(keys, start, end, key)
    hints[home_of(side, key)] = at - side["base"] & _HINT_BITS
    side["last"] = at
    return at


@kernel
def empty(side: Any) -> None:
    """Remove all levels. The next ones begin in the middle: a snapshot may come best first or worst first."""
    side["start"] = side["base"] + side["room"] // 2
    side["end"] = side["start"]
    side["count"] = 0
    side["alive"] = 0


@kernel
def trim(side: Any, sizes: Integers) -> None:
    """After a level was removed at either end, let the run begin with a level and its best entry be a level.

    Removed levels above the best one stay for their return, except long stretches, which would be scanned each time.
    """
    start = side["start"]
    count = side["count"]
    before = count
    while count and sizes[np.uint64(start + count - 1)] == 0:
        count -= 1
    if count == 0:
        empty(side)
        return
    while sizes[np.uint64(start)] == 0:
        start += 1
        count -= 1
    if before - count > NEAR:
        side["end"] = start + count
    side["start"] = start
    side["count"] = count


@kernel
def spread(side: Any, keys: Integers, sizes: Integers, hints: Integers) -> None:
    """Squeeze the removed levels out of a run, and spread the others over the middle of its room.

    Half of the free entries lie around the run. The other half become removed levels, spaced evenly between the levels,
    at prices that are not in the run: places for new levels.
    """
    base = side["base"]
    start = side["start"]
    count = 0
    for i in range(start, start + side["count"]):
        if sizes[i]:
            keys[base + count] = keys[i]
            sizes[base + count] = sizes[i]
            count += 1
    spare = (side["room"] - count) // 2
    every = -(-count // spare)
    to = base + (side["room"] + count + (count - 1) // every) // 2
    side["end"] = to
    for i in range(count - 1, -1, -1):
        key = keys[base + i]
        to -= 1
        keys[to] = key
        sizes[to] = sizes[base + i]
        hints[home_of(side, key)] = to - side["base"] & _HINT_BITS
        if i and i % every == 0 and keys[base + i - 1] + 1 < key:
            to -= 1
            keys[to] = keys[base + i - 1] + 1
            sizes[to] = 0
    side["start"] = to
    side["count"] = side["end"] - to
    side["moved"] = 0


@inlined
def change(side: Any, sizes: Integers, at: int, size: int) -> None:
    """Set the size of the entry `at`."""
    start = side["start"]
    best = start + side["count"] - 1
    place = np.uint64(at)
    side["alive"] += np.int64(size != 0) - np.int64(sizes[place] != 0)
    sizes[place] = size
    if size != 0:
        if at > best:
            side["count"] = at + 1 - start
    elif at in (best, start):
        trim(side, sizes)


@kernel
def make_way(side: Any, keys: Integers, sizes: Integers, at: int) -> int:
    """Move entries to make room for a new one before entry `at`. Returns its place, or -1: spread the run first.

    The new entry takes the place of a removed level if one is near; otherwise the run grows at its nearer end, where
    nothing moves if the new entry belongs there. A run that has no room there, or has moved too much, must be spread.
    """
    start = side["start"]
    end = side["end"]
    above, below = end, start - 1
    if start < at < end:
        for distance in range(REACH):
            if at + distance < end and sizes[np.uint64(at + distance)] == 0:
                above = at + distance
                break
            if at - 1 - distance > start and sizes[np.uint64(at - 1 - distance)] == 0:
                below = at - 1 - distance
                break
        if above == end and below < start:
            side["moved"] += min(end - at, at - start)
            if side["moved"] > PATIENCE * side["room"]:
                return -1
    if above < end or (below < start and end - at <= at - start):
        if above == side["base"] + side["room"]:
            return -1
        move_up(keys, sizes, at, above)
        side["count"] += np.int64(at < start + side["count"] <= above)  # the best one has moved
        side["end"] = max(end, above + 1)
        return at
    if below < side["base"]:
        return -1
    move_down(keys, sizes, below, at - 1)
    if below < start:
        side["start"] = below
        side["count"] += 1
    return at - 1


@inlined
def insert(side: Any, keys: Integers, sizes: Integers, hints: Integers, at: int, key: int, size: int) -> bool:
    """Insert a new level before entry `at`. Returns False if there is no room for it."""
    place: Any = make_way(side, keys, sizes, at)
    if place < 0:
        if MOST_FILLED * side["alive"] >= side["room"]:
            return False
        spread(side, keys, sizes, hints)
        place = make_way(side, keys, sizes, lower_bound(keys, side["start"], side["end"], key))
    keys[np.uint64(place)] = key
    sizes[np.uint64(place)] = size
    hints[home_of(side, key)] = place - side["base"] & _HINT_BITS
    side["alive"] += 1
    if place >= side["start"] + side["count"]:
        side["count"] = place + 1 - side["start"]
    return True


@kernel
def drop_worst(side: Any, keys: Integers, sizes: Integers) -> int:
    """Remove the worst level of a non-empty side. Returns its key."""
    start = side["start"]
    key: int = keys[start]
    sizes[start] = 0
    side["alive"] -= 1
    trim(side, sizes)
    return key


@kernel
def copy_best(side: Any, keys: Integers, sizes: Integers, sign: int, out: Integers) -> int:
    """Write price (key times `sign`) and size of the best levels, at most n, best first, to `out`, shape (n, 2).

    Returns their number.
    """
    found = 0
    at = side["start"] + side["count"] - 1
    wanted = min(side["alive"], len(out))
    while found < wanted:
        if sizes[at]:
            out[found, 0] = sign * keys[at]
            out[found, 1] = sizes[at]
            found += 1
        at -= 1
    return found


@kernel
def copy_levels(
    sides: Any, keys: Integers, sizes: Integers, instrument: int, depth: int, out: Integers
) -> tuple[int, int]:
    """Write price, size and -1 of the best levels of a book to `out`, shape (n, 3): bids, then asks, best first.

    Returns how many bids and asks there are, at most `depth` each. If together they exceed n, nothing is written.
    """
    bids, asks = min(sides[instrument, 0]["alive"], depth), min(sides[instrument, 1]["alive"], depth)
    if bids + asks <= len(out):
        copy_best(sides[instrument, 0], keys, sizes, 1, out[:bids])
        copy_best(sides[instrument, 1], keys, sizes, -1, out[bids : bids + asks])
        for i in range(bids + asks):
            out[i, 2] = -1
    return bids, asks


@inlined
def set_guessed(
    side: Any, keys: Integers, sizes: Integers, hints: Integers, key: int, size: int, max_levels: int, at: int
) -> int:
    """As `set_level`, given a `guess` of the place, which a caller that knows the key early can load early."""
    at = find(side, keys, hints, key, at)
    if at < side["end"] and keys[np.uint64(at)] == key:
        change(side, sizes, at, size)
    elif size == 0:
        return 0
    elif not insert(side, keys, sizes, hints, at, key, size):
        return -1
    if side["alive"] > max_levels:
        drop_worst(side, keys, sizes)
        return 1
    return 0


@inlined
def set_level(side: Any, keys: Integers, sizes: Integers, hints: Integers, key: int, size: int, max_levels: int) -> int:
    """Set or remove one level. Returns the number of levels evicted, 0 or 1, or -1: no room, nothing done."""
    return set_guessed(side, keys, sizes, hints, key, size, max_levels, guess(side, hints, key))
