"""Writes one daily file, that is, its chunks and their index, and reads it back before anything relies on it.

All daily files are written here, both by compaction and by a rule of retention that keeps part of a file. So every
daily file has an index with the bounds of its chunks.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.layouts import Flag, Kind, Schema, TradeFlag
from tickplant.store.daily_files import DailyFile
from tickplant.writer.format.chunk_bounds import Bounds
from tickplant.writer.format.chunk_layout import ChunkHeader, read_header
from tickplant.writer.format.codec import ChunkDecoder, encode_with_bounds
from tickplant.writer.index import index_path, load_index, make_entries
from tickplant.writer.journal import Files, sync_path

Records = NDArray[np.void]

CHUNK_ROWS: Final = 1 << 15
"""A query for a range of times decodes a chunk or two. Compared with chunks of twice as many rows, it costs two thirds,
and files are 2% larger."""

DOUBLES_WINDOW: Final = 1 << 20
"""A trade is a double if its venue id is among this many greatest ids of the symbol's earlier trades."""


class DailyFileWriter:
    """Writes a file that no manifest names yet: `append` its records, then `finish`; or `remove` it."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        span: tuple[int, int],
        *,
        producer: int,
        level: int,
        files: Files,
        beat: Callable[[], None],
    ) -> None:
        """Prepare to write; nothing is written yet.

        Args:
            path: the file.
            schema: schema of the records.
            span: first and last seq that the file may hold.
            producer: `producer_id` of the records' producer.
            level: zstd level.
            files: the disk operations.
            beat: called between pieces of work.
        """
        self.path = path
        self.rows = self.bytes = 0
        self._schema, self._span = schema, span
        self._producer, self._level = producer, level
        self._disk, self._beat = files, beat
        self._checksum = 0
        self._ts_recv_min, self._ts_recv_max = 2**63 - 1, -(2**63)
        self._chunks: list[tuple[int, ChunkHeader]] = []
        self._bounds: list[Bounds] = []

    def append(self, records: Records, epoch: int) -> None:
        """Write records, shape (n,), of the schema's dtype, all from one stripe. Raises OSError."""
        chunks: list[bytes] = []
        for start in range(0, len(records), CHUNK_ROWS):
            self._beat()
            part = records[start : start + CHUNK_ROWS]
            chunk, bounds = encode_with_bounds(part, self._schema, epoch, producer=self._producer, level=self._level)
            self._chunks.append((self.bytes, read_header(chunk)))
            self._bounds.append(bounds)
            chunks.append(chunk)
            self.bytes += len(chunk)
        if not chunks:
            return
        write_file(self.path, b"".join(chunks), self._disk, os.O_APPEND)
        self.rows += len(records)
        self._checksum = zlib.crc32(records.view(np.uint8).data, self._checksum)
        self._ts_recv_min = min(self._ts_recv_min, int(records["ts_recv"].min()))
        self._ts_recv_max = max(self._ts_recv_max, int(records["ts_recv"].max()))

    def finish(self, venue: str, symbol: str, instruments: tuple[int, ...]) -> DailyFile:
        """Write the index, make the file durable, and read it back; returns the file's entry for the manifest.

        Raises StoreError if the file does not hold the records appended, OSError.
        """
        entries = make_entries(self._chunks, self._bounds)
        write_file(index_path(self.path), entries.tobytes(), self._disk, os.O_TRUNC)
        sync_path(self.path, self._disk)
        return DailyFile(
            name=self.path.name,
            venue=venue,
            symbol=symbol,
            instruments=instruments,
            rows=self.rows,
            bytes=self.bytes,
            checksum=self._checksum,
            ts_recv_min=self._ts_recv_min,
            ts_recv_max=self._ts_recv_max,
            doubles=self._read_back(),
        )

    def remove(self) -> None:
        """Remove the file, as far as it exists. Raises OSError."""
        self._disk.remove(self.path)
        self._disk.remove(index_path(self.path))

    def _read_back(self) -> int:
        """Read the file back; returns its number of doubles. Raises StoreError if it differs from what was written."""
        index = load_index(self.path, use_index=False, while_reading=self._beat, within=self._span)
        decoder, doubles = ChunkDecoder(), Doubles()
        rows = checksum = 0
        with self.path.open("rb") as opened:
            for entry in index.entries:
                self._beat()
                opened.seek(int(entry["offset"]))
                records, _, _ = decoder.decode(opened.read(int(entry["header"]["length_bytes"])), path=self.path)
                rows += len(records)
                checksum = zlib.crc32(records.view(np.uint8).data, checksum)
                if self._schema is Schema.TICK:
                    doubles.add(records)
        if index.damage or (rows, checksum) != (self.rows, self._checksum):
            raise StoreError("what was written does not read back as it was: a fault of disk or memory", path=self.path)
        return doubles.count


class Doubles:
    """Counts the trades of one file that repeat the venue id of another trade, as in a backfill that was stored twice.

    Doubles are kept: each record has its seq, and a reader may drop the unwanted ones by venue id.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen: dict[tuple[int, bool], NDArray[np.uint64]] = {}

    def add(self, records: Records) -> None:
        """Take the next ticks of the file."""
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


def write_file(path: Path, data: bytes, files: Files, flags: int) -> None:
    """Write bytes to a file, created if missing. Raises OSError."""
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | flags)
    try:
        left = memoryview(data)
        while left:
            left = left[files.write(fd, left) :]
    finally:
        os.close(fd)
