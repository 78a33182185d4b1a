"""The kernel that builds time bars, and the layout of its state.

The rule is described in `layouts.BAR` and, executable, in `books.plain_books.PlainBars`. All state is data, so batches
may be cut anywhere.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import array_at, kernel
from tickplant.records.layouts import BAR, Flag, Kind, Side
from tickplant.records.tick_arrays import packed

Records = NDArray[np.void]

MAX_VOLUME: Final = 2**63 - 1
NEVER: Final = 2**63 - 1

# Positions in `tally`.
BARS: Final = 0
LATE: Final = 1  # trades counted in a bar that begins after them
UNTIMED: Final = 2  # trades without a venue time, which belong to no bar
TALLY: Final = ("bars", "trades_late", "trades_untimed")

# Words of a memory: addresses and lengths of the arrays of `apply_ticks`, and how far a batch has been folded.
INTERVALS, LENGTHS, OPEN_BARS, ROWS, CLOSED, NEXT_END, OUT, OUT_ROWS, TALLY_AT, POSITION = range(10)
MEMORY_WORDS: Final = 10

_WORD: Final = np.dtype(np.int64)
_TRADE: Final = int(Kind.TRADE)
_BUY: Final = int(Side.BUY)
_BACKFILL: Final = int(Flag.BACKFILL)
_LATE: Final = int(Flag.LATE)
_OVERFLOW: Final = int(Flag.OVERFLOW)


@kernel
def apply_ticks(
    ticks: Records,
    position: int,
    intervals_s: NDArray[np.int64],
    bars: Records,
    closed_until: NDArray[np.int64],
    next_end: NDArray[np.int64],
    out: Records,
    tally: NDArray[np.int64],
) -> tuple[int, int]:
    """Fold `ticks[position:]` into the bars and write each bar that closes.

    Args:
        ticks: TICK records in stored order.
        position: index of the first tick to take.
        intervals_s: lengths of the bars, seconds.
        bars: BAR by instrument id and interval; `trades` is 0 if no bar is open.
        closed_until: by instrument id and interval, end of the last closed bar, ns.
        next_end: by instrument id, the earliest end of its open bars, ns; `NEVER` if none is open.
        out: BAR records to fill; at least one per interval.
        tally: counters, see `TALLY`.

    Returns:
        The position reached, and the number of BAR records written. The kernel stops early when `out` is full, and at
        an instrument for which `bars` has no room.
    """
    written = 0
    for i in range(position, len(ticks)):
        tick = ticks[i]
        ts_event = tick["ts_event"]
        instrument = tick["instrument"]
        if instrument >= len(bars):
            return i, written
        trade = tick["kind"] == _TRADE and not tick["flags"] & _BACKFILL
        if ts_event <= 0:
            if trade:
                tally[UNTIMED] += 1
            continue
        if ts_event >= next_end[instrument]:
            if written + len(intervals_s) > len(out):
                return i, written
            next_end[instrument] = NEVER
            for j in range(len(intervals_s)):
                bar = bars[instrument, j]
                if bar["trades"] == 0:
                    continue
                if ts_event < bar["ts_event"]:
                    next_end[instrument] = min(next_end[instrument], bar["ts_event"])
                    continue
                bar["ts_recv"] = tick["ts_recv"]
                bar["source_seq"] = tick["seq"]
                out[written] = bar
                written += 1
                tally[BARS] += 1
                closed_until[instrument, j] = bar["ts_event"]
                bar["trades"] = 0
        if not trade:
            continue
        price = tick["price"]
        size = tick["size"]
        for j in range(len(intervals_s)):
            bar = bars[instrument, j]
            if bar["trades"] == 0:
                interval_ns = intervals_s[j] * 1_000_000_000
                start = max(ts_event // interval_ns * interval_ns, closed_until[instrument, j])
                bar["ts_event"] = start + interval_ns
                bar["ts_open"] = start
                bar["open"] = price
                bar["high"] = price
                bar["low"] = price
                bar["volume"] = 0
                bar["buy_volume"] = 0
                bar["interval_s"] = intervals_s[j]
                bar["instrument"] = instrument
                bar["flags"] = 0
                next_end[instrument] = min(next_end[instrument], start + interval_ns)
            if ts_event < bar["ts_open"]:
                bar["flags"] |= _LATE
                tally[LATE] += 1
            bar["high"] = max(bar["high"], price)
            bar["low"] = min(bar["low"], price)
            bar["close"] = price
            bar["trades"] += 1
            if bar["volume"] > MAX_VOLUME - size:
                bar["volume"] = MAX_VOLUME
                bar["flags"] |= _OVERFLOW
            else:
                bar["volume"] += size
            if tick["side"] == _BUY:
                if bar["buy_volume"] > MAX_VOLUME - size:
                    bar["buy_volume"] = MAX_VOLUME
                    bar["flags"] |= _OVERFLOW
                else:
                    bar["buy_volume"] += size
    return len(ticks), written


@kernel
def fold_ticks(ticks: Any, address: int) -> int:
    """`apply_ticks` in the memory at `address`, from the position in the memory on.

    The ticks are contiguous.

    Returns:
        The number n of BAR records written, or, if the kernel stopped early, -1 - n.
    """
    memory = array_at(address, (MEMORY_WORDS,), _WORD)
    lengths, rows = memory[LENGTHS], memory[ROWS]
    position, written = apply_ticks(
        packed(ticks),
        memory[POSITION],
        array_at(memory[INTERVALS], (lengths,), _WORD),
        array_at(memory[OPEN_BARS], (rows, lengths), BAR),
        array_at(memory[CLOSED], (rows, lengths), _WORD),
        array_at(memory[NEXT_END], (rows,), _WORD),
        array_at(memory[OUT], (memory[OUT_ROWS],), BAR),
        array_at(memory[TALLY_AT], (len(TALLY),), _WORD),
    )
    if position < len(ticks):
        memory[POSITION] = position
        return -1 - written
    memory[POSITION] = 0
    return written
