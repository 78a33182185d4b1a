"""Folding a batch in one call of a kernel: what the kernels of levels and of orders work in, by addresses.

A *memory* is an array of words that the books of one kind own: where their arrays are and how long, and how far a
batch has come. Kernels take the addresses of that array and of the array of ticks, see `kernel_methods`. One
that needs room stops; called again with the same ticks, it goes on from the position that stands in the memory.
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
from tickplant.kernel_methods import DATA, SHAPE, STRIDES, TYPE, array_fields, as_object
from tickplant.kernels import array_at, brief_kernel, inlined, kernel
from tickplant.records.layouts import BBO, TICK
from tickplant.records.tick_arrays import packed

Records = NDArray[np.void]
Integers = NDArray[np.int64]

# Words of a memory. BBO may be written to places OUT_BEGIN to OUT_END of OUT; VALUES are sizes, or slots of prices.
BOOKS, BOOK_COUNT, SIDES, KEYS, VALUES, HINTS, POOL, OUT, OUT_BEGIN, OUT_END, TALLY_AT, MOST, POSITION = range(13)
# And those of books of orders. BY_LEVEL is the address of the memory of the books by level, for `fold_both`.
PRICES, ORDERS, NODES, TABLE, ENTRIES, USED_AT, MATCHING, BY_LEVEL = range(13, 21)
ARRAY: Final = 21  # the address of numpy's class of arrays: others are laid out as their makers like
BATCH: Final = 22  # where the BBO of this batch begin in OUT
WORDS: Final = 23
TALLIES: Final = 12
"""Counters of either kind, at most."""

# Why `fold_...` stopped, besides what made the kernels of levels and orders stop.
SCATTERED: Final = 6  # ticks not one behind the other, or an array of another class
PAUSED: Final = 7  # after AT_ONCE records: other threads may want the GIL

AT_ONCE: Final = 1 << 16

# BBO written are returned as where they begin and end in OUT, in so many bits each.
PLACE_BITS: Final = 16
PLACE: Final = (1 << PLACE_BITS) - 1
ORDERS_SHIFT: Final = 2 * PLACE_BITS  # those of books of orders, behind those of books by level
ONLY_LEVELS: Final = 1 << ORDERS_SHIFT
OF_LEVELS: Final = ONLY_LEVELS - 1

HAS_ORDERS: Final = ONLY_LEVELS
"""See `fold_levels`."""

# See `fold_both`.
IN_ORDERS: Final = 16

WORD: Final = np.dtype(np.int64)
HINT: Final = np.dtype(np.uint16)
_TICK_BYTES: Final = TICK.itemsize
_BBO_BYTES: Final = BBO.itemsize


@inlined
def begun(memory: Integers) -> Any:
    """The position from which a batch is to be taken on."""
    if memory[POSITION] == 0:
        memory[BATCH] = memory[OUT_BEGIN]
    return memory[POSITION]


@inlined
def stopped(memory: Integers, position: int, written: int, reason: int) -> Any:
    """Note how far a batch has come.

    Returns:
        Where the BBO of the batch begin and end, see PLACE_BITS, 0 where there are none, or minus the reason why the
        kernel stopped.
    """
    end = memory[OUT_BEGIN] + written
    memory[OUT_BEGIN] = end
    if reason == DONE:
        memory[POSITION] = 0
        return memory[BATCH] | end << PLACE_BITS if end > memory[BATCH] else np.int64(0)
    memory[POSITION] = position
    return -reason


@inlined
def out_of(memory: Integers) -> Any:
    """Where BBO may be written, the place behind the last one first."""
    return array_at(memory[OUT] + _BBO_BYTES * memory[OUT_BEGIN], (memory[OUT_END] - memory[OUT_BEGIN],), BBO)


@inlined
def count_of(ticks: int) -> Any:
    """How many ticks there are in the array at this address."""
    return array_at(array_fields(ticks)[SHAPE], (1,), WORD)[0]


@inlined
def is_plain(ticks: int, memory: Integers) -> Any:
    """Whether ticks lie one behind the other, in an array that is laid out as numpy's own."""
    fields = array_fields(ticks)
    if fields[TYPE] != memory[ARRAY]:
        return False
    return count_of(ticks) < 2 or array_at(fields[STRIDES], (1,), WORD)[0] == _TICK_BYTES


