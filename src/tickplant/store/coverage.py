"""What is stored for each symbol and day, and what is not: the rows of `Store.coverage`.

Days are UTC days, by receive time. Losses of the venue or the plant are in the data as GAPs. Losses of the store are
holes in a producer's seqs, or damage; since these name no symbol, they count for each symbol that the producer
recorded. A day without stored records, between the first and the last day of a symbol, is missing, or removed if
retention has removed its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ALL_STREAMS, streams_of
from tickplant.records.layouts import GapCause, Kind, Schema
from tickplant.records.notes import NOTE_KINDS
from tickplant.store.daily_files import DAY_NS, day_of, day_start_ns
from tickplant.store.selection import Selection
from tickplant.writer.index import Damage

if TYPE_CHECKING:  # the reader offers this as a method
    from tickplant.store.reader import Store

CAUSES: Final = {int(cause): cause.name.lower() for cause in GapCause}
"""The name of each cause, by the number in `price` of a GAP."""

_LOST: Final = CAUSES[GapCause.DAMAGE]
_COLUMNS: Final = ("ts_recv", "instrument", "kind", "price", "size", "flags")
_NEVER: Final = np.iinfo(np.int64).max


State = Literal["complete", "gaps", "missing", "removed"]


class CoverageGap(msgspec.Struct, omit_defaults=True):
    """Gaps of one cause and stream on one day."""

    cause: str
    stream: str  # trade, book, a combination such as trade+quote; or all, if unknown
    gaps: int = 0
    missing: int = 0  # records known to be missing
    unknown: int = 0  # gaps with an unknown number of missing records
    length_ns: int = 0  # total on this day; a gap lasts from the last data before it to its record


class CoverageRow(msgspec.Struct):
    """One symbol and day."""

    venue: str
    symbol: str
    day: str  # 2026-03-01
    state: State
    records: int = 0  # of data, so neither GAP nor STATUS
    first_ns: int = 0  # receive times of the first and last of these records; 0 if there are none
    last_ns: int = 0
    gaps: list[CoverageGap] = []
    removed: int = 0  # records that retention has removed: all of them if the state is removed


class RemovedSummary(msgspec.Struct, frozen=True):
    """Records of one symbol, day and schema that retention has removed: they are not missing."""

    venue: str
    symbol: str
    day: str  # UTC
    schema: str
    records: int
    channels: tuple[str, ...]  # the channels whose records were removed; empty: all


class _Gap(NamedTuple):
    """One gap; times are receive times in ns."""

    cause: str
    stream: str
    start_ns: int
    end_ns: int
    missing: int  # negative: unknown


class _Symbol:
    """What is known about one symbol so far."""

    def __init__(self) -> None:
        self.days: dict[int, tuple[int, int, int]] = {}  # records, first and last time
        self.gaps: dict[int, dict[tuple[str, str], CoverageGap]] = {}
        self.removed: dict[int, int] = {}  # records that retention has removed

    def count(self, day: int, records: int, first_ns: int, last_ns: int) -> None:
        """Count stored data records of a day."""
        known, first, last = self.days.get(day, (0, _NEVER, 0))
        self.days[day] = known + records, min(first, first_ns), max(last, last_ns)

    def add(self, gap: _Gap) -> None:
        """Count a gap on each day that it touches, and its missing records on the last one."""
        last = gap.end_ns // DAY_NS
        for day in range(min(gap.start_ns // DAY_NS, last), last + 1):
            of_day = self.gaps.setdefault(day, {})
            entry = of_day.setdefault((gap.cause, gap.stream), CoverageGap(gap.cause, gap.stream))
            entry.gaps += 1
            entry.length_ns += max(0, min(gap.end_ns, (day + 1) * DAY_NS) - max(gap.start_ns, day * DAY_NS))
            if day == last:
                entry.missing += max(0, gap.missing)
                entry.unknown += gap.missing < 0


def coverage(
    store: Store, venue: str = "", symbol: str = "", *, start_ns: int | None = None, end_ns: int | None = None
) -> list[CoverageRow]:
    """The rows that `Store.coverage` describes. While this runs, it replaces the store's `on_damage`."""
    rows = [
        row
        for row in store.instruments
        if row.symbol != FEED_SYMBOL and venue in ("", row.venue) and symbol in ("", row.symbol)
    ]
    names = {row.id: (row.venue, row.symbol) for row in rows}
    symbols: dict[tuple[str, str], _Symbol] = {}
    selection = Selection(ids=frozenset(names), start_ns=start_ns, end_ns=end_ns)
    for producer in store.producers():
        seen: set[tuple[str, str]] = set()
        damaged: list[Damage] = []
        told, store.on_damage = store.on_damage, damaged.append
        try:
            for id_, found in _of_producer(store, producer, selection):
                name = names[id_]
                seen.add(name)
                known = symbols.setdefault(name, _Symbol())
                known.add(found) if isinstance(found, _Gap) else known.count(*found)
        finally:
            store.on_damage = told
        for gap in _lost(store, producer, damaged):
            if (start_ns is None or gap.end_ns >= start_ns) and (end_ns is None or gap.start_ns < end_ns):
                for name in seen:
                    symbols[name].add(gap)
    wanted = set(names.values())
    for one in removed_on_purpose(store, Schema.TICK):
        begin_ns = day_start_ns(one.day)
        asked = (start_ns is None or begin_ns + DAY_NS > start_ns) and (end_ns is None or begin_ns < end_ns)
        if asked and (one.venue, one.symbol) in wanted:
            of_days = symbols.setdefault((one.venue, one.symbol), _Symbol()).removed
            of_days[begin_ns // DAY_NS] = of_days.get(begin_ns // DAY_NS, 0) + one.records
    return [row for name, known in sorted(symbols.items()) for row in _rows(*name, known)]


def _rows(venue: str, symbol: str, known: _Symbol) -> Iterator[CoverageRow]:
    days = known.days.keys() | known.gaps.keys() | known.removed.keys()
    for day in range(min(days), max(days) + 1) if days else ():
        records, first_ns, last_ns = known.days.get(day, (0, 0, 0))
        gaps = [gap for _, gap in sorted(known.gaps.get(day, {}).items())]
        removed = known.removed.get(day, 0)
        state: State = "removed" if removed else "missing"
        if records:
            state = "gaps" if gaps else "complete"
        yield CoverageRow(venue, symbol, day_of(day * DAY_NS), state, records, first_ns, last_ns, gaps, removed)


def removed_on_purpose(store: Store, *schemas: Schema) -> list[RemovedSummary]:
    """The records that retention has removed, by day; of all schemas if none is named. Raises StoreError."""
    found = [
        RemovedSummary(file.venue, file.symbol, manifest.day, schema.name.lower(), file.removed, file.removed_channels)
        for schema in schemas or Schema
        for producer in store.producers(schema)
        for segment in store.segments(producer, schema)
        if (manifest := store.indexes.manifest_of(segment)) is not None
        for file in manifest.files
        if file.removed
    ]
    return sorted(found, key=lambda one: (one.day, one.venue, one.symbol, one.schema))


def _of_producer(
    store: Store, producer: str, selection: Selection
) -> Iterator[tuple[int, _Gap | tuple[int, int, int, int]]]:
    """By instrument id: each gap, and for each block of records the day, their number, first and last time."""
    latest: dict[int, int] = {}  # receive time of the last data
    for block in store.blocks(producer, Schema.TICK, selection, _COLUMNS):
        columns = block.columns
        data = ~np.isin(columns["kind"], NOTE_KINDS)
        for place in np.flatnonzero(columns["kind"] == Kind.GAP).tolist():
            id_ = int(columns["instrument"][place])
            before = np.flatnonzero(data[:place] & (columns["instrument"][:place] == id_))
            end_ns = int(columns["ts_recv"][place])
            start_ns = int(columns["ts_recv"][before[-1]]) if len(before) else latest.get(id_, end_ns)
            stream = "+".join(streams_of(int(columns["flags"][place]) & ALL_STREAMS))
            cause = int(columns["price"][place])
            size = int(columns["size"][place])
            yield id_, _Gap(CAUSES.get(cause, str(cause)), stream or "none", min(start_ns, end_ns), end_ns, size)
        for id_, day, records, first_ns, last_ns in _counts(columns["instrument"][data], columns["ts_recv"][data]):
            latest[id_] = max(latest.get(id_, 0), last_ns)
            yield id_, (day, records, first_ns, last_ns)


def _counts(ids: NDArray[Any], times: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int, int]]:
    """Instrument, day, number of records, first and last time."""
    days = times // DAY_NS
    for day in np.unique(days).tolist():
        chosen = days == day
        own, at = ids[chosen], times[chosen]
        numbers = np.bincount(own)
        first, last = np.full(len(numbers), _NEVER), np.zeros(len(numbers), np.int64)
        np.minimum.at(first, own, at)
        np.maximum.at(last, own, at)
        for id_ in np.flatnonzero(numbers).tolist():
            yield id_, day, int(numbers[id_]), int(first[id_]), int(last[id_])


