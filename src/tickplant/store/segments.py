"""The stored segments of one producer and schema, in order: journal files, and the spans that have replaced some.

A reader sees both in the same way: as *stretches* of consecutive seqs, each in one chunk or, if symbols have files of
their own, in several. This module knows names and indexes, and decodes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Schema
from tickplant.store.daily_files import MANIFEST, Manifest, Span, daily_dir, daily_root, files_of, spans
from tickplant.store.selection import Selection
from tickplant.writer.index import ENTRY, Damage, FileIndex, journal_files
from tickplant.writer.journal import journal_dir, journal_root

LAST_SEQ: Final = 2**63 - 1

MAX_STRIPE_ROWS: Final = 1 << 21
"""A limit above the largest stripe that a compaction writes: a valid checksum does not prove who wrote a file."""

NO_CHUNKS: Final = np.zeros(0, ENTRY)


class Segment(NamedTuple):
    """Consecutive seqs whose records are in one place. A journal file may be two segments, around a span."""

    first_seq: int
    last_seq: int | None  # None: the newest journal file
    path: Path  # the journal file, or the folder of the span
    span: Span | None = None  # None: a journal file


class Chunk(NamedTuple):
    """An undecoded chunk: its file, and its index entry."""

    path: Path
    entry: np.void  # of dtype ENTRY


class Stretch(NamedTuple):
    """Chunks that together hold all selected records from one seq to another, and the damage among them.

    A chunk may hold records outside these seqs, which do not belong to the stretch.
    """

    producer: str
    schema: Schema
    first_seq: int
    last_seq: int
    chunks: tuple[Chunk, ...]
    damage: tuple[Damage, ...] = ()
    cut: bool = False  # a chunk holds records outside

    @property
    def epoch(self) -> int:
        """The epoch of the ring that its records came through."""
        return int(self.chunks[0].entry["header"]["epoch"])

    @property
    def ts_recv_max(self) -> int:
        """The latest receive time in its chunks, ns."""
        return max(int(chunk.entry["header"]["ts_recv_max"]) for chunk in self.chunks)


class Wound(NamedTuple):
    """Damage, and its place."""

    stripe: int  # the stripe that it belongs to
    damage: Damage
    before: np.void | None  # headers of the chunks before and after it in its file
    behind: np.void | None


class Contents(NamedTuple):
    """The chunks of a segment, as far as they may matter to a selection."""

    paths: list[Path]
    entries: NDArray[np.void]  # dtype ENTRY
    files: NDArray[np.intp]  # for each entry, the index of its file in `paths`
    stripes: NDArray[np.uint64]  # for each entry, the first seq of its stripe; ascending
    wounds: list[Wound]
    times: Times | None = None  # of the entries; None if there are no entries

    def between(self, wanted: Selection) -> tuple[int, int]:
        """The half-open range of entries outside which no entry has a record in the wanted range of times."""
        low, high = 0, len(self.entries)
        if self.times is not None and wanted.clock == "recv":
            if wanted.start_ns is not None:
                low = int(self.times.latest.searchsorted(wanted.start_ns))
            if wanted.end_ns is not None:
                high = int(self.times.earliest.searchsorted(wanted.end_ns))
        return low, max(low, high)


class Times(NamedTuple):
    """Receive times of chunks in order, for binary search.

    Times may step back from one chunk to the next, so these are the latest time so far, and the earliest from there on.
    """

    latest: NDArray[np.int64]
    earliest: NDArray[np.int64]

    @classmethod
    def of(cls, entries: NDArray[np.void]) -> Times | None:
        """The times of these index entries; None if there are none."""
        headers = entries["header"]
        if not len(headers):
            return None
        earliest = np.minimum.accumulate(headers["ts_recv_min"][::-1])[::-1]
        return cls(np.maximum.accumulate(headers["ts_recv_max"]), np.ascontiguousarray(earliest))


Index = Callable[[Path, tuple[int, int] | None], FileIndex]


def names_in(roots: Sequence[str]) -> list[str]:
    """Names in those of these folders that exist: the producers with stored records. Raises StoreError."""
    found: set[str] = set()
    for root in roots:
        try:
            found |= set(os.listdir(root))  # noqa: PTH208  # pathlib takes four times as long
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=root) from error
    return sorted(found)


def roots_of(data_dir: Path) -> tuple[str, str]:
    """The folders whose subfolders are named after producers."""
    return str(journal_root(data_dir)), str(daily_root(data_dir))


def segments_of(data_dir: Path, producer: str, schema: Schema) -> list[Segment]:
    """The segments of a producer and schema, in order, without overlap.

    Raises StoreError.
    """
    # List the journal first: a journal file is removed only once a span with its records is there.
    journal = journal_files(journal_dir(data_dir, producer, schema))
    found: list[Segment] = []
    end = 0  # of what the spans so far cover
    for span in spans(daily_dir(data_dir, producer, schema)):
        found.append(Segment(max(span.first_seq, end), span.last_seq, span.path, span))
        end = span.last_seq + 1
    covered = [(segment.first_seq, segment.last_seq or 0) for segment in found]
    for place, path in enumerate(journal):
        last = int(journal[place + 1].stem) - 1 if place + 1 < len(journal) else None
        found += [Segment(*seqs, path) for seqs in uncovered(int(path.stem), last, covered)]
    # An empty journal file has the name of its successor's first seq, or of its own first record.
    return sorted(found, key=lambda segment: (segment.first_seq, segment.last_seq is None, segment.path))


def uncovered(first: int, last: int | None, covered: list[tuple[int, int]]) -> Iterator[tuple[int, int | None]]:
    """The seqs from `first` to `last` (None: to the end) that lie outside these ranges, which are in order."""
    for start, stop in covered:
        if last is not None and start > last:
            break
        if stop < first:
            continue
        if start > first:
            yield first, start - 1
        first = stop + 1
    if last is None or first <= last:
        yield first, last


def journal_contents(segment: Segment, index: FileIndex) -> Contents:
    """The chunks of a journal file, each a stripe of its own. Some of their records may lie outside the segment."""
    entries = index.entries
    wounds = []
    for part in index.damage:
        before, behind = _beside(index, part)
        begin = segment.first_seq if before is None else int(before["last_seq"]) + 1
        wounds.append(Wound(begin, part, before, behind))
    files = np.zeros(len(entries), np.intp)
    return Contents([segment.path], entries, files, entries["header"]["first_seq"], wounds, Times.of(entries))


def _beside(index: FileIndex, damage: Damage) -> tuple[np.void | None, np.void | None]:
    """Headers of the chunks before and after a damaged stretch of a file."""
    headers = index.entries["header"]
    place = int(np.searchsorted(index.entries["offset"], damage.offset))
    return headers[place - 1] if place else None, headers[place] if place < len(headers) else None


def span_contents(span: Span, manifest: Manifest, index: Index, ids: frozenset[int] | None) -> Contents:
    """The chunks in the files of these instruments (None: all), in the order of their stripes."""
    paths: list[Path] = []
    parts: list[NDArray[np.void]] = []
    stripes = np.array(manifest.stripes, np.uint64)
    wounds: list[Wound] = []
    for file in files_of(manifest, ids):
        path = span.path / file.name
        try:
            found = index(path, (span.first_seq, span.last_seq))
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or not span.path.is_dir():
                raise
            lost = Damage(str(path), 0, file.bytes, "the file is missing", span.first_seq, span.last_seq)
            wounds.append(Wound(span.first_seq, lost, None, None))
            continue
        wounds += [
            Wound(_stripe(stripes, part.first_seq or 0), part, *_beside(found, part))
            for part in _with_end(path, found, file.bytes, span.last_seq)
        ]
        paths.append(path)
        parts.append(found.entries)
    if not parts:
        return _without_chunks(wounds)
    entries = parts[0] if len(parts) == 1 else np.concatenate(parts)
    files = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    begins = stripes[np.maximum(np.searchsorted(stripes, entries["header"]["first_seq"], side="right"), 1) - 1]
    if len(parts) > 1:
        order = np.lexsort((entries["offset"], files, begins))
        entries, files, begins = entries[order], files[order], begins[order]
    return Contents(paths, entries, files, begins, wounds, Times.of(entries))


def _without_chunks(wounds: list[Wound]) -> Contents:
    return Contents([], NO_CHUNKS, np.zeros(0, np.intp), np.zeros(0, np.uint64), wounds)


def _stripe(stripes: NDArray[np.uint64], seq: int) -> int:
    return int(stripes[max(1, int(np.searchsorted(stripes, np.uint64(seq), side="right"))) - 1])


def _with_end(path: Path, index: FileIndex, size_bytes: int, last_seq: int) -> list[Damage]:
    """The damage in a daily file of known size, which may also be cut between two chunks, or continue after its end."""
    if index.size_bytes == size_bytes:
        return index.damage
    kept = [part for part in index.damage if part.offset < index.end]
    first = int(index.entries[-1]["header"]["last_seq"]) + 1 if len(index.entries) else None
    reason = f"the file has {index.size_bytes:,} bytes, its manifest says {size_bytes:,}"
    start = min(index.end, index.size_bytes)
    return [*kept, Damage(str(path), start, max(0, index.size_bytes - start), reason, first, last_seq)]


def unreadable(segment: Segment, error: DamageError) -> Contents:
    """The contents of a span without a manifest: all of it is damaged."""
    path = str(segment.path / MANIFEST)
    reason = str(error).split("at byte 0: ", 1)[-1]
    lost = Damage(path, 0, 0, reason, segment.first_seq, segment.last_seq)
    return _without_chunks([Wound(segment.first_seq, lost, None, None)])


class Range(NamedTuple):
    """Which records are asked for."""

    producer: str
    schema: Schema
    wanted: Selection
    first_seq: int = 0
    last_seq: int | None = None


def _seqs(segment: Segment, asked: Range) -> tuple[int, int]:
    """The first and the last seq asked for in a segment."""
    ends = [seq for seq in (asked.last_seq, segment.last_seq) if seq is not None]
    return max(asked.first_seq, segment.first_seq), min(ends) if ends else LAST_SEQ


def chosen(contents: Contents, segment: Segment, asked: Range) -> NDArray[np.intp]:
    """Indices of the entries whose chunks may hold the records asked for, ascending."""
    first, last = _seqs(segment, asked)
    low, high = contents.between(asked.wanted)
    near = contents.entries["header"][low:high]
    found = asked.wanted.chunks(contents.entries[low:high])
    found &= (near["last_seq"] >= first) & (near["first_seq"] <= last)
    return low + np.flatnonzero(found)


class _Placed(NamedTuple):
    """A chunk, and the first and the last seq that it holds."""

    chunk: Chunk
    first_seq: int
    last_seq: int


def stretches(contents: Contents, segment: Segment, asked: Range) -> list[Stretch]:
    """The stretches of a segment that may hold records asked for, in order, with the damage that may have held some."""
    entries, places = contents.entries, chosen(contents, segment, asked)
    # Read the fields of all entries at once: one by one would take longer than everything else here.
    seqs = [entries["header"][name][places].tolist() for name in ("first_seq", "last_seq")]
    each = zip(places.tolist(), contents.files[places].tolist(), *seqs, strict=True)
    chunks = [_Placed(Chunk(contents.paths[file], entries[place]), low, high) for place, file, low, high in each]
    first, last = _seqs(segment, asked)
    by_stripe: dict[int, tuple[list[_Placed], list[Damage]]] = {}
    for stripe, part, before, behind in contents.wounds:
        outside = (part.last_seq is not None and part.last_seq < first) or (
            part.first_seq is not None and part.first_seq > last
        )
        if not outside and asked.wanted.concerns(before, behind):
            by_stripe.setdefault(stripe, ([], []))[1].append(part)
    for stripe, chunk in zip(contents.stripes[places].tolist(), chunks, strict=True):
        by_stripe.setdefault(stripe, ([], []))[0].append(chunk)
    found: list[Stretch] = []
    for stripe, (own, damage) in sorted(by_stripe.items()):
        damage.sort(key=lambda part: part.first_seq or 0)
        together = len(own) > 1 and (damage or len({chunk.path for chunk, _, _ in own}) > 1)
        groups = [own] if together or not own else [[chunk] for chunk in own]
        if together and sum(int(chunk.entry["header"]["rows"]) for chunk, _, _ in own) > MAX_STRIPE_ROWS:
            reason = f"the stripe that begins with seq {stripe} has more records than one may have"
            damage.append(Damage(str(segment.path), 0, 0, reason, stripe, max(chunk.last_seq for chunk in own)))
            groups = [[]]
        for group in groups:
            low = min([chunk.first_seq for chunk in group], default=stripe)
            high = max([chunk.last_seq for chunk in group], default=stripe)
            begin, end = max(first, low), min(last, high)
            its, cut = tuple(chunk.chunk for chunk in group), low < begin or high > end
            found.append(Stretch(asked.producer, asked.schema, begin, end, its, tuple(damage), bool(group) and cut))
    return found
