"""Writes a span of daily files: takes records in the order of their seqs, and makes one file per symbol.

Everything is written into a folder that no reader looks at, read back, compared, made durable, and then renamed. So a
kill at any instant leaves the old state or the new one, and perhaps a folder that the next compaction removes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.store.daily_file_writer import DailyFileWriter, write_file
from tickplant.store.daily_files import (
    MANIFEST,
    Manifest,
    Span,
    daily_dir,
    encode_manifest,
    file_name,
    span_name,
)
from tickplant.writer.format.chunk_layout import producer_id
from tickplant.writer.journal import Files, make_folders, sync_path

Records = NDArray[np.void]

STRIPE_ROWS: Final = 1 << 19
"""The most records held while they are sorted by symbol, 64 bytes each; a reader of all symbols holds as many."""

NEW: Final = ".new"
"""Suffix of a folder that is being written."""


class _File(NamedTuple):
    """One symbol's file."""

    writer: DailyFileWriter
    venue: str
    symbol: str
    instruments: tuple[int, ...]


class SpanWriter:
    """Writes one span. `add` its records, then `commit`; after any error, `remove_folder` its `scratch`."""

    def __init__(
        self,
        data_dir: Path,
        producer: str,
        schema: Schema,
        span: tuple[int, int, str],
        table: InstrumentTable,
        *,
        level: int,
        files: Files,
        beat: Callable[[], None],
    ) -> None:
        """Create the folder.

        Args:
            data_dir: the store.
            producer: producer of the records.
            schema: schema of the records.
            span: first and last seq, and the day.
            table: gives the symbol of each instrument.
            level: zstd level.
            files: the disk operations.
            beat: called between pieces of work.

        Raises:
            OSError: the disk fails.
        """
        self.producer, self.schema, self.level = producer, schema, level
        self.first_seq, self.last_seq, self.day = span
        directory = daily_dir(data_dir, producer, schema)
        self.folder = directory / span_name(*span)
        self.scratch = self.folder.with_name(self.folder.name + NEW)
        self._disk = files
        self._beat = beat
        self._names = [(row.venue, row.symbol) for row in table]
        self._by_symbol: dict[tuple[str, str], list[int]] = {}
        for row in table:
            self._by_symbol.setdefault((row.venue, row.symbol), []).append(row.id)
        self._files: dict[str, _File] = {}
        self._stripes: list[int] = []
        self._held: list[Records] = []
        self._held_rows = 0
        self._epoch = 0
        self._next_seq = self.first_seq
        make_folders(directory, files)
        remove_folder(self.scratch, files)
        files.make_folder(self.scratch)

    def add(self, records: Records, epoch: int) -> None:
        """Take the next records. Raises StoreError if they do not continue those so far, OSError."""
        expected = np.arange(self._next_seq, self._next_seq + len(records), dtype=np.uint64)
        if len(records) and (records["seq"] != expected).any():
            message = f"{self.producer} {self.schema.name.lower()}: record {self._next_seq} is missing"
            raise StoreError(message, path=self.folder)
        if self._held and epoch != self._epoch:
            self._flush()
        self._epoch = epoch
        while len(records):
            taken = records[: STRIPE_ROWS - self._held_rows]
            self._held.append(taken)
            self._held_rows += len(taken)
            self._next_seq += len(taken)
            records = records[len(taken) :]
            if self._held_rows >= STRIPE_ROWS:
                self._flush()

    def commit(self) -> Manifest:
        """Make everything durable, and the span visible to readers. Raises StoreError for missing records, OSError."""
        self._flush()
        if self._next_seq != self.last_seq + 1:
            raise StoreError(f"records {self._next_seq} to {self.last_seq} are missing", path=self.folder)
        files = [file.writer.finish(*file[1:]) for _, file in sorted(self._files.items())]
        manifest = Manifest(
            producer=self.producer,
            schema=self.schema.name.lower(),
            day=self.day,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
            stripes=tuple(self._stripes),
            files=tuple(files),
        )
        write_manifest(self.scratch, manifest, self._disk, name=MANIFEST)
        self._disk.rename(self.scratch, self.folder)
        sync_path(self.folder.parent, self._disk, os.O_RDONLY | os.O_DIRECTORY)
        return manifest

    def _flush(self) -> None:
        """Write the held records as a stripe, symbol by symbol."""
        if not self._held:
            return
        records = join_records(self._held)
        self._held, self._held_rows = [], 0
        self._stripes.append(int(records["seq"][0]))
        ids, places = np.unique(records["instrument"], return_inverse=True)
        of_ids = [self._file(ident) for ident in ids.tolist()]
        names = sorted(set(of_ids))
        group = np.array([names.index(name) for name in of_ids])[places]
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(names)), side="right").tolist()
        start = 0
        for name, end in zip(names, ends, strict=True):
            self._files[name].writer.append(records[order[start:end]], self._epoch)
            start = end

    def _file(self, ident: int) -> str:
        """The name of an instrument's file, which is added to the files if necessary."""
        known = 1 <= ident <= len(self._names)
        venue, symbol = self._names[ident - 1] if known else ("unknown", f"id {ident}")
        name = file_name(venue, symbol)
        if name not in self._files:
            instruments = tuple(self._by_symbol[venue, symbol]) if known else (ident,)
            writer = DailyFileWriter(
                self.scratch / name,
                self.schema,
                (self.first_seq, self.last_seq),
                producer=producer_id(self.producer),
                level=self.level,
                files=self._disk,
                beat=self._beat,
            )
            self._files[name] = _File(writer, venue, symbol, instruments)
        return name


def write_manifest(folder: Path, manifest: Manifest, files: Files, *, name: str) -> None:
    """Write a manifest, and make the manifest and the names in its folder durable. Raises OSError."""
    write_file(folder / name, encode_manifest(manifest), files, os.O_TRUNC)
    sync_path(folder / name, files)
    sync_path(folder, files, os.O_RDONLY | os.O_DIRECTORY)


def remove_folder(path: Path, files: Files) -> None:
    """Remove a folder of files. Raises OSError."""
    if path.is_dir():
        for each in sorted(path.iterdir()):
            files.remove(each)
        files.remove(path)


def remove_span(span: Span, files: Files) -> None:
    """Remove a span whose records another span holds; no reader ever sees it half removed. Raises OSError."""
    old = span.path.with_name(span.path.name + OLD)
    remove_folder(old, files)
    files.rename(span.path, old)
    remove_folder(old, files)


OLD: Final = ".old"
"""Suffix of a folder that is being removed."""
