"""Proving a store whole and complete: every chunk, every seq, every gap.

Whole means that every byte of every journal belongs to a valid chunk whose header describes its records. Complete
means that `seq` runs without a hole from the first record of a producer to its last; what the venue or the plant lost
before a record got its seq is in the data as a GAP, and listed here by symbol and day. What a feed has counted is in
the data as well: `src/tickplant/store/reconcile.py` holds it against what is stored. So are the checksums that a venue
sends with its books: `src/tickplant/store/book_checks.py` holds the books as stored against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.channels import ALL_STREAMS, streams_of
from tickplant.records.layouts import GapCause, Kind, Schema
from tickplant.store.book_checks import StoredChecksums
from tickplant.store.deep_checks import DeepCheck, DeepSummary
from tickplant.store.reader import Store
from tickplant.store.reconcile import FeedSummary, Reconciliation
from tickplant.writer.format.chunk_layout import instrument_bits, kind_bits, producer_id
from tickplant.writer.index import Damage

Records = NDArray[np.void]
Progress = Callable[[int, int], None]
Ledger = dict[tuple[int, int, int, int], tuple[int, int, int]]
"""(day, instrument, cause, streams) to (gaps, records missing, gaps of unknown size)."""

ProblemKind = Literal[
    "damage", "hole", "double", "header", "account", "checksum", "instrument", "time", "clock", "torn", "aside", "start"
]

HARMLESS: Final[frozenset[ProblemKind]] = frozenset({"clock", "torn", "aside", "start"})
"""What a crash, the deletion of old files or a clock that was set back leaves behind; all else makes a store unwell."""

_DAY_NS: Final = 86_400 * 10**9
_KINDS: Final = {int(kind): kind.name.lower() for kind in Kind}
_CAUSES: Final = {int(cause): cause.name.lower() for cause in GapCause}


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not as it should be."""

    kind: ProblemKind
    path: str
    offset: int
    text: str
    first_seq: int | None = None  # records that are missing or doubtful, both inclusive, where known
    last_seq: int | None = None


class JournalSummary(msgspec.Struct):
    """What is stored of one producer and schema."""

    producer: str
    schema: str
    files: int = 0
    chunks: int = 0
    records: int = 0
    bytes: int = 0
    first_seq: int | None = None
    next_seq: int | None = None
    ts_recv_min: int | None = None
    ts_recv_max: int | None = None
    kinds: dict[str, int] = msgspec.field(default_factory=dict)
    checksums: int = 0  # of books, as their venue sent them, with which the books as stored agree


class GapSummary(msgspec.Struct, frozen=True):
    """GAP records of one symbol, day, cause and stream."""

    venue: str
    symbol: str
    day: str  # UTC, of the receive time
    cause: str
    stream: str  # trade, quote, book, or a combination such as trade+quote
    gaps: int
    missing: int  # records known to be missing
    unknown: int  # gaps whose number of missing records nobody knows


class Report(msgspec.Struct):
    """The result. `ok` is False where there is any problem that is not HARMLESS; gaps do not count as problems."""

    data_dir: str
    ok: bool
    reconciled: bool  # no account is belied by what is stored; else `ok` is False too
    records: int
    bytes: int
    journals: list[JournalSummary]
    problems: list[Problem]
    feeds: list[FeedSummary]
    gaps: list[GapSummary]
    deep: list[DeepSummary] = []  # by feed, where asked for


