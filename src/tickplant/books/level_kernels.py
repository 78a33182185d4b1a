"""The state machine of books by level: which records change a book, when it is stale, and when a BBO is due.

The rules are in docs/design.md §2; `books.plain_books` folds the same records with dicts and defines correctness.
A book has two sides, each a run of levels (`books.level_runs`) in two pools that all books share; `sides[instrument,
side]` says where a run is. All state is data: a batch may be cut anywhere, even inside an atomic event, and the next
call continues.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_runs import empty, guess, set_guessed
from tickplant.kernels import inlined, kernel
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side, StatusCode

Records = NDArray[np.void]
Integers = NDArray[np.int64]

STALE: Final = 0  # levels are ignored until the next CLEAR; also the state of a book that no record has described
LOADING: Final = 1  # a CLEAR has come, but not the LAST of its event
LIVE: Final = 2

BOOK: Final = np.dtype(
    [
        ("bid_price", "<i8"),  # these four and `flags`: as in the last BBO
        ("bid_size", "<i8"),
        ("ask_price", "<i8"),
        ("ask_size", "<i8"),
        ("ts_event", "<i8"),  # of the last record applied to the book
        ("ts_recv", "<i8"),
        ("venue_seq", "<u8"),
        ("seq", "<u8"),
        ("cleared", "<u4"),  # how often it was cleared: a book of orders then keeps no earlier order
        ("flags", "<u2"),
        ("state", "u1"),
        ("inside", "u1"),  # an atomic event has begun, and its LAST has not come
        ("evicted", "u1"),  # since the last CLEAR, a level was given up, or an order refused or matched
        ("cause", "u1"),  # the GapCause that made it stale
        ("unknown", "u1"),  # for a book of orders: which of order_kernels.UNKNOWN_CAUSES have occurred, a bit each
    ],
    align=True,
)
"""One book: its last BBO and its state."""

# Why the folding stopped.
DONE: Final = 0
OUTPUT_FULL: Final = 1  # empty `out` and continue
SIDE_FULL: Final = 2  # give the side of the record at `position` more room and continue
NEW_INSTRUMENT: Final = 3  # make room for the instrument of the record at `position` and continue
SAMPLES_FULL: Final = 5  # in `book_samples`: give samples' levels more room and continue; 4 is in `order_kernels`

# Positions in `tally`.
LEVELS: Final = 0  # levels set or removed
IGNORED: Final = 1  # levels that came while the book was stale
INVALID: Final = 2  # levels without a side or a price, or with a negative size
EVICTED: Final = 3  # worst levels given up because a side had `max_levels`
CROSSED: Final = 4  # events after which bid >= ask
WENT_STALE: Final = 5
ELSEWHERE: Final = 6  # records for books of orders
TALLY: Final = ("levels", "levels_ignored", "levels_invalid", "levels_evicted", "crossed", "went_stale")
"""Names of the positions; the last position has none."""

_LEVEL: Final = int(Kind.LEVEL)
_FIRST_ORDER: Final = int(Kind.ORDER_ADD)
_LAST_ORDER: Final = int(Kind.ORDER_FILL)
_CLEAR: Final = int(Kind.CLEAR)
_CHECKSUM: Final = int(Kind.CHECKSUM)
_STATUS: Final = int(Kind.STATUS)
_GAP: Final = int(Kind.GAP)
_BID: Final = int(Side.BID)
_ASK: Final = int(Side.ASK)
_LAST: Final = int(Flag.LAST)
_PARTIAL: Final = int(Flag.PARTIAL)
_ON_BOOK: Final = int(Flag.ON_BOOK)
_ON_ORDERS: Final = int(Flag.ON_ORDERS)
_NOT_HERE: Final = _PARTIAL | _ON_ORDERS
_ON_ANY: Final = _ON_BOOK | _ON_ORDERS
_FLAG_STALE: Final = int(Flag.STALE)
_FLAG_CROSSED: Final = int(Flag.CROSSED)
_DISCONNECTED: Final = int(StatusCode.DISCONNECTED)
_CAUSE_DISCONNECT: Final = int(GapCause.DISCONNECT)


@kernel
def write_bbo(out: Any, book: Any, tick: Any, instrument: int) -> None:
    """Write one BBO record: the book's best as last noted, at the time of `tick`."""
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
    """Mark a book stale, keeping its content. Returns whether its flags changed, so that a BBO is due."""
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
    """Compare the top of a live book with its last BBO. Returns whether a BBO is due."""
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
    return say(book, bid_price, bid_size, ask_price, ask_size, flags)


