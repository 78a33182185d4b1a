"""What the store holds of a feed that reads a recording, as far as the feed must know.

The rule is in docs/design.md, "What is a continuation of an ingest". `tickplant.plant.ingest` reads the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.last_ids import LastIds, of_streams
from tickplant.feeds.stored_spans import StoredSpans
from tickplant.records.channels import ALL_STREAMS, ON_CHANNEL
from tickplant.records.layouts import TICK, Flag, Kind
from tickplant.records.notes import is_note

Records = NDArray[np.void]
Before = Mapping[str, tuple[int, LastIds]]
"""By symbol: the instrument and the newest ids that were stored before."""


class OtherRecordingError(Exception):
    """The content read is not what was stored in this life."""


class Life(msgspec.Struct, frozen=True):
    """A stretch of a feed's records made from one recording, in one ingest or in several interrupted ones."""

    first_seq: int
    before: Before  # the ids that it continued from
    before_ns: int  # newest receive time stored before it; 0: none
    ends: frozenset[int] = frozenset()  # line numbers after which an ingest ended in order
    count: int = 0  # records stored
    newest: bool = True  # nothing else is stored after it
    instruments: int = 0  # ids up to this one had records before it


class Past(Protocol):
    """The store, as a feed sees it."""

    def lives(self) -> Iterator[Life]:
        """Lives that the recording may have made, newest first; the last one has no records yet."""
        ...

    def records(self, life: Life) -> Iterator[Records]:
        """The stored records of a life, chunk by chunk, dtype TICK."""
        ...

    def covered(self, life: Life) -> Covered:
        """What had been stored before a life. Reads all of it."""
        ...

    def spans(self, life: Life) -> StoredSpans:
        """The same as times: what each earlier life holds. Reads all of it."""
        ...

    def begin(self, life: Life) -> None:
        """Note durably that a life begins, before any of its records is published."""
        ...

    def end(self, life: Life, lines: int) -> None:
        """Note durably that an ingest ends in order after this many lines, before records of that end are published."""
        ...


class Repetition:
    """Compares the stored records of a life with those that are made again (ring_publisher.Repeat)."""

    def __init__(self, life: Life, records: Iterator[Records]) -> None:
        self._life = life
        self._records = records
        self._at_hand = np.zeros(0, TICK)
        self.left = life.count

    def rest(self, records: Records) -> Records:
        """The records after the stored ones. Raises OtherRecordingError if one differs from the stored one."""
        while len(records) and self.left:
            if not len(self._at_hand):
                self._at_hand = next(self._records)
            count = min(len(records), len(self._at_hand))
            made, stored = records[:count].copy(), self._at_hand[:count]
            made["seq"] = stored["seq"]
            if made.tobytes() != stored.tobytes():
                raise OtherRecordingError
            records, self._at_hand = records[count:], self._at_hand[count:]
            self.left -= count
        if len(records) and not self._life.newest:
            raise OtherRecordingError
        return records


class _Span:
    """Ids of one stream: from the first to the last, minus those that GAPs report, plus those filled in later."""

    def __init__(self) -> None:
        self.low, self.high = 2**63 - 1, -1
        self.holes: list[tuple[int, int]] = []  # the ids on both sides
        self.filled: set[int] = set()

    def lacks(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these ids are not above the newest one and were not stored."""
        missing = ids < self.low
        if self.holes:
            holes = np.array(sorted(self.holes), np.int64)
            place = np.searchsorted(holes[:, 0], ids, "left") - 1
            missing |= (place >= 0) & (ids < holes[np.maximum(place, 0), 1])
        if self.filled and missing.any():
            missing &= ~np.isin(ids, np.array(sorted(self.filled), np.int64))
        return missing & (ids <= self.high)


class Covered:
    """The stored ids of every stream; each hole has a GAP. Fold records, oldest first."""

    def __init__(self, first_of: Mapping[int, int]) -> None:
        """`first_of`: by instrument, the first one of its symbol, since ids continue when scales change."""
        self.told: set[tuple[int, int, int]] = set()  # STATUS and GAP records of whole feeds: times, kinds, causes
        self._first_of = first_of
        self._spans: dict[tuple[int, str], _Span] = {}

    def add(self, records: Records) -> None:
        """Take in records (n,), dtype TICK."""
        kind, flags = records["kind"], records["flags"]
        gap = (kind == Kind.GAP) & (records["order_id"] > 0) & (records["venue_seq"] > 0)
        filled = (kind == Kind.TRADE) & (flags & Flag.BACKFILL != 0)
        for stream, mask in of_streams(records):
            is_aggregate = (flags & Flag.AGGREGATE != 0) == (stream == "agg_trade")
            holes = gap & (flags & ON_CHANNEL[stream] != 0)
            late = filled & is_aggregate & (stream in ("trade", "agg_trade"))
            if stream in ("trade", "agg_trade"):
                holes &= is_aggregate
            for instrument in np.unique(records["instrument"][mask | holes]).tolist():
                span = self._spans.setdefault((self._first_of.get(instrument, instrument), stream), _Span())
                mine = records["instrument"] == instrument
                if len(ids := records["venue_seq"][mask & mine].astype(np.int64)):
                    span.low, span.high = min(span.low, int(ids.min())), max(span.high, int(ids.max()))
                span.holes += zip(
                    records["order_id"][holes & mine].tolist(), records["venue_seq"][holes & mine].tolist(), strict=True
                )
                span.filled |= set(records["venue_seq"][late & mine].tolist())
        self.told |= {_key(record) for record in records[_of_no_stream(records)]}

    def lacking(self, records: Records) -> int:
        """Number of events of these records that are older than their stream's stored ones, and were not stored."""
        number = 0
        ends = records["flags"] & Flag.LAST != 0
        for stream, mask in of_streams(records):
            for instrument in np.unique(records["instrument"][mask]).tolist():
                span = self._spans.get((self._first_of.get(instrument, instrument), stream))
                if span is not None:
                    ids = records["venue_seq"][mask & ends & (records["instrument"] == instrument)].astype(np.int64)
                    number += int(np.count_nonzero(span.lacks(ids)))
        return number

    def untold(self, records: Records, *, first: bool) -> Records:
        """These records, without those of no stream that are stored already.

        With `first`, nothing new has come before: records before the first one of a stream are then dropped too.
        """
        of_none = _of_no_stream(records)
        if not of_none.any():
            return records
        known = of_none & np.array([_key(record) in self.told for record in records])
        if first:
            known |= np.cumsum(~of_none) == 0
        left: Records = records[~known]
        return left


def _of_no_stream(records: Records) -> NDArray[np.bool_]:
    """STATUS and GAP records that belong to no stream, such as one for an unreadable frame: they have no ids."""
    of_none: NDArray[np.bool_] = is_note(records) & (records["flags"] & ALL_STREAMS == 0)
    return of_none


def _key(record: np.void) -> tuple[int, int, int]:
    return int(record["ts_recv"]), int(record["kind"]), int(record["price"])
