"""The kernel that processes a batch in one call: surveys, publishes, and folds it into books, bars and values.

Most batches of a few ticks need no Python, and calling each kernel separately costs more than its work on a tick. The
kernel stops where Python is needed and records how far it got; Python does the rest step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.fold_kernels import (
    HAS_ORDERS,
    OF_LEVELS,
    ORDERS_SHIFT,
    OUT_BEGIN,
    fold_both_at,
    fold_levels_at,
    words_at,
)
from tickplant.books.fold_kernels import OUT as BBO_OUT
from tickplant.derive import bar_kernels, trade_bar_kernels, value_memory
from tickplant.engine.message_kernels import DONE as SENT
from tickplant.kernel_calls import invoke, pointer
from tickplant.kernels import array_at, borrowed, direct, inlined, kernel, noted
from tickplant.records.fanout import survey
from tickplant.records.layouts import BBO, Schema
from tickplant.records.tick_arrays import SCATTERED_TICKS, is_packed

Records = NDArray[np.void]
Words = NDArray[np.int64]

SCHEMAS: Final = (Schema.BBO, Schema.BAR, Schema.TRADE_BAR, Schema.VALUE)
"""The schemas that a feed derives, in the order of `registry.STREAMS`; each is a *stage*."""
STAGES: Final = len(SCHEMAS)

# Words of one feed's memory.
SEEN: Final = 0
"""Two words, see `kernels.noted`: whether the feed has had ticks of an instrument, by instrument id."""
KNOWN, DUE_NS, HIGHEST, ROOM, STREAM, STATE, PUBLISH, ORDERS = range(2, 10)
"""The instrument id up to which there is room, 0 while this memory is out of date; the time of receipt from which the
state is due; the instrument id and the number of ticks up to which the publisher has room, its two memories and its
kernel; the memory of the books of orders, 0 if there are none."""
ADDRESSES: Final = 10
"""Address of each stage's memory; or NOT_WANTED; or BY_ITSELF if this kernel cannot run it or any later stage."""
KERNELS: Final = ADDRESSES + STAGES
"""The kernel of each stage; see `kernel_calls.invoke`."""
SCRATCH: Final = KERNELS + STAGES
"""Address of `value_memory.WORDS` words of scratch."""
SENT_OR_WHY: Final = SCRATCH + 1
RESULTS: Final = SENT_OR_WHY + 1
"""What publishing and each stage's kernel returned; NOT_RUN if a kernel was not called."""
WORDS: Final = RESULTS + STAGES

NOT_WANTED: Final = 0
BY_ITSELF: Final = -1
NOT_RUN: Final = -(2**63)

# What `take` returns.
DONE: Final = 0
STARTED: Final = 1
"""At least partly published: Python does the rest, according to SENT_OR_WHY and RESULTS."""
NOTHING_DONE: Final = 2

_WORD: Final = np.dtype(np.int64)
_MARK: Final = np.dtype(np.bool_)
_BBO_BYTES: Final = BBO.itemsize
_BESTS, _BARS, _RULE_BARS, _VALUES = range(STAGES)


@inlined
def _out_begin(address: int) -> Any:
    """Where books write their next best bids and offers."""
    memory = words_at(address)
    return memory[BBO_OUT] + _BBO_BYTES * memory[OUT_BEGIN]


@inlined
def _fold_books(ticks: Any, memory: Words, values: Words) -> Any:
    """Call the books' kernel, and note for the values' kernel what it has made. Returns how many records, or -1."""
    levels, orders = memory[ADDRESSES], memory[ORDERS]
    begin, end = _out_begin(levels), 0
    if orders == 0:
        said = invoke(memory[KERNELS], (ticks, levels))
        end = _out_begin(levels)
        stopped = said < 0 or said >= HAS_ORDERS
    else:
        begin_orders = _out_begin(orders)
        said = invoke(memory[KERNELS], (ticks, orders))
        end = _out_begin(levels)
        of_levels, of_orders = said & OF_LEVELS, said >> ORDERS_SHIFT
        if of_orders > 0:
            begin, end = begin_orders, _out_begin(orders)
        stopped = said < 0 or (of_levels > 0 and of_orders > 0)
    memory[RESULTS] = said
    if stopped:
        return -1
    made = (end - begin) // _BBO_BYTES
    values[value_memory.BESTS], values[value_memory.BESTS + 1] = begin, made
    return made


