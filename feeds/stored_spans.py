"""What is stored of each stream, as stretches of receive time: for records without consecutive ids.

Each life of the feed has one stretch per stream, from the first receive time of its records to the last; all of that
stretch is stored. At its last receive time, only as many records are stored as the life has there: the file may have
been cut between two records of one time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.channels import STREAM_OF_KIND
from tickplant.records.layouts import Flag, Kind

Records = NDArray[np.void]
Mask = NDArray[np.bool_]

_KEY_SHIFT: Final = 24
_BARS: Final = 1 << 17
"""Bars of each length are a stream of their own: the key contains the length in seconds, up to a day."""


def keys_of(records: Records) -> NDArray[np.int64]:
    """The stream of each record, dtype TICK, as a number; 0 for GAPs, which belong to no stream."""
    kind = records["kind"]
    stream = np.zeros(len(records), np.int64)
    for each, flag in STREAM_OF_KIND.items():
        stream[kind == each] = int(flag)
    stream[(kind == Kind.CLEAR) & (records["flags"] & Flag.ON_ORDERS != 0)] = int(Flag.ON_ORDERS)
    stream[kind == Kind.STATUS] = 1
    bars = kind == Kind.VENUE_BAR
    if bars.any():
        length_s = (records["ts_event"][bars] - records["venue_seq"][bars].astype(np.int64)) // 10**9
        stream[bars] = _BARS + np.clip(length_s, 0, _BARS - 1)
    return np.where(kind == Kind.GAP, 0, records["instrument"].astype(np.int64) << _KEY_SHIFT | stream)


def flags_of(key: int) -> int:
    """The ON_ flag of a stream; 0 for the stream of STATUS records."""
    stream = key & (1 << _KEY_SHIFT) - 1
    return int(Flag.ON_OTHER) if stream >= _BARS else stream & ~1


def instrument_of(key: int) -> int:
    """The instrument of a stream."""
    return key >> _KEY_SHIFT


class _Span:
    def __init__(self) -> None:
        self.low, self.high = 2**63 - 1, -1
        self.at_high = 0  # records counted at `high`
        self.met = 0  # records at `high` among those being sorted


class StoredSpans:
    """Fold the stored records of each life, then sort other records, in their order."""

    def __init__(self) -> None:
        self._lives: list[dict[int, _Span]] = []

    def begin_life(self) -> None:
        """Begin another life with the records that follow."""
        self._lives.append({})

    def add(self, records: Records) -> None:
        """Take in records (n,), dtype TICK."""
        spans = self._lives[-1]
        keys = keys_of(records)
        for key in np.unique(keys[keys != 0]).tolist():
            mine = records[keys == key]
            span = spans.setdefault(key, _Span())
            newest = int(mine["ts_recv"].max())
            at_newest = int(np.count_nonzero(_counted(mine) & (mine["ts_recv"] == newest)))
            if newest > span.high:
                span.high, span.at_high = newest, at_newest
            elif newest == span.high:
                span.at_high += at_newest
            span.low = min(span.low, int(mine["ts_recv"].min()))

    def knows(self, key: int) -> bool:
        """Whether anything is stored of a stream."""
        return any(key in spans for spans in self._lives)

    def sort(self, records: Records) -> tuple[Mask, Mask]:
        """Which of these records are stored already, and which are not stored but older than the stored ones."""
        stored, late = np.zeros(len(records), np.bool_), np.zeros(len(records), np.bool_)
        keys = keys_of(records)
        for key in np.unique(keys[keys != 0]).tolist():
            mine = np.flatnonzero(keys == key)
            times, counted = records["ts_recv"][mine], _counted(records[mine])
            newest = -1
            known = np.zeros(len(mine), np.bool_)
            for span in [spans[key] for spans in self._lives if key in spans]:
                newest = max(newest, span.high)
                last = times == span.high
                place = span.met + np.cumsum(last & counted)
                span.met = int(place[-1])
                known |= (times >= span.low) & (times < span.high)
                known |= last & (~counted | (place <= span.at_high))
            stored[mine] = known
            late[mine] = ~known & (times < newest)
        return stored, late


def _counted(records: Records) -> Mask:
    """Which records count: of books by level the ends of events, else every record except a CLEAR."""
    levels = np.isin(records["kind"], (Kind.LEVEL, Kind.CLEAR)) & (records["flags"] & Flag.ON_ORDERS == 0)
    counted: Mask = np.where(levels, records["flags"] & Flag.LAST != 0, records["kind"] != Kind.CLEAR)
    return counted
