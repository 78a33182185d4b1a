"""Stores an engine's derived records in a ring, each record once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import series_of
from tickplant.kernels import ANY_RECORDS, brief_kernel, direct
from tickplant.records.arrays import selected
from tickplant.records.layouts import DTYPES, Schema
from tickplant.runtime import accounts
from tickplant.runtime.accounts import Account
from tickplant.shm.calls import words_of
from tickplant.shm.ring import OLDEST, Mode, Ring

Records = NDArray[np.void]
Key = tuple[int, int]
"""A series of derived records: instrument id and number of the series."""

PATIENCE_S: Final = 5.0
"""How long recovered records wait for a writer that makes no progress."""


@brief_kernel
def stamp(records: Any, count: int, words: int, first: int) -> None:
    """Number `count` derived records of `words` words each, from `first` on: `seq` is the last word of each."""
    flat = words_of(records, count * words)
    for i in range(count):
        flat[(i + 1) * words - 1] = first + i


class Stored:
    """How far each series of one schema is stored, by the seq of the tick that made its last record."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._newest: dict[int, NDArray[np.int64]] = {}  # by number of the series; by instrument id

    def know(self, instrument: int, series: int, source_seq: int) -> None:
        """Note that a series is stored at least up to there."""
        newest = self._newest.get(series, np.full(0, -1, np.int64))
        if instrument >= len(newest):
            newest = np.concatenate([newest, np.full(instrument + 1, -1, np.int64)])
        newest[instrument] = max(newest[instrument], source_seq)
        self._newest[series] = newest

    def missing(self, records: Records) -> Records:
        """The records among these that are not stored, in order; from now on they count as stored."""
        new = np.ones(len(records), np.bool_)
        numbers = series_of(self._schema, records)
        for series, newest in self._newest.items():
            instruments = np.minimum(records["instrument"], len(newest) - 1)
            known = (numbers == series) & (records["instrument"] < len(newest))
            new &= ~known | (records["source_seq"].astype(np.int64) > newest[instruments])
        records = selected(records, new)
        for key, source_seq in newest_of(self._schema, records).items():
            self.know(*key, source_seq)
        return records


def newest_of(schema: Schema, records: Records) -> dict[Key, int]:
    """`source_seq` of each series' last record; the records are in order."""
    keys = (records["instrument"].astype(np.uint64) << np.uint64(32)) | series_of(schema, records)
    last, places = np.unique(keys[::-1], return_index=True)
    seqs = records["source_seq"][::-1][places]
    return {(key >> 32, key & 0xFFFFFFFF): seq for key, seq in zip(last.tolist(), seqs.tolist(), strict=True)}


class Output:
    """Stores derived records of one schema in a ring, or only numbers them if there is none.

    After a restart some ticks are read twice. The last derived records in the ring show which results exist already, so
    each result is stored once.
    """

    def __init__(
        self,
        schema: Schema,
        ring: Ring | None,
        label: str,
        *,
        lossless: bool,
        resumes: bool,
        while_waiting: Callable[[], None],
    ) -> None:
        self._stamp = direct(stamp, ANY_RECORDS, 0, 0, 0)
        self._words = DTYPES[schema].itemsize // 8
        self.made = 0
        self.dropped = 0
        self.repeated = 0  # records that a predecessor had already stored
        self._schema = schema
        self._lossless = lossless
        self._while_waiting = while_waiting
        self._producer = ring.producer() if ring else None
        self._began = self._next_seq = self._producer.position if self._producer else 0
        self._in_hand = 0  # records not yet in the ring while a publish waits for room
        self._ring = ring
        self._label = label
        self._stored = self.in_ring() if resumes else {}

    @property
    def position(self) -> int:
        """`seq` of the next record."""
        return self._producer.position if self._producer else self._next_seq

    def in_ring(self) -> dict[Key, int]:
        """How far each series is stored, as far as the ring shows. Only this engine writes: no overtaking."""
        ring = self._ring
        if ring is None or self._next_seq == ring.start:
            return {}
        with ring.consumer(f"{self._label}-restart", Mode.LOSSY, start=OLDEST) as consumer:
            return newest_of(self._schema, consumer.read(ring.capacity_records))

    def store(self, records: Records, *, patient: bool = False) -> tuple[Records, int]:
        """Stamp `seq` and store; returns the new records, and how many of them, from the first on, were stored.

        If the writer is so far behind that the ring is full, a live engine drops records and counts them: it must not
        fall behind the market too. An engine whose source can wait, waits. `patient` waits as long as the writer makes
        progress.
        """
        if self._stored:
            records = self._only_new(records)
        first = self.position
        self._next_seq = first + len(records)
        self._stamp(records, len(records), self._words, first)
        if self._producer is None or not len(records):
            return records, 0
        self.made += len(records)
        if self._lossless:
            done = self._producer.publish_all(records, self._wait)
        elif patient:
            done = self._producer.publish_all(records, self._wait, patience_s=PATIENCE_S)
        else:
            done = self._producer.publish(records, timeout_s=0)
        self._in_hand = 0
        if done < len(records):
            self.dropped += len(records) - done
            self._producer.drop(len(records) - done)
        return records, done

    def _wait(self, left: int) -> None:
        self._in_hand = left
        self._while_waiting()

    def account(self) -> Account | None:
        """The balance of made, published and dropped records; None without a ring."""
        if self._producer is None:
            return None
        published = self._producer.position - self._began
        name = self._schema.name.lower()
        return accounts.deriving(
            self._label, name, self.made, published=published, dropped=self.dropped, waiting=self._in_hand
        )

    def close(self) -> None:
        """Release the ring's producer."""
        if self._producer:
            self._producer.close()

    def _only_new(self, records: Records) -> Records:
        new = np.ones(len(records), np.bool_)
        numbers = series_of(self._schema, records).tolist()
        for i, key in enumerate(zip(records["instrument"].tolist(), numbers, strict=True)):
            if records[i]["source_seq"] <= self._stored.get(key, -1):
                new[i] = False
            else:
                self._stored.pop(key, None)  # from here on, all records of the series are new
        self.repeated += len(records) - int(np.count_nonzero(new))
        return selected(records, new)
