"""A ring as its owner and its watchers see it: created, checked, measured, removed.

Nothing here reads or writes records, so nothing needs a kernel: importing this module does not load numba, which would
cost the supervisor 100 MiB and a second. `ring.Ring` adds the producer and consumer ends.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import RingError
from tickplant.records.layouts import DTYPES, Schema, dtype_hash
from tickplant.shm import layout
from tickplant.shm.doorbell import remove_doorbells
from tickplant.shm.segment import SHM_DIR, Segment, segment_path

PRODUCER_LOCK: Final = 0
CONSUMER_LOCKS: Final = 1  # first of MAX_CONSUMERS bytes

MAX_RECORD_BYTES: Final = 1 << 16
MAX_CAPACITY_RECORDS: Final = 1 << 32

OLDEST: Final = -1
"""Start at the oldest record that is still intact."""

LATEST: Final = -2
"""Start at the next record to be published."""


class Mode(StrEnum):
    """What happens to a slow consumer."""

    GATING = "gating"  # the producer waits until the consumer commits
    LOSSY = "lossy"  # the producer overtakes the consumer, which counts its losses

    @property
    def word(self) -> int:
        """The value in the segment."""
        return layout.GATING if self is Mode.GATING else layout.LOSSY


class ConsumerStatistics(msgspec.Struct, frozen=True):
    """One consumer, dead or alive: a dead gating consumer still holds the producer back."""

    label: str
    mode: Mode
    pid: int
    alive: bool
    position: int  # gating: committed; lossy: done with
    lag: int  # records published beyond position
    lost: int  # records by which it was overtaken


class RingStatistics(msgspec.Struct, frozen=True):
    """A snapshot of the ring. Each number is exact, but the numbers may be from different instants."""

    head: int  # position of the next record
    intent: int
    capacity: int
    producer_pid: int
    producer_alive: bool
    consumers: list[ConsumerStatistics]
    full_waits: int  # publishes that had to wait for room
    dropped: int  # records that the producer gave up for lack of room


class RingView:
    """A process's view of one ring. `start` and `epoch` are those that its creator chose."""

    def __init__(self, segment: Segment, dtype: np.dtype[np.void], doorbell_dir: Path) -> None:
        self._segment = segment
        self._words: NDArray[np.int64] = np.frombuffer(segment.map, np.int64)
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
    ) -> Self:
        """Create the segment, with its memory reserved. The first record gets position `start`.

        `epoch` distinguishes this ring from an earlier one of the same name. Raises RingError if the name is taken,
        shared memory is short, the capacity is not a power of two, or the dtype's size is not a multiple of 8.
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
        # Last. A plain store suffices: a process that attaches learned the name afterwards, or finds a dead creator's
        # remains.
        header["magic"] = layout.MAGIC_VALUE
        return cls(segment, dtype, doorbell_dir)

    @classmethod
    def attach(cls, name: str, schema: Schema | np.dtype[np.void], doorbell_dir: Path) -> Self:
        """Open an existing ring of this record layout. Raises RingError if it is missing or not such a ring."""
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
        """Names of all segments that begin with `prefix`, complete or incomplete, sorted."""
        return sorted(path.name for path in SHM_DIR.iterdir() if path.name.startswith(prefix))

    @staticmethod
    def unlink_name(name: str) -> None:
        """Remove a segment by name, whatever its state; a missing one is ignored."""
        segment_path(name).unlink(missing_ok=True)

    def statistics(self) -> RingStatistics:
        """What the ring holds, and which processes use it. Never blocks."""
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
        """Remove the name and the doorbells; attached processes keep the memory."""
        self._segment.unlink()
        remove_doorbells(self._doorbell_dir, self.name, layout.MAX_CONSUMERS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _record_dtype(name: str, schema: Schema | np.dtype[np.void]) -> np.dtype[np.void]:
    dtype = DTYPES[schema] if isinstance(schema, Schema) else schema
    if dtype.fields is None or dtype.hasobject or dtype.itemsize % layout.WORD_BYTES or not dtype.itemsize:
        raise RingError(f"records of {dtype} are not plain fields of a multiple of 8 bytes", segment=name)
    if dtype.itemsize > MAX_RECORD_BYTES:
        raise RingError(f"a record of {dtype.itemsize} bytes is longer than {MAX_RECORD_BYTES}", segment=name)
    return dtype


def _check_header(segment: Segment, dtype: np.dtype[np.void]) -> None:
    """Raises RingError if the segment is not a complete ring of `dtype`."""

    def wrong(message: str) -> RingError:
        return RingError(message, segment=segment.name)

    header = np.frombuffer(segment.map, layout.HEADER, count=1)[0]
    magic = int(header["magic"])
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
