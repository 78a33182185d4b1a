"""The ring: one producer, up to 16 consumers, records of one fixed dtype, in a shared-memory segment.

    ring = Ring.create("demo", Schema.TICK, 1 << 16, epoch=time.time_ns(), doorbell_dir=directory)   # one process
    producer = Ring.attach("demo", Schema.TICK, directory).producer()                                # another
    consumer = Ring.attach("demo", Schema.TICK, directory).consumer("writer", Mode.GATING)           # others

`view` owns names, checks and statistics; this module the locks; `protocol` the steps.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import RingError
from tickplant.kernels import ANY_RECORDS, direct
from tickplant.shm import calls, layout, protocol
from tickplant.shm.consumer import Consumer
from tickplant.shm.doorbell import Bells, Doorbell
from tickplant.shm.producer import Producer
from tickplant.shm.segment import Lock
from tickplant.shm.view import (
    CONSUMER_LOCKS,
    LATEST,
    OLDEST,
    PRODUCER_LOCK,
    ConsumerStatistics,
    Mode,
    RingStatistics,
    RingView,
)

__all__ = ["LATEST", "OLDEST", "Consumer", "ConsumerStatistics", "Mode", "Producer", "Ring", "RingStatistics"]

REGISTRY_LOCK: Final = CONSUMER_LOCKS + layout.MAX_CONSUMERS  # held for an instant while the consumer table changes
REGISTRY_TIMEOUT_S: Final = 10.0


class Ring(RingView):
    """A process's view of one ring. Through it, the process may become the producer or a consumer."""

    def producer(self) -> Producer:
        """Become the producer, and continue where a dead one stopped. Raises RingError while another producer lives."""
        lock = self._segment.lock()
        if not lock.acquire(PRODUCER_LOCK):
            lock.close()
            pid = int(self._header["producer_pid"])
            raise RingError(f"already has a producer, process {pid}: stop that one first", segment=self.name)
        self._header["producer_pid"] = os.getpid()
        bells = Bells(self._doorbell_dir, self.name)
        bells.ring(protocol.take_over(self._words))
        return Producer(self.name, self.dtype, self._words, bells, lock)

    def consumer(self, label: str, mode: Mode = Mode.GATING, *, start: int | None = None) -> Consumer:
        """Become the consumer `label`, or resume it after its death or `close`.

        Args:
            label: 1 to 31 ASCII characters, unique in the ring.
            mode: GATING, the producer waits for the consumer; LOSSY, the producer may overtake it, and it counts its
                losses.
            start: position to start at, OLDEST or LATEST. None: where this label stopped (gating: after its last
                commit; lossy: after the records it was done with); for a new label, OLDEST if gating, LATEST if lossy.
                If a gating consumer asks for a position that may already be overwritten, it starts at the first safe
                one, and counts the difference as lost.

        Raises:
            RingError: the label is in use or has another mode, all 16 slots are taken, or `start` is outside the ring's
                positions.
        """
        name = label.encode("ascii", errors="replace")
        if not 0 < len(name) < layout.LABEL_BYTES or not label.isascii() or not label.isprintable():
            raise RingError(f"consumer label {label!r} is not 1 to 31 printable ASCII characters", segment=self.name)
        head = int(self._header["cursor"])
        if start is not None and not (start in {OLDEST, LATEST} or self.start <= start <= head):
            message = f"consumer {label} cannot start at {start}: the ring's positions are {self.start} to {head}"
            raise RingError(message, segment=self.name)
        lock = self._segment.lock()
        try:
            with self._registry():
                slot, known = self._claim(lock, label, mode)
                # Opened before the slot becomes active: no step after that can fail.
                doorbell = Doorbell(self._doorbell_dir, self.name, slot)
                self._join(slot, label, mode, start, known=known)
        except BaseException:
            lock.close()
            raise
        return Consumer(self.name, self.dtype, self._words, layout.consumer_base(slot), label, mode, doorbell, lock)

    def evict(self, label: str) -> None:
        """Free a consumer's slot: a gating one no longer holds the producer back, and loses what it had not read.

        Meant for dead consumers; a live one gets a RingError at its next call. Raises RingError for an unknown label.
        """
        with self._registry():
            slot = self._find(label)
            if slot is None:
                raise RingError(f"has no consumer {label}", segment=self.name)
            protocol.leave(self._words, layout.consumer_base(slot))
            self._header["consumers"][slot]["label"] = b""
            bells = Bells(self._doorbell_dir, self.name)
            bells.ring(1 << slot)
            bells.close()

    @contextlib.contextmanager
    def _registry(self) -> Iterator[None]:
        """Hold the lock under which the consumer table changes."""
        lock = self._segment.lock()
        try:
            if not lock.acquire(REGISTRY_LOCK, timeout_s=REGISTRY_TIMEOUT_S):
                message = f"its consumer table was busy for {REGISTRY_TIMEOUT_S:g} s: a process stopped while joining"
                raise RingError(message, segment=self.name)
            yield
        finally:
            lock.close()

    def _find(self, label: str) -> int | None:
        name = label.encode()
        for slot, entry in enumerate(self._header["consumers"][: int(self._header["consumer_count"])]):
            if entry["mode"] != layout.FREE and entry["label"] == name:
                return slot
        return None

    def _claim(self, lock: Lock, label: str, mode: Mode) -> tuple[int, bool]:
        """Lock the slot of `label`, or a new slot for it; returns the slot, and whether it was this label's before."""
        entries = self._header["consumers"]
        for slot, entry in enumerate(entries):
            # A consumer killed while joining, before it had its label: nobody will ever resume it.
            if (
                entry["mode"] != layout.FREE
                and not entry["label"]
                and not self._segment.is_locked(CONSUMER_LOCKS + slot)
            ):
                protocol.leave(self._words, layout.consumer_base(slot))
        known = self._find(label)
        if known is not None:
            pid = int(entries[known]["pid"])
            if not lock.acquire(CONSUMER_LOCKS + known):
                raise RingError(f"consumer {label} is in use by process {pid}: stop that one first", segment=self.name)
            if entries[known]["mode"] != mode.word:
                message = f"consumer {label} of dead process {pid} is not {mode}: evict it, or use another label"
                raise RingError(message, segment=self.name)
            return known, True
        # Prefer a free slot; else take that of a dead lossy consumer, which needs nothing any more.
        for wanted in (layout.FREE, layout.LOSSY):
            for slot, entry in enumerate(entries):
                if entry["mode"] == wanted and lock.acquire(CONSUMER_LOCKS + slot):
                    protocol.leave(self._words, layout.consumer_base(slot))
                    return slot, False
        raise RingError(
            f"has {layout.MAX_CONSUMERS} consumers, the most it can have: close or evict one", segment=self.name
        )

    def _join(self, slot: int, label: str, mode: Mode, start: int | None, *, known: bool) -> None:
        """Make the claimed slot active. A new consumer's label comes last: without a label, it never joined."""
        words, base, entry = self._words, layout.consumer_base(slot), self._header["consumers"][slot]
        oldest = self.oldest
        if known:
            resumed = protocol.resume(words, base)
        else:
            entry["label"] = b""
            for field in ("lost", "jump_lost", "jump_position"):
                entry[field] = 0
            resumed = oldest if mode is Mode.GATING else LATEST
        entry["pid"] = os.getpid()
        if self._header["consumer_count"] <= slot:
            self._header["consumer_count"] = slot + 1
        protocol.wake_up(words, base)
        position = resumed if start is None else start
        exact = position >= 0 and (known or start is not None)
        if position == LATEST:
            position = int(self._header["cursor"])
        elif position == OLDEST:
            position = oldest
        began = protocol.join(words, base, mode.word, position)
        if exact and began > position:
            entry["lost"] += began - position
        entry["label"] = label.encode()


def prepare_kernels() -> None:
    """Compile every kernel of the ring, or load it from the cache: seconds at the first start, milliseconds later."""
    words = np.zeros(layout.HEADER_WORDS + 8, np.int64)
    words[layout.RECORD_WORDS] = words[layout.CAPACITY] = words[layout.CONSUMER_COUNT] = 1
    record: NDArray[np.int64] = np.zeros(1, np.int64)
    base = layout.consumer_base(0)
    protocol.take_over(words)
    protocol.join(words, base, layout.LOSSY, 0)
    protocol.resume(words, base)
    place, size = calls.place_of(words), len(words)
    direct(calls.publish_at, 0, 0, ANY_RECORDS, 0, 0)(place, size, record, 1, 0)
    protocol.room(words)
    protocol.count_up(words, layout.DROPPED, 0)
    protocol.spin(words, base, 1)
    direct(calls.read_at, 0, 0, ANY_RECORDS, 0, 0)(place, size, record, base, 1)
    protocol.commit(words, base, 0)
    direct(calls.fall_asleep_at, 0, 0, 0)(place, size, base)
    direct(calls.wake_up_at, 0, 0, 0)(place, size, base)
    protocol.leave(words, base)
