"""The kernels of the price-level books, and the layout of their state.

A book has two sides. A side is a run of `keys` and `sizes` in two pools that all books share, ascending by key, so
the best level is the last one and a change near the top moves few others. The key of a bid is its price, that of an
ask its negated price: one routine serves both. `sides[instrument, side]` says where a run lies. A removed level stays
in the run with size 0: venues set the same and neighbouring prices again and again, and reusing its place saves
moving thousands of levels (measured on real diffs: half the time of a dense array). The ends of a run are levels.

State is data only: a batch may be cut anywhere, also inside an atomic event, and the next call goes on. What is right
is defined by `books.plain_books`, which folds the same records with dicts.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side, StatusCode

Records = NDArray[np.void]
Integers = NDArray[np.int64]

STALE: Final = 0  # levels are ignored until the next CLEAR; also the state of a book that nobody has described yet
LOADING: Final = 1  # a CLEAR has come, the LAST of its event has not
LIVE: Final = 2

BOOK: Final = np.dtype(
    [
        ("bid_price", "<i8"),  # these four and `flags`: as in the last BBO
        ("bid_size", "<i8"),
        ("ask_price", "<i8"),
        ("ask_size", "<i8"),
        ("ts_event", "<i8"),  # of the last record that the book took in
        ("ts_recv", "<i8"),
        ("venue_seq", "<u8"),
        ("seq", "<u8"),
        ("flags", "<u2"),
        ("state", "u1"),
        ("inside", "u1"),  # an atomic event has begun and its LAST has not come
        ("evicted", "u1"),  # a level was given up since the last CLEAR
        ("cause", "u1"),  # the GapCause that made it stale
    ],
    align=True,
)
"""One book: what was last said about it, and in which state it is."""

SIDE: Final = np.dtype([("base", "<i8"), ("room", "<i8"), ("start", "<i8"), ("count", "<i8"), ("alive", "<i8")])
"""One side of a book: `room` entries from `base` of the pools are its own, `count` from `start` are its run."""

# Why `apply_ticks` stopped.
DONE: Final = 0
OUTPUT_FULL: Final = 1  # empty `out` and go on
SIDE_FULL: Final = 2  # give the side of the record at `position` more room and go on
NEW_INSTRUMENT: Final = 3  # make room for the instrument of the record at `position` and go on

REACH: Final = 32  # how far, in entries, `insert` looks for the place of a removed level

# Positions in `tally`.
LEVELS: Final = 0  # levels set or removed
IGNORED: Final = 1  # levels that came while the book was stale
INVALID: Final = 2  # levels without a side or a price, or of negative size
EVICTED: Final = 3  # worst levels given up because a side had `max_levels`
CROSSED: Final = 4  # events after which bid >= ask
WENT_STALE: Final = 5
TALLY: Final = ("levels", "levels_ignored", "levels_invalid", "levels_evicted", "crossed", "went_stale")

_LEVEL: Final = int(Kind.LEVEL)
_CLEAR: Final = int(Kind.CLEAR)
_CHECKSUM: Final = int(Kind.CHECKSUM)
_STATUS: Final = int(Kind.STATUS)
_GAP: Final = int(Kind.GAP)
_BID: Final = int(Side.BID)
_ASK: Final = int(Side.ASK)
_LAST: Final = int(Flag.LAST)
_PARTIAL: Final = int(Flag.PARTIAL)
_ON_BOOK: Final = int(Flag.ON_BOOK)
_FLAG_STALE: Final = int(Flag.STALE)
_FLAG_CROSSED: Final = int(Flag.CROSSED)
_DISCONNECTED: Final = int(StatusCode.DISCONNECTED)
_CAUSE_DISCONNECT: Final = int(GapCause.DISCONNECT)


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
def set_level(side: Any, keys: Integers, sizes: Integers, key: int, size: int, max_levels: int) -> int:
    """Set or remove one level. Returns the number of levels evicted, 0 or 1, or -1: no room, nothing was done."""
    start = side["start"]
    count = side["count"]
    at = start + lower_bound(keys, start, count, key)
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
        sizes[side["start"]] = 0
        side["alive"] -= 1
        trim(side, sizes)
        return 1
    return 0


@kernel
def write_bbo(out: Any, book: Any, tick: Any, instrument: int) -> None:
    """One BBO record: the book's last said state, at the time of `tick`."""
    out["ts_event"] = tick["ts_event"]
    out["ts_recv"] = tick["ts_recv"]
    out["bid_price"] = book["bid_price"]
    out["bid_size"] = book["bid_size"]
    out["ask_price"] = book["ask_price"]
    out["ask_size"] = book["ask_size"]
    out["source_seq"] = tick["seq"]
    out["instrument"] = instrument
    out["flags"] = book["flags"]
    out["reserved"] = 0
    out["seq"] = 0


