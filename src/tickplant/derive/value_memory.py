"""Runs all series over a batch in one kernel call: the memory, given by address, that `value_kernels` works in.

Only ticks are passed as an array. Everything else is noted in a *memory*, an array of words owned by a stream, whose
address the kernel is given; see `kernels.noted`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.value_kernels import CHOSEN, LANE, RUN, SELECTION, SERIES, choose, run
from tickplant.kernels import array_at, inlined, kernel, noted
from tickplant.records.layouts import BAR, BBO, TRADE_BAR, VALUE
from tickplant.records.tick_arrays import is_packed, packed

Records = NDArray[np.void]

# Words of a memory, two for each array:
SELECTIONS, LANE_OF, UNITS, LANES, RUNS, TABLE, COLUMN_PLACES, PARAMETERS, STATES, KERNELS, CHOSEN_ROWS, BOUNDS = range(
    0, 24, 2
)
"""The arguments of `choose` and `run`. LANE_OF and UNITS are flat."""
BESTS, BARS, RULE_BARS = range(24, 30, 2)
"""Two words for each kind of records made by the ticks."""
FROM_SEQ, OUT, OUT_BEGIN, OUT_END, INSTRUMENT, SELECTED, NEEDED = range(30, 37)
"""See `choose`; VALUE records may be written to places OUT_BEGIN to OUT_END of the array at OUT; and what `run_all`
stopped for: the unknown instrument id and selection, and how much room is needed."""
WORDS: Final = 37

# Why `run_all` stopped.
UNKNOWN: Final = 1
ROWS_FULL: Final = 2
OUT_FULL: Final = 3
SCATTERED: Final = 4
FAILED: Final = 5
"""FAILED + place: the kernel of the series at this place raised."""

_WORD: Final = np.dtype(np.int64)
_FLOAT: Final = np.dtype(np.float64)
_LANE_TYPE: Final = np.dtype(np.int32)
_VALUE_BYTES: Final = VALUE.itemsize


@kernel
def run_all(ticks: Any, address: int) -> int:
    """`choose` and `run` over the ticks and the records noted in the memory at `address`.

    Returns:
        How many VALUE records were written; they end at OUT_BEGIN, and the memory then holds no records. Or minus the
        reason for stopping: called again with the same ticks and records once it has what it lacked, the kernel starts
        over.
    """
    if not is_packed(ticks):
        return -SCATTERED
    ticks = packed(ticks)
    memory = array_at(address, (WORDS,), _WORD)
    bests, bars, rule_bars = noted(memory, BESTS, BBO), noted(memory, BARS, BAR), noted(memory, RULE_BARS, TRADE_BAR)
    selections = noted(memory, SELECTIONS, SELECTION)
    lanes = noted(memory, LANES, LANE)
    ids = memory[UNITS + 1] // 2
    lane_of = array_at(memory[LANE_OF], (ids, len(selections)), _LANE_TYPE)
    chosen = noted(memory, CHOSEN_ROWS, CHOSEN)
    bounds = noted(memory, BOUNDS, _WORD)
    rows = len(ticks) + len(bests) + len(bars) + len(rule_bars)
    if rows > len(chosen):
        memory[NEEDED] = rows
        return -ROWS_FULL
    count, instrument, selection = choose(
        ticks, bests, bars, rule_bars, memory[FROM_SEQ], selections, lane_of, lanes, chosen, bounds
    )
    if instrument >= 0:
        memory[INSTRUMENT], memory[SELECTED] = instrument, selection
        return -UNKNOWN
    if count == 0:
        _forget(memory)
        return 0
    if memory[OUT_BEGIN] + count + 1 > memory[OUT_END]:
        memory[NEEDED] = count + 1
        return -OUT_FULL
    failed = run(
        ticks,
        bests,
        bars,
        rule_bars,
        chosen,
        bounds,
        lanes,
        noted(memory, RUNS, RUN),
        noted(memory, TABLE, SERIES),
        noted(memory, COLUMN_PLACES, _WORD),
        noted(memory, PARAMETERS, _FLOAT),
        noted(memory, STATES, _FLOAT),
        noted(memory, KERNELS, _WORD),
        array_at(memory[UNITS], (ids, 2), _FLOAT),
        array_at(memory[OUT] + _VALUE_BYTES * memory[OUT_BEGIN], (count + 1,), VALUE),
    )
    if failed >= 0:
        return -FAILED - failed
    memory[OUT_BEGIN] += count
    _forget(memory)
    return int(count)


@inlined
def _forget(memory: Any) -> None:
    """Forget the noted records, which belong to one batch."""
    memory[BESTS + 1] = 0
    memory[BARS + 1] = 0
    memory[RULE_BARS + 1] = 0
