"""Writing a span of daily files: records in the order of their seqs go in, one file a symbol comes out.

Everything is written into a folder that no reader looks at, read back, compared, made durable, and then renamed: a kill
at any instant leaves the old state or the new one, and perhaps a folder that the next compaction removes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, Kind, Schema, TradeFlag
from tickplant.records.merge import join_records
from tickplant.store.daily_files import (
    MANIFEST,
    DailyFile,
    Manifest,
    Span,
    daily_dir,
    encode_manifest,
    file_name,
    span_name,
)
from tickplant.writer.format.chunk_bounds import Bounds
from tickplant.writer.format.chunk_layout import ChunkHeader, producer_id, read_header
from tickplant.writer.format.codec import ChunkDecoder, encode_with_bounds
from tickplant.writer.index import index_path, load_index, make_entries
from tickplant.writer.journal import Files, make_folders, sync_path

Records = NDArray[np.void]

STRIPE_ROWS: Final = 1 << 19
"""Records that are held while they are sorted by symbol, 64 bytes each: what a reader of all symbols holds as well."""

CHUNK_ROWS: Final = 1 << 16

DOUBLES_WINDOW: Final = 1 << 20
"""A trade is a double where its venue id is among the greatest so many of the symbol's trades before it."""

NEW: Final = ".new"
"""How the name of a folder ends that is being written."""


class _File(msgspec.Struct):
    """One symbol's file so far."""

    path: Path
    venue: str
    symbol: str
    instruments: tuple[int, ...]
    rows: int = 0
    bytes: int = 0
    checksum: int = 0
    ts_recv_min: int = 2**63 - 1
    ts_recv_max: int = -(2**63)
    headers: list[tuple[int, ChunkHeader]] = []
    bounds: list[Bounds] = []