def verify(data_dir: Path | str, *, deep: bool = False, progress: Progress | None = None) -> Report:
    """Read everything that is stored and check it. Safe while a plant is writing.

    Args:
        data_dir: the store.
        deep: fold all ticks once more and hold checkpoints, bbo and bars against them.
        progress: called with the bytes checked so far and the bytes there are.

    Raises:
        StoreError: there is no store, or a file cannot be read at all.
    """
    problems: list[Problem] = []
    store = Store(data_dir, on_damage=lambda damage: problems.append(_damaged(damage)))
    if not store.data_dir.is_dir():
        raise StoreError("there is no such data directory", path=store.data_dir)
    ledger: Ledger = {}
    journals = [(producer, schema) for schema in Schema for producer in store.producers(schema)]
    sizes = {path: path.stat().st_size for journal in journals for path in store.files(*journal)}
    total, done = sum(sizes.values()), 0
    summaries, feeds = [], []
    for producer, schema in journals:
        check = _JournalCheck(store, producer, schema, problems)
        reconciliation, checksums = Reconciliation(producer), StoredChecksums(store.instruments)
        for path in store.files(producer, schema):
            for records, offset, end in check.file(path):
                if schema == Schema.TICK:
                    _count_gaps(records, ledger)
                    problems += [Problem("account", str(path), offset, *flaw) for flaw in reconciliation.add(records)]
                    checksums.add(records, str(path), offset)
                if progress:
                    progress(done + end, total)
            done += sizes.get(path, 0)
        check.finish()
        for book, at in checksums.wrong():
            problems.append(Problem("checksum", at.path, at.offset, str(book), at.seq, book.last_seq))
        check.summary.checksums = checksums.agreed
        if schema == Schema.TICK:
            feeds.append(reconciliation.summary)
        summaries.append(check.summary)
    checked = [DeepCheck(store, feed) for feed in store.producers()] if deep else []
    derived = [check.run(lambda: progress(done, total) if progress else None) for check in checked]
    return Report(
        data_dir=str(store.data_dir),
        ok=all(problem.kind in HARMLESS for problem in problems) and not any(summary.wrong for summary in derived),
        reconciled=all(feed.reconciled for feed in feeds),
        records=sum(summary.records for summary in summaries),
        bytes=sum(summary.bytes for summary in summaries),
        journals=summaries,
        problems=problems,
        feeds=feeds,
        gaps=_gap_table(store.instruments, ledger),
        deep=derived,
    )


def _damaged(damage: Damage) -> Problem:
    return Problem("damage", damage.path, damage.offset, damage.reason, damage.first_seq, damage.last_seq)


