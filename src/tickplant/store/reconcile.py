"""Compares a feed's stored records with the accounts that the feed wrote among them.

An account (`StatusCode.ACCOUNT_FRAMES`, directly followed by `ACCOUNT_TICKS`) holds the feed's counts since it began,
and how many records it has published. So for every stored record it is known whether it belongs to that life of the
feed. Between any two accounts, the equations of `tickplant.runtime.accounts` must hold. No account covers the records
after the last one, of a feed that was killed or still runs: for these, only the seqs are proved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import GapCause, Kind, StatusCode
from tickplant.runtime import accounts
from tickplant.runtime.accounts import Account
from tickplant.store.daily_files import day_of

Records = NDArray[np.void]


class FeedDay(msgspec.Struct):
    """The accounts of one feed and day, and what is stored. The day is the UTC day of an account's receive time."""

    producer: str
    day: str
    reconciled: bool = True
    accounts: int = 0
    received: int = 0  # frames; = parsed + rejected
    parsed: int = 0
    rejected: int = 0
    made: int = 0  # ticks; = stored + dropped
    stored: int = 0
    dropped: int = 0  # for lack of room in the ring; = told
    told: int = 0  # reported by GAPs (RING_FULL)


class FeedSummary(msgspec.Struct):
    """How much of one feed its accounts cover."""

    producer: str
    reconciled: bool = True
    lives: int = 0  # lives of the feed process that wrote an account
    records: int = 0
    accounted: int = 0  # records up to the last account of their life
    days: list[FeedDay] = []

    @property
    def balances(self) -> list[Account]:
        """The equations over all days."""

        def total(name: str) -> int:
            return sum(getattr(day, name) for day in self.days)

        return _balances(self.producer, *(total(name) for name in _COUNTS))


_COUNTS: Final = ("received", "parsed", "rejected", "made", "stored", "dropped", "told")


class _Counted(NamedTuple):
    """One account of ticks."""

    seq: int
    began: int  # seq of the first record of the feed's life
    made: int
    dropped: int


class Flaw(NamedTuple):
    """An equation that does not hold, and the first and last record concerned, inclusive."""

    text: str
    first_seq: int
    last_seq: int


class Reconciliation:
    """Reconciles the ticks of one producer, oldest first."""

    def __init__(self, producer: str) -> None:
        self.summary = FeedSummary(producer)
        self._first_seq: int | None = None
        self._runs: list[tuple[int, int]] = []  # seqs stored since the last account: first, and one past the last
        self._told: list[tuple[int, int]] = []  # seq and size of each RING_FULL since the last account
        self._last: _Counted | None = None
        self._frames = (0, 0, 0)  # received, parsed and rejected, from the last account of this life that had them
        self._pending: tuple[int, tuple[int, int, int]] | None = None  # an ACCOUNT_FRAMES and its seq

    def add(self, records: Records) -> Iterator[Flaw]:
        """Take the records of one chunk, whose seqs are contiguous; yields what does not add up."""
        if not len(records):
            return
        seqs = records["seq"]
        self.summary.records += len(records)
        if self._first_seq is None:
            self._first_seq = int(seqs[0])
        kind, code = records["kind"], records["price"]
        is_account = (kind == Kind.STATUS) & ((code == StatusCode.ACCOUNT_FRAMES) | (code == StatusCode.ACCOUNT_TICKS))
        told = (kind == Kind.GAP) & (code == GapCause.RING_FULL)
        start = 0  # of the records not counted as stored yet
        for index in np.flatnonzero(is_account | told).tolist():
            record = records[index]
            seq = int(record["seq"])
            if told[index]:
                self._told.append((seq, int(record["size"])))
            elif record["price"] == StatusCode.ACCOUNT_FRAMES:
                self._pending = seq, (int(record["size"]), int(record["venue_seq"]), int(record["order_id"]))
            else:
                self._store(int(seqs[start]), seq + 1)
                start = index + 1
                yield from self._account(record)
        if start < len(seqs):
            self._store(int(seqs[start]), int(seqs[-1]) + 1)

    def interrupt(self) -> None:
        """Note that records were removed here on purpose: counting restarts after them."""
        self._first_seq, self._last, self._pending = None, None, None
        self._runs, self._told = [], []

    def _store(self, first: int, end: int) -> None:
        """Count the records from `first` to `end`, exclusive, as stored."""
        if self._runs and self._runs[-1][1] == first:
            first = self._runs.pop()[0]
        self._runs.append((first, end))

    def _account(self, record: np.void) -> Iterator[Flaw]:
        summary, seq, last = self.summary, int(record["seq"]), self._last
        counted = _Counted(seq, seq + 1 - int(record["venue_seq"]), int(record["size"]), int(record["order_id"]))
        frames = self._pending[1] if self._pending and self._pending[0] == seq - 1 else None
        self._pending = None
        same_life = last is not None and counted.began == last.began
        belied = counted.began < 0 or (last is not None and not same_life and counted.began <= last.seq)
        if belied:
            published = int(record["venue_seq"])
            summary.reconciled = False
            yield Flaw(f"an account of {published:,} published records contradicts what precedes it", seq - 1, seq)
        if last is None or not same_life:
            summary.lives += 1
            if belied or counted.began < (self._first_seq or 0):
                # The beginning of this life is no longer stored: count from here.
                last, self._frames = counted, frames or (0, 0, 0)
                self._runs, self._told = [], []
            else:
                last, self._frames = _Counted(counted.began - 1, counted.began, 0, 0), (0, 0, 0)
        low = last.seq + 1
        received, parsed, rejected = np.subtract(frames or self._frames, self._frames).tolist()
        made, dropped = counted.made - last.made, counted.dropped - last.dropped
        stored = sum(max(0, min(end, seq + 1) - max(first, low)) for first, end in self._runs)
        told = sum(size for at, size in self._told if low <= at)
        counts = (received, parsed, rejected, made, stored, dropped, told)
        day = self._day(int(record["ts_recv"]))
        day.accounts += 1
        for name, number in zip(_COUNTS, counts, strict=True):
            setattr(day, name, getattr(day, name) + number)
        summary.accounted += stored
        for account in _balances(summary.producer, *counts):
            if account.off:
                day.reconciled = summary.reconciled = False
                yield Flaw(f"{account}", low, seq)
        self._frames = frames or self._frames
        self._last, self._runs, self._told = counted, [], []

    def _day(self, ts_recv_ns: int) -> FeedDay:
        name = day_of(ts_recv_ns)
        days = self.summary.days
        if not days or days[-1].day != name:
            days.append(FeedDay(self.summary.producer, name))
        return days[-1]


def _balances(
    producer: str, received: int, parsed: int, rejected: int, made: int, stored: int, dropped: int, told: int
) -> list[Account]:
    return [
        accounts.stored_frames(producer, received, parsed=parsed, rejected=rejected),
        accounts.stored_ticks(producer, made, stored=stored, dropped=dropped),
        accounts.stored_drops(producer, dropped, told=told),
    ]
