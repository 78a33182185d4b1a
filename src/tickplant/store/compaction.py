"""Compaction: finished journal files become spans of daily files, and are removed once they are no longer needed.

One process at a time compacts a store, even while a plant writes to it. Each span is made whole or not at all
(`span_writer.py`), so the next run continues a killed one, and a run that finds nothing to do changes nothing. Damaged
parts stay in the journal, where `verify` names them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.layouts import Schema
from tickplant.runtime.config import RetentionConfig, StoreConfig
from tickplant.store.chunk_files import ChunkFiles, in_order, within
from tickplant.store.daily_files import daily_dir, daily_root, superseded
from tickplant.store.day_split import Part, Target, parts_of, targets
from tickplant.store.reader import Store
from tickplant.store.removal import Removal
from tickplant.store.segments import Range, Segment, Stretch, stretches
from tickplant.store.selection import Selection
from tickplant.store.span_writer import NEW, OLD, SpanWriter, remove_folder, remove_span
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import Damage, index_path
from tickplant.writer.journal import Files, journal_dir, make_folders, sync_path

RESERVE_BYTES: Final = 64 << 20
"""How much of a disk, besides the size of a span, a compaction leaves to the plant."""

LOCK: Final = "lock"

Progress = Callable[[int], None]


class Compacted(msgspec.Struct):
    """What a run has done."""

    spans: int = 0  # written
    records: int = 0  # in those spans
    bytes: int = 0  # size of their files
    doubles: int = 0  # trades in them with the venue id of an earlier trade of the symbol
    journal_files: int = 0  # removed
    journal_bytes: int = 0
    removed: int = 0  # records removed by rules of retention
    removed_bytes: int = 0
    damage: list[str] = []  # damaged parts, which stay in the journal
    trouble: list[str] = []  # failures; the next run tries again


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run."""

    open_days: bool = False  # also compact days that are not over, as far as they go
    keep_journal_ns: int = 0  # how long a journal file stays after it was written
    level: int = StoreConfig().compact_level  # zstd level: a day is written once, and nobody waits for it
    retention: tuple[RetentionConfig, ...] = ()  # rules to apply once the days are compacted