def _lost(store: Store, producer: str, damaged: list[Damage]) -> Iterator[_Gap]:
    """Stretches of a producer's seqs that are not stored or not readable, as gaps of everything that it recorded."""
    end: _Stored | None = None
    for part in _stored(store, producer, {damage.first_seq for damage in damaged}):
        if end is not None and (missing := part.first_seq - end.last_seq - 1) > 0:
            bounds = end.last_ns, part.first_ns
            yield _Gap(_LOST, "all", min(bounds), max(bounds), missing)
        end = part
        for wound in damaged if part.is_span else ():
            if wound.first_seq is not None and part.first_seq <= wound.first_seq <= part.last_seq:
                yield _Gap(_LOST, "all", part.first_ns, part.last_ns, -1)
    for wound in damaged:
        if end is not None and not wound.torn and (wound.first_seq or 0) > end.last_seq:
            missing = -1 if wound.last_seq is None or wound.first_seq is None else wound.last_seq - wound.first_seq + 1
            yield _Gap(_LOST, "all", end.last_ns, end.last_ns, missing)


class _Stored(NamedTuple):
    """Contiguous stored seqs, and their receive times."""

    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    is_span: bool = False  # daily files, from which retention may have removed records on purpose


def _stored(store: Store, producer: str, unreadable: set[int | None]) -> Iterator[_Stored]:
    """In order: the readable chunks of the journal, and the spans of daily files."""
    segments = store.segments(producer, Schema.TICK)
    for place, segment in enumerate(segments):
        headers = store.indexes.contents(segments, place).entries["header"]
        if segment.span is not None and segment.last_seq is not None:
            if len(headers):
                times = int(headers["ts_recv_min"].min()), int(headers["ts_recv_max"].max())
            else:  # retention has removed all records
                times = day_start_ns(segment.span.day), day_start_ns(segment.span.day) + DAY_NS - 1
            yield _Stored(segment.first_seq, segment.last_seq, *times, is_span=True)
            continue
        for header in headers:
            if int(header["first_seq"]) not in unreadable:
                seqs = int(header["first_seq"]), int(header["last_seq"])
                yield _Stored(*seqs, int(header["ts_recv_min"]), int(header["ts_recv_max"]))
