"""How a replay plays: paused or not, at which speed, from where on, again and again. It has the controls of a tape."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Flag
from tickplant.runtime.control import Playback
from tickplant.store.pacing import Pacer, Speed

SPEEDS: Final = (1e-3, 1e6)


class Tape:
    """Says how many records are due, and where to go on.

    Args:
        speed: times real time, or max.
        paused: before the first record.
        loop: begin again at the end.
    """

    def __init__(self, speed: Speed, *, paused: bool = False, loop: bool = False) -> None:
        self.speed: Speed = speed
        self.paused = paused
        self.loop = loop
        self.time_ns: int | None = None  # of the last record that was due
        self.sought: int | None = None  # where to go on, instead of behind it
        self._steps = 0
        self._pacer = Pacer(speed)

    def hear(self, message: Playback) -> None:
        """Do what is asked for."""
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
        """Where to go on, once."""
        sought, self.sought = self.sought, None
        self._pacer = Pacer(self.speed)
        return sought

    def due(self, times: NDArray[np.int64], flags: NDArray[np.uint16]) -> int:
        """How many of these records may pass now: 0 where none may, or another place is sought.

        Args:
            times: of the records, in order.
            flags: of the records: a step is an event, up to its LAST.
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
        """How long until a record of this time is due: for ever while paused, and not at all where a time is sought."""
        if self.sought is not None:
            return 0.0
        return float("inf") if self.paused else self._pacer.wait_s(time_ns)


def _bounded(speed: float) -> float:
    low, high = SPEEDS
    return min(max(speed, low), high)
