"""The writing end of a ring, made by `Ring.producer`."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import RingError
from tickplant.kernels import ANY_RECORDS, direct
from tickplant.shm import calls, protocol
from tickplant.shm.atomics import Words
from tickplant.shm.doorbell import Bells
from tickplant.shm.layout import CURSOR, DROPPED, FULL_WAITS
from tickplant.shm.protocol import COUNT_BITS
from tickplant.shm.segment import Lock

COUNT_MASK: Final = (1 << COUNT_BITS) - 1

FULL_TURNS: Final = 64  # looks for room, without sleeping, before the first pause
FIRST_PAUSE_S: Final = 20e-6
LONGEST_PAUSE_S: Final = 1e-3
TURN_S: Final = 0.1  # wait without room, before the publisher must attend to something else


class Producer:
    """The one producer of a ring, for as long as it holds the lock. Not thread-safe."""

    def __init__(self, name: str, dtype: np.dtype[np.void], words: Words, bells: Bells, lock: Lock) -> None:
        self.name = name
        self._dtype = dtype
        self._words = words
        self._place, self._size = calls.place_of(words), len(words)
        self._publish = direct(calls.publish_at, 0, 0, ANY_RECORDS, 0, 0)
        self._strides = (dtype.itemsize,)
        self._bells = bells
        self._lock: Lock | None = lock

    @property
    def position(self) -> int:
        """Position of the next record to be published."""
        return self._words.item(CURSOR)

    def room(self) -> int:
        """How many records can be published now without waiting: a lower bound, since consumers keep freeing room."""
        return int(protocol.room(self._words))

    def publish(self, records: NDArray[np.void], *, timeout_s: float | None = None) -> int:
        """Append records, in order, unchanged; returns how many of them were published, always the first ones.

        Args:
            records: shape (n,), of the ring's dtype; n may exceed the capacity.
            timeout_s: how long to wait in all when the ring is full of records that gating consumers, dead or alive,
                still need. 0 never waits, None waits for ever. The caller keeps the records that were not published: it
                may retry them, or give them up with `drop`.

        Raises:
            RingError: the records have another dtype, or this producer is closed.
        """
        count = len(records)
        if count == 0:
            return 0
        if records.dtype != self._dtype:
            raise RingError(f"records of {records.dtype} do not fit it: it holds {self._dtype}", segment=self.name)
        if records.strides != self._strides:
            records = self._in_one_piece(records)
        # Nearly always one step does it all. A call of `publish_words` here would cost as much as the kernel.
        if self._lock is None:
            raise self._closed()
        outcome = self._publish(self._place, self._size, records, count, 0)
        return outcome if outcome == count else self._go_on(records, outcome, count, timeout_s)

    def publish_words(self, source: Words, count: int, *, timeout_s: float | None = 0.0) -> int:
        """As `publish`, for `count` records as words: flat, contiguous, of this ring's dtype. Nothing is checked."""
        if self._lock is None:
            raise self._closed()
        outcome = self._publish(self._place, self._size, source, count, 0)
        return outcome if outcome == count else self._go_on(source, outcome, count, timeout_s)

    def _go_on(self, source: calls.Records, outcome: int, count: int, timeout_s: float | None) -> int:
        """Ring the consumers that the first step found asleep, and publish what that step left over."""
        done = 0
        while outcome:
            if outcome > COUNT_MASK:
                self._bells.ring(outcome >> COUNT_BITS)
            done += outcome & COUNT_MASK
            if done == count:
                return done
            outcome = self._publish(self._place, self._size, source, count, done)
        return self._publish_slowly(source, done, count, timeout_s)

    def _publish_slowly(self, source: calls.Records, done: int, count: int, timeout_s: float | None) -> int:
        """Publish the rest as room appears, without burning a core, until all is done or time is up."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        protocol.count_up(self._words, FULL_WAITS, 1)
        turns, pause_s = FULL_TURNS, FIRST_PAUSE_S
        while done < count:
            outcome = self._publish(self._place, self._size, source, count, done)
            if outcome:
                done += outcome & COUNT_MASK
                self._bells.ring(outcome >> COUNT_BITS)
                turns, pause_s = FULL_TURNS, FIRST_PAUSE_S
            elif deadline_s is not None and time.monotonic() >= deadline_s:
                break
            elif turns > 0:
                turns -= 1
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return done

    def publish_all(
        self, records: NDArray[np.void], while_waiting: Callable[[int], object], *, patience_s: float = float("inf")
    ) -> int:
        """Append records, however long that takes; returns how many, which is all of them unless patience ends.

        Args:
            records: as for `publish`.
            while_waiting: called every TURN_S with the number of records left. An exception from it ends this call, and
                the rest is lost.
            patience_s: how long to wait for readers that free no room at all.

        Raises:
            RingError: as `publish`.
        """
        done = self.publish(records, timeout_s=TURN_S)
        waited_s = 0.0  # in our own turns: a process that was suspended must not blame the readers for that time
        while done < len(records) and waited_s < patience_s:
            while_waiting(len(records) - done)
            more = self.publish(records[done:], timeout_s=TURN_S)
            waited_s = 0.0 if more else waited_s + TURN_S
            done += more
        return done

    def drop(self, count: int) -> None:
        """Count records that were given up for lack of room; `Ring.statistics` shows the count."""
        protocol.count_up(self._words, DROPPED, count)

    def close(self) -> None:
        """Stop being the producer; the next producer continues from here. Idempotent."""
        if self._lock is not None:
            self._bells.close()
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _in_one_piece(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """The records, copied if they are a strided or reversed view."""
        if records.ndim != 1:
            raise RingError(f"records of shape {records.shape} do not fit it: it takes one row", segment=self.name)
        return np.ascontiguousarray(records)

    def _closed(self) -> RingError:
        return RingError("its producer is closed", segment=self.name)
