"""The indexes of segments: which chunks each segment has, cached until its files change."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.store.daily_files import MANIFEST, Manifest, Span, read_manifest
from tickplant.store.segments import Contents, Segment, Wound, journal_contents, span_contents, unreadable
from tickplant.store.selection import Selection
from tickplant.writer.index import FileIndex, WhileReading, load_index

State = tuple[int, int, int]

_ANY_TIME: Final = (-(2**63), 2**63 - 1)


class _Found(NamedTuple):
    """The chunks of a segment, and what they were found from: while that stays the same, so do they."""

    manifest: Manifest | None
    ids: frozenset[int] | None
    files: list[tuple[Path, tuple[int, int] | None, FileIndex]]
    contents: Contents


class SegmentIndex:
    """The indexes as one reader knows them. Not thread-safe."""

    def __init__(self, while_reading: WhileReading) -> None:
        self._while_reading = while_reading
        self._indexes: dict[Path, tuple[State, FileIndex]] = {}
        self._found: dict[Path, _Found] = {}  # segments without damage
        self._outside: dict[Path, tuple[int, int]] = {}  # first and last receive time of finished segments
        self._ranges: tuple[list[Segment], NDArray[np.int64]] | None = None  # the same, for a list of segments
        self._manifests: dict[Path, tuple[State | None, Manifest]] = {}

    def of(self, path: Path, within: tuple[int, int] | None = None) -> FileIndex:
        """The chunks of a journal file or, given `within`, the seqs that it may hold, of a daily file.

        Raises StoreError.
        """
        self._while_reading()
        key = file_state(path)
        known = self._indexes.get(path)
        if known is None or known[0] != key:
            known = self._indexes[path] = key, load_index(path, while_reading=self._while_reading, within=within)
        return known[1]

    def forget_ranges(self) -> None:
        """Forget the receive times of segments, since the segments have changed."""
        self._outside.clear()
        self._ranges = None

    def near(self, segments: list[Segment], wanted: Selection) -> list[int]:
        """Indices of these segments, without those that received nothing in the wanted range.

        This uses only what is known already; no file is read again.
        """
        if wanted.clock != "recv" or (wanted.start_ns, wanted.end_ns) == (None, None) or not self._outside:
            return [*range(len(segments))]
        if self._ranges is None or self._ranges[0] is not segments:
            ranges = [self._outside.get(segment.path, _ANY_TIME) for segment in segments]
            self._ranges = segments, np.array(ranges, np.int64).reshape(-1, 2)
        first, last = self._ranges[1].T
        found = np.ones(len(segments), np.bool_)
        if wanted.start_ns is not None:
            found &= last >= wanted.start_ns
        if wanted.end_ns is not None:
            found &= first < wanted.end_ns
        places: list[int] = np.flatnonzero(found).tolist()
        return places

    def _know(self, segment: Segment, first_ns: int, last_ns: int) -> None:
        """Remember the first and the last receive time of a segment."""
        if self._outside.get(segment.path) != (first_ns, last_ns):
            self._outside[segment.path] = first_ns, last_ns
            self._ranges = None

    def manifest(self, span: Span) -> Manifest:
        """The manifest of a span. Raises DamageError, StoreError."""
        self._while_reading()
        key = state_if_there(f"{span.path}/{MANIFEST}")
        known = self._manifests.get(span.path)
        if known is None or known[0] != key:
            known = self._manifests[span.path] = key, read_manifest(span)
        return known[1]

    def manifest_of(self, segment: Segment) -> Manifest | None:
        """The manifest of a span; None if it is damaged, and for a journal file. Raises StoreError."""
        try:
            return None if segment.span is None else self.manifest(segment.span)
        except DamageError:
            return None

    def contents(self, segments: list[Segment], place: int, ids: frozenset[int] | None = None) -> Contents:
        """The chunks of one of these segments, only those of these instruments if possible. Raises StoreError."""
        segment = segments[place]
        if segment.span is not None:
            try:
                return self._span_contents(segment, segment.span, ids)
            except DamageError as error:
                return unreadable(segment, error)
        index, known = self.of(segment.path), self._found.get(segment.path)
        if known is not None and known.files[0][2] is index:
            contents = known.contents
        else:
            contents = journal_contents(segment, index)
            self._keep(segment, _Found(None, None, [(segment.path, None, index)], contents))
        if segment.last_seq is not None and not contents.wounds and contents.times is not None:
            self._know(segment, int(contents.times.earliest[0]), int(contents.times.latest[-1]))
        if segment.last_seq is None:
            # A torn chunk at the end is being written at this moment.
            contents = contents._replace(wounds=[wound for wound in contents.wounds if not wound.damage.torn])
        if any(wound.before is None or wound.behind is None for wound in contents.wounds):
            before, behind = self._end(segments, place - 1, -1), self._end(segments, place + 1, 0)
            wounds = [
                Wound(one.stripe, one.damage, _or(one.before, before), _or(one.behind, behind))
                for one in contents.wounds
            ]
            contents = contents._replace(wounds=wounds)
        return contents

    def _span_contents(self, segment: Segment, span: Span, ids: frozenset[int] | None) -> Contents:
        while True:
            manifest, known = self.manifest(span), self._found.get(span.path)
            if known is not None and known.manifest is manifest and known.ids == ids and self._is_same(known):
                return known.contents
            files: list[tuple[Path, tuple[int, int] | None, FileIndex]] = []

            def index(path: Path, seqs: tuple[int, int] | None) -> FileIndex:
                files.append((path, seqs, found := self.of(path, seqs)))  # noqa: B023  # called in this turn
                return found

            contents = span_contents(span, manifest, index, ids)
            if not contents.wounds:
                if rows := [file for file in manifest.files if file.rows]:
                    self._know(segment, min(file.ts_recv_min for file in rows), max(file.ts_recv_max for file in rows))
                self._keep(segment, _Found(manifest, ids, files, contents))
                return contents
            # A file may have been removed on purpose just now, in which case the manifest has changed.
            if self.manifest(span) is manifest:
                return contents

    def _is_same(self, known: _Found) -> bool:
        """Whether the files of a segment are unchanged."""
        try:
            return all(self.of(path, seqs) is index for path, seqs, index in known.files)
        except StoreError:
            return False

    def _keep(self, segment: Segment, found: _Found) -> None:
        if found.contents.wounds:
            self._found.pop(segment.path, None)
        else:
            self._found[segment.path] = found

    def _end(self, segments: list[Segment], place: int, which: int) -> np.void | None:
        """The header of the first (0) or last (-1) chunk of a segment, if that is a journal file."""
        if not 0 <= place < len(segments) or segments[place].span is not None:
            return None
        entries = self.of(segments[place].path).entries
        return entries[which]["header"] if len(entries) else None


def _or(one: np.void | None, other: np.void | None) -> np.void | None:
    return other if one is None else one


def file_state(path: Path) -> State:
    """A state that changes whenever the file does. Raises StoreError."""
    state = state_if_there(path)
    if state is None:
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        raise StoreError(f"cannot be read: {missing.strerror}", path=path) from missing
    return state


def state_if_there(path: Path | str) -> State | None:
    """Inode, size and time of change of a file; None if the file does not exist. Raises StoreError."""
    try:
        state = os.stat(path)  # noqa: PTH116  # called for each range of each file
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
    return state.st_ino, state.st_size, state.st_mtime_ns


def is_gone(error: BaseException) -> bool:
    """Whether an error means that a file does not exist: the records that it held may be elsewhere now."""
    return isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
