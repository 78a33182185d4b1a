"""The journal: the append-only files of one producer and schema.

    DATA/journal/PRODUCER/SCHEMA/00000000000000000000.tpj     chunks, one after another; the name is the first seq
                                 00000000000000000000.tpx     its index
                                 00000000000004096000.tpj     the next file, begun at a full hour or a full size
                                 00000000000000000000.81920.0.torn   an invalid tail, moved aside by recovery

Flushed records stay readable whatever happens next. A kill at any instant leaves at most a torn chunk after the valid
ones. The next opening of the journal moves the torn chunk aside, never deletes it, and reports it. Recovery may run
twice, or be killed half-way, without harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.ages import Ages
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.merge import join_records
from tickplant.writer.format.chunk_bounds import Bounds
from tickplant.writer.format.chunk_layout import producer_id, read_header
from tickplant.writer.format.codec import encode_with_bounds
from tickplant.writer.index import (
    INDEX_SUFFIX,
    JOURNAL_SUFFIX,
    Damage,
    WhileReading,
    index_path,
    journal_files,
    load_index,
    make_entries,
)

HOUR_NS: Final = 3600 * 10**9
_COPY_BYTES: Final = 1 << 20


def journal_root(data_dir: Path) -> Path:
    """Folder of all journals of a store."""
    return data_dir / "journal"


def journal_dir(data_dir: Path, producer: str, schema: Schema) -> Path:
    """Folder of the journal of one producer and schema."""
    return journal_root(data_dir) / producer / schema.name.lower()


class Files:
    """All operations of a journal on the disk. A test replaces this class to fail or die at any of them."""

    def open(self, path: Path, flags: int) -> int:
        """As os.open."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def write(self, fd: int, data: memoryview) -> int:
        """As os.write: may write only part of the data."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Make the data of a file, or the names in a folder, durable."""
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """As os.ftruncate."""
        os.ftruncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        """As os.rename."""
        source.rename(target)

    def make_folder(self, path: Path) -> None:
        """As os.mkdir; an existing folder is left as it is."""
        path.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """As os.unlink, or os.rmdir for a folder; a missing path is no error."""
        with contextlib.suppress(FileNotFoundError):
            path.rmdir() if path.is_dir() else path.unlink()


