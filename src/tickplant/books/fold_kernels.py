"""Folding a batch in one call of a kernel: what the kernels of levels and of orders work in, by addresses.

A *memory* is an array of words that the books of one kind own: where their arrays are and how long, and how far a
batch has come. Only the ticks and the address of the memory are handed over, see `kernels.array_at`. A kernel that
needs room stops; called again with the same ticks, it goes on from the position that stands in the memory.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_kernels import BOOK, DONE, ELSEWHERE, apply_ticks
from tickplant.books.level_runs import SIDE
from tickplant.books.order_kernels import apply_orders
from tickplant.books.order_queues import NODE, PRICE, USED
from tickplant.books.order_table import ENTRY
from tickplant.kernels import array_at, inlined, kernel
from tickplant.records.layouts import BBO, TICK

Records = NDArray[np.void]
Integers = NDArray[np.int64]

# Words of a memory. BBO may be written to places OUT_BEGIN to OUT_END of OUT; VALUES are sizes, or slots of prices.
BOOKS, BOOK_COUNT, SIDES, KEYS, VALUES, HINTS, POOL, OUT, OUT_BEGIN, OUT_END, TALLY_AT, MOST, POSITION = range(13)
# And those of books of orders. BY_LEVEL is the address of the memory of the books by level, for `fold_both`.
PRICES, ORDERS, NODES, TABLE, ENTRIES, USED_AT, MATCHING, BY_LEVEL = range(13, 21)
WORDS: Final = 21
TALLIES: Final = 12
"""Counters of either kind, at most."""

SCATTERED: Final = 6
"""Why `fold_...` stopped, besides what made the kernels of levels and orders stop: ticks not one behind the other."""

HAS_ORDERS: Final = 1 << 31
"""See `fold_levels`."""

# What `fold_both` returns.
SAID_LEVELS: Final = 1
SAID_ORDERS: Final = 2
IN_ORDERS: Final = 16

WORD: Final = np.dtype(np.int64)
HINT: Final = np.dtype(np.int32)
_TICK_BYTES: Final = TICK.itemsize
_BBO_BYTES: Final = BBO.itemsize


@inlined
def stopped(memory: Integers, position: int, written: int, reason: int) -> Any:
    """Note how far a batch has come. Returns the number of BBO written, or minus the reason why the kernel stopped."""
    memory[OUT_BEGIN] += written
    if reason == DONE:
        memory[POSITION] = 0
        return written
    memory[POSITION] = position
    return -reason


@inlined
def out_of(memory: Integers) -> Any:
    """Where BBO may be written, the place behind the last one first."""
    return array_at(memory[OUT] + _BBO_BYTES * memory[OUT_BEGIN], (memory[OUT_END] - memory[OUT_BEGIN],), BBO)


@inlined
def is_packed(ticks: Any) -> Any:
    """Whether ticks lie one behind the other."""
    return len(ticks) < 2 or ticks.strides[0] == _TICK_BYTES


@inlined
def packed(ticks: Any) -> Any:
    """Ticks that lie one behind the other, as an array of that kind: kernels read it faster, and it has no count."""
    return array_at(ticks.ctypes.data, (len(ticks),), TICK)


@inlined
def level_arrays(memory: Integers) -> Any:
    """What `apply_ticks` works in."""
    books = array_at(memory[BOOKS], (memory[BOOK_COUNT],), BOOK)
    sides = array_at(memory[SIDES], (memory[BOOK_COUNT], 2), SIDE)
    keys = array_at(memory[KEYS], (memory[POOL],), WORD)
    sizes = array_at(memory[VALUES], (memory[POOL],), WORD)
    hints = array_at(memory[HINTS], (memory[POOL],), HINT)
    return books, sides, keys, sizes, hints


@inlined
def order_arrays(memory: Integers) -> Any:
    """What `apply_orders` works in besides, in its order."""
    prices = array_at(memory[PRICES], (memory[NODES],), PRICE)
    orders = array_at(memory[ORDERS], (memory[NODES],), NODE)
    table = array_at(memory[TABLE], (memory[ENTRIES],), ENTRY)
    used = array_at(memory[USED_AT], (USED,), WORD)
    return prices, orders, table, used


@inlined
def memory_at(address: int) -> Any:
    """The words of a memory."""
    return array_at(address, (WORDS,), WORD)


@inlined
def tally_of(memory: Integers) -> Any:
    """The counters."""
    return array_at(memory[TALLY_AT], (TALLIES,), WORD)


@inlined
def fold_levels_at(ticks: Any, address: int) -> Any:
    """See `fold_levels`, for ticks that are `packed`."""
    memory = memory_at(address)
    books, sides, keys, sizes, hints = level_arrays(memory)
    position, written, reason = apply_ticks(
        ticks, memory[POSITION], books, sides, keys, sizes, hints, memory[MOST], out_of(memory), tally_of(memory)
    )
    return stopped(memory, position, written, reason)


@kernel
def fold_levels(ticks: Any, address: int) -> int:
    """Fold TICK records into the books whose memory is at `address`, from the position that stands there on.

    Returns:
        How many BBO were written, which end at OUT_BEGIN, with HAS_ORDERS once there was any record for books of
        orders; or minus the reason why it stopped, see POSITION.
    """
    if not is_packed(ticks):
        return -SCATTERED
    result: int = fold_levels_at(packed(ticks), address)
    if result >= 0 and tally_of(memory_at(address))[ELSEWHERE]:
        result |= HAS_ORDERS
    return result


@inlined
def fold_orders_at(ticks: Any, address: int) -> Any:
    """See `fold_orders`, for ticks that are `packed`."""
    memory = memory_at(address)
    books, sides, keys, places, hints = level_arrays(memory)
    prices, orders, table, used = order_arrays(memory)
    pools = books, sides, keys, places, hints, prices, orders, table, used
    matching = memory[MATCHING] != 0
    position, written, reason = apply_orders(
        ticks, memory[POSITION], *pools, memory[MOST], matching, out_of(memory), tally_of(memory)
    )
    return stopped(memory, position, written, reason)


@kernel
def fold_orders(ticks: Any, address: int) -> int:
    """As `fold_levels`, into books of orders."""
    if not is_packed(ticks):
        return -SCATTERED
    result: int = fold_orders_at(packed(ticks), address)
    return result


@kernel
def fold_both(ticks: Any, address: int) -> int:
    """Both in one call: the memory at `address` is that of the books of orders.

    Returns:
        0: no BBO was written; SAID_LEVELS, SAID_ORDERS or both: these were; minus the reason why it stopped in the
        books by level; or that less IN_ORDERS, when those by level have taken all.
    """
    if not is_packed(ticks):
        return -SCATTERED
    records = packed(ticks)
    levels: int = fold_levels_at(records, memory_at(address)[BY_LEVEL])
    if levels < 0:
        return levels
    orders: int = fold_orders_at(records, address)
    if orders < 0:
        return orders - IN_ORDERS
    return (SAID_LEVELS if levels else 0) | (SAID_ORDERS if orders else 0)
