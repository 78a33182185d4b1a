"""Time bars of many instruments: apply ticks, get the bars that close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive import bar_kernels as k
from tickplant.kernels import direct
from tickplant.records.arrays import grown, joined
from tickplant.records.layouts import BAR, TICK
from tickplant.records.tick_arrays import SCATTERED_TICKS

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, BAR)  # creating one costs as much as running a kernel
_STRIDES: Final = (TICK.itemsize,)


class Bars:
    """Bars of one stream of ticks, several lengths at once. The output depends only on the ticks, not on batches.

    A trade counts in the bar that contains its `ts_event`. A bar closes, and is returned, when a record of its
    instrument arrives with `ts_event` at or after the bar's end. A bar still open when the stream ends is not returned,
    so a replay ends as the live stream did. A trade older than the open bar counts in the open bar, with flag LATE. If
    no bar is open, a trade older than the end of the last closed bar begins the bar after that one, also with LATE.
    Trades fetched later (BACKFILL) or without venue time count in no bar.
    """

    def __init__(self, intervals_s: Sequence[int]) -> None:
        if len(set(intervals_s)) < len(intervals_s) or any(interval < 1 for interval in intervals_s):
            raise ValueError(f"bar lengths {tuple(intervals_s)}: must be distinct whole seconds")
        self.intervals_s = tuple(intervals_s)
        self._intervals_s = np.array(self.intervals_s, np.int64)
        self._bars = np.zeros((0, len(intervals_s)), BAR)
        self._closed_until = np.zeros((0, len(intervals_s)), np.int64)
        self._next_end = np.zeros(0, np.int64)
        self._out = np.zeros(max(1024, len(intervals_s)), BAR)
        self._tally = np.zeros(len(k.TALLY), np.int64)
        self._memory = np.zeros(k.MEMORY_WORDS, np.int64)
        self.address: int = self._memory.ctypes.data
        """Address of the memory that `bar_kernels.fold_ticks` works in."""
        self.reserve(63)

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name; see `bar_kernels.TALLY`."""
        return dict(zip(k.TALLY, self._tally.tolist(), strict=True))

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one. Ids count from 1, so memory grows with the instrument table."""
        old = len(self._bars)
        if instrument_id < old:
            return
        new = 1 << instrument_id.bit_length()
        self._bars = grown(self._bars, new)
        self._closed_until = grown(self._closed_until, new)
        self._next_end = grown(self._next_end, new)
        self._next_end[old:] = k.NEVER
        self._note_addresses()

    def _note_addresses(self) -> None:
        """Tell the kernel where the arrays are now."""
        memory = self._memory
        memory[[k.INTERVALS, k.LENGTHS]] = self._intervals_s.ctypes.data, len(self._intervals_s)
        memory[[k.OPEN_BARS, k.ROWS]] = self._bars.ctypes.data, len(self._bars)
        memory[[k.CLOSED, k.NEXT_END]] = self._closed_until.ctypes.data, self._next_end.ctypes.data
        memory[[k.OUT, k.OUT_ROWS, k.TALLY_AT]] = self._out.ctypes.data, len(self._out), self._tally.ctypes.data

    def apply(self, ticks: Records) -> Records:
        """Fold TICK records, in stored order, into the bars; returns the BAR records that close, with `seq` 0.

        Bars that one tick closes come in the order of `intervals_s`.
        """
        if not len(ticks) or not self.intervals_s:
            return _NOTHING
        if ticks.strides != _STRIDES:
            ticks = np.ascontiguousarray(ticks)  # the kernel is compiled for this type
        return self.finish(ticks, self._fold(ticks, self.address))

    def finish(self, ticks: Records, result: int) -> Records:
        """Make the room that the kernel stopped for, `result`, until it has taken all ticks. Returns the bars."""
        if result == 0:
            return _NOTHING
        parts = []
        while result < 0:
            parts.append(joined([self._out[: -1 - result]], BAR))
            self.reserve(int(ticks[self._memory[k.POSITION]]["instrument"]))
            result = self._fold(ticks, self.address)
        return joined([*parts, self._out[:result]], BAR)

    @cached_property
    def _fold(self) -> Callable[[Records, int], int]:
        return direct(k.fold_ticks, SCATTERED_TICKS, 0)

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """See `derivation.Folded`."""
        return k.fold_ticks
