"""The ring: one producer, up to 16 consumers, records of one fixed dtype, in a shared-memory segment.

    ring = Ring.create("demo", Schema.TICK, 1 << 16, epoch=time.time_ns(), doorbell_dir=directory)   # one process
    producer = Ring.attach("demo", Schema.TICK, directory).producer()                                # another
    consumer = Ring.attach("demo", Schema.TICK, directory).consumer("writer", Mode.GATING)           # others

This module owns names, checks, locks and statistics; `protocol` has the steps. May import shm and `errors` only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import RingError
from tickplant.shm import layout, protocol
from tickplant.shm.atomics import Words
from tickplant.shm.consumer import LATEST, OLDEST, Consumer, Mode
from tickplant.shm.doorbell import Bells, Doorbell, remove_doorbells
from tickplant.shm.producer import Producer
from tickplant.shm.records import DTYPES, Schema, dtype_hash
from tickplant.shm.segment import SHM_DIR, Lock, Segment, segment_path

__all__ = ["LATEST", "OLDEST", "Consumer", "ConsumerStatistics", "Mode", "Producer", "Ring", "RingStatistics"]

PRODUCER_LOCK: Final = 0
CONSUMER_LOCKS: Final = 1  # first of MAX_CONSUMERS bytes
REGISTRY_LOCK: Final = CONSUMER_LOCKS + layout.MAX_CONSUMERS  # held for an instant while the consumer table changes
REGISTRY_TIMEOUT_S: Final = 10.0

MAX_RECORD_BYTES: Final = 1 << 16
MAX_CAPACITY_RECORDS: Final = 1 << 32


class ConsumerStatistics(msgspec.Struct, frozen=True):
    """One consumer, dead ones included: a dead gating consumer still holds the producer back."""

    label: str
    mode: Mode
    pid: int
    alive: bool
    position: int  # gating: committed; lossy: done with
    lag: int  # records published beyond position
    lost: int  # records it was overtaken by


class RingStatistics(msgspec.Struct, frozen=True):
    """A picture of the ring; each number is exact, but not all are of the same instant."""

    head: int  # position of the next record
    intent: int
    capacity: int
    producer_pid: int
    producer_alive: bool
    consumers: list[ConsumerStatistics]
    full_waits: int  # publishes that had to wait for room
    dropped: int  # records that the producer gave up because there was none


class Ring:
    """A process's view of one ring. `start` and `epoch` are what its creator said."""

    def __init__(self, segment: Segment, dtype: np.dtype[np.void], doorbell_dir: Path) -> None:
        self._segment = segment
        self._words: Words = np.frombuffer(segment.map, np.int64)
        self._header = np.frombuffer(segment.map, layout.HEADER, count=1)[0]
        self._doorbell_dir = doorbell_dir
        self.name = segment.name
        self.dtype = dtype
        self.capacity_records = int(self._header["capacity"])
        self.start = int(self._header["start"])
        self.epoch = int(self._header["epoch"])

    @classmethod
    def create(
        cls,
        name: str,
        schema: Schema | np.dtype[np.void],
        capacity_records: int,
        *,
        start: int = 0,
        epoch: int,
        doorbell_dir: Path,
    ) -> Ring:
        """Make the segment, its memory reserved. The first record gets position `start`.

        `epoch` tells this ring from an earlier one of the same name. Raises RingError: the name is taken, there is not
        enough shared memory, the capacity is not a power of two, the dtype's size is not a multiple of 8.
        """
        dtype = _record_dtype(name, schema)
        if not 1 <= capacity_records <= MAX_CAPACITY_RECORDS or capacity_records & (capacity_records - 1):
            message = f"a capacity of {capacity_records} records is not a power of two from 1 to 2**32"
            raise RingError(message, segment=name)
        if not 0 <= start < layout.MAX_POSITION:
            raise RingError(f"start position {start} is not in [0, 2**62)", segment=name)
        if not 0 <= epoch < 2**64:
            raise RingError(f"epoch {epoch} does not fit 64 bits", segment=name)
        segment = Segment.create(name, layout.segment_bytes(capacity_records, dtype.itemsize))
        header = np.frombuffer(segment.map, layout.HEADER, count=1)
        header["version"] = layout.VERSION
        header["record_words"] = dtype.itemsize // layout.WORD_BYTES
        header["capacity"] = capacity_records
        header["dtype_hash"] = dtype_hash(dtype)
        header["epoch"] = epoch
        for field in ("start", "intent", "cursor", "limit"):
            header[field] = start
        protocol.seal(np.frombuffer(segment.map, np.int64), layout.MAGIC_VALUE)
        return cls(segment, dtype, doorbell_dir)

    @classmethod
    def attach(cls, name: str, schema: Schema | np.dtype[np.void], doorbell_dir: Path) -> Ring:
        """Open an existing ring of that record layout. Raises RingError where it is missing or something else."""
        dtype = _record_dtype(name, schema)
        segment = Segment.attach(name, layout.HEADER_BYTES)
        try:
            _check_header(segment, dtype)
        except RingError:
            segment.close()
            raise
        return cls(segment, dtype, doorbell_dir)

    @staticmethod
    def list_names(prefix: str) -> list[str]:
        """Names of all segments that begin with `prefix`, complete or not, sorted."""
        return sorted(path.name for path in SHM_DIR.iterdir() if path.name.startswith(prefix))

    @staticmethod
    def unlink_name(name: str) -> None:
        """Remove a segment by name, whatever state it is in; nothing happens where there is none."""
        segment_path(name).unlink(missing_ok=True)

    def producer(self) -> Producer:
        """Become the producer, and go on where a dead one stopped. Raises RingError while another one lives."""
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
            mode: GATING, the producer waits for it; LOSSY, it may be overtaken, and counts what it lost.
            start: position to begin at, OLDEST or LATEST. None: where this label stopped (gating: what it committed;
                lossy: what it was done with); for a new label OLDEST if gating, LATEST if lossy. A gating consumer that
                asks for a position already free to be overwritten begins at the first that is not, and counts the
                difference as lost.

        Raises:
            RingError: the label is in use or has another mode, all 16 places are taken, or `start` lies ahead.
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
                # Opened before the slot becomes active: nothing that can fail comes after.
                doorbell = Doorbell(self._doorbell_dir, self.name, slot)
                self._join(slot, label, mode, start, known=known)
        except BaseException:
            lock.close()
            raise
        return Consumer(self.name, self.dtype, self._words, layout.consumer_base(slot), label, mode, doorbell, lock)

    def evict(self, label: str) -> None:
        """Take a consumer's place away: a gating one no longer holds the producer back; what it had not read is lost.

        Meant for the dead; a live one is told at its next call, by a RingError. Raises RingError for an unknown label.
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

    def statistics(self) -> RingStatistics:
        """What the ring holds and who uses it. Never blocks."""
        header = self._header
        consumers = []
        for slot, entry in enumerate(header["consumers"][: int(header["consumer_count"])]):
            if entry["mode"] == layout.FREE or not entry["label"]:
                continue
            position = int(entry["position"])
            consumers.append(
                ConsumerStatistics(
                    label=entry["label"].decode("ascii", errors="replace"),
                    mode=Mode.GATING if entry["mode"] == layout.GATING else Mode.LOSSY,
                    pid=int(entry["pid"]),
                    alive=self._segment.is_locked(CONSUMER_LOCKS + slot),
                    position=position,
                    lag=max(0, int(header["cursor"]) - position),
                    lost=int(entry["lost"]),
                )
            )
        return RingStatistics(
            head=int(header["cursor"]),
            intent=int(header["intent"]),
            capacity=self.capacity_records,
            producer_pid=int(header["producer_pid"]),
            producer_alive=self._segment.is_locked(PRODUCER_LOCK),
            consumers=consumers,
            full_waits=int(header["full_waits"]),
            dropped=int(header["dropped"]),
        )

    @property
    def oldest(self) -> int:
        """Position of the oldest record that may still be intact; never falls."""
        return max(self.start, int(self._header["intent"]) - self.capacity_records)

    @property
    def head(self) -> int:
        """Position of the next record to be published."""
        return int(self._header["cursor"])

    def close(self) -> None:
        """Let go of the segment; producers and consumers made from it keep working. Idempotent."""
        self._segment.close()

    def unlink(self) -> None:
        """Remove the name and the doorbells; processes that are attached keep the memory."""
        self._segment.unlink()
        remove_doorbells(self._doorbell_dir, self.name, layout.MAX_CONSUMERS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

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
        """Lock the slot of `label`, or one to give to it; returns it, and whether it was this label's before."""
        entries = self._header["consumers"]
        for slot, entry in enumerate(entries):
            # Killed while it joined, before it had its label: nobody will ever resume it.
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
        # First a free place; else that of a dead lossy consumer, which needs nothing any more.
        for wanted in (layout.FREE, layout.LOSSY):
            for slot, entry in enumerate(entries):
                if entry["mode"] == wanted and lock.acquire(CONSUMER_LOCKS + slot):
                    protocol.leave(self._words, layout.consumer_base(slot))
                    return slot, False
        raise RingError(
            f"has {layout.MAX_CONSUMERS} consumers, the most it can have: close or evict one", segment=self.name
        )

    def _join(self, slot: int, label: str, mode: Mode, start: int | None, *, known: bool) -> None:
        """Make the claimed slot active. The label of a new consumer comes last: without it, it never joined."""
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
    """Compile every kernel of the ring, or load it from disk: a first start takes seconds, later ones milliseconds."""
    words = np.zeros(layout.HEADER_WORDS + 8, np.int64)
    words[layout.RECORD_WORDS] = words[layout.CAPACITY] = words[layout.CONSUMER_COUNT] = 1
    record: NDArray[np.int64] = np.zeros(1, np.int64)
    base = layout.consumer_base(0)
    protocol.seal(words, protocol.sealed(words))
    protocol.take_over(words)
    protocol.join(words, base, layout.LOSSY, 0)
    protocol.resume(words, base)
    protocol.publish(words, record, 0)
    protocol.room(words)
    protocol.count_up(words, layout.DROPPED, 0)
    protocol.spin(words, base, 1)
    protocol.read(words, record, base)
    protocol.commit(words, base, 0)
    protocol.fall_asleep(words, base)
    protocol.wake_up(words, base)
    protocol.leave(words, base)