@inlined
def ticks_of(ticks: int) -> Any:
    """The ticks of an array that `is_plain`."""
    return array_at(array_fields(ticks)[DATA], (count_of(ticks),), TICK)


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
def words_at(address: int) -> Any:
    """The words of a memory that begin at an address."""
    return array_at(address, (WORDS,), WORD)


@inlined
def memory_at(memory: int) -> Any:
    """The words of a memory whose array is at an address."""
    return words_at(array_fields(memory)[DATA])


@inlined
def tally_of(memory: Integers) -> Any:
    """The counters."""
    return array_at(memory[TALLY_AT], (TALLIES,), WORD)


@inlined
def take_levels(ticks: Records, memory: Integers) -> Any:
    """See `fold_levels`; without HAS_ORDERS."""
    count, first = len(ticks), begun(memory)
    end = min(count, first + AT_ONCE)
    books, sides, keys, sizes, hints = level_arrays(memory)
    position, written, reason = apply_ticks(
        ticks[:end], first, books, sides, keys, sizes, hints, memory[MOST], out_of(memory),
        tally_of(memory),
    )  # fmt: skip
    return stopped(memory, position, written, PAUSED if reason == DONE and end < count else reason)


@inlined
def take_only_levels(ticks: Records, memory: Integers) -> Any:
    """See `fold_levels`."""
    result = take_levels(ticks, memory)
    return result | HAS_ORDERS if result >= 0 and tally_of(memory)[ELSEWHERE] else result


@brief_kernel
def fold_levels(memory: int, ticks: int) -> int:
    """Fold TICK records into books by level, from the position on that stands in their memory.

    Args:
        memory: address of the array of the memory.
        ticks: address of the array of records.

    Returns:
        As object, 0 where no BBO was written, or where they are, see PLACE_BITS; with HAS_ORDERS once there was any
        record for books of orders. Or minus the reason why it stopped, see POSITION.
    """
    words = memory_at(memory)
    return as_object(take_only_levels(ticks_of(ticks), words) if is_plain(ticks, words) else -SCATTERED)


@kernel
def fold_levels_at(ticks: Any, address: int) -> int:
    """As `fold_levels`, but for another kernel: of ticks that are `tick_arrays.is_packed`, in the words at `address`.

    Returns:
        As there, but as an integer of the machine.
    """
    result: int = take_only_levels(packed(ticks), words_at(address))
    return result


@inlined
def take_orders(ticks: Records, memory: Integers) -> Any:
    """See `fold_orders`."""
    count, first = len(ticks), begun(memory)
    end = min(count, first + AT_ONCE)
    books, sides, keys, places, hints = level_arrays(memory)
    prices, orders, table, used = order_arrays(memory)
    pools = books, sides, keys, places, hints, prices, orders, table, used
    position, written, reason = apply_orders(
        ticks[:end], first, *pools, memory[MOST], memory[MATCHING] != 0, out_of(memory),
        tally_of(memory),
    )  # fmt: skip
    return stopped(memory, position, written, PAUSED if reason == DONE and end < count else reason)


@brief_kernel
def fold_orders(memory: int, ticks: int) -> int:
    """As `fold_levels`, into books of orders."""
    words = memory_at(memory)
    return as_object(take_orders(ticks_of(ticks), words) if is_plain(ticks, words) else -SCATTERED)


@inlined
def take_both(ticks: Records, memory: Integers) -> Any:
    """See `fold_both`."""
    levels = take_levels(ticks, memory_at(memory[BY_LEVEL]))
    if levels < 0:
        return levels
    orders = take_orders(ticks, memory)
    return orders - IN_ORDERS if orders < 0 else levels | orders << ORDERS_SHIFT


@brief_kernel
def fold_both(memory: int, ticks: int) -> int:
    """Both in one call, the memory being that of the books of orders.

    Returns:
        As object, what `fold_levels` does, with what `fold_orders` does behind ORDERS_SHIFT; minus the reason why it
        stopped in the books by level; or that less IN_ORDERS, when those by level have taken all.
    """
    words = memory_at(memory)
    return as_object(take_both(ticks_of(ticks), words) if is_plain(ticks, words) else -SCATTERED)


@kernel
def fold_both_at(ticks: Any, address: int) -> int:
    """As `fold_both`, as `fold_levels_at` is as `fold_levels`."""
    result: int = take_both(packed(ticks), words_at(address))
    return result