class SpanWriter:
    """Writes one span. `add` its records, then `commit`; after any error, `remove_folder` what it has left."""

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
        """Make the folder.

        Args:
            data_dir: of the store.
            producer: whose records.
            schema: of the records.
            span: first and last seq, and the day.
            table: which symbol an instrument is of.
            level: of zstd.
            files: how the disk is touched.
            beat: called between any two pieces of work.

        Raises:
            OSError: the disk refuses.
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
        """Take records that continue those so far. Raises StoreError where they do not, OSError."""
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
        """Make it all durable, and the span what readers find. Raises StoreError where records are missing, OSError."""
        self._flush()
        if self._next_seq != self.last_seq + 1:
            raise StoreError(f"records {self._next_seq} to {self.last_seq} are missing", path=self.folder)
        files = []
        for file in sorted(self._files.values(), key=lambda file: file.path):
            self._write(index_path(file.path), make_entries(file.headers, file.bounds).tobytes(), os.O_TRUNC)
            sync_path(file.path, self._disk)
            files.append(self._finished(file))
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
        """Write a stripe: what is held, symbol by symbol."""
        if not self._held:
            return
        records = join_records(self._held)
        self._held, self._held_rows = [], 0
        self._stripes.append(int(records["seq"][0]))
        ids, places = np.unique(records["instrument"], return_inverse=True)
        files = [self._file(ident) for ident in ids.tolist()]
        names = sorted({file.path.name for file in files})
        group = np.array([names.index(file.path.name) for file in files])[places]
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(names)), side="right").tolist()
        start = 0
        for name, end in zip(names, ends, strict=True):
            self._append(self._files[name], records[order[start:end]])
            start = end

    def _file(self, ident: int) -> _File:
        known = 1 <= ident <= len(self._names)
        venue, symbol = self._names[ident - 1] if known else ("unknown", f"id {ident}")
        name = file_name(venue, symbol)
        if name not in self._files:
            instruments = tuple(self._by_symbol[venue, symbol]) if known else (ident,)
            self._files[name] = _File(self.scratch / name, venue, symbol, instruments)
        return self._files[name]

    def _append(self, file: _File, records: Records) -> None:
        chunks: list[bytes] = []
        size = file.bytes
        for start in range(0, len(records), CHUNK_ROWS):
            self._beat()
            part = records[start : start + CHUNK_ROWS]
            owner = producer_id(self.producer)
            chunk, bounds = encode_with_bounds(part, self.schema, self._epoch, producer=owner, level=self.level)
            file.headers.append((size, read_header(chunk)))
            file.bounds.append(bounds)
            chunks.append(chunk)
            size += len(chunk)
        data = b"".join(chunks)
        self._write(file.path, data, os.O_APPEND)
        file.bytes = size
        file.rows += len(records)
        file.checksum = zlib.crc32(records.view(np.uint8).data, file.checksum)
        file.ts_recv_min = min(file.ts_recv_min, int(records["ts_recv"].min()))
        file.ts_recv_max = max(file.ts_recv_max, int(records["ts_recv"].max()))

    def _write(self, path: Path, data: bytes, flags: int) -> None:
        write_file(path, data, self._disk, flags)

    def _finished(self, file: _File) -> DailyFile:
        """Read a file back. Raises StoreError where it does not hold what went in: then the journal stays."""
        index = load_index(file.path, use_index=False, while_reading=self._beat, within=(self.first_seq, self.last_seq))
        decoder, doubles = ChunkDecoder(), Doubles()
        rows = checksum = 0
        with file.path.open("rb") as opened:
            for entry in index.entries:
                self._beat()
                opened.seek(int(entry["offset"]))
                records, _, _ = decoder.decode(opened.read(int(entry["header"]["length_bytes"])), path=file.path)
                rows += len(records)
                checksum = zlib.crc32(records.view(np.uint8).data, checksum)
                if self.schema is Schema.TICK:
                    doubles.add(records)
        if index.damage or (rows, checksum) != (file.rows, file.checksum):
            raise StoreError("what was written does not read back as it was: a fault of disk or memory", path=file.path)
        return DailyFile(
            name=file.path.name,
            venue=file.venue,
            symbol=file.symbol,
            instruments=file.instruments,
            rows=rows,
            bytes=file.bytes,
            checksum=checksum,
            ts_recv_min=file.ts_recv_min,
            ts_recv_max=file.ts_recv_max,
            doubles=doubles.count,
        )


class Doubles:
    """Counts the trades of one file whose venue id another trade has had: a backfill that was stored twice, say.

    They are kept: each record has its seq, and a reader may drop by venue id what it does not want.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen: dict[tuple[int, bool], NDArray[np.uint64]] = {}

    def add(self, records: Records) -> None:
        """The next ticks of the file."""
        amended = records["flags"] & np.uint16(TradeFlag.CORRECTION | TradeFlag.CANCELLED) != 0
        trades = records[(records["kind"] == Kind.TRADE) & ~amended & (records["venue_seq"] != 0)]
        aggregate = trades["flags"] & np.uint16(Flag.AGGREGATE) != 0
        for ident in np.unique(trades["instrument"]).tolist():
            for together in (False, True):
                chosen = (trades["instrument"] == ident) & (aggregate == together)
                if chosen.any():
                    self._add((ident, together), trades["venue_seq"][chosen])

    def _add(self, key: tuple[int, bool], ids: NDArray[np.uint64]) -> None:
        seen = self._seen.get(key, np.zeros(0, np.uint64))  # the greatest ones
        rising = bool((ids[1:] > ids[:-1]).all()) and (not len(seen) or ids[0] > seen[-1])
        if not rising:
            unique = np.unique(ids)
            self.count += len(ids) - len(unique) + int(np.isin(unique, seen).sum())
            ids = unique
        joined = np.concatenate([seen, ids]) if rising else np.union1d(seen, ids)
        self._seen[key] = joined[-DOUBLES_WINDOW:]


def write_manifest(folder: Path, manifest: Manifest, files: Files, *, name: str) -> None:
    """Write a manifest, and make it and the names in its folder durable. Raises OSError."""
    write_file(folder / name, encode_manifest(manifest), files, os.O_TRUNC)
    sync_path(folder / name, files)
    sync_path(folder, files, os.O_RDONLY | os.O_DIRECTORY)


def write_file(path: Path, data: bytes, files: Files, flags: int) -> None:
    """Write bytes to a file, which is made where it is missing. Raises OSError."""
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | flags)
    try:
        left = memoryview(data)
        while left:
            left = left[files.write(fd, left) :]
    finally:
        os.close(fd)


def remove_folder(path: Path, files: Files) -> None:
    """Remove a folder of files. Raises OSError."""
    if path.is_dir():
        for each in sorted(path.iterdir()):
            files.remove(each)
        files.remove(path)


def remove_span(span: Span, files: Files) -> None:
    """Remove a span, of which another one has all records: no reader finds it half there. Raises OSError."""
    old = span.path.with_name(span.path.name + OLD)
    remove_folder(old, files)
    files.rename(span.path, old)
    remove_folder(old, files)


OLD: Final = ".old"
"""How the name of a folder ends that is being removed."""
