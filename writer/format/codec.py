"""Encodes records as chunks, and decodes them; `chunk_layout` describes a chunk on disk. Does no I/O."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.errors import DamageError
from tickplant.records.layouts import DTYPES, Schema
from tickplant.writer.format import restoring, together
from tickplant.writer.format.chunk_bounds import Bounds, bounds_of
from tickplant.writer.format.chunk_layout import (
    COLUMN,
    COMMIT_MARK,
    HEADER,
    MAGIC,
    MAX_FRAME_BYTES,
    MAX_ROWS,
    TRAILER_BYTES,
    VERSION,
    Buffer,
    ChunkHeader,
    check_payload,
    directory_of,
    header_checksum,
    instrument_bits,
    kind_bits,
    read_header,
)
from tickplant.writer.format.columns import (
    APART,
    COLUMN_IDS,
    GROUPED,
    KNOWN_BITS,
    Contexts,
    Pool,
    Scratch,
    decode_column,
    narrowed,
)
from tickplant.writer.format.schema_layouts import LAYOUTS, SchemaLayout
from tickplant.writer.format.section_frames import FrameMaker
from tickplant.writer.format.sections import (
    SMALL_ROWS,
    Origins,
    Sections,
    decompress,
    encode_section,
    planes_of,
    read_section,
    restore_column,
    section_bytes,
    shared_sections,
)
from tickplant.writer.format.transform import Bytes

Records: TypeAlias = NDArray[np.void]
Column: TypeAlias = NDArray[Any]

_WORD: Final = np.dtype(np.uint64)
_BYTE: Final = np.dtype(np.uint8)


def encode_chunk(records: Records, schema: Schema, epoch: int, *, producer: int = 0, level: int = 1) -> bytes:
    """A chunk of records, as `encode_with_bounds` makes it."""
    return encode_with_bounds(records, schema, epoch, producer=producer, level=level)[0]


def encode_with_bounds(
    records: Records, schema: Schema, epoch: int, *, producer: int = 0, level: int = 1
) -> tuple[bytes, Bounds]:
    """Encode 1 to MAX_ROWS records, in the given order, as one chunk; also returns the value bounds for the index.

    Args:
        records: shape (n,), dtype `DTYPES[schema]`.
        schema: the layout of the records.
        epoch: epoch of the ring that they came through; any u8, which decoding returns.
        producer: `producer_id` of the producer's name.
        level: zstd level, 1 to 19.

    Raises:
        ValueError: there are no records, too many, or they have another dtype.
    """
    rows = len(records)
    if records.dtype != DTYPES[schema] or records.ndim != 1:
        raise ValueError(f"dtype {records.dtype} and shape {records.shape} are not one dimension of {schema.name}")
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"a chunk holds 1 to {MAX_ROWS} records, not {rows}")
    ids = COLUMN_IDS[schema]
    columns = LAYOUTS[schema].separate(records, _OWN.scratch)
    directory: list[tuple[int, int, int, int, int]] = []
    sections: list[bytes] = []
    origins = Origins(int(columns["seq"][0]), int(columns["ts_recv"].min()))
    with np.errstate(over="ignore"):
        contexts = Contexts(schema, columns.get, rows, _OWN.scratch)
        frames = _OWN.frames(level)
        for names in shared_sections(schema, rows):
            chosen = {name: columns[name] for name in names}
            kind, count, data = encode_section(schema, chosen, contexts, origins, frames)
            directory.append((ids[names[0]], kind, 0, count, len(data)))
            sections.append(data)
        firsts = contexts.firsts()
    table = np.array(directory, COLUMN)
    payload = b"".join(sections)
    length = HEADER.itemsize + table.nbytes + len(payload) + TRAILER_BYTES

    event_times = columns["ts_event"]
    if not event_times.all():  # 0 means no venue time
        event_times = event_times[event_times != 0]
    header = np.zeros((), HEADER)
    header["length_bytes"], header["magic"], header["version"] = length, np.void(MAGIC), VERSION
    header["schema"], header["columns"], header["rows"] = schema, len(table), rows
    header["producer"], header["epoch"] = producer, epoch
    header["first_seq"], header["last_seq"] = columns["seq"][0], columns["seq"][-1]
    if len(event_times):
        header["ts_event_min"], header["ts_event_max"] = event_times.min(), event_times.max()
    header["ts_recv_min"], header["ts_recv_max"] = columns["ts_recv"].min(), columns["ts_recv"].max()
    header["instruments"] = instrument_bits(columns["instrument"][firsts])
    header["kinds"] = kind_bits(columns["kind"][firsts]) if "kind" in columns else 0
    header["payload_checksum"] = zlib.crc32(payload)
    header["header_checksum"] = header_checksum(header.tobytes() + table.tobytes())
    chunk = header.tobytes() + table.tobytes() + payload + length.to_bytes(4, "little") + COMMIT_MARK
    return chunk, bounds_of(columns, schema)


class _Own(threading.local):
    """Working memory of each thread, reused: fresh memory costs more than the work done in it."""

    def __init__(self) -> None:
        self.scratch = Scratch()
        self._frames: dict[int, FrameMaker] = {}

    def frames(self, level: int) -> FrameMaker:
        if level not in self._frames:
            self._frames = {level: FrameMaker(level)}
        return self._frames[level]


_OWN: Final = _Own()


def decode_chunk(
    buffer: Buffer, offset: int = 0, columns: Sequence[str] | None = None, *, path: Path | str = "chunk"
) -> tuple[Records, ChunkHeader, int]:
    """Decode one chunk, as `ChunkDecoder.decode` does. For many chunks, use a ChunkDecoder."""
    return ChunkDecoder().decode(buffer, offset, columns, path=path)


class ChunkDecoder:
    """Decodes chunks, and reuses its working memory. Not thread-safe."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME_BYTES)
        self._scratch = Scratch()
        self._pool = Pool()
        self._sections = Sections()

    def decode(
        self,
        buffer: Buffer,
        offset: int = 0,
        columns: Sequence[str] | None = None,
        *,
        path: Path | str = "chunk",
        origin: int = 0,
    ) -> tuple[Records, ChunkHeader, int]:
        """Decode the chunk at `offset`.

        Args:
            buffer: holds the chunk, such as a memory-mapped file.
            offset: where the chunk begins.
            columns: decode only these; the records then have just these fields, packed, in this order.
            path: names the file in errors.
            origin: position of the buffer in that file, for errors.

        Returns:
            The records, shape (rows,), dtype `DTYPES[schema]`; the header; the offset after the chunk.

        Raises:
            DamageError: no valid chunk begins at `offset`.
            StoreError: the chunk is of a later version.
            ValueError: the schema has no such column.
        """
        layout, header = self._checked(buffer, offset, columns, path, origin)
        if columns is None:
            return self._records(buffer, offset, header, layout, path, origin), header, offset + header.length_bytes
        found, _, end = self.columns(buffer, offset, columns, path=path, origin=origin)
        records = np.zeros(header.rows, [(name, layout.dtype[name]) for name in found])
        for name, column in found.items():
            records[name] = column
        return records, header, end

    def columns(
        self,
        buffer: Buffer,
        offset: int = 0,
        names: Sequence[str] | None = None,
        *,
        path: Path | str = "chunk",
        origin: int = 0,
        into: Callable[[str, int], Column] | None = None,
    ) -> tuple[dict[str, Column], ChunkHeader, int]:
        """Decode the chunk at `offset` to columns by name: as `decode`, but without assembling records.

        Each array has shape (rows,) and the dtype of its field in `DTYPES[schema]`, and belongs to the caller. It is
        the one that `into` returns for a name and a number of rows; without `into`, a new one.
        """
        layout, header = self._checked(buffer, offset, names, path, origin)
        rows, dtype = header.rows, layout.dtype
        wanted = (dtype.names or ()) if names is None else names
        places, plan = layout.plan(tuple(wanted))
        room = (rows + 7) // 8 * 8
        if header.columns == 1 and self._together(
            buffer, offset, header, layout, plan, room, memory := self._pool.array("", _BYTE, room * plan.row_bytes)
        ):
            found = {name: memory[start * room :][: rows * kind.itemsize].view(kind) for name, start, kind in places}
            for name in layout.unstored.intersection(found):
                found[name].fill(0)
            if into is not None:
                for name, column in found.items():
                    found[name] = into(name, rows)
                    found[name][:] = column
            return found, header, offset + header.length_bytes
        if into is None:
            found = {name: self._pool.array(name, dtype[name], rows) for name in wanted}
        else:
            found = {name: into(name, rows) for name in wanted}
        self._decode(buffer, offset, header, layout, found, path, origin)
        return found, header, offset + header.length_bytes

    def _records(
        self, buffer: Buffer, offset: int, header: ChunkHeader, layout: SchemaLayout, path: Path | str, origin: int
    ) -> Records:
        rows, dtype = header.rows, layout.dtype
        width = dtype.itemsize // 8
        words = self._scratch.words(-(-layout.record_plan.row_bytes // 8), rows)
        memory, room = words.reshape(-1).view(_BYTE), words.shape[1]
        wanted = {
            name: memory[start * room :][: rows * kind.itemsize].view(kind) for name, start, kind in layout.places
        }
        if not self._together(buffer, offset, header, layout, layout.record_plan, room, memory):
            self._decode(buffer, offset, header, layout, wanted, path, origin)
        for place in {place for place, _ in layout.parts.values()}:
            words[place, :rows] = 0
        for name, (place, shift) in layout.parts.items():
            restoring.add_part(wanted[name], np.uint64(shift), words[place, :rows])
        records = self._pool.array("records", dtype, rows)
        restoring.interleave(words, records.view(_WORD).reshape(rows, width))
        return records

    def _checked(
        self, buffer: Buffer, offset: int, wanted: Sequence[str] | None, path: Path | str, origin: int
    ) -> tuple[SchemaLayout, ChunkHeader]:
        header = read_header(buffer, offset, path=path, origin=origin)
        layout = LAYOUTS[header.schema]
        if unknown := set(wanted or ()).difference(layout.ids):
            raise ValueError(f"{layout.schema.name} has no column {', '.join(sorted(unknown))}")
        return layout, header

    def _together(
        self,
        buffer: Buffer,
        offset: int,
        header: ChunkHeader,
        layout: SchemaLayout,
        plan: together.Plan,
        room: int,
        memory: Bytes,
    ) -> bool:
        """Decode a chunk of a single section into memory with `room` rows per column. False: not such a chunk."""
        if header.columns != 1 or header.version == 1:
            return False
        ((number, kind, _, count, stored_bytes),) = directory_of(buffer, offset, header)
        start = offset + HEADER.itemsize + COLUMN.itemsize
        data = memoryview(buffer)[start : start + stored_bytes]
        if number not in layout.names or zlib.crc32(data) != header.payload_checksum:
            return False
        try:
            with np.errstate(over="ignore"):
                origins = Origins(header.first_seq, header.ts_recv_min)
                table, stored = read_section(data, count, header.rows, layout.sections, origins)
                planes = planes_of(stored, kind, section_bytes(table, header.rows), self._decompressor)
                return together.restore_together(planes, table, *plan[:5], header.rows, room, memory)
        except (ValueError, zstandard.ZstdError):  # decoding column by column will name the fault
            return False

    def _decode(
        self,
        buffer: Buffer,
        offset: int,
        header: ChunkHeader,
        layout: SchemaLayout,
        wanted: Mapping[str, Column],
        path: Path | str,
        origin: int,
    ) -> None:
        """Fill the wanted columns."""
        check_payload(buffer, offset, header, path=path, origin=origin)
        try:
            with np.errstate(over="ignore"):
                decode = self._decode_columns if header.version == 1 else self._decode_sections
                decoded = decode(buffer, offset, header, layout, wanted)
        except (ValueError, KeyError, zstandard.ZstdError) as error:
            # The checksum matched, so these bytes were written: a writer's bug or a forgery, but never a crash here.
            why = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DamageError(f"the chunk cannot be decoded: {why}", path=path, offset=origin + offset) from error
        for name, column in wanted.items():
            if name not in decoded:
                column.fill(0)

    def _decode_sections(
        self, buffer: Buffer, offset: int, header: ChunkHeader, layout: SchemaLayout, wanted: Mapping[str, Column]
    ) -> Mapping[str, Column]:
        """Fill the wanted columns of a version 2 chunk; returns those that the chunk has, with any keys it needed."""
        rows, chunk = header.rows, memoryview(buffer)[offset : offset + header.length_bytes]
        origins, needed = Origins(header.first_seq, header.ts_recv_min), layout.needed(wanted)
        told = self._sections.read(chunk, header.columns, rows, layout.sections, needed, origins)
        found: dict[str, int] = {}
        for place, (number, *_) in enumerate(told):
            name = layout.names.get(number)
            if name in found:
                raise ValueError(f"column {name} occurs twice")
            if name is not None:
                found[name] = place
        names = [name for name in wanted if name in found]
        if any(told[found[name]][1] & (GROUPED | APART) for name in names):
            names = list(dict.fromkeys([*(key for key in layout.keys if key in found), *names]))
        decoded: dict[str, Column] = {}
        contexts = Contexts(layout.schema, decoded.get, rows, self._scratch)
        sections = [column[-1] for column in told]
        shared: dict[int, Bytes] = {}
        for name in names:
            place = found[name]
            bits, section = told[place][1], sections[place]
            if bits & (GROUPED | APART) and name in layout.keys:
                raise ValueError(f"column {name} is a key: it is not sorted by groups, and has no rows apart")
            planes = shared.get(section)
            if planes is None:
                planes = self._sections.planes(chunk, section, self._decompressor)
                if sections.count(section) > 1:
                    shared[section] = planes
            values = wanted.get(name)
            if values is None:
                values = self._scratch.column(name, layout.dtype[name], rows)
            restore_column(name, self._sections.columns[place], bits, planes, contexts, values)
            decoded[name] = values
            del planes  # frees the memory for the next section to be decompressed into, while it is in the cache
        return decoded

    def _decode_columns(
        self, buffer: Buffer, offset: int, header: ChunkHeader, layout: SchemaLayout, wanted: Mapping[str, Column]
    ) -> Mapping[str, Column]:
        """Fill the wanted columns of a version 1 chunk; returns those that the chunk has, and the keys."""
        start = offset + HEADER.itemsize + header.columns * COLUMN.itemsize
        payload, rows = memoryview(buffer), header.rows
        residuals = self._scratch.column("", _WORD, rows)
        decoded: dict[str, Column] = {}
        contexts = Contexts(layout.schema, decoded.get, rows, self._scratch)
        decompress_frame = partial(decompress, decompressor=self._decompressor)
        for number, code, bits, width, stored_bytes in directory_of(buffer, offset, header):
            name = layout.names.get(number)
            if name is not None and (name in wanted or name in layout.keys):
                if code != layout.codes[number] or bits & ~KNOWN_BITS or width > 8:
                    raise ValueError(f"column {name} is stored in a way that this program does not know")
                dtype, values = layout.dtype[name], wanted.get(name)
                if values is None:
                    values = self._scratch.column(name, dtype, rows)
                narrow = dtype.itemsize < 8
                words = self._scratch.column("narrow", _WORD, rows) if narrow else values.view(_WORD)
                data = payload[start : start + stored_bytes]
                decode_column(data, bits, width, contexts, decompress_frame, residuals, words)
                if narrow:
                    values[:] = narrowed(words, dtype, name)
                decoded[name] = values
            start += stored_bytes
        if missing := layout.keys - set(decoded):
            raise KeyError(*sorted(missing)[:1])
        return decoded


def warm_up() -> None:
    """Compile every kernel of encoding and decoding, or load it from the cache."""
    ticks = np.zeros(8, DTYPES[Schema.TICK])
    for place, name in enumerate(COLUMN_IDS[Schema.TICK]):
        ticks[name] = np.arange(8) * np.arange(8) % (5 + place)
    decode_chunk(encode_chunk(ticks, Schema.TICK, 0))
    decode_chunk(encode_chunk(np.resize(ticks, SMALL_ROWS), Schema.TICK, 0))  # a chunk of several sections
