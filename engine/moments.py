"""Scheduled storing of state, checkpoints of books and states of indicators: when and how."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.shm.ring import Ring

Records = NDArray[np.void]

NEVER: Final = 2**63 - 1


class Schedule:
    """When a feed's state is due: before the first tick that was received in a later period than all earlier ticks.

    So every tick in a checkpoint was received before the tick that the checkpoint names: at any later time, the
    checkpoint stands for all of them. Periods are counted from the epoch, so each full hour begins a period.
    """

    def __init__(self, period_s: int) -> None:
        self._period_ns = period_s * 10**9
        self._due_ns = 0  # 0: no tick has come yet

    @property
    def due_ns(self) -> int:
        """Time of receipt from which the state is due; NEVER if no state is stored."""
        return self._due_ns if self._period_ns else NEVER

    def due(self, ticks: Records, latest_ns: int) -> int:
        """Index of the first tick before which the state is due, or `len(ticks)`. Then schedule the next time.

        None of the ticks was received after `latest_ns`.
        """
        if not self._period_ns or not len(ticks) or latest_ns < self._due_ns:  # nearly always
            return len(ticks)
        times = ticks["ts_recv"]
        if not self._due_ns:
            self._due_ns = self._next(times[0])
        if times.max() < self._due_ns:
            return len(ticks)
        place = int((times >= self._due_ns).argmax())
        self._due_ns = self._next(times[place])
        return place

    def skip(self, ticks: Records) -> None:
        """Skip ticks during which no state is stored."""
        if self._period_ns and len(ticks):
            self._due_ns = max(self._due_ns, self._next(ticks["ts_recv"].max()))

    def _next(self, time_ns: np.int64) -> int:
        return (int(time_ns) // self._period_ns + 1) * self._period_ns


class MomentOutput:
    """Stores scheduled records of state. Records without room in the ring wait; at most one copy of the state waits.

    A live engine never waits for the writer: parts that still wait when the next ones are due are dropped and counted,
    each as a whole. An engine whose source can wait, waits.
    """

    def __init__(self, ring: Ring, *, lossless: bool, while_waiting: Callable[[], None]) -> None:
        self.stored = 0
        self.dropped = 0
        self._lossless = lossless
        self._while_waiting = while_waiting
        self._producer = ring.producer()
        self.waiting: deque[Records] = deque()  # what `flush` may store
        self._begun = False  # whether a part of the first one is in the ring

    def store(self, parts: Iterable[Records]) -> None:
        """Store what is due now."""
        while len(self.waiting) > self._begun:
            self.waiting.pop()
            self.dropped += 1
        for records in parts:
            self.waiting.append(records)
            self.flush()

    def flush(self) -> None:
        """Store as much of what waits as there is room for, or all if the source can wait."""
        while self.waiting:
            records = self.waiting[0]
            first = self._producer.position
            records["seq"] = np.arange(first, first + len(records), dtype=np.uint64)
            if self._lossless:
                done = self._producer.publish_all(records, lambda _: self._while_waiting())
            else:
                done = self._producer.publish(records, timeout_s=0)
            if done:
                self._begun = done < len(records)
            if done < len(records):
                self.waiting[0] = records[done:]
                return
            self.waiting.popleft()
            self.stored += 1

    def close(self) -> None:
        """Release the ring's producer."""
        self._producer.close()
