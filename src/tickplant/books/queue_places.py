"""Places in queues: what is ahead of an order that joined the queue at a price; see `book_samples.follow`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

Records = NDArray[np.void]
Integers = NDArray[np.int64]


@kernel
def queue_at(sides: Records, keys: Integers, places: Integers, instrument: int, side: int, key: int) -> int:
    """Slot of a price; 0 if there are no orders. Searches from the best on: followed prices are near it."""
    run = sides[instrument, side]
    for i in range(run["start"] + run["count"] - 1, run["start"] - 1, -1):
        if keys[i] <= key:
            return places[i] if keys[i] == key else 0
    return 0


@kernel
def count_ahead(prices: Records, orders: Records, at: int, joined: int) -> tuple[int, int]:
    """Size and number of the orders at a price, given its slot, whose `joined` is at most `joined`."""
    size, count = 0, 0
    slot = prices[at]["first"] if at else 0
    while slot and orders[slot]["joined"] <= joined:
        size += orders[slot]["size"]
        count += 1
        slot = orders[slot]["behind"]
    return size, count


@kernel
def joined_of(prices: Records, orders: Records, at: int, count: int) -> int:
    """`joined` of the order with `count - 1` orders ahead of it at a price, given its slot; 0 if `count` is 0."""
    slot = prices[at]["first"] if at else 0
    joined = 0
    while slot and count:
        joined = orders[slot]["joined"]
        count -= 1
        slot = orders[slot]["behind"]
    return joined