class _JournalCheck:
    """Walks the files of one journal in order."""

    def __init__(self, store: Store, producer: str, schema: Schema, problems: list[Problem]) -> None:
        self.summary = JournalSummary(producer, schema.name.lower())
        self._store = store
        self._schema = schema
        self._problems = problems
        self._known_ids = len(store.instruments)
        self._files = store.files(producer, schema)
        self._latest_ns: int | None = None  # receive time of the last record so far

    def file(self, path: Path) -> Iterator[tuple[Records, int, int]]:
        """Check one file; yields the records of each valid chunk, its offset and the one behind it."""
        summary = self.summary
        index = self._store.index(path)
        summary.files += 1
        summary.bytes += index.size_bytes
        if summary.next_seq is None and int(path.stem) > 0:
            self._report("start", path, 0, f"the journal begins with seq {int(path.stem)}: older files were removed")
        damage = list(index.damage)
        for entry in index.entries:
            offset = int(entry["offset"])
            while damage and damage[0].offset < offset:
                self._skipped(path, damage.pop(0))
            header = entry["header"]
            self._continues(path, offset, int(header["first_seq"]), int(header["last_seq"]))
            records = self._store.chunk(path, entry, self._schema)
            if len(records):
                self._check(path, offset, header, records)
                yield records, offset, offset + int(header["length_bytes"])
        for part in damage:
            self._skipped(path, part)

    def finish(self) -> None:
        """What was moved aside by recoveries."""
        for path in sorted(self._files[0].parent.glob("*.torn")) if self._files else []:
            size = path.stat().st_size
            self._report("aside", path, 0, f"{size} bytes that were no valid chunk were moved here by a recovery")

    def _report(
        self, kind: ProblemKind, path: Path, offset: int, text: str, first: int | None = None, last: int | None = None
    ) -> None:
        self._problems.append(Problem(kind, str(path), offset, text, first, last))

    def _skipped(self, path: Path, damage: Damage) -> None:
        if damage.torn and path == self._files[-1]:
            self._report("torn", path, damage.offset, "the file ends inside a chunk: torn, or being written right now")
            return
        self._problems.append(_damaged(damage))
        if damage.last_seq is not None:
            self.summary.next_seq = damage.last_seq + 1  # reported with the damage: not a hole besides

    def _continues(self, path: Path, offset: int, first: int, last: int) -> None:
        summary = self.summary
        expected = int(path.stem) if summary.next_seq is None else summary.next_seq
        if first > expected:
            text = f"{first - expected} records are missing"
            self._report("hole", path, offset, text, expected, first - 1)
        elif first < expected:
            text = f"the chunk begins with seq {first}, after {expected - 1}"
            self._report("double", path, offset, text, first, min(last, expected - 1))
        if summary.first_seq is None:
            summary.first_seq = first
        summary.next_seq = last + 1

    def _check(self, path: Path, offset: int, header: np.void, records: Records) -> None:
        summary = self.summary
        summary.chunks += 1
        summary.records += len(records)
        low, high = int(records["ts_recv"].min()), int(records["ts_recv"].max())
        if low <= 0:
            self._report("time", path, offset, f"a record has the receive time {low}")
        self._look_for_steps(path, offset, records)
        summary.ts_recv_min = low if summary.ts_recv_min is None else min(low, summary.ts_recv_min)
        summary.ts_recv_max = high if summary.ts_recv_max is None else max(high, summary.ts_recv_max)
        has_kinds = "kind" in (records.dtype.names or ())
        if has_kinds:
            for kind, count in enumerate(np.bincount(records["kind"]).tolist()):
                if count:
                    name = _KINDS.get(kind, str(kind))
                    summary.kinds[name] = summary.kinds.get(name, 0) + count
        if int(records["instrument"].max()) > self._known_ids:
            # The table may have grown while this was running.
            self._known_ids = len(self._store.instruments)
        if not 1 <= int(records["instrument"].min()) <= int(records["instrument"].max()) <= self._known_ids:
            self._report("instrument", path, offset, "a record is of an instrument that the table does not hold")
        events = records["ts_event"][records["ts_event"] != 0]
        told = (
            header["producer"] == producer_id(summary.producer)
            and header["first_seq"] == records["seq"][0]
            and header["last_seq"] == records["seq"][-1]
            and (np.diff(records["seq"]) == 1).all()
            and (header["ts_recv_min"], header["ts_recv_max"]) == (low, high)
            and header["ts_event_min"] == (events.min() if len(events) else 0)
            and header["ts_event_max"] == (events.max() if len(events) else 0)
            and header["instruments"] == instrument_bits(records["instrument"])
            and header["kinds"] == (kind_bits(records["kind"]) if has_kinds else 0)
        )
        if not told:
            text = "the chunk's header does not describe its records, or it belongs to another journal"
            self._report("header", path, offset, text, int(header["first_seq"]), int(header["last_seq"]))

    def _look_for_steps(self, path: Path, offset: int, records: Records) -> None:
        """Tell each step back of the clock, once: what follows is where it belongs, at times that were before."""
        times = records["ts_recv"]
        before = times[0] if self._latest_ns is None else self._latest_ns
        # A day: within a day receive times may step back, since a snapshot waits for the diffs before it.
        steps = np.flatnonzero(np.append(before, times[:-1]) - _DAY_NS > times)
        if len(steps):
            place = int(steps[0])
            earlier, seq = int(times[place - 1]) if place else int(before), int(records["seq"][place])
            text = f"the clock was set back by {(earlier - int(times[place])) / _DAY_NS:.1f} days at seq {seq}"
            text += f", and {len(steps) - 1} times more in the same chunk" if len(steps) > 1 else ""
            self._report("clock", path, offset, text, seq, seq)
        self._latest_ns = int(times[-1])


def _count_gaps(records: Records, ledger: Ledger) -> None:
    for gap in records[records["kind"] == Kind.GAP]:
        streams = int(gap["flags"]) & ALL_STREAMS
        key = int(gap["ts_recv"]) // _DAY_NS, int(gap["instrument"]), int(gap["price"]), int(streams)
        gaps, missing, unknown = ledger.get(key, (0, 0, 0))
        size = int(gap["size"])
        ledger[key] = gaps + 1, missing + max(0, size), unknown + (size < 0)


def _gap_table(table: InstrumentTable, ledger: Ledger) -> list[GapSummary]:
    rows = []
    for (day, number, cause, streams), (gaps, missing, unknown) in sorted(ledger.items()):
        known = 1 <= number <= len(table)
        rows.append(
            GapSummary(
                venue=table.by_id(number).venue if known else "",
                symbol=table.by_id(number).symbol if known else f"id {number}",
                day=f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}",
                cause=_CAUSES.get(cause, str(cause)),
                stream="+".join(streams_of(streams)),
                gaps=gaps,
                missing=missing,
                unknown=unknown,
            )
        )
    return rows
