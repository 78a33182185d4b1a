"""The indexes of segments: which chunks each has, remembered until its files change."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tickplant.errors import DamageError, StoreError
from tickplant.store.daily_files import MANIFEST, Manifest, Span, read_manifest
from tickplant.store.segments import Contents, Segment, Times, Wound, journal_contents, span_contents, unreadable
from tickplant.store.selection import Selection
from tickplant.writer.index import FileIndex, WhileReading, load_index

State = tuple[int, int, int]


class SegmentIndex:
    """Of one reader. Not thread-safe."""

    def __init__(self, while_reading: WhileReading) -> None:
        self._while_reading = while_reading
        self._indexes: dict[Path, tuple[State, FileIndex, Times]] = {}
        self._outside: dict[Path, tuple[int, int]] = {}  # first and last receive time where all is written
        self._manifests: dict[Path, tuple[State, Manifest]] = {}

    def of(self, path: Path, within: tuple[int, int] | None = None) -> FileIndex:
        """The chunks of a journal file or, with the seqs `within` which its are, of a daily file. Raises StoreError."""
        return self._known(path, within)[1]

    def _known(self, path: Path, within: tuple[int, int] | None = None) -> tuple[State, FileIndex, Times]:
        self._while_reading()
        key = file_state(path)
        known = self._indexes.get(path)
        if known is None or known[0] != key:
            index = load_index(path, while_reading=self._while_reading, within=within)
            known = self._indexes[path] = key, index, Times.of(index.entries)
        return known

    def forget_ranges(self) -> None:
        """For when there are other segments than before."""
        self._outside.clear()

    def is_outside(self, segment: Segment, wanted: Selection) -> bool:
        """Whether nothing of a segment was received in a range, by what its files said before; none is asked again."""
        known = self._outside.get(segment.path)
        if known is None or wanted.clock != "recv":
            return False
        start_ns, end_ns = wanted.start_ns, wanted.end_ns
        return (start_ns is not None and known[1] < start_ns) or (end_ns is not None and known[0] >= end_ns)

    def manifest(self, span: Span) -> Manifest:
        """What a span holds. Raises DamageError, StoreError."""
        self._while_reading()
        path = span.path / MANIFEST
        key = file_state(path) if path.exists() else (0, 0, 0)
        known = self._manifests.get(path)
        if known is None or known[0] != key:
            known = self._manifests[path] = key, read_manifest(span)
        return known[1]

    def manifest_of(self, segment: Segment) -> Manifest | None:
        """What a span holds; None where its manifest is damaged, and of a journal file. Raises StoreError."""
        try:
            return None if segment.span is None else self.manifest(segment.span)
        except DamageError:
            return None

    def contents(self, segments: list[Segment], place: int, ids: frozenset[int] | None = None) -> Contents:
        """The chunks of one of these segments, those of some instruments where that is possible. Raises StoreError."""
        segment = segments[place]
        if segment.span is not None:
            try:
                while True:
                    manifest = self.manifest(segment.span)
                    contents = span_contents(segment.span, manifest, self.of, ids)
                    # A file may have been removed on purpose just now: then the manifest says so.
                    if not contents.wounds or self.manifest(segment.span) is manifest:
                        if not contents.wounds and (files := [file for file in manifest.files if file.rows]):
                            low, high = min(file.ts_recv_min for file in files), max(file.ts_recv_max for file in files)
                            self._outside[segment.path] = low, high
                        return contents
            except DamageError as error:
                return unreadable(segment, error)
        _, index, times = self._known(segment.path)
        contents = journal_contents(segment, index, times)
        if segment.last_seq is not None and not contents.wounds and len(index.entries):
            self._outside[segment.path] = int(times.earliest[0]), int(times.latest[-1])
        if segment.last_seq is None:
            # The beginning of a chunk at the end: it is being written at this moment.
            contents = contents._replace(wounds=[wound for wound in contents.wounds if not wound.damage.torn])
        if any(wound.before is None or wound.behind is None for wound in contents.wounds):
            before, behind = self._end(segments, place - 1, -1), self._end(segments, place + 1, 0)
            wounds = [
                Wound(one.stripe, one.damage, _or(one.before, before), _or(one.behind, behind))
                for one in contents.wounds
            ]
            contents = contents._replace(wounds=wounds)
        return contents

    def _end(self, segments: list[Segment], place: int, which: int) -> np.void | None:
        """The header of the first or last chunk of a segment, where that is a journal file."""
        if not 0 <= place < len(segments) or segments[place].span is not None:
            return None
        entries = self.of(segments[place].path).entries
        return entries[which]["header"] if len(entries) else None


def _or(one: np.void | None, other: np.void | None) -> np.void | None:
    return other if one is None else one


def file_state(path: Path) -> State:
    """What changes whenever a file does. Raises StoreError."""
    try:
        state = path.stat()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
    return state.st_ino, state.st_size, state.st_mtime_ns


def is_gone(error: BaseException) -> bool:
    """Whether an error says that a file is not there: what a reader was about to read may be elsewhere now."""
    return isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
