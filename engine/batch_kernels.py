"""The kernel that deals with a batch in one call: surveyed, published, folded into books, bars and values.

Most batches of a few ticks need nothing of Python, and a call of each kernel by itself costs more than what it does to
a tick. The kernel stops where Python is needed and notes what it has done; the rest goes on step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_states import SCATTERED_TICKS
from tickplant.books.fold_kernels import (
    HAS_ORDERS,
    OUT_BEGIN,
    SAID_LEVELS,
    SAID_ORDERS,
    fold_both,
    fold_levels,
    is_packed,
    memory_at,
    packed,
)
from tickplant.books.fold_kernels import OUT as BBO_OUT
from tickplant.derive import bar_kernels, trade_bar_kernels
from tickplant.derive.bar_kernels import fold_ticks
from tickplant.derive.trade_bar_kernels import fold_trades
from tickplant.derive.value_memory import run_all, run_trades
from tickplant.engine.message_kernels import DONE as SENT
from tickplant.engine.message_kernels import publish_at
from tickplant.kernels import array_at, borrowed, direct, inlined, kernel, noted
from tickplant.records.fanout import survey
from tickplant.records.layouts import BAR, BBO, TRADE_BAR, Schema

Records = NDArray[np.void]
Words = NDArray[np.int64]

SCHEMAS: Final = (Schema.BBO, Schema.BAR, Schema.TRADE_BAR, Schema.VALUE)
"""What a feed derives, in the order of `registry.STREAMS`: a *stage* each."""
STAGES: Final = len(SCHEMAS)

# Words of a memory, of one feed.
SEEN: Final = 0
"""Two words, see `kernels.noted`: by instrument id, whether the feed has had ticks of it."""
KNOWN, DUE_NS, HIGHEST, ROOM, STREAM, STATE, ORDERS = range(2, 9)
"""Instrument id up to which everybody has room, 0 while this memory is not noted; time of receipt from which the state
is due; id and number of ticks that the publisher has room for, and its two memories; the memory of books of orders, 0
where there are none."""
ADDRESSES: Final = 9
"""Of the memory of each stage; NOT_WANTED, or BY_ITSELF where it and what is behind is not for this kernel."""
SENT_OR_WHY: Final = ADDRESSES + STAGES
RESULTS: Final = SENT_OR_WHY + 1
"""What publishing and the kernel of each stage have returned; NOT_RUN where it was not called."""
WORDS: Final = RESULTS + STAGES

NOT_WANTED: Final = 0
BY_ITSELF: Final = -1
NOT_RUN: Final = -(2**63)

# What `take` returns.
DONE: Final = 0
STARTED: Final = 1
"""Published, or begun to be: the rest is for Python, as SENT_OR_WHY and RESULTS say."""
NOTHING_DONE: Final = 2

_WORD: Final = np.dtype(np.int64)
_MARK: Final = np.dtype(np.bool_)
_BBO_BYTES: Final = BBO.itemsize
_BESTS, _BARS, _RULE_BARS, _VALUES = range(STAGES)


@inlined
def _out_begin(address: int) -> Any:
    """Where books write their next best bids and offers."""
    memory = memory_at(address)
    return memory[BBO_OUT] + _BBO_BYTES * memory[OUT_BEGIN]


@inlined
def _derive(ticks: Any, records: Any, memory: Words) -> Any:
    """Call the kernels of all stages. Returns whether all of them have run, and have made nothing."""
    results = memory[RESULTS : RESULTS + STAGES]
    addresses = memory[ADDRESSES : ADDRESSES + STAGES]
    results[:] = NOT_RUN
    if addresses[_BESTS] == BY_ITSELF:
        return False
    levels, orders = addresses[_BESTS], memory[ORDERS]
    begin, end = _out_begin(levels), 0
    if orders:
        begin_orders = _out_begin(orders)
        said = fold_both(ticks, orders)
        results[_BESTS] = said
        end = _out_begin(levels)
        if said == SAID_ORDERS:
            begin, end = begin_orders, _out_begin(orders)
        elif said not in (0, SAID_LEVELS):
            return False
    else:
        said = fold_levels(ticks, levels)
        results[_BESTS] = said
        end = _out_begin(levels)
        if said < 0 or said >= HAS_ORDERS:
            return False
    bests = (end - begin) // _BBO_BYTES
    bars, bars_at, rule_bars, rule_bars_at = 0, 0, 0, 0
    if addresses[_BARS] == BY_ITSELF:
        return False
    if addresses[_BARS] != NOT_WANTED:
        bars = fold_ticks(records, addresses[_BARS])
        results[_BARS] = bars
        if bars < 0:
            return False
        bars_at = array_at(addresses[_BARS], (bar_kernels.MEMORY_WORDS,), _WORD)[bar_kernels.OUT]
    if addresses[_RULE_BARS] == BY_ITSELF:
        return False
    if addresses[_RULE_BARS] != NOT_WANTED:
        rule_bars = fold_trades(records, addresses[_RULE_BARS])
        results[_RULE_BARS] = rule_bars
        if rule_bars < 0:
            return False
        rule_bars_at = array_at(addresses[_RULE_BARS], (trade_bar_kernels.MEMORY_WORDS,), _WORD)[trade_bar_kernels.OUT]
    made = bests + bars + rule_bars
    if addresses[_VALUES] == BY_ITSELF:
        return False
    if addresses[_VALUES] == NOT_WANTED:
        return made == 0
    if made == 0:
        values = run_trades(ticks, addresses[_VALUES])
    else:
        values = run_all(
            ticks,
            array_at(begin, (bests,), BBO),
            array_at(bars_at, (bars,), BAR),
            array_at(rule_bars_at, (rule_bars,), TRADE_BAR),
            addresses[_VALUES],
        )
    results[_VALUES] = values
    return made == 0 and values == 0


@kernel
def take(ticks: Any, address: int, origin: int, now_ns: int) -> int:
    """Deal with a batch of TICK records in the memory at `address`.

    Args:
        ticks: shape (n,).
        address: see WORDS.
        origin: number of whose stream these are, see `message_kernels.publish`.
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
    records = packed(ticks)
    sent = publish_at(records.ctypes.data, count, memory[STREAM], memory[STATE], origin, False, now_ns)
    memory[SENT_OR_WHY] = sent
    if sent != SENT:
        memory[RESULTS : RESULTS + STAGES] = NOT_RUN
        return STARTED
    nothing_made: bool = _derive(ticks, records, memory)
    # Of orders there may be news, which Python tells.
    return DONE if nothing_made and not memory[ORDERS] else STARTED


def prepared() -> Callable[[Records, int, int, int], int]:
    """The machine code of `take`."""
    return direct(take, SCATTERED_TICKS, 0, 0, 0)