@kernel
def say(book: Any, bid_price: int, bid_size: int, ask_price: int, ask_size: int, flags: int) -> bool:
    """Note the best of a live book. Returns whether it has changed, so that a BBO is due."""
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
def note(book: Any, tick: Any) -> bool:
    """Note a record applied to a book. Returns whether it ends an atomic event, after which the book is live."""
    book["ts_event"] = tick["ts_event"]
    book["ts_recv"] = tick["ts_recv"]
    book["venue_seq"] = tick["venue_seq"]
    book["seq"] = tick["seq"]
    if not tick["flags"] & _LAST:
        book["inside"] = 1
        return False
    book["inside"] = 0
    book["state"] = LIVE
    return True


@inlined
def guess_ahead(ticks: Records, i: int, sides: Any, hints: Integers) -> Any:
    """A guess of where a tick's level is, made one tick ahead of its use, which saves 5% on recorded streams.

    The guess is loaded while the previous tick takes its unpredictable branches.
    """
    if i < len(ticks):
        tick = ticks[i]
        instrument, which = tick["instrument"], tick["side"]
        if instrument < len(sides) and which in (_BID, _ASK):
            price = tick["price"]
            return guess(sides[instrument, which - 1], hints, price if which == _BID else -price)
    return np.int64(0)


@inlined
def apply_ticks(
    ticks: Records,
    position: int,
    books: Records,
    sides: Records,
    keys: Integers,
    sizes: Integers,
    hints: Integers,
    max_levels: int,
    out: Records,
    tally: Integers,
) -> tuple[int, int, int]:
    """Fold `ticks[position:]` into the books and write a BBO wherever the best changed at the end of an event.

    Args:
        ticks: TICK records in stored order.
        position: index of the first tick to take.
        books: BOOK by instrument id.
        sides: SIDE by instrument id and side (0 bid, 1 ask).
        keys: pool of keys.
        sizes: pool of sizes, parallel to `keys`.
        hints: pool of hints, likewise.
        max_levels: levels that a side may hold.
        out: BBO records to fill.
        tally: counters, see `TALLY`.

    Returns:
        The position reached, the number of BBO records written, and why it stopped: DONE, or what must be done first.
    """
    written = 0
    ahead = guess_ahead(ticks, position, sides, hints)
    for i in range(position, len(ticks)):
        tick = ticks[i]
        at = ahead
        ahead = guess_ahead(ticks, i + 1, sides, hints)
        kind = tick["kind"]
        instrument = tick["instrument"]
        if instrument >= len(books):
            return i, written, NEW_INSTRUMENT
        if kind in (_LEVEL, _CLEAR, _CHECKSUM):
            flags = tick["flags"]
            book = books[instrument]
            if flags & _NOT_HERE:
                tally[ELSEWHERE] += flags & _ON_ORDERS != 0
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
                    evicted = set_guessed(sides[instrument, which - 1], keys, sizes, hints, key, size, max_levels, at)
                    if evicted < 0:
                        return i, written, SIDE_FULL
                    if evicted:
                        tally[EVICTED] += evicted
                        book["evicted"] = 1
                    tally[LEVELS] += 1
            if not note(book, tick):
                continue
            if refresh(book, sides[instrument, 0], sides[instrument, 1], keys, sizes, tally):
                write_bbo(out[written], book, tick, instrument)
                written += 1
        elif _FIRST_ORDER <= kind <= _LAST_ORDER:
            tally[ELSEWHERE] += 1
        elif tick["flags"] & _ON_ANY and (kind == _GAP or (kind == _STATUS and tick["price"] == _DISCONNECTED)):
            tally[ELSEWHERE] += tick["flags"] & _ON_ORDERS != 0
            if not tick["flags"] & _ON_BOOK:
                continue
            if written == len(out):
                return i, written, OUTPUT_FULL
            book = books[instrument]
            if make_stale(book, tick["price"] if kind == _GAP else _CAUSE_DISCONNECT, tally):
                write_bbo(out[written], book, tick, instrument)
                written += 1
    return len(ticks), written, DONE
