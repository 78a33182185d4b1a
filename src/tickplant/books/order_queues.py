"""Orders in price-time priority: a queue at each price, the prices of a side in a run of levels.

An order is a node of one pool, a price another; both pools are shared by all books of a stream. The nodes at a price
are linked in order of their time. A side's prices are a run as in `books.level_runs`, whose `sizes` are slots of price
nodes here. Slots count from 1; 0 is nothing.
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
        ("name", "<u8"),  # what the table knows it by
        ("size", "<i8"),
        ("before", "<u4"),  # its neighbours in the queue; `behind` also links free nodes
        ("behind", "<u4"),
        ("price", "<u4"),  # slot
        ("owner", "<u4"),
        ("joined", "<u8"),  # how many places in queues had been taken, of all books, when it took its own
    ]
)
"""One order."""

PRICE: Final = np.dtype(
    [
        ("key", "<i8"),  # of a bid its price, of an ask its negated price
        ("size", "<i8"),  # of all orders here
        ("first", "<u4"),  # of the queue; also links free nodes
        ("last", "<u4"),
        ("count", "<u4"),
        ("side", "<u4"),  # 0 bid, 1 ask
    ]
)
"""One price at which there are orders."""

QUEUED: Final = np.dtype(
    [("order_id", "<u8"), ("price", "<i8"), ("size", "<i8"), ("orders_ahead", "<i8"), ("size_ahead", "<i8")]
)
"""An order as readers see it: mantissas, and how many orders of which size are before it at its price."""

# Positions in `used`.
ALIVE: Final = 0  # orders
TOP_NODE: Final = 1  # highest slot that was ever used
FREE_NODE: Final = 2  # first of the free ones below it
TOP_PRICE: Final = 3
FREE_PRICE: Final = 4
JOINED: Final = 5  # places in queues that were ever taken
USED: Final = 6

SIDE_SHIFT: Final = 30  # of an `owner`: above the instrument is the side of an order that has no id
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
    """Slot of a price, made without orders where there is none; 0: the side's run has no room for it."""
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
    """Put an order of this size behind all others at a price."""
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
    """Take an order out of its queue. Its price stays, even without orders."""
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
    """A new order behind all others at the price `at`; `entry` is its place in the table. There must be room."""
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
    """Put a known order behind all others at the price `at`, with this size."""
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
    """An order is gone, and its price where that was the last one."""
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
    """An order keeps its place and has `size` less; without any it is gone."""
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
    """Slot of the best price of a side; 0 where the side is empty."""
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
    """Trade the best bids against the best asks, first come first, until the book is not crossed. Returns how often."""
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
    """As `level_runs.copy_levels`, of a book of orders: price, size of all orders there, and how many these are."""
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

    Ends where `out` is full.
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
            # Of one type, else the two would meet in a float, which has not all digits of an id.
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
