"""Orders in price-time priority: a queue at each price, the prices of a side in a run of levels.

An order is a node of one pool, a price a node of another; all books of a stream share both pools. The orders at a price
are linked in time order. A side's prices are a run as in `books.level_runs`, whose `sizes` are slots of price nodes
here. Slots count from 1; 0 is none.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books import level_runs
from tickplant.books.level_runs import UNBOUNDED, change, copy_levels, empty, guess, insert, set_level
from tickplant.books.order_table import find, forget, remember
from tickplant.kernels import inlined, kernel

Records = NDArray[np.void]
Integers = NDArray[np.int64]

NODE: Final = np.dtype(
    [
        ("name", "<u8"),  # its name in the table
        ("size", "<i8"),
        ("before", "<u4"),  # neighbours in the queue; `behind` also links free nodes
        ("behind", "<u4"),
        ("price", "<u4"),  # slot of its price
        ("owner", "<u4"),
        ("joined", "<u8"),  # how many places in queues of all books had been taken when it took its own
    ]
)
"""One order."""

PRICE: Final = np.dtype(
    [
        ("key", "<i8"),  # the price of a bid, the negated price of an ask
        ("size", "<i8"),  # total size of the orders here
        ("first", "<u4"),  # first order of the queue; also links free nodes
        ("last", "<u4"),
        ("count", "<u4"),
        ("side", "<u4"),  # 0 bid, 1 ask
    ]
)
"""One price at which there are orders."""

QUEUED: Final = np.dtype(
    [("order_id", "<u8"), ("price", "<i8"), ("size", "<i8"), ("orders_ahead", "<i8"), ("size_ahead", "<i8")]
)
"""An order as readers see it: mantissas, and the number and total size of the orders ahead at its price."""

# Positions in `used`.
ALIVE: Final = 0  # orders in all books
TOP_NODE: Final = 1  # highest slot ever used
FREE_NODE: Final = 2  # first of the free slots below it
TOP_PRICE: Final = 3
FREE_PRICE: Final = 4
JOINED: Final = 5  # places in queues ever taken
USED: Final = 6

SIDE_SHIFT: Final = 30  # in an `owner`, the side of an order without id is above the instrument
_INSTRUMENT: Final = (1 << SIDE_SHIFT) - 1


@inlined
def price_at(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    used: Integers,
    instrument: int,
    side: int,
    key: int,
) -> int:
    """Slot of a price, created without orders if missing; 0 if the side's run has no room for it."""
    run = sides[instrument, side]
    at: Any = level_runs.find(run, keys, hints, key, guess(run, hints, key))
    known = at < run["end"] and keys[at] == key
    if known and places[at] != 0:
        found: int = places[at]
        return found
    free = used[FREE_PRICE]
    slot: int = free or used[TOP_PRICE] + 1
    if known:
        change(run, places, at, slot)
    elif not insert(run, keys, places, hints, at, key, slot):
        return 0
    price = prices[slot]
    if free:
        used[FREE_PRICE] = price["first"]
    else:
        used[TOP_PRICE] = slot
    price["key"] = key
    price["size"] = 0
    price["first"] = 0
    price["last"] = 0
    price["count"] = 0
    price["side"] = side
    return slot


@inlined
def drop_price(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    used: Integers,
    instrument: int,
    slot: int,
) -> None:
    """Remove a price without orders."""
    price = prices[slot]
    set_level(sides[instrument, price["side"]], keys, places, hints, price["key"], 0, UNBOUNDED)
    price["first"] = used[FREE_PRICE]
    used[FREE_PRICE] = slot


@inlined
def link(prices: Records, orders: Records, used: Integers, slot: int, at: int, size: int) -> None:
    """Put an order of this size last in the queue at a price."""
    order = orders[slot]
    used[JOINED] += 1
    order["joined"] = used[JOINED]
    price = prices[at]
    order["size"] = size
    order["price"] = at
    order["before"] = price["last"]
    order["behind"] = 0
    if price["last"]:
        orders[price["last"]]["behind"] = slot
    else:
        price["first"] = slot
    price["last"] = slot
    price["count"] += 1
    price["size"] += size


@inlined
def unlink(prices: Records, orders: Records, slot: int) -> None:
    """Take an order out of its queue. The price stays, even without orders."""
    order = orders[slot]
    price = prices[order["price"]]
    before, behind = order["before"], order["behind"]
    if before:
        orders[before]["behind"] = behind
    else:
        price["first"] = behind
    if behind:
        orders[behind]["before"] = before
    else:
        price["last"] = before
    price["count"] -= 1
    price["size"] -= order["size"]


@inlined
def add(
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    at: int,
    entry: int,
    name: int,
    owner: int,
    size: int,
) -> None:
    """Add an order last in the queue at the price `at`; `entry` is its place in the table. There must be room."""
    slot = used[FREE_NODE]
    if slot:
        used[FREE_NODE] = orders[slot]["behind"]
    else:
        slot = used[TOP_NODE] + 1
        used[TOP_NODE] = slot
    used[ALIVE] += 1
    orders[slot]["name"] = name
    orders[slot]["owner"] = owner
    link(prices, orders, used, slot, at, size)
    remember(table, entry, name, owner, slot)


