"""Folds a batch in one kernel call: the memories, given by address, that the kernels of levels and of orders work in.

A *memory* is an array of words that the books of one kind own: the addresses and lengths of their arrays, and how far a
batch has been folded. Kernels take the addresses of that array and of the array of ticks, see `kernel_methods`. A
kernel that needs room stops; called again with the same ticks, it continues from the position in the memory.
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

# Words of a memory. BBO records may be written to places OUT_BEGIN to OUT_END of OUT; VALUES: sizes, or price slots.
BOOKS, BOOK_COUNT, SIDES, KEYS, VALUES, HINTS, POOL, OUT, OUT_BEGIN, OUT_END, TALLY_AT, MOST, POSITION = range(13)
# More words for books of orders. BY_LEVEL is the address of the memory of the books by level, for `fold_both`.
PRICES, ORDERS, NODES, TABLE, ENTRIES, USED_AT, MATCHING, BY_LEVEL = range(13, 21)
ARRAY: Final = 21  # address of numpy's array class: other classes may have another layout
BATCH: Final = 22  # where this batch's BBO records begin in OUT
WORDS: Final = 23
TALLIES: Final = 12
"""Room for counters, in either kind of books."""

# Why `fold_...` stopped, in addition to the reasons of the kernels of levels and orders.
SCATTERED: Final = 6  # the ticks are not contiguous, or in an array of another class
PAUSED: Final = 7  # after AT_ONCE records: other threads may want the GIL

AT_ONCE: Final = 1 << 16

# The BBO records written are returned as their begin and end in OUT, in this many bits each.
PLACE_BITS: Final = 16
PLACE: Final = (1 << PLACE_BITS) - 1
ORDERS_SHIFT: Final = 2 * PLACE_BITS  # for books of orders, above those of books by level
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
    """The position from which a batch continues."""
    if memory[POSITION] == 0:
        memory[BATCH] = memory[OUT_BEGIN]
    return memory[POSITION]


@inlined
def stopped(memory: Integers, position: int, written: int, reason: int) -> Any:
    """Note how far a batch has been folded.

    Returns:
        Where the batch's BBO records begin and end, see PLACE_BITS; 0 if there are none; or minus the reason why the
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
    """Room for BBO records, beginning after the last one."""
    return array_at(memory[OUT] + _BBO_BYTES * memory[OUT_BEGIN], (memory[OUT_END] - memory[OUT_BEGIN],), BBO)


@inlined
def count_of(ticks: int) -> Any:
    """The number of ticks in the array at this address."""
    return array_at(array_fields(ticks)[SHAPE], (1,), WORD)[0]


@inlined
def is_plain(ticks: int, memory: Integers) -> Any:
    """Whether the ticks are contiguous, in an array with numpy's own layout."""
    fields = array_fields(ticks)
    if fields[TYPE] != memory[ARRAY]:
        return False
    return count_of(ticks) < 2 or array_at(fields[STRIDES], (1,), WORD)[0] == _TICK_BYTES


@inlined
def ticks_of(ticks: int) -> Any:
    """The ticks of an array for which `is_plain` holds."""
    return array_at(array_fields(ticks)[DATA], (count_of(ticks),), TICK)


@inlined
def level_arrays(memory: Integers) -> Any:
    """The arrays that `apply_ticks` works in."""
    books = array_at(memory[BOOKS], (memory[BOOK_COUNT],), BOOK)
    sides = array_at(memory[SIDES], (memory[BOOK_COUNT], 2), SIDE)
    keys = array_at(memory[KEYS], (memory[POOL],), WORD)
    sizes = array_at(memory[VALUES], (memory[POOL],), WORD)
    hints = array_at(memory[HINTS], (memory[POOL],), HINT)
    return books, sides, keys, sizes, hints


@inlined
def order_arrays(memory: Integers) -> Any:
    """The further arrays that `apply_orders` works in, in its order."""
    prices = array_at(memory[PRICES], (memory[NODES],), PRICE)
    orders = array_at(memory[ORDERS], (memory[NODES],), NODE)
    table = array_at(memory[TABLE], (memory[ENTRIES],), ENTRY)
    used = array_at(memory[USED_AT], (USED,), WORD)
    return prices, orders, table, used


@inlined
def words_at(address: int) -> Any:
    """The words of the memory that begins at this address."""
    return array_at(address, (WORDS,), WORD)


@inlined
def memory_at(memory: int) -> Any:
    """The words of the memory whose array object is at this address."""
    return words_at(array_fields(memory)[DATA])


@inlined
def tally_of(memory: Integers) -> Any:
    """The counters of a memory."""
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
    """Fold TICK records into books by level, from the position in their memory on.

    Args:
        memory: address of the memory's array.
        ticks: address of the array of records.

    Returns:
        As an object: 0 if no BBO was written, or where they are, see PLACE_BITS; with HAS_ORDERS once there has been
        any record for books of orders. Or minus the reason for stopping, see POSITION.
    """
    words = memory_at(memory)
    return as_object(take_only_levels(ticks_of(ticks), words) if is_plain(ticks, words) else -SCATTERED)


@kernel
def fold_levels_at(ticks: Any, address: int) -> int:
    """`fold_levels` for callers that are kernels: takes `tick_arrays.is_packed` ticks, and the address of the words.

    Returns:
        As `fold_levels`, but as a machine integer.
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
    """As `fold_levels`, for books of orders."""
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
    """Fold into both kinds of books in one call; `memory` is that of the books of orders.

    Returns:
        As an object: the result of `fold_levels`, with that of `fold_orders` above ORDERS_SHIFT; minus the reason for
        stopping in the books by level; or, once those have taken all ticks, minus the reason for stopping in the books
        of orders, minus IN_ORDERS.
    """
    words = memory_at(memory)
    return as_object(take_both(ticks_of(ticks), words) if is_plain(ticks, words) else -SCATTERED)


@kernel
def fold_both_at(ticks: Any, address: int) -> int:
    """`fold_both` for callers that are kernels; see `fold_levels_at`."""
    result: int = take_both(packed(ticks), words_at(address))
    return result