@kernel
def make_stale(book: Any, cause: int, tally: Integers) -> bool:
    """Mark a book stale, its content kept. Returns whether its flags changed, so that a BBO is due."""
    book["inside"] = 0
    if book["state"] == STALE:
        return False
    book["state"] = STALE
    book["cause"] = cause
    tally[WENT_STALE] += 1
    if book["flags"] & _FLAG_STALE:
        return False
    book["flags"] |= _FLAG_STALE
    return True


@kernel
def refresh(book: Any, bid: Any, ask: Any, keys: Integers, sizes: Integers, tally: Integers) -> bool:
    """Compare the top of a live book with what was last said of it. Returns whether a BBO is due."""
    bid_price, bid_size, ask_price, ask_size, flags = NO_PRICE, 0, NO_PRICE, 0, 0
    if bid["count"]:
        at = bid["start"] + bid["count"] - 1
        bid_price, bid_size = keys[at], sizes[at]
    if ask["count"]:
        at = ask["start"] + ask["count"] - 1
        ask_price, ask_size = -keys[at], sizes[at]
    if bid["count"] and ask["count"] and bid_price >= ask_price:
        flags = _FLAG_CROSSED
        tally[CROSSED] += 1
    if (
        bid_price == book["bid_price"]
        and bid_size == book["bid_size"]
        and ask_price == book["ask_price"]
        and ask_size == book["ask_size"]
        and flags == book["flags"]
    ):
        return False
    book["bid_price"] = bid_price
    book["bid_size"] = bid_size
    book["ask_price"] = ask_price
    book["ask_size"] = ask_size
    book["flags"] = flags
    return True


@kernel
def apply_ticks(
    ticks: Records,
    position: int,
    books: Records,
    sides: Records,
    keys: Integers,
    sizes: Integers,
    max_levels: int,
    out: Records,
    tally: Integers,
) -> tuple[int, int, int]:
    """Fold `ticks[position:]` into the books and write a BBO wherever the best changed at the end of an event.

    Args:
        ticks: TICK records in stored order.
        position: the first one to take.
        books: BOOK by instrument id.
        sides: SIDE by instrument id and side (0 bid, 1 ask).
        keys: pool of keys.
        sizes: pool of sizes, parallel to `keys`.
        max_levels: levels that a side may hold.
        out: BBO records to fill.
        tally: counters, see `TALLY`.

    Returns:
        The position reached, the number of BBO records written, and why it stopped: DONE or what is to be done first.
    """
    written = 0
    for i in range(position, len(ticks)):
        tick = ticks[i]
        kind = tick["kind"]
        instrument = tick["instrument"]
        if instrument >= len(books):
            return i, written, NEW_INSTRUMENT
        if kind in (_LEVEL, _CLEAR, _CHECKSUM):
            flags = tick["flags"]
            book = books[instrument]
            if flags & _PARTIAL:
                continue
            if written == len(out):
                return i, written, OUTPUT_FULL
            if kind == _CLEAR:
                empty(sides[instrument, 0])
                empty(sides[instrument, 1])
                book["evicted"] = 0
                if book["state"] == STALE:
                    book["state"] = LOADING
            elif book["state"] == STALE:
                if kind == _LEVEL:
                    tally[IGNORED] += 1
                continue
            elif kind == _LEVEL:
                which = tick["side"]
                price = tick["price"]
                size = tick["size"]
                if which not in (_BID, _ASK) or size < 0 or price == NO_PRICE:
                    tally[INVALID] += 1
                else:
                    key = price if which == _BID else -price
                    evicted = set_level(sides[instrument, which - 1], keys, sizes, key, size, max_levels)
                    if evicted < 0:
                        return i, written, SIDE_FULL
                    if evicted:
                        tally[EVICTED] += evicted
                        book["evicted"] = 1
                    tally[LEVELS] += 1
            book["ts_event"] = tick["ts_event"]
            book["ts_recv"] = tick["ts_recv"]
            book["venue_seq"] = tick["venue_seq"]
            book["seq"] = tick["seq"]
            if not flags & _LAST:
                book["inside"] = 1
                continue
            book["inside"] = 0
            book["state"] = LIVE
            if refresh(book, sides[instrument, 0], sides[instrument, 1], keys, sizes, tally):
                write_bbo(out[written], book, tick, instrument)
                written += 1
        elif tick["flags"] & _ON_BOOK and (kind == _GAP or (kind == _STATUS and tick["price"] == _DISCONNECTED)):
            if written == len(out):
                return i, written, OUTPUT_FULL
            book = books[instrument]
            if make_stale(book, tick["price"] if kind == _GAP else _CAUSE_DISCONNECT, tally):
                write_bbo(out[written], book, tick, instrument)
                written += 1
    return len(ticks), written, DONE


@kernel
def reset(books: Records) -> None:
    """Fill new rows: a book that nobody has described is stale and has no best."""
    for i in range(len(books)):
        books[i]["bid_price"] = NO_PRICE
        books[i]["ask_price"] = NO_PRICE
        books[i]["flags"] = _FLAG_STALE
