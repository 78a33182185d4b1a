"""The controls of a replay, like those of a tape: pause, speed, position and loop."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Flag
from tickplant.runtime.control import Playback
from tickplant.store.pacing import Pacer, Speed

SPEEDS: Final = (1e-3, 1e6)


class Tape:
    """Says how many records are due, and where to continue.

    Args:
        speed: a multiple of real time, or max.
        paused: start paused, before the first record.
        loop: start again at the end.
    """

    def __init__(self, speed: Speed, *, paused: bool = False, loop: bool = False) -> None:
        self.speed: Speed = speed
        self.paused = paused
        self.loop = loop
        self.time_ns: int | None = None  # of the last record that was due
        self.sought: int | None = None  # the time to continue at; None: after `time_ns`
        self._steps = 0
        self._pacer = Pacer(speed)

    def hear(self, message: Playback) -> None:
        """Apply a command."""
        if message.paused is not None:
            self.paused, self._steps = message.paused, 0
        if message.loop is not None:
            self.loop = message.loop
        if message.step > 0:
            self.paused = True
            self._steps += message.step
        if message.speed is not None:
            self.speed = message.speed if message.speed == "max" else _bounded(message.speed)
        if message.faster > 0:
            self.speed = _bounded((1.0 if self.speed == "max" else self.speed) * message.faster)
        if message.seek_ns is not None:
            self.sought = message.seek_ns
        elif message.skip_ns and self.time_ns is not None:
            self.sought = (self.time_ns if self.sought is None else self.sought) + message.skip_ns
        self._pacer = Pacer(self.speed)

    def take_sought(self) -> int | None:
        """The time that was sought, if any; returned only once."""
        sought, self.sought = self.sought, None
        self._pacer = Pacer(self.speed)
        return sought

    def due(self, times: NDArray[np.int64], flags: NDArray[np.uint16]) -> int:
        """How many of these records may pass now: 0 if none may, or if another time is sought.

        Args:
            times: times of the records, in order.
            flags: flags of the records: a step is one event, up to its LAST.
        """
        if self.sought is not None:
            return 0
        if not self.paused:
            return self._pacer.due(times)
        if not self._steps:
            return 0
        ends = np.flatnonzero(flags & Flag.LAST)[: self._steps]
        self._steps -= len(ends)
        whole = len(ends) and not self._steps
        return int(ends[-1]) + 1 if whole else len(times)

    def wait_s(self, time_ns: int) -> float:
        """How long until a record of this time is due: infinite while paused, 0 if another time is sought."""
        if self.sought is not None:
            return 0.0
        return float("inf") if self.paused else self._pacer.wait_s(time_ns)


def _bounded(speed: float) -> float:
    low, high = SPEEDS
    return min(max(speed, low), high)
