"""When stored records are due in a replay: their original intervals, divided by a speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Speed = float | Literal["max"]


class Pacer:
    """Says when records are due: at the intervals of their receive times, divided by the speed."""

    def __init__(self, speed: Speed, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._clock = clock
        self._first_ns: int | None = None
        self._started_s = 0.0

    def due(self, times: NDArray[np.int64]) -> int:
        """How many of these receive times, in order, are due. The first time ever given is due at once."""
        if self._speed == "max":
            return len(times)
        if self._first_ns is None:
            self._first_ns, self._started_s = int(times[0]), self._clock()
        played_ns = int((self._clock() - self._started_s) * 1e9 * self._speed)
        return int(np.searchsorted(times, self._first_ns + played_ns, side="right"))

    def wait_s(self, time_ns: int) -> float:
        """How long until a receive time is due; 0 if it already is."""
        if self._speed == "max" or self._first_ns is None:
            return 0.0
        due_s = self._started_s + (time_ns - self._first_ns) / 1e9 / self._speed
        return max(0.0, due_s - self._clock())