@contextlib.contextmanager
def compaction_lock(data_dir: Path, files: Files) -> Iterator[None]:
    """Hold the lock of a store's compaction. Raises StoreError if another process holds it."""
    root = daily_root(data_dir)
    try:
        make_folders(root, files)
        fd = files.open(root / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise _refused(root, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StoreError("another process compacts this store at this moment; try again later", path=root) from None
    finally:
        os.close(fd)


class Compaction:
    """One run over a store."""

    def __init__(
        self,
        data_dir: Path,
        policy: Policy,
        *,
        files: Files | None = None,
        beat: Callable[[], None] = lambda: None,
        progress: Progress = lambda _: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`beat` is called between pieces of work, and may raise to end the run; `progress` gets numbers of records."""
        self.done = Compacted()
        self._data_dir = data_dir
        self._policy = policy
        self._files = files or Files()
        self._beat = beat
        self._progress = progress
        self._now_ns = now_ns
        self._store = Store(data_dir, while_reading=beat)
        self._decode = ChunkDecoder().decode

    def run(self) -> Compacted:
        """Compact the store; the caller must hold the lock. Raises StoreError if the store cannot be read at all."""
        for schema in Schema:
            for producer in self._store.producers(schema):
                try:
                    self._clean(producer, schema)
                    self._compact(producer, schema)
                    self._remove_journal(producer, schema)
                except OSError as error:
                    self.done.trouble.append(str(_refused(daily_dir(self._data_dir, producer, schema), error)))
        self._retain()
        return self.done

    def removal(self) -> Removal:
        """The Removal for the store's daily files."""
        producers = {schema: self._store.producers(schema) for schema in Schema}
        level = self._policy.level
        return Removal(self._data_dir, producers, files=self._files, beat=self._beat, level=level)

    def _retain(self) -> None:
        removal = self.removal()
        try:
            removal.clean()
            for rule in self._policy.retention:
                records, size = removal.apply(rule, self._now_ns())
                self.done.removed += records
                self.done.removed_bytes += size
        except OSError as error:
            self.done.trouble.append(str(_refused(daily_root(self._data_dir), error)))
        except StoreError as error:
            self.done.trouble.append(str(error))

    # ------------------------------------------------------------------------------------------------ spans

    def _compact(self, producer: str, schema: Schema) -> None:
        damaged: set[tuple[str, int]] = set()  # chunks that cannot be decoded: they stay in the journal
        while True:
            parts = self._parts(producer, schema, damaged)
            found = targets(parts, self._now_ns(), open_days=self._policy.open_days, may_join=self._is_whole)
            for target in found:
                known = len(damaged)
                try:
                    self._make(producer, schema, target, damaged)
                except StoreError as error:
                    if len(damaged) > known:
                        break  # plan again, around the damage
                    self.done.trouble.append(str(error))
            else:
                return

    def _parts(self, producer: str, schema: Schema, damaged: set[tuple[str, int]]) -> list[Part]:
        segments = self._store.segments(producer, schema)
        asked = Range(producer, schema, Selection())

        def sources() -> Iterator[Segment | Stretch]:
            for place, segment in enumerate(segments):
                if segment.span is not None:
                    yield segment
                elif segment.last_seq is not None or self._is_sealed(segment.path):
                    for stretch in stretches(self._store.indexes.contents(segments, place), segment, asked):
                        if stretch.chunks and _key(stretch) not in damaged:
                            yield stretch

        return parts_of(sources(), lambda stretch: self._times(stretch, damaged))

    def _times(self, stretch: Stretch, damaged: set[tuple[str, int]]) -> NDArray[np.int64]:
        with ChunkFiles(self._beat) as files:
            found = files.decode(stretch.chunks[0], stretch.schema, self._decode)
        if isinstance(found, Damage):
            damaged.add(_key(stretch))
            self.done.damage.append(str(found))
            return np.zeros(0, np.int64)
        times: NDArray[np.int64] = within(found, stretch)["ts_recv"]
        return times

    def _is_sealed(self, path: Path) -> bool:
        """Whether no process writes the newest journal file, and its contents are on disk."""
        index = self._store.indexes.of(path)
        sync_path(path, self._files)
        fd = self._files.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return path.stat().st_size == index.size_bytes
        except BlockingIOError:
            return False
        finally:
            os.close(fd)

    def _is_whole(self, segment: Segment) -> bool:
        """Whether a span still has all its records: only such a span can be joined with others."""
        manifest = self._store.indexes.manifest_of(segment)
        return manifest is not None and not any(file.removed for file in manifest.files)

    def _make(self, producer: str, schema: Schema, target: Target, damaged: set[tuple[str, int]]) -> None:
        first, last, day = target[:3]
        asked = Range(producer, schema, Selection(), first, last)
        self._check_room(asked)
        writer = SpanWriter(
            self._data_dir,
            producer,
            schema,
            (first, last, day),
            self._store.instruments,
            level=self._policy.level,
            files=self._files,
            beat=self._beat,
        )
        try:
            for stretch, parts, wounds in self._store.decoded(asked, self._decode):
                if len(parts) < len(stretch.chunks):
                    damaged.add(_key(stretch))
                    self.done.damage += map(str, wounds)
                    raise StoreError(wounds[0].reason, path=wounds[0].path)
                if not parts:
                    continue  # bytes between two chunks that are not a chunk: they stay where they are
                records = in_order([within(part, stretch) for part in parts], schema)
                writer.add(records, stretch.epoch)
                self._progress(len(records))
            manifest = writer.commit()
        except BaseException:
            with contextlib.suppress(OSError):
                remove_folder(writer.scratch, self._files)
            raise
        for segment in target.joined:
            if segment.span is not None:
                remove_span(segment.span, self._files)
        self.done.spans += 1
        self.done.records += last - first + 1
        self.done.bytes += sum(file.bytes for file in manifest.files)
        self.done.doubles += sum(file.doubles for file in manifest.files)

    def _check_room(self, asked: Range) -> None:
        """Never fill the disk of a plant that records. Raises StoreError if room is short."""
        needed = sum(
            int(chunk.entry["header"]["length_bytes"])
            for stretch in self._store.stretches(asked)
            for chunk in stretch.chunks
        )
        free = shutil.disk_usage(self._data_dir).free
        if free < needed + RESERVE_BYTES:
            what = f"{asked.producer} {asked.schema.name.lower()}"
            text = f"too little room to compact {what}: {free >> 20} MiB are free"
            raise StoreError(f"{text}, {needed + RESERVE_BYTES >> 20} MiB are needed", path=self._data_dir)

    # ------------------------------------------------------------------------------------------------ removal

    def _clean(self, producer: str, schema: Schema) -> None:
        """Remove the remains of a killed run."""
        directory = daily_dir(self._data_dir, producer, schema)
        if directory.is_dir():
            # After a kill, the last rename has happened, but may not survive a power cut yet.
            sync_path(directory, self._files, os.O_RDONLY | os.O_DIRECTORY)
            for path in sorted(directory.iterdir()):
                if path.name.endswith((NEW, OLD)):
                    remove_folder(path, self._files)
            for span in superseded(directory):
                remove_span(span, self._files)
        for path in journal_dir(self._data_dir, producer, schema).glob("*.tpx"):
            if not path.with_suffix(".tpj").exists():
                self._files.remove(path)

    def _remove_journal(self, producer: str, schema: Schema) -> None:
        """Remove journal files whose records are all in daily files, but never the newest: it gives the next seq."""
        paths = self._store.files(producer, schema)
        if len(paths) < 2:
            return
        segments = self._store.segments(producer, schema)
        needed: set[Path] = set()
        doubtful: list[tuple[int, int]] = []  # seqs of damaged spans
        for place, segment in enumerate(segments):
            contents = self._store.indexes.contents(segments, place)
            if segment.span is not None and contents.wounds:
                doubtful.append((segment.span.first_seq, segment.span.last_seq))
            elif segment.span is None and stretches(contents, segment, _ALL):
                needed.add(segment.path)
        for path, following in pairwise(paths):
            state = path.stat()
            first, behind = int(path.stem), int(following.stem)
            if path in needed or any(low < behind and first <= high for low, high in doubtful):
                continue
            if state.st_mtime_ns + self._policy.keep_journal_ns > self._now_ns():
                continue
            self._beat()
            self._files.remove(path)
            self._files.remove(index_path(path))
            self.done.journal_files += 1
            self.done.journal_bytes += state.st_size


_ALL: Final = Range("", Schema.TICK, Selection())


def _key(stretch: Stretch) -> tuple[str, int]:
    return str(stretch.chunks[0].path), int(stretch.chunks[0].entry["offset"])


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot be written: {error.strerror or error}", path=error.filename or path)
