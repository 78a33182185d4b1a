"""One side of a book: a run of levels in a pool, ascending by key, so the best level is the last one.

A run is `keys` and `sizes`, two parallel arrays that several sides may share. The key of a bid is its price, that of
an ask its negated price: one routine serves both, and a change near the top moves few levels. A removed level stays in
the run with size 0: venues set the same and neighbouring prices again and again, and reusing its place saves moving
thousands of levels (measured on real diffs: half the time of a dense array). The ends of a run are levels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

Integers = NDArray[np.int64]

SIDE: Final = np.dtype(
    [("base", "<i8"), ("room", "<i8"), ("start", "<i8"), ("count", "<i8"), ("alive", "<i8"), ("last", "<i8")]
)
"""One side of a book: `room` entries from `base` of the pools are its own, `count` from `start` are its run. `last` is
where the last change was, a hint for the next one: it may point anywhere."""

UNBOUNDED: Final = 2**62
"""As `max_levels`: more than any book has."""

REACH: Final = 32  # how far, in entries, `insert` looks for the place of a removed level


@kernel
def move_up(keys: Integers, sizes: Integers, first: int, last: int) -> None:
    """Entries `first` to `last - 1` move up by one.

    With unsigned indices, here and below: numba looks at signed ones for a negative value, which costs the loop its
    vector instructions; measured, four times the time.
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
    """Entries `first + 1` to `last` move down by one."""
    one = np.uint64(1)
    stop = np.uint64(last)
    i = np.uint64(first)
    while i < stop:
        keys[i] = keys[i + one]
        sizes[i] = sizes[i + one]
        i += one


@kernel
def lower_bound(keys: Integers, start: int, count: int, key: int) -> int:
    """First place in the run `keys[start:start + count]` whose key is >= `key`; searches outwards from the top."""
    high = count
    step = 1
    while step <= count and keys[np.uint64(start + count - step)] >= key:
        high = count - step
        step *= 2
    low = max(0, count - step + 1) if step <= count else 0
    while low < high:
        middle = (low + high) >> 1
        if keys[np.uint64(start + middle)] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find(side: Any, keys: Integers, key: int) -> int:
    """First entry of a run whose key is >= `key`, or its end.

    A venue sends the levels of an event from the best to the worst: below the last change is never farther than below
    the top, and most often much nearer.
    """
    start: int = side["start"]
    count = side["count"]
    last = side["last"] - start
    if 0 <= last < count and keys[np.uint64(start + last)] >= key:
        count = last
    return start + lower_bound(keys, start, count, key)


@kernel
def empty(side: Any) -> None:
    """Remove all levels. The next ones begin in the middle: a snapshot may come from the best or from the worst on."""
    side["start"] = side["base"] + side["room"] // 2
    side["count"] = 0
    side["alive"] = 0


@kernel
def trim(side: Any, sizes: Integers) -> None:
    """Drop removed levels from both ends of a run, so that its last one is the best level and its first the worst."""
    start = side["start"]
    count = side["count"]
    while count and sizes[start + count - 1] == 0:
        count -= 1
    while count and sizes[start] == 0:
        start += 1
        count -= 1
    side["start"] = start
    side["count"] = count
    if count == 0:
        empty(side)


@kernel
def compact(side: Any, keys: Integers, sizes: Integers) -> None:
    """Squeeze the removed levels out of a run and move it to the middle of its room."""
    start = side["start"]
    end = start
    for i in range(start, start + side["count"]):
        if sizes[i]:
            keys[end] = keys[i]
            sizes[end] = sizes[i]
            end += 1
    count = end - start
    to = side["base"] + (side["room"] - count) // 2
    if to < start:
        for i in range(count):
            keys[to + i] = keys[start + i]
            sizes[to + i] = sizes[start + i]
    elif to > start:
        for i in range(count - 1, -1, -1):
            keys[to + i] = keys[start + i]
            sizes[to + i] = sizes[start + i]
    side["start"] = to
    side["count"] = count


@kernel
def put(side: Any, keys: Integers, sizes: Integers, at: int, free: int, key: int, size: int) -> None:
    """Move the entries between `at` and the place `free` by one, and put a level where that makes room."""
    if free >= at:
        move_up(keys, sizes, at, free)
    else:
        at -= 1
        move_down(keys, sizes, free, at)
    keys[at] = key
    sizes[at] = size
    side["alive"] += 1


@kernel
def insert(side: Any, keys: Integers, sizes: Integers, at: int, key: int, size: int) -> bool:
    """Put a new level before entry `at`. Returns False where there is no room for that.

    It takes the place of a removed level where one is near; else the run grows at its nearer end. Where that one has
    no room the caller moves the run to the middle: growing at the other end would move most levels each time.
    """
    start = side["start"]
    end = start + side["count"]
    for distance in range(REACH):
        above = at + distance
        if above < end and sizes[above] == 0:
            put(side, keys, sizes, at, above, key, size)
            return True
        below = at - 1 - distance
        if below >= start and sizes[below] == 0:
            put(side, keys, sizes, at, below, key, size)
            return True
    if at - start < end - at:
        if start == side["base"]:
            return False
        put(side, keys, sizes, at, start - 1, key, size)
        side["start"] = start - 1
    else:
        if end == side["base"] + side["room"]:
            return False
        put(side, keys, sizes, at, end, key, size)
    side["count"] += 1
    return True


@kernel
def drop_worst(side: Any, keys: Integers, sizes: Integers) -> int:
    """Remove the worst level of a side that has one. Returns its key."""
    start = side["start"]
    key: int = keys[start]
    sizes[start] = 0
    side["alive"] -= 1
    trim(side, sizes)
    return key


@kernel
def copy_best(side: Any, keys: Integers, sizes: Integers, sign: int, out: Integers) -> int:
    """Write price (key times `sign`) and size of the best levels, best first, to `out`, shape (n, 2), n at most.

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

    Returns how many bids and asks there are, at most `depth` each. Where that is more than n, nothing is written.
    """
    bids, asks = min(sides[instrument, 0]["alive"], depth), min(sides[instrument, 1]["alive"], depth)
    if bids + asks <= len(out):
        copy_best(sides[instrument, 0], keys, sizes, 1, out[:bids])
        copy_best(sides[instrument, 1], keys, sizes, -1, out[bids : bids + asks])
        for i in range(bids + asks):
            out[i, 2] = -1
    return bids, asks


@kernel
def set_level(side: Any, keys: Integers, sizes: Integers, key: int, size: int, max_levels: int) -> int:
    """Set or remove one level. Returns the number of levels evicted, 0 or 1, or -1: no room, nothing was done."""
    start = side["start"]
    count = side["count"]
    at = find(side, keys, key)
    side["last"] = at
    if at < start + count and keys[at] == key:
        if sizes[at] == 0:
            if size == 0:
                return 0
            side["alive"] += 1
        elif size == 0:
            side["alive"] -= 1
        sizes[at] = size
        if size == 0:
            if at == start or at == start + count - 1:
                trim(side, sizes)
            return 0
    elif size == 0:
        return 0
    elif not insert(side, keys, sizes, at, key, size):
        if 4 * side["alive"] >= 3 * side["room"]:
            return -1
        compact(side, keys, sizes)
        start = side["start"]
        at = start + lower_bound(keys, start, side["count"], key)
        insert(side, keys, sizes, at, key, size)
    if side["alive"] > max_levels:
        drop_worst(side, keys, sizes)
        return 1
    return 0