def sync_path(path: Path, files: Files, flags: int = os.O_RDONLY) -> None:
    """Make the data of a file, or the names in a folder, durable."""
    fd = files.open(path, flags)
    try:
        files.sync(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path, files: Files) -> None:
    """Make a folder and its missing parents, durably. Raises OSError."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        files.make_folder(made)
        sync_path(made.parent, files, os.O_RDONLY | os.O_DIRECTORY)


class Journal:
    """Appends records to the files of one producer and schema. One process at a time; not thread-safe.

    Opening a journal recovers it: `found` lists damaged and torn parts. Records are held in memory from `append` until
    a `flush` succeeds; a failed flush (disk full, I/O error) changes nothing and can be retried.
    """

    def __init__(
        self,
        data_dir: Path,
        schema: Schema,
        producer: str,
        *,
        epoch: int = 0,
        rotate_bytes: int = 256 << 20,
        chunk_records: int = 1 << 16,
        level: int = 1,
        files: Files | None = None,
        ages: Ages | None = None,
        while_reading: WhileReading = lambda: None,
    ) -> None:
        """Open or create the journal; `while_reading` is called repeatedly while its last file is scanned.

        `ages`, for the schema TICK only, counts how old records are when they become durable.

        Raises StoreError if the journal cannot be opened, or if another process has it open.
        """
        self.directory = journal_dir(data_dir, producer, schema)
        self.schema = schema
        self.producer = producer
        self.epoch = epoch
        self.rotate_bytes = rotate_bytes
        self.chunk_records = chunk_records
        self.level = level
        self.found: list[Damage] = []
        self.durable_seq = 0
        self.pending_records = 0
        self.bytes_written = 0
        self._files = files or Files()
        self._ages = ages
        self._pending: list[NDArray[np.void]] = []
        self._path = self.directory / f"{0:020d}{JOURNAL_SUFFIX}"
        self._fd = self._index_fd = self._directory_fd = -1
        self._size = 0  # of the valid part of the file
        self._hour = 0  # of the first record in the file
        self._clean = True  # nothing follows the valid part
        try:
            make_folders(self.directory, self._files)
            self._directory_fd = self._files.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            self._lock()
            self._recover(while_reading)
        except OSError as error:
            self._close_files()
            raise self._failure("cannot be opened", error) from error
        except BaseException:
            self._close_files()
            raise

    # -----------------------------------------------------------------------------------------------------------
    # Appending

    @property
    def next_seq(self) -> int:
        """The seq that the next appended record must have."""
        return self.durable_seq + self.pending_records

    def append(self, records: NDArray[np.void]) -> None:
        """Take records, shape (n,), of the schema's dtype, whose seqs continue the journal; they are copied.

        Raises StoreError if they do not continue the journal, and takes none of them.
        """
        if not len(records):
            return
        if records.dtype != DTYPES[self.schema]:
            raise ValueError(f"records have dtype {records.dtype}, not that of {self.schema.name}")
        expected = np.arange(self.next_seq, self.next_seq + len(records), dtype=np.uint64)
        wrong = np.flatnonzero(records["seq"] != expected)
        if len(wrong):
            place = int(wrong[0])
            message = f"the journal continues with seq {expected[place]}, not {records['seq'][place]}"
            raise StoreError(message, path=self.directory)
        self._pending.append(join_records([records]))
        self.pending_records += len(records)

    def flush(self) -> int:
        """Make all appended records durable with one write and one fdatasync. Returns `durable_seq`.

        Raises StoreError, which names the file, if the disk fails. The records then stay pending.
        """
        if not self._pending:
            return self.durable_seq
        records = self._pending[0] if len(self._pending) == 1 else join_records(self._pending)
        self._pending = [records]
        try:
            self._make_room(records)
            chunks = self._encode(records)
            data = b"".join([chunk for chunk, _ in chunks])
            try:
                self._clean = False
                self._write_all(self._fd, data)
                self._files.sync(self._fd)
            except OSError:
                # The written data may lack pages even if a second sync succeeds: remove it, and write it again.
                self._take_back()
                raise
        except OSError as error:
            raise self._failure("cannot be written", error) from error
        self._clean = True
        if self._size == 0:
            self._hour = _hour(records)
        offset = self._size
        self._size += len(data)
        self.bytes_written += len(data)
        self.durable_seq += len(records)
        self._pending, self.pending_records = [], 0
        if self._ages:
            self._ages.since_receipt(records, time.time_ns())
        self._append_index(offset, chunks)
        return self.durable_seq

    def skip_to(self, seq: int) -> None:
        """Skip the records before `seq`, which are lost for good: `verify` will report the hole.

        For a writer whose ring no longer holds the records that should come next. Raises StoreError.
        """
        if self._pending or seq <= self.durable_seq:
            raise ValueError(f"cannot skip to {seq}: the journal stands at {self.next_seq}")
        try:
            self._begin_file(seq)
        except OSError as error:
            raise self._failure("cannot be created", error) from error
        self.durable_seq = seq

    def close(self) -> None:
        """Flush, and close the files, even if the flush fails."""
        try:
            self.flush()
        finally:
            self._close_files()

    def _encode(self, records: NDArray[np.void]) -> list[tuple[bytes, Bounds]]:
        owner, rows = producer_id(self.producer), self.chunk_records
        return [
            encode_with_bounds(records[start : start + rows], self.schema, self.epoch, producer=owner, level=self.level)
            for start in range(0, len(records), rows)
        ]

    def _make_room(self, records: NDArray[np.void]) -> None:
        """Have the file for these records open, at the end of its valid part."""
        if not self._clean:
            self._take_back()
        full = self._size >= self.rotate_bytes or (self._size and _hour(records) > self._hour)
        if self._fd < 0 or full:
            self._begin_file(self.durable_seq)

    def _begin_file(self, first_seq: int) -> None:
        path = self.directory / f"{first_seq:020d}{JOURNAL_SUFFIX}"
        # The file may exist, empty: an earlier attempt to begin it failed half-way.
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            if os.fstat(fd).st_size:
                raise StoreError("this file should not hold anything yet; move it away", path=path)
            self._files.sync(self._directory_fd)
        except BaseException:
            os.close(fd)
            raise
        for old in (self._fd, self._index_fd):
            if old >= 0:
                os.close(old)
        self._path, self._fd, self._index_fd = path, fd, -1
        self._size, self._clean = 0, True

    def _take_back(self) -> None:
        self._files.truncate(self._fd, self._size)
        self._clean = True

    def _write_all(self, fd: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._files.write(fd, left) :]

    def _append_index(self, offset: int, chunks: list[tuple[bytes, Bounds]]) -> None:
        """Append to the index. If that fails, delete the index: readers scan, and the next opening rebuilds it."""
        headers = []
        for chunk, _ in chunks:
            headers.append((offset, read_header(chunk)))
            offset += len(chunk)
        path = index_path(self._path)
        try:
            if self._index_fd < 0 and headers[0][0] == 0:
                path.unlink(missing_ok=True)
                self._index_fd = self._files.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            if self._index_fd >= 0:
                self._write_all(self._index_fd, make_entries(headers, [bounds for _, bounds in chunks]).tobytes())
        except OSError:
            path.unlink(missing_ok=True)
            if self._index_fd >= 0:
                os.close(self._index_fd)
            self._index_fd = -1

    # -----------------------------------------------------------------------------------------------------------
    # Opening

    def _lock(self) -> None:
        try:
            fcntl.flock(self._directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError("another process is writing this journal; stop it first", path=self.directory) from None

    def _recover(self, while_reading: WhileReading) -> None:
        """Find the end of the last file's valid part, move aside what follows, and bring the index up to date."""
        paths = journal_files(self.directory)
        if not paths:
            return
        path = paths[-1]
        index = load_index(path, while_reading=while_reading)
        self._path = path
        self._fd = self._files.open(path, os.O_RDWR | os.O_APPEND)
        self.found = list(index.damage)
        if index.end < index.size_bytes:
            self._move_aside(index.end, index.size_bytes)
        self._size = index.end
        self.durable_seq = int(path.stem)
        if len(index.entries):
            headers = index.entries["header"]
            self.durable_seq = int(headers[-1]["last_seq"]) + 1
            self._hour = int(headers[0]["ts_recv_min"]) // HOUR_NS
            self._restore_index(index.entries.tobytes())
        else:
            index_path(path).unlink(missing_ok=True)

    def _move_aside(self, start: int, stop: int) -> None:
        """Copy a torn tail to a file of its own, durably, then cut it off: a kill in between only repeats this."""
        temporary = self._path.with_suffix(".torn.new")
        copy = self._files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for offset in range(start, stop, _COPY_BYTES):
                self._write_all(copy, os.pread(self._fd, min(_COPY_BYTES, stop - offset), offset))
            self._files.sync(copy)
        finally:
            os.close(copy)
        number = 0
        while True:
            target = self._path.with_suffix(f".{start}.{number}.torn")
            if not target.exists() or filecmp.cmp(temporary, target, shallow=False):
                break
            number += 1
        self._files.rename(temporary, target)
        self._files.sync(self._directory_fd)
        self._files.truncate(self._fd, start)
        self._files.sync(self._fd)

    def _restore_index(self, entries: bytes) -> None:
        path = index_path(self._path)
        if not path.exists() or path.read_bytes() != entries:
            # Never change an index in place: a reader may have it mapped.
            temporary = path.with_suffix(f"{INDEX_SUFFIX}.new")
            new = self._files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self._write_all(new, entries)
            finally:
                os.close(new)
            self._files.rename(temporary, path)
        self._index_fd = self._files.open(path, os.O_WRONLY | os.O_APPEND)

    def _failure(self, what: str, error: OSError) -> StoreError:
        path = error.filename or self._path
        return StoreError(f"{what}: {error.strerror or error}", path=path)

    def _close_files(self) -> None:
        for fd in (self._fd, self._index_fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._index_fd = self._directory_fd = -1


def _hour(records: NDArray[np.void]) -> int:
    return int(records["ts_recv"].min()) // HOUR_NS