@inlined
def move(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    used: Integers,
    slot: int,
    at: int,
    size: int,
) -> None:
    """Move a known order to the end of the queue at the price `at`, with this size."""
    order = orders[slot]
    old = order["price"]
    unlink(prices, orders, slot)
    link(prices, orders, used, slot, at, size)
    if prices[old]["count"] == 0:
        drop_price(sides, keys, places, hints, prices, used, order["owner"] & _INSTRUMENT, old)


@inlined
def release(orders: Records, table: Records, used: Integers, slot: int) -> None:
    """Forget an order that is in no queue."""
    order = orders[slot]
    forget(table, find(table, order["name"], order["owner"]))
    order["behind"] = used[FREE_NODE]
    used[FREE_NODE] = slot
    used[ALIVE] -= 1


@inlined
def remove(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    slot: int,
) -> None:
    """Remove an order, and its price if it was the last order there."""
    order = orders[slot]
    at = order["price"]
    unlink(prices, orders, slot)
    if prices[at]["count"] == 0:
        drop_price(sides, keys, places, hints, prices, used, order["owner"] & _INSTRUMENT, at)
    release(orders, table, used, slot)


@inlined
def shrink(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    slot: int,
    size: int,
) -> None:
    """Reduce an order by `size`, keeping its place; remove it if nothing remains."""
    order = orders[slot]
    if size >= order["size"]:
        remove(sides, keys, places, hints, prices, orders, table, used, slot)
    else:
        order["size"] -= size
        prices[order["price"]]["size"] -= size


@inlined
def empty_side(
    sides: Records,
    places: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    instrument: int,
    side: int,
) -> None:
    """Remove all orders of a side."""
    run = sides[instrument, side]
    for i in range(run["start"], run["start"] + run["count"]):
        at = places[i]
        if at:
            price = prices[at]
            slot = price["first"]
            while slot:
                behind = orders[slot]["behind"]
                release(orders, table, used, slot)
                slot = behind
            price["first"] = used[FREE_PRICE]
            used[FREE_PRICE] = at
    empty(run)


@inlined
def best(sides: Records, places: Integers, instrument: int, side: int) -> int:
    """Slot of the best price of a side; 0 if the side is empty."""
    run = sides[instrument, side]
    return places[run["start"] + run["count"] - 1] if run["count"] else 0


@inlined
def match(
    sides: Records,
    keys: Integers,
    places: Integers,
    hints: Integers,
    prices: Records,
    orders: Records,
    table: Records,
    used: Integers,
    instrument: int,
) -> int:
    """Trade the best bids against the best asks, in time priority, until the book is uncrossed. Returns how often."""
    trades = 0
    while True:
        bid, ask = best(sides, places, instrument, 0), best(sides, places, instrument, 1)
        if bid == 0 or ask == 0 or prices[bid]["key"] < -prices[ask]["key"]:
            return trades
        buyer, seller = prices[bid]["first"], prices[ask]["first"]
        size = min(orders[buyer]["size"], orders[seller]["size"])
        shrink(sides, keys, places, hints, prices, orders, table, used, buyer, size)
        shrink(sides, keys, places, hints, prices, orders, table, used, seller, size)
        trades += 1


@kernel
def copy_prices(
    sides: Records, keys: Integers, places: Integers, prices: Records, instrument: int, depth: int, out: Integers
) -> tuple[int, int]:
    """As `level_runs.copy_levels` for a book of orders: price, total size of the orders there, and their number."""
    bids, asks = copy_levels(sides, keys, places, instrument, depth, out)
    if bids + asks <= len(out):
        for i in range(bids + asks):
            price = prices[out[i, 1]]
            out[i, 1] = price["size"]
            out[i, 2] = price["count"]
    return bids, asks


@kernel
def copy_orders(
    sides: Records, places: Integers, prices: Records, orders: Records, instrument: int, side: int, out: Any
) -> int:
    """Write the orders of a side as QUEUED to `out`, best price first, each queue in order. Returns their number.

    Stops when `out` is full.
    """
    run = sides[instrument, side]
    written = 0
    for i in range(run["start"] + run["count"] - 1, run["start"] - 1, -1):
        at = places[i]
        if at == 0:
            continue
        price = prices[at]
        slot = price["first"]
        ahead, size_ahead = 0, 0
        while slot:
            if written == len(out):
                return written
            order = orders[slot]
            row = out[written]
            # Both of one type: numba would unify two types to float64, which cannot hold all digits of an id.
            row["order_id"] = np.uint64(0) if order["owner"] >> SIDE_SHIFT else order["name"]
            row["price"] = -price["key"] if side else price["key"]
            row["size"] = order["size"]
            row["orders_ahead"] = ahead
            row["size_ahead"] = size_ahead
            ahead += 1
            size_ahead += order["size"]
            written += 1
            slot = order["behind"]
    return written
