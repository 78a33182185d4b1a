"""From an adapter's ticks to the ring: numbers them, and states exactly what it dropped when the ring was full.

`seq` is the ring position, so it never has holes: dropped records have none. Instead, a GAP (cause RING_FULL) for each
instrument and stream states how many records are missing, the last id before them and the first id that may follow. An
atomic event, the records up to one with LAST, is published whole or dropped whole, unless it is larger than the ring.
Counters: handed in + gaps = published + dropped + waiting, and dropped = told + untold.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.kernels import brief_kernel, direct, kernel
from tickplant.records.channels import STREAM_NAMES, STREAM_OF_KIND
from tickplant.records.layouts import TICK, Flag, GapCause, Kind
from tickplant.records.notes import is_note, is_note_word, make_gaps
from tickplant.shm.producer import Producer

Records = NDArray[np.void]

Words = NDArray[np.int64]
"""Records as flat 64-bit words, 8 per record; word 6 is instrument | kind << 32 | side << 40 | flags << 48."""

Table = NDArray[np.int64]

STREAMS: Final = len(STREAM_NAMES) + 1
NO_STREAM: Final = STREAMS - 1
"""Stream index of records that belong to none of STREAM_NAMES: STATUS and GAP."""

_FLAGS: Final = list(STREAM_NAMES)
BOOKS: Final = (_FLAGS.index(Flag.ON_BOOK), _FLAGS.index(Flag.ON_ORDERS))
"""Stream indices of the books of levels and of orders."""

ON_STREAM: Final = np.array([*_FLAGS, 0], np.uint16)

_STREAM_OF: Final = np.array(
    [_FLAGS.index(STREAM_OF_KIND[kind]) if kind in STREAM_OF_KIND else NO_STREAM for kind in (0, *Kind)], np.int64
)
"""Stream index by kind."""

_ORDERS: Final = BOOKS[1]
_ON_ORDERS: Final = int(Flag.ON_ORDERS)

KEPT_RECORDS: Final = 1 << 14
"""STATUS and GAP records kept while the ring is full. They are rare, and worth more than data.

