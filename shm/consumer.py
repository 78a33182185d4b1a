"""The reading end of a ring, made by `Ring.consumer`."""

from __future__ import annotations

import math
import select
import sys
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import RingError
from tickplant.kernels import ANY_RECORDS, direct
from tickplant.shm import calls, layout, protocol
from tickplant.shm.atomics import WORD_BYTES, Words
from tickplant.shm.doorbell import Doorbell
from tickplant.shm.layout import CURSOR
from tickplant.shm.protocol import EVICTED
from tickplant.shm.segment import Lock
from tickplant.shm.view import Mode

SPIN_TURNS: Final = 500  # looks at the cursor before falling asleep: a few microseconds
KEPT_BYTES: Final = 64 << 10  # the largest buffer kept for reuse by later reads: it is still in the processor's caches

_WORD: Final = np.dtype(np.int64)


def _references() -> int:
    """The reference count that `Consumer.read` sees for an unused buffer.

    The references are those of the rows, an attribute, a local variable, and the call to `getrefcount`.
    """
    out = np.empty(1, _WORD)
    held = [out, np.ndarray(1, _WORD, out)]
    references = sys.getrefcount(out)
    del held
    return references


UNUSED: Final = _references()


class Consumer:
    """One consumer of a ring, for as long as it holds its lock. Not thread-safe.

    To wait for sockets as well, register `fileno()` for reading, and wrap each poll:
    `if consumer.prepare_wait(): poll(); consumer.finish_wait()`.
    """

    def __init__(
        self,
        name: str,
        dtype: np.dtype[np.void],
        words: Words,
        base: int,
        label: str,
        mode: Mode,
        doorbell: Doorbell,
        lock: Lock,
    ) -> None:
        self.name = name
        self.label = label
        self.mode = mode
        self.most_behind = 0  # the largest number of unread records found by any read
        self._dtype = dtype
        self._nothing = np.empty(0, dtype)
        self._record_words = dtype.itemsize // WORD_BYTES
        self._most_kept = KEPT_BYTES // dtype.itemsize
        # The buffers of the last two reads, as words and as records.
        self._older = self._newer = np.empty(0, _WORD)
        self._older_rows = self._newer_rows = np.ndarray(0, dtype, self._newer)
        self._words = words
        self._cells = memoryview(words.data)  # the fastest way to read a word from Python
        self._place, self._size = calls.place_of(words), len(words)
        self._read = direct(calls.read_at, 0, 0, ANY_RECORDS, 0, 0)
        self._commit = direct(protocol.commit, words, base, 0)
        self._spin = direct(protocol.spin, words, base, SPIN_TURNS)
        self._fall_asleep = direct(calls.fall_asleep_at, 0, 0, 0)
        self._wake_up = direct(calls.wake_up_at, 0, 0, 0)
        self._base = base
        self._next = base + layout.NEXT
        self._committed = base + layout.POSITION
        self._doorbell = doorbell
        self._poll = select.poll()
        self._poll.register(doorbell.fileno(), select.POLLIN)
        self._lock: Lock | None = lock

    @property
    def position(self) -> int:
        """Position of the next record to read."""
        return self._cells[self._next]

    @property
    def committed(self) -> int:
        """Gating: the producer may overwrite records below this position. Lossy: the consumer is done with those."""
        return self._cells[self._committed]

    @property
    def lost(self) -> int:
        """How many records this label lost to the producer overtaking it, including its dead predecessors' losses."""
        return self._cells[self._base + layout.LOST]

    @property
    def lag(self) -> int:
        """How many published records have not been read yet."""
        return self._cells[CURSOR] - self._cells[self._next]

    def read(self, max_records: int) -> NDArray[np.void]:
        """The next records, as a private copy: shape (n,), n from 0 to `max_records`. Never waits.

        Positions are consecutive within one call; the last one is `position` - 1 afterwards. If `lost` grew, the lost
        records lie between those of the previous call and those of this one. When a lossy consumer reads more, or calls
        `prepare_wait`, it is done with the records of earlier reads: if it dies, its successor starts after them.

        Raises:
            RingError: this consumer was evicted or is closed.
        """
        # Enough to see that there is nothing, or how much room is needed; the kernel looks again, with proper ordering.
        cells = self._cells
        count = cells[CURSOR] - cells[self._next]
        if count > self.most_behind:  # noqa: PLR1730  # `max` is a call: 60 ns, as below
            self.most_behind = count
        if count > max_records:  # noqa: PLR1730
            count = max_records
        if count <= 0:
            return self._nothing
        if self._lock is None:
            raise self._closed()
        # Reuse the buffer of the read before last, if nothing refers to it any more, rather than allocate one.
        out, rows = self._older, self._older_rows
        if count > len(rows) or sys.getrefcount(out) > UNUSED:
            out = np.empty(count * self._record_words, _WORD)
            rows = np.ndarray(count, self._dtype, out)
        if len(rows) <= self._most_kept:
            self._older, self._older_rows = self._newer, self._newer_rows
            self._newer, self._newer_rows = out, rows
        kept = self._read(self._place, self._size, out, self._base, count)
        if kept == EVICTED:
            raise self._evicted()
        return rows[:kept]

    def commit(self, position: int) -> None:
        """Gating: records below `position` are safe elsewhere, so the producer may overwrite them. Lossy: no effect.

        Raises:
            RingError: `position` has not been read yet or lies below an earlier commit, or this consumer was evicted.
        """
        if self.mode is not Mode.GATING:
            return
        if self._lock is None:
            raise self._closed()
        if not self._cells[self._committed] <= position <= self._cells[self._next]:
            message = (
                f"{self.label} cannot commit {position}: only {self.committed} to {self.position}, what it has read"
            )
            raise RingError(message, segment=self.name)
        if self._commit(self._words, self._base, position) == EVICTED:
            raise self._evicted()

    def fileno(self) -> int:
        """Descriptor that becomes readable when there are records, once `prepare_wait` has returned True."""
        return self._doorbell.fileno()

    def prepare_wait(self) -> bool:
        """Ask to be rung. True: poll now, then call `finish_wait`. False: records are already there to read.

        Raises:
            RingError: this consumer was evicted or is closed.
        """
        if self._lock is None:
            raise self._closed()
        asleep = self._fall_asleep(self._place, self._size, self._base)
        if asleep == EVICTED:
            raise self._evicted()
        return asleep == 1

    def finish_wait(self) -> None:
        """Stop being rung, and discard rings so far. Harmless without `prepare_wait`."""
        self._wake_up(self._place, self._size, self._base)
        self._doorbell.drain()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep until there are records to read, for ever if `timeout_s` is None; returns whether there are any."""
        if self._spin(self._words, self._base, SPIN_TURNS):
            return True
        if timeout_s != 0 and self.prepare_wait():
            try:
                self._poll.poll(None if timeout_s is None else math.ceil(timeout_s * 1e3))
            finally:
                self.finish_wait()
        return self.lag > 0

    def close(self) -> None:
        """Stop reading. Idempotent.

        Gating: the slot is kept, and holds the producer back, until this label returns or is evicted. Lossy: the slot
        is freed.
        """
        if self._lock is not None:
            self._wake_up(self._place, self._size, self._base)
            if self.mode is Mode.LOSSY:
                protocol.leave(self._words, self._base)
            self._doorbell.close()
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _closed(self) -> RingError:
        return RingError(f"consumer {self.label} is closed", segment=self.name)

    def _evicted(self) -> RingError:
        return RingError(
            f"consumer {self.label} was evicted: attach again; what it had not read is lost", segment=self.name
        )
