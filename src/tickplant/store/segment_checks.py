"""Checks the stored records of one producer and schema, one by one: every chunk's header, every seq.

Each file in a span of daily files is also compared with the manifest: its size, its number of records, and the checksum
that the records had when they were taken from the journal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.store.chunk_files import ChunkFiles, in_order, within
from tickplant.store.daily_files import DAY_NS, DailyFile
from tickplant.store.reader import Store
from tickplant.store.segments import Chunk, Range, Segment, Stretch, stretches
from tickplant.store.selection import Selection
from tickplant.writer.format.chunk_bounds import LAYOUT_OF, bounds_of
from tickplant.writer.format.chunk_layout import instrument_bits, kind_bits, producer_id
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import Damage, index_path

Records = NDArray[np.void]

ProblemKind = (
    Literal["damage", "hole", "double", "header", "account", "checksum", "instrument", "time"]
    | Literal["clock", "torn", "aside", "start"]
)

HARMLESS: Final[frozenset[ProblemKind]] = frozenset({"clock", "torn", "aside", "start"})
"""What a crash, the deletion of old files or a clock set back leaves behind. Any other problem makes a store not ok."""

_KINDS: Final = {int(kind): kind.name.lower() for kind in Kind}


class Problem(msgspec.Struct, frozen=True):
    """One problem found in a store."""

    kind: ProblemKind
    path: str
    offset: int
    text: str
    first_seq: int | None = None  # first and last missing or doubtful record, inclusive, if known
    last_seq: int | None = None


class JournalSummary(msgspec.Struct):
    """The stored records of one producer and schema."""

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
    checksums: int = 0  # the venue's checksums of books with which the stored books agree
    days: int = 0  # spans of daily files
    removed: int = 0  # records in these spans that were removed on purpose
    doubles: int = 0  # trades in these spans that repeat a venue id of the symbol


class Block(NamedTuple):
    """Consecutive records that have been checked."""

    records: Records
    path: str
    offset: int
    bytes: int  # number of bytes read for them
    partial: bool  # other records between them were removed on purpose


class _Tally:
    """What has been read so far of one daily file."""

    def __init__(self) -> None:
        self.rows = 0
        self.checksum = 0

    def add(self, records: Records) -> None:
        self.rows += len(records)
        self.checksum = zlib.crc32(np.ascontiguousarray(records).view(np.uint8).data, self.checksum)


class SegmentChecks:
    """Checks the segments of one producer and schema in order, and appends what is wrong to `problems`."""

    def __init__(self, store: Store, producer: str, schema: Schema, problems: list[Problem]) -> None:
        self.summary = JournalSummary(producer, schema.name.lower())
        self._store = store
        self._schema = schema
        self._problems = problems
        self._known_ids = len(store.instruments)
        self._latest_ns: int | None = None  # receive time of the last record so far
        self._decode = ChunkDecoder().decode

    def blocks(self) -> Iterator[Block]:
        """Check everything; yields the records of each valid stretch. Raises StoreError."""
        summary = self.summary
        segments = self._store.segments(summary.producer, self._schema)
        asked = Range(summary.producer, self._schema, Selection())
        for place, segment in enumerate(segments):
            contents = self._store.indexes.contents(segments, place)
            summary.files += len(contents.paths)
            summary.bytes += sum(path.stat().st_size for path in contents.paths)
            if summary.next_seq is None and segment.first_seq > 0:
                text = f"the journal begins with seq {segment.first_seq}: older files were removed"
                self._report("start", segment.path, 0, text)
            found = stretches(contents, segment, asked)
            yield from self._span(segment, found) if segment.span else self._journal(segment, found)
        for path in sorted({path for one in segments if not one.span for path in one.path.parent.glob("*.torn")}):
            size = path.stat().st_size
            self._report("aside", path, 0, f"a recovery moved {size} bytes here that were not a valid chunk")

    def _journal(self, segment: Segment, found: list[Stretch]) -> Iterator[Block]:
        with ChunkFiles(lambda: None) as files:
            for stretch in found:
                for part in stretch.damage:
                    self._skipped(part)
                for path, entry in stretch.chunks:
                    offset = int(entry["offset"])
                    self._continues(path, offset, stretch.first_seq, stretch.last_seq, segment.first_seq)
                    records = files.decode(Chunk(path, entry), self._schema, self._decode)
                    if isinstance(records, Damage):
                        self._skipped(records)
                        continue
                    self._check(Chunk(path, entry), records, dense=True)
                    records = within(records, stretch)
                    self._count(path, offset, records)
                    yield Block(records, str(path), offset, int(entry["header"]["length_bytes"]), partial=False)
        newest = segment.last_seq is None
        for part in self._store.indexes.of(segment.path).damage if newest else ():
            if part.torn:
                text = "the file ends inside a chunk: torn, or being written right now"
                self._report("torn", segment.path, part.offset, text)

    def _span(self, segment: Segment, found: list[Stretch]) -> Iterator[Block]:
        """Check a span of daily files: stripe by stripe, all symbols together."""
        summary, first = self.summary, segment.first_seq
        manifest = self._store.indexes.manifest_of(segment)
        summary.days += 1
        removed = sum(file.removed for file in manifest.files) if manifest else 0
        summary.removed += removed
        if removed:
            yield Block(np.zeros(0, DTYPES[self._schema]), str(segment.path), 0, 0, partial=True)
        tallies: dict[str, _Tally] = {}
        damage: list[Damage] = []
        expected = summary.next_seq if summary.next_seq is not None else first
        if first > expected:
            self._report("hole", segment.path, 0, f"{first - expected} records are missing", expected, first - 1)
        summary.first_seq = first if summary.first_seq is None else summary.first_seq
        summary.next_seq = first
        with ChunkFiles(lambda: None) as files:
            for stretch in found:
                parts = []
                for part in stretch.damage:
                    self._damaged(part)
                    damage.append(part)
                for chunk in stretch.chunks:
                    records = files.decode(chunk, self._schema, self._decode)
                    if isinstance(records, Damage):
                        self._damaged(records)
                        damage.append(records)
                        continue
                    self._check(chunk, records, dense=False)
                    tallies.setdefault(chunk.path.name, _Tally()).add(records)
                    parts.append(records)
                joined = in_order(parts, self._schema)
                if not removed:
                    self._holes(segment.path, joined["seq"], stretch, damage)
                self._count(segment.path, 0, joined)
                size = sum(int(chunk.entry["header"]["length_bytes"]) for chunk in stretch.chunks)
                if len(joined):
                    yield Block(joined, str(segment.path), 0, size, partial=bool(removed))
        summary.next_seq = (segment.last_seq or 0) + 1
        for file in manifest.files if manifest else ():
            summary.doubles += file.doubles
            self._compare(segment, file, tallies.get(file.name, _Tally()), damage)

    def _compare(self, segment: Segment, file: DailyFile, tally: _Tally, damage: list[Damage]) -> None:
        """Compare what was read of a file with the manifest."""
        path = segment.path / file.name
        if any(part.path == str(path) for part in damage) or (tally.rows, tally.checksum) == (file.rows, file.checksum):
            return
        text = f"the file holds other records ({tally.rows:,}) than its manifest says ({file.rows:,})"
        self._report("header", path, 0, text, segment.first_seq, segment.last_seq)

    def _holes(self, path: Path, seq: NDArray[np.uint64], stretch: Stretch, damage: list[Damage]) -> None:
        """Check that each seq of a stripe is there exactly once."""
        expected = self.summary.next_seq or 0
        steps = np.diff(np.concatenate([np.array([expected - 1]), seq.astype(np.int64)]))
        self.summary.next_seq = int(seq[-1]) + 1 if len(seq) else expected
        for place in np.flatnonzero(steps != 1)[:100].tolist():
            at = int(seq[place])
            if steps[place] < 1:
                self._report("double", path, 0, f"a record of seq {at} is stored twice", at, at)
            elif not any((part.first_seq or 0) < at and (part.last_seq or at) >= at - steps[place] for part in damage):
                first = at - int(steps[place]) + 1
                self._report("hole", path, 0, f"{at - first} records are missing", first, at - 1)

    def _report(
        self, kind: ProblemKind, path: Path, offset: int, text: str, first: int | None = None, last: int | None = None
    ) -> None:
        self._problems.append(Problem(kind, str(path), offset, text, first, last))

    def _damaged(self, damage: Damage) -> None:
        seqs = damage.first_seq, damage.last_seq
        self._problems.append(Problem("damage", damage.path, damage.offset, damage.reason, *seqs))

    def _skipped(self, damage: Damage) -> None:
        self._damaged(damage)
        if damage.last_seq is not None:
            # Already reported as damage, so not as a hole as well.
            self.summary.next_seq = max(self.summary.next_seq or 0, damage.last_seq + 1)

    def _continues(self, path: Path, offset: int, first: int, last: int, begin: int) -> None:
        summary = self.summary
        expected = begin if summary.next_seq is None else summary.next_seq
        if first > expected:
            text = f"{first - expected} records are missing"
            self._report("hole", path, offset, text, expected, first - 1)
        elif first < expected:
            text = f"the chunk begins with seq {first}, after {expected - 1}"
            self._report("double", path, offset, text, first, min(last, expected - 1))
        if summary.first_seq is None:
            summary.first_seq = first
        summary.next_seq = last + 1

    def _count(self, path: Path, offset: int, records: Records) -> None:
        """Add records, in stored order, to the summary."""
        summary = self.summary
        if not len(records):
            return
        summary.records += len(records)
        low, high = int(records["ts_recv"].min()), int(records["ts_recv"].max())
        if low <= 0:
            self._report("time", path, offset, f"a record has the receive time {low}")
        self._look_for_steps(path, offset, records)
        summary.ts_recv_min = low if summary.ts_recv_min is None else min(low, summary.ts_recv_min)
        summary.ts_recv_max = high if summary.ts_recv_max is None else max(high, summary.ts_recv_max)
        if "kind" in (records.dtype.names or ()):
            for kind, count in enumerate(np.bincount(records["kind"]).tolist()):
                if count:
                    name = _KINDS.get(kind, str(kind))
                    summary.kinds[name] = summary.kinds.get(name, 0) + count
        if int(records["instrument"].max()) > self._known_ids:
            # The table may have grown while this was running.
            self._known_ids = len(self._store.instruments)
        if not 1 <= int(records["instrument"].min()) <= int(records["instrument"].max()) <= self._known_ids:
            self._report("instrument", path, offset, "a record is of an instrument that the table does not hold")

    def _check(self, chunk: Chunk, records: Records, *, dense: bool) -> None:
        """Check that header and index entry of a chunk describe its records. `dense`: seqs must be contiguous."""
        path, entry = chunk
        offset, header = int(entry["offset"]), entry["header"]
        self.summary.chunks += 1
        steps = np.diff(records["seq"].astype(np.int64))
        times, events = records["ts_recv"], records["ts_event"][records["ts_event"] != 0]
        has_kinds = "kind" in (records.dtype.names or ())
        told = (
            header["producer"] == producer_id(self.summary.producer)
            and header["first_seq"] == records["seq"][0]
            and header["last_seq"] == records["seq"][-1]
            and bool((steps == 1).all() if dense else (steps >= 1).all())
            and (header["ts_recv_min"], header["ts_recv_max"]) == (times.min(), times.max())
            and header["ts_event_min"] == (events.min() if len(events) else 0)
            and header["ts_event_max"] == (events.max() if len(events) else 0)
            and header["instruments"] == instrument_bits(records["instrument"])
            and header["kinds"] == (kind_bits(records["kind"]) if has_kinds else 0)
        )
        if not told:
            text = "the chunk's header does not describe its records, or it belongs to another journal"
            self._report("header", path, offset, text, int(header["first_seq"]), int(header["last_seq"]))
        bounds = bounds_of({name: records[name] for name in records.dtype.names or ()}, self._schema)
        if entry["slots"] == LAYOUT_OF[self._schema] and (entry["bounds"] != bounds).any():
            text = "the index does not describe the values in the chunk; remove the .tpx file, which is then rebuilt"
            self._report("header", index_path(path), offset, text, int(header["first_seq"]), int(header["last_seq"]))

    def _look_for_steps(self, path: Path, offset: int, records: Records) -> None:
        """Report each step back of the clock once: the records after it are in the right place, at earlier times."""
        times = records["ts_recv"]
        before = times[0] if self._latest_ns is None else self._latest_ns
        # By more than a day: receive times may step back a little, since a snapshot waits for the diffs before it.
        steps = np.flatnonzero(np.append(before, times[:-1]) - DAY_NS > times)
        if len(steps):
            place = int(steps[0])
            earlier, seq = int(times[place - 1]) if place else int(before), int(records["seq"][place])
            text = f"the clock was set back by {(earlier - int(times[place])) / DAY_NS:.1f} days at seq {seq}"
            text += f", and {len(steps) - 1} times more in the same chunk" if len(steps) > 1 else ""
            self._report("clock", path, offset, text, seq, seq)
        self._latest_ns = int(times[-1])