def _record_dtype(name: str, schema: Schema | np.dtype[np.void]) -> np.dtype[np.void]:
    dtype = DTYPES[schema] if isinstance(schema, Schema) else schema
    if dtype.fields is None or dtype.hasobject or dtype.itemsize % layout.WORD_BYTES or not dtype.itemsize:
        raise RingError(f"records of {dtype} are not plain fields of a multiple of 8 bytes", segment=name)
    if dtype.itemsize > MAX_RECORD_BYTES:
        raise RingError(f"a record of {dtype.itemsize} bytes is longer than {MAX_RECORD_BYTES}", segment=name)
    return dtype


def _check_header(segment: Segment, dtype: np.dtype[np.void]) -> None:
    """Raises RingError where the segment is not a whole ring of `dtype`."""

    def wrong(message: str) -> RingError:
        return RingError(message, segment=segment.name)

    magic = protocol.sealed(np.frombuffer(segment.map, np.int64, count=layout.HEADER_WORDS))
    header = np.frombuffer(segment.map, layout.HEADER, count=1)[0]
    if magic == 0:
        raise wrong(f"is incomplete: whoever created it died before it was ready; delete {segment_path(segment.name)}")
    if magic != layout.MAGIC_VALUE:
        raise wrong(f"is not a ring: {segment_path(segment.name)} begins with other bytes; choose another name")
    if header["version"] != layout.VERSION:
        message = f"has layout version {header['version']}, not {layout.VERSION}: restart the whole plant"
        raise wrong(message)
    record_bytes = int(header["record_words"]) * layout.WORD_BYTES
    if record_bytes != dtype.itemsize:
        raise wrong(f"holds records of {record_bytes} bytes, not {dtype.itemsize}: it carries another schema")
    if header["dtype_hash"] != dtype_hash(dtype):
        raise wrong(f"holds records with other fields than {', '.join(dtype.names or ())}: it carries another schema")
    capacity = int(header["capacity"])
    if not 1 <= capacity <= MAX_CAPACITY_RECORDS or capacity & (capacity - 1):
        raise wrong(f"is damaged: its capacity, {capacity}, is not a power of two; stop the plant and delete it")
    expected_bytes = layout.segment_bytes(capacity, record_bytes)
    if segment.size_bytes < expected_bytes:
        raise wrong(f"is truncated: {segment.size_bytes} bytes of {expected_bytes}; stop the plant and delete it")