@inlined
def _derive(ticks: Any, memory: Words) -> Any:
    """Call the kernels of all stages. Returns whether all have run and none has made a record."""
    addresses = memory[ADDRESSES : ADDRESSES + STAGES]
    if addresses[_BESTS] == BY_ITSELF:
        return False
    # If no values are wanted, the notes for them go to the scratch.
    values_at = addresses[_VALUES] if addresses[_VALUES] > 0 else memory[SCRATCH]
    values = array_at(values_at, (value_memory.WORDS,), _WORD)
    made = _fold_books(ticks, memory, values)
    if made < 0:
        return False
    for stage in (_BARS, _RULE_BARS):
        if addresses[stage] == NOT_WANTED:
            continue
        if addresses[stage] == BY_ITSELF:
            return False
        written = invoke(memory[KERNELS + stage], (ticks, addresses[stage]))
        memory[RESULTS + stage] = written
        if written < 0:
            return False
        made += written
        place = value_memory.BARS if stage == _BARS else value_memory.RULE_BARS
        out = bar_kernels.OUT if stage == _BARS else trade_bar_kernels.OUT
        values[place], values[place + 1] = array_at(addresses[stage], (out + 1,), _WORD)[out], written
    if addresses[_VALUES] == BY_ITSELF:
        return False
    if addresses[_VALUES] == NOT_WANTED:
        return made == 0
    written = invoke(memory[KERNELS + _VALUES], (ticks, addresses[_VALUES]))
    memory[RESULTS + _VALUES] = written
    return made == 0 and written == 0


@kernel
def take(ticks: Any, address: int, origin: int, now_ns: int) -> int:
    """Process a batch of TICK records in the memory at `address`.

    Args:
        ticks: shape (n,).
        address: see WORDS.
        origin: number of the ticks' origin; see `message_kernels.publish`.
        now_ns: time of publication, ns since 1970.

    Returns:
        DONE, STARTED or NOTHING_DONE.
    """
    memory = array_at(address, (WORDS,), _WORD)
    ticks = borrowed(ticks)
    count = len(ticks)
    if memory[KNOWN] == 0 or count == 0 or count > memory[ROOM] or not is_packed(ticks):
        return NOTHING_DONE
    lowest, highest, latest_ns = survey(ticks, noted(memory, SEEN, _MARK))
    if lowest == 0 or highest > min(memory[KNOWN], memory[HIGHEST]) or latest_ns >= memory[DUE_NS]:
        return NOTHING_DONE
    memory[RESULTS : RESULTS + STAGES] = NOT_RUN
    sent = invoke(memory[PUBLISH], (ticks, memory[STREAM], memory[STATE], origin, np.int64(0), now_ns))
    memory[SENT_OR_WHY] = sent
    if sent != SENT:
        return STARTED
    nothing_made: bool = _derive(ticks, memory)
    # Books of orders may have news, which Python logs.
    return DONE if nothing_made and memory[ORDERS] == 0 else STARTED


def prepared() -> Callable[[Records, int, int, int], int]:
    """The machine code of `take`."""
    return direct(take, SCATTERED_TICKS, 0, 0, 0)


def warm_up() -> None:
    """Compile, or load, `take`, and the kernels of books that only `take` calls."""
    prepared()
    for fold in (fold_levels_at, fold_both_at):
        pointer(fold, SCATTERED_TICKS, 0)
