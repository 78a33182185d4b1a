"""The state machine of books of orders: which records change a book, when it is stale, and when a BBO is due.

The rules are in docs/design.md §2; `books.plain_orders` folds the same records with dicts and defines correctness. As
with books by level, all state is data: a batch may be cut anywhere, and the next call continues.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_kernels import (
    CROSSED,
    DONE,
    LOADING,
    NEW_INSTRUMENT,
    OUTPUT_FULL,
    SIDE_FULL,
    STALE,
    make_stale,
    note,
    say,
    write_bbo,
)
from tickplant.books.order_queues import (
    ALIVE,
    SIDE_SHIFT,
    add,
    best,
    empty_side,
    match,
    move,
    price_at,
    remove,
    shrink,
)
from tickplant.books.order_table import find
from tickplant.kernels import inlined
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, OrderFlag, Side, StatusCode

Records = NDArray[np.void]
Integers = NDArray[np.int64]

UNKNOWN_CAUSES: Final = (Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL)
"""Kinds of records that may name an order that was never added. The bit of a kind is `1 << (kind - ORDER_MODIFY)`."""

ORDERS_FULL: Final = 4  # why it stopped, besides `level_kernels`' reasons: give orders and prices room and continue

# Positions in `tally`; CROSSED and WENT_STALE have the same positions as for levels.
TAKEN: Final = 0  # records applied to a book
IGNORED: Final = 1  # records that came while the book was stale
INVALID: Final = 2  # records without a side, price or size, or with a size that does not fit
REFUSED: Final = 3  # orders beyond `max_orders`
UNKNOWN: Final = 6  # and the next two positions, in the order of UNKNOWN_CAUSES
AGAIN: Final = 9  # adds of a known order, which moves to the new place
MATCHED: Final = 10  # trades that resolved crossed books
NEWS: Final = 11  # causes that occurred in a book for the first time
ORDER_TALLY: Final = (
    *("order_records", "orders_ignored", "orders_invalid", "orders_refused", "crossed", "went_stale"),
    *("orders_unknown_modify", "orders_unknown_cancel", "orders_unknown_fill", "orders_added_again", "orders_matched"),
)
"""Names of the positions; the last position has none."""

_CLEAR: Final = int(Kind.CLEAR)
_CHECKSUM: Final = int(Kind.CHECKSUM)
_STATUS: Final = int(Kind.STATUS)
_GAP: Final = int(Kind.GAP)
_ADD: Final = int(Kind.ORDER_ADD)
_MODIFY: Final = int(Kind.ORDER_MODIFY)
_CANCEL: Final = int(Kind.ORDER_CANCEL)
_FILL: Final = int(Kind.ORDER_FILL)
_BID: Final = int(Side.BID)
_ASK: Final = int(Side.ASK)
_LAST: Final = int(Flag.LAST)
_PARTIAL: Final = int(Flag.PARTIAL)
_ON_ORDERS: Final = int(Flag.ON_ORDERS)
_TOP: Final = int(OrderFlag.TOP)
_FLAG_CROSSED: Final = int(Flag.CROSSED)
_DISCONNECTED: Final = int(StatusCode.DISCONNECTED)
_CAUSE_DISCONNECT: Final = int(GapCause.DISCONNECT)
_MOST: Final = 2**63 - 1


@inlined
def place(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    book: Any,
    slot: int,
    entry: int,
    tick: Any,
    owner: int,
    max_orders: int,
    tally: Integers,
) -> int:
    """Put an order, known if `slot` is not 0, last in the queue at the price of `tick`. Returns DONE or why not."""
    name: Any = tick["order_id"] or np.uint64(tick["price"])
    instrument, size = tick["instrument"], tick["size"]
    side: Any = np.int64(tick["side"]) - 1
    if slot == 0:
        if used[ALIVE] >= max_orders:
            book["evicted"] = 1
            tally[REFUSED] += 1
            return DONE
        if used[ALIVE] + 1 >= len(orders):
            return ORDERS_FULL
    at = price_at(sides, keys, places, hints, prices, used, instrument, side, -tick["price"] if side else tick["price"])
    if at == 0:
        return SIDE_FULL
    others = prices[at]["size"]
    if slot and orders[slot]["price"] == at:
        others -= orders[slot]["size"]
    if others > _MOST - size:
        tally[INVALID] += 1
    elif slot:
        move(sides, keys, places, hints, prices, orders, used, slot, at, size)
    else:
        add(prices, orders, table, used, at, entry, name, owner, size)
    return DONE


@inlined
def take(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    book: Any,
    tick: Any,
    max_orders: int,
    tally: Integers,
) -> int:
    """Apply one record about an order to its book. Returns DONE, or what must be done first, with nothing changed."""
    kind, price, size = tick["kind"], tick["price"], tick["size"]
    side: Any = np.int64(tick["side"])
    sided = side in (_BID, _ASK)
    if kind in (_ADD, _MODIFY) and tick["flags"] & _TOP:
        if not sided or (size <= 0 and price != NO_PRICE):
            tally[INVALID] += 1
            return DONE
        instrument: Any = np.int64(tick["instrument"])
        empty_side(sides, places, prices, orders, table, used, instrument, side - 1)
        if price == NO_PRICE:
            return DONE
        kind = np.uint8(_ADD)
    # An order without an id is named by its side and price.
    owner: Any = np.int64(tick["instrument"])
    name = tick["order_id"]
    if name == 0:
        name = np.uint64(price)
        owner += side << SIDE_SHIFT
    entry = find(table, name, owner)
    slot: Any = np.int64(table[entry]["slot"])
    if slot == 0 and kind != _ADD:
        bit = kind - _MODIFY
        if not book["unknown"] >> bit & 1:
            book["unknown"] |= 1 << bit
            tally[NEWS] += 1
        if kind != _MODIFY:
            tally[UNKNOWN + bit] += 1
            return DONE
    if kind == _FILL:
        return DONE
    if kind == _CANCEL:
        if size < 0:
            tally[INVALID] += 1
        else:
            shrink(sides, keys, places, hints, prices, orders, table, used, slot, size or _MOST)
        return DONE
    if slot and kind == _MODIFY and size == 0:
        remove(sides, keys, places, hints, prices, orders, table, used, slot)
        return DONE
    if not sided or price == NO_PRICE or size <= 0:
        tally[INVALID] += 1
        return DONE
    if slot and kind == _MODIFY:
        order = orders[slot]
        here = prices[order["price"]]
        same = here["side"] == side - 1 and here["key"] == (price if side == _BID else -price)
        if same and size <= order["size"]:
            shrink(sides, keys, places, hints, prices, orders, table, used, slot, order["size"] - size)
            return DONE
    reason = place(
        sides, keys, places, hints, prices, orders, table, used, book, slot, entry, tick, owner, max_orders, tally
    )
    if reason == DONE:
        if kind == _MODIFY and slot == 0:
            tally[UNKNOWN] += 1
        elif kind == _ADD and slot:
            tally[AGAIN] += 1
    return reason


@inlined
def refresh_orders(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    book: Any,
    instrument: int,
    matching: bool,
    tally: Integers,
) -> bool:
    """Compare the top of a live book with its last BBO. Returns whether a BBO is due."""
    bid, ask = best(sides, places, instrument, 0), best(sides, places, instrument, 1)
    flags = 0
    if bid and ask and prices[bid]["key"] >= -prices[ask]["key"]:
        tally[CROSSED] += 1
        if matching:
            tally[MATCHED] += match(sides, keys, places, hints, prices, orders, table, used, instrument)
            book["evicted"] = 1  # from here on, the book deviates from the records
            bid, ask = best(sides, places, instrument, 0), best(sides, places, instrument, 1)
        else:
            flags = _FLAG_CROSSED
    bid_price, bid_size, ask_price, ask_size = NO_PRICE, 0, NO_PRICE, 0
    if bid:
        bid_price, bid_size = prices[bid]["key"], prices[bid]["size"]
    if ask:
        ask_price, ask_size = -prices[ask]["key"], prices[ask]["size"]
    return say(book, bid_price, bid_size, ask_price, ask_size, flags)


@inlined
def apply_orders(
    ticks: Records,
    position: int,
    books: Records,
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    max_orders: int,
    matching: bool,
    out: Records,
    tally: Integers,
) -> tuple[int, int, int]:
    """Fold `ticks[position:]` into the books of orders, as `level_kernels.apply_ticks` does for levels.

    Args:
        ticks: TICK records in stored order.
        position: index of the first tick to take.
        books: BOOK by instrument id.
        sides: SIDE by instrument id and side (0 bid, 1 ask).
        keys: pool of keys of runs.
        places: pool of slots of `prices`, parallel to `keys`.
        hints: pool of hints, likewise.
        prices: pool of PRICE, with at least one entry more than `orders` has in use.
        orders: pool of NODE; slot 0 is not used.
        table: ENTRY by name; at least twice as long as `orders`, a power of two.
        used: how much of the pools is used.
        max_orders: how many orders all books together may hold.
        matching: whether crossed books are resolved.
        out: BBO records to fill.
        tally: counters, see `ORDER_TALLY`.

    Returns:
        The position reached, the number of BBO records written, and why it stopped: DONE, or what must be done first.
    """
    written = 0
    for i in range(position, len(ticks)):
        tick = ticks[i]
        kind = tick["kind"]
        flags = tick["flags"]
        order = _ADD <= kind <= _FILL
        if order or (kind in (_CLEAR, _CHECKSUM) and flags & _ON_ORDERS):
            instrument: Any = np.int64(tick["instrument"])
            if instrument >= len(books):
                return i, written, NEW_INSTRUMENT
            if flags & _PARTIAL:
                continue
            if written == len(out):
                return i, written, OUTPUT_FULL
            book = books[instrument]
            if kind == _CLEAR:
                empty_side(sides, places, prices, orders, table, used, instrument, 0)
                empty_side(sides, places, prices, orders, table, used, instrument, 1)
                book["evicted"] = 0
                book["cleared"] += 1
                if book["state"] == STALE:
                    book["state"] = LOADING
            elif book["state"] == STALE:
                tally[IGNORED] += order
                continue
            elif order:
                reason = take(sides, keys, places, hints, prices, orders, table, used, book, tick, max_orders, tally)
                if reason != DONE:
                    return i, written, reason
                tally[TAKEN] += 1
            if not note(book, tick):
                continue
            if refresh_orders(
                sides, keys, places, hints, prices, orders, table, used, book, instrument, matching, tally
            ):
                write_bbo(out[written], book, tick, instrument)
                written += 1
        elif flags & _ON_ORDERS and (kind == _GAP or (kind == _STATUS and tick["price"] == _DISCONNECTED)):
            instrument = np.int64(tick["instrument"])
            if instrument >= len(books):
                return i, written, NEW_INSTRUMENT
            if written == len(out):
                return i, written, OUTPUT_FULL
            book = books[instrument]
            if make_stale(book, tick["price"] if kind == _GAP else _CAUSE_DISCONNECT, tally):
                write_bbo(out[written], book, tick, instrument)
                written += 1
    return len(ticks), written, DONE