A lost connection gives one per instrument: there is room for ten times as many as a connection can carry."""

FIRST_PAUSE_S: Final = 0.0001
LONGEST_PAUSE_S: Final = 0.005
"""Pauses between two checks for room."""

LOSSLESS_SLICE_S: Final = 0.05
"""How long one wait for room may block the event loop of a source that can wait."""

RESUME_SHARE: Final = 8
"""Publishing resumes when an eighth of the ring is free, so that a full ring causes few, long gaps."""


@brief_kernel
def stamp(words: Words, first_seq: int) -> None:
    """Write the ring positions into the records of `words` (8 per record)."""
    for index in range(len(words) // 8):
        words[index * 8 + 7] = first_seq + index


@kernel
def stream_of(packed: int) -> int:
    """Stream index of the record with this packed word (records.batch)."""
    kind = (packed >> 32) & 0xFF
    if (packed >> 48) & _ON_ORDERS and not is_note_word(packed):
        return _ORDERS
    return int(_STREAM_OF[kind])


@brief_kernel
def note_last(words: Words, last: Table) -> int:
    """Store the newest id of each instrument and stream in `last` (instruments, STREAMS).

    Returns 0, or an instrument that `last` is too short for; the call can then be repeated with a longer one.
    """
    for start in range(0, len(words), 8):
        packed = words[start + 6]
        if (
            is_note_word(packed) or (packed >> 48) & 4
        ):  # STATUS and GAP have no stream of their own, backfill is out of order
            continue
        instrument = packed & 0xFFFFFFFF
        if instrument >= len(last):
            return int(instrument)
        last[instrument, stream_of(packed)] = words[start + 4]
    return 0


@kernel
def count_lost(words: Words, lost: Table, next_id: Table) -> int:
    """Count dropped records into `lost` (instruments, STREAMS), ids after them into `next_id`. Returns as `note_last`.

    STATUS and GAP records have no id for another to follow.
    """
    for start in range(0, len(words), 8):
        if words[start + 6] & 0xFFFFFFFF >= len(lost):
            return int(words[start + 6] & 0xFFFFFFFF)
    for start in range(0, len(words), 8):
        packed = words[start + 6]
        instrument = packed & 0xFFFFFFFF
        stream = stream_of(packed)
        lost[instrument, stream] += 1
        if stream < NO_STREAM and words[start + 4] >= next_id[instrument, stream]:
            next_id[instrument, stream] = words[start + 4] + 1
    return 0


@kernel
def whole_events(words: Words, first: int, room: int) -> int:
    """Number of records from `first` on that form whole events (each ends with LAST) and fit `room`."""
    for count in range(min(room, len(words) // 8 - first), 0, -1):
        if (words[(first + count - 1) * 8 + 6] >> 48) & 1:
            return count
    return 0


@kernel
def first_event(words: Words, first: int) -> int:
    """Number of records of the event that begins at `first`."""
    count = 1
    while first + count < len(words) // 8 and (words[(first + count - 1) * 8 + 6] >> 48) & 1 == 0:
        count += 1
    return count


def prepare_kernels() -> None:
    """Compile or load the kernels above for this process."""
    words = np.zeros(8, np.int64)
    streams = np.zeros((1, STREAMS), np.int64)
    stamp(words, 0)
    whole_events(words, 0, 1)
    first_event(words, 0)
    note_last(words, streams)
    count_lost(words, streams, streams.copy())


class Repeat(Protocol):
    """The stored records of a feed that makes them again."""

    def rest(self, records: Records) -> Records:
        """The next records made, without those that are stored."""


class FeedPublisher:
    """The only writer of a feed's tick ring. `full_wait_s` limits how long a full ring may delay the feed."""

    def __init__(self, producer: Producer, capacity_records: int, full_wait_s: float) -> None:
        self.began = producer.position
        self.published = 0  # records in the ring, gaps included
        self.dropped = 0
        self.told = 0  # of these, those that RING_FULL records report
        self.gaps = 0  # RING_FULL records made here
        self._producer = producer
        self._stamp = direct(stamp, np.empty(0, np.int64), 0)
        self._note_last = direct(note_last, np.empty(0, np.int64), np.empty((0, 0), np.int64))
        self._capacity_records = capacity_records
        self._room = 0  # a lower bound; consumers only increase it
        self._resume_room = max(1, capacity_records // RESUME_SHARE)
        self._full_wait_s = full_wait_s
        self._full = False
        # By instrument and stream: newest id published, records lost, id after the last lost one.
        self._last, self._lost, self._next_id = (np.zeros((64, STREAMS), np.int64) for _ in range(3))
        self._lost_ts_ns = 0
        self._kept = np.empty(0, TICK)  # records that wait for room
        self._in_hand = 0  # records of a source that can wait: handed in, not published yet
        self._stale_books: list[int] = []
        self._repeat: Repeat | None = None
        self._log = structlog.get_logger()

    @property
    def position(self) -> int:
        """`seq` of the next record."""
        return self._producer.position

    @property
    def waiting(self) -> int:
        """Records that wait for room: STATUS and GAP, and any record of a source that can wait itself."""
        return len(self._kept) + self._in_hand

    @property
    def untold(self) -> int:
        """Dropped records that no RING_FULL reports yet."""
        return int(self._lost.sum())

    def publish(self, records: Records) -> None:
        """Publish ticks (n,), dtype TICK; what the ring does not take within `full_wait_s` is reported in GAPs."""
        if len(records) == 0:
            return
        if self._full and not self.settle():
            self._drop(records)
            return
        done = self._put(records, self._full_wait_s)
        if done < len(records):
            self._full = True
            self._log.error("ring full: dropping new records", position=self.position)
            self._drop(records[done:])

    async def publish_lossless(self, records: Records) -> None:
        """Publish all ticks, for a source that can wait; other tasks run while the ring is full."""
        records = self._left_to_store(records)
        done = self._put(records, LOSSLESS_SLICE_S) if len(records) else 0
        while done < len(records):
            self._in_hand = len(records) - done
            # The slice has already waited; this gives the other tasks of the loop their turn.
            await asyncio.sleep(0)
            done += self._put(records[done:], LOSSLESS_SLICE_S)
        self._in_hand = 0

    def publish_now(self, records: Records) -> bool:
        """Publish these records if there is room for all of them at once, else none. Returns whether it did."""
        if self._full or self._producer.room() < len(records):
            return False
        self._put(self._left_to_store(records), 0.0)
        return True

    def repeat(self, repeat: Repeat | None) -> None:
        """Restart the counts of the feed's life; `repeat` holds the stored records that come first."""
        self._repeat = repeat
        self.began, self.published = self.position, 0

    def settle(self, *, eagerly: bool = False) -> bool:
        """Publish what waits if there is enough room, or, eagerly, any room. Returns whether nothing waits any more."""
        if not self._full:
            return True
        if self._producer.room() < (1 if eagerly else self._resume_room):
            return False
        dropped = self.untold
        self._kept = np.concatenate([self._kept, self._make_gaps()])
        self._kept = self._kept[self._put(self._kept, 0.0) :]
        if len(self._kept):
            return False
        self._full = False
        self._log.warning("ring has room again", dropped=dropped, position=self.position)
        return True

    def take_stale_books(self) -> list[int]:
        """Instruments whose book lost records, once that gap is published: their books must be fetched again."""
        if self._full or not self._stale_books:
            return []
        instruments, self._stale_books = self._stale_books, []
        return instruments

    # -- inner

    def _left_to_store(self, records: Records) -> Records:
        """The records that an earlier process of this life did not publish; the others count as published here."""
        if self._repeat is None:
            return records
        rest = self._repeat.rest(records)
        self.published += len(records) - len(rest)
        self.began -= len(records) - len(rest)
        return rest

    def _put(self, records: Records, timeout_s: float) -> int:
        words, count = np.frombuffer(records, np.int64), len(records)
        if count > self._room:
            self._room = self._producer.room()
        self._stamp(words, self._producer.position)
        if count <= self._room:
            done = self._producer.publish_words(words, count)
            self._room -= done
        else:
            done = self._put_events(records, words, timeout_s)
        self.published += done
        if done < count:
            words = words[: done * 8]
        while instrument := self._note_last(words, self._last):
            self._grow(instrument)
        return done

    def _put_events(self, records: Records, words: Words, timeout_s: float) -> int:
        """Publish whole events as room allows, until all are done or the time is up."""
        deadline_s = time.monotonic() + timeout_s
        done, pause_s = 0, FIRST_PAUSE_S
        while done < len(records):
            room = self._producer.room()
            count = whole_events(words, done, room)
            if count == 0 and room and first_event(words, done) > self._capacity_records:
                count = min(room, len(records) - done)  # never fits: in parts, rather than never
            if count:
                done += self._producer.publish(records[done : done + count], timeout_s=0.0)
                pause_s = FIRST_PAUSE_S
            elif time.monotonic() >= deadline_s:
                break
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._room = 0
        return done

    def _drop(self, records: Records) -> None:
        self._lost_ts_ns = int(records["ts_recv"][-1])
        keeps = is_note(records)
        keeps &= np.cumsum(keeps) <= KEPT_RECORDS - len(self._kept)
        if keeps.any():
            self._kept = np.concatenate([self._kept, records[keeps]])
            records = records[~keeps]
        words = np.frombuffer(records, np.int64)
        while instrument := count_lost(words, self._lost, self._next_id):
            self._grow(instrument)
        self.dropped += len(records)
        self._producer.drop(len(records))

    def _make_gaps(self) -> Records:
        """GAPs for everything lost since the last call."""
        instruments, streams = np.nonzero(self._lost)
        gaps = make_gaps(
            instruments,
            GapCause.RING_FULL,
            missing=self._lost[instruments, streams],
            last_id=self._last[instruments, streams],
            next_id=self._next_id[instruments, streams],
            ts_recv=self._lost_ts_ns,
            flags=ON_STREAM[streams],
        )
        self.told += self.untold
        self._stale_books += [
            book for book in instruments[np.isin(streams, BOOKS)].tolist() if book not in self._stale_books
        ]
        self._lost[:] = 0
        self._next_id[:] = 0
        self.gaps += len(gaps)
        return gaps

    def _grow(self, instrument: int) -> None:
        more = np.zeros((max(instrument + 1, 2 * len(self._last)) - len(self._last), STREAMS), np.int64)
        self._last, self._lost, self._next_id = (
            np.concatenate([old, more]) for old in (self._last, self._lost, self._next_id)
        )
