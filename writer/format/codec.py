"""Records to chunks and back; `chunk_layout` says how a chunk lies on disk. Does no I/O."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.errors import DamageError
from tickplant.records.layouts import DTYPES, Schema
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
    COLUMN_IDS,
    KEYS,
    KNOWN_BITS,
    Contexts,
    Scratch,
    decode_column,
    narrowed,
    to_words,
    type_code,
)
from tickplant.writer.format.sections import (
    Origins,
    decompress,
    encode_section,
    plain_column,
    planes_of,
    read_section,
    restore_column,
    shared_sections,
    split_planes,
)
from tickplant.writer.format.transform import Words

Records: TypeAlias = NDArray[np.void]


def encode_chunk(records: Records, schema: Schema, epoch: int, *, producer: int = 0, level: int = 3) -> bytes:
    """Encode 1 to MAX_ROWS records, in the order given, as one chunk.

    Args:
        records: shape (n,), dtype `DTYPES[schema]`.
        schema: which layout they have.
        epoch: of the ring they came through; any u8, told back by the reader.
        producer: `producer_id` of the producer's name.
        level: of zstd, 1 to 19.

    Raises:
        ValueError: no records, too many, or of another dtype.
    """
    rows = len(records)
    if records.dtype != DTYPES[schema] or records.ndim != 1:
        raise ValueError(f"dtype {records.dtype} and shape {records.shape} are not one dimension of {schema.name}")
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"a chunk holds 1 to {MAX_ROWS} records, not {rows}")
    ids = COLUMN_IDS[schema]
    columns = {name: _integers(records[name]) for name in ids}
    directory: list[tuple[int, int, int, int, int]] = []
    sections: list[bytes] = []
    origins = Origins(int(columns["seq"][0]), int(columns["ts_recv"].min()))
    with np.errstate(over="ignore"):
        contexts = Contexts(schema, {name: to_words(columns[name]) for name, _ in KEYS[schema]}, rows, Scratch())
        compressor = zstandard.ZstdCompressor(level=level)
        for names in shared_sections(schema, rows):
            chosen = {name: columns[name] for name in names}
            kind, count, data = encode_section(schema, chosen, contexts, origins, compressor)
            directory.append((ids[names[0]], kind, 0, count, len(data)))
            sections.append(data)
    table = np.array(directory, COLUMN)
    payload = b"".join(sections)
    length = HEADER.itemsize + table.nbytes + len(payload) + TRAILER_BYTES

    event_times = columns["ts_event"][columns["ts_event"] != 0]
    header = np.zeros((), HEADER)
    header["length_bytes"], header["magic"], header["version"] = length, np.void(MAGIC), VERSION
    header["schema"], header["columns"], header["rows"] = schema, len(table), rows
    header["producer"], header["epoch"] = producer, epoch
    header["first_seq"], header["last_seq"] = columns["seq"][0], columns["seq"][-1]
    if len(event_times):
        header["ts_event_min"], header["ts_event_max"] = event_times.min(), event_times.max()
    header["ts_recv_min"], header["ts_recv_max"] = columns["ts_recv"].min(), columns["ts_recv"].max()
    header["instruments"] = instrument_bits(columns["instrument"])
    header["kinds"] = kind_bits(columns["kind"]) if "kind" in columns else 0
    header["payload_checksum"] = zlib.crc32(payload)
    header["header_checksum"] = header_checksum(header.tobytes() + table.tobytes())
    return header.tobytes() + table.tobytes() + payload + length.to_bytes(4, "little") + COMMIT_MARK


def decode_chunk(
    buffer: Buffer, offset: int = 0, columns: Sequence[str] | None = None, *, path: Path | str = "chunk"
) -> tuple[Records, ChunkHeader, int]:
    """Decode one chunk; see `ChunkDecoder.decode`. Use a ChunkDecoder for many."""
    return ChunkDecoder().decode(buffer, offset, columns, path=path)


class ChunkDecoder:
    """Decodes chunks one after another and keeps its working memory. Not thread-safe."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME_BYTES)
        self._scratch = Scratch()

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
            offset: where it begins.
            columns: decode these only; the records have just these fields then, packed, in this order.
            path: names the file in errors.
            origin: place of the buffer in that file, for errors.

        Returns:
            The records, shape (rows,), dtype `DTYPES[schema]`; the header; the offset behind the chunk.

        Raises:
            DamageError: no valid chunk begins there.
            StoreError: it is of a later version.
            ValueError: the schema has no such column.
        """
        layout, header, decoded = self._decoded(buffer, offset, columns, path, origin, self._kept)
        dtype = layout.dtype
        if columns is not None:
            dtype = np.dtype([(name, dtype[name]) for name in columns])
        return _assemble(decoded, dtype, header.rows), header, offset + header.length_bytes

    def columns(
        self,
        buffer: Buffer,
        offset: int = 0,
        names: Sequence[str] | None = None,
        *,
        path: Path | str = "chunk",
        origin: int = 0,
    ) -> tuple[dict[str, NDArray[Any]], ChunkHeader, int]:
        """Decode the chunk at `offset` to columns, by name: as `decode`, but no records are put together.

        Each array has shape (rows,) and the dtype of its field of `DTYPES[schema]`, and is the caller's own.
        """
        layout, header, decoded = self._decoded(buffer, offset, names, path, origin, _fresh)
        dtype = layout.dtype
        found = {}
        for name in dtype.names or () if names is None else names:
            column = decoded.get(name)
            found[name] = np.zeros(header.rows, dtype[name]) if column is None else column.view(dtype[name])
        return found, header, offset + header.length_bytes

    def _kept(self, header: ChunkHeader, layout: _Layout) -> Iterator[Words]:
        """Arrays that the next chunk uses again."""
        # By what this program knows, not by what the chunk declares: only known columns are decoded.
        return iter(self._scratch.words(len(layout.names) + 1, header.rows)[1:])

    def _decoded(
        self,
        buffer: Buffer,
        offset: int,
        wanted: Sequence[str] | None,
        path: Path | str,
        origin: int,
        arrays: Callable[[ChunkHeader, _Layout], Iterator[Words]],
    ) -> tuple[_Layout, ChunkHeader, dict[str, NDArray[Any]]]:
        """The wanted columns, by name: of their own width, or of 8 bytes; those of 8 bytes are in `arrays`."""
        header = read_header(buffer, offset, path=path, origin=origin)
        check_payload(buffer, offset, header, path=path, origin=origin)
        layout = _LAYOUTS[header.schema]
        if unknown := set(wanted or ()) - set(COLUMN_IDS[layout.schema]):
            raise ValueError(f"{layout.schema.name} has no column {', '.join(sorted(unknown))}")
        made = arrays(header, layout)
        try:
            with np.errstate(over="ignore"):
                decode = self._decode_columns if header.version == 1 else self._decode_sections
                return layout, header, decode(buffer, offset, header, layout, wanted, made)
        except (ValueError, KeyError, zstandard.ZstdError) as error:
            # The checksum matched, so this was written so: a bug of a writer, or a forgery, but never a crash here.
            why = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DamageError(f"the chunk cannot be decoded: {why}", path=path, offset=origin + offset) from error

    def _decode_sections(
        self,
        buffer: Buffer,
        offset: int,
        header: ChunkHeader,
        layout: _Layout,
        wanted: Sequence[str] | None,
        arrays: Iterator[Words],
    ) -> dict[str, NDArray[Any]]:
        """The wanted columns of a chunk of version 2, and the keys."""
        rows, payload = header.rows, memoryview(buffer)
        origins = Origins(header.first_seq, header.ts_recv_min)
        (residuals,) = self._scratch.words(1, rows)
        decoded: dict[str, NDArray[Any]] = {}
        contexts = Contexts(layout.schema, decoded, rows, self._scratch)
        start = offset + HEADER.itemsize + header.columns * COLUMN.itemsize
        for number, kind, _, count, stored_bytes in directory_of(buffer, offset, header):
            data, start = payload[start : start + stored_bytes], start + stored_bytes
            if number not in layout.names:
                continue
            columns, stored, size = read_section(data, count, rows, layout.names, origins)
            names = [layout.names.get(column.number) for column in columns]
            if wanted is not None and not any(name in wanted or name in layout.keys for name in names):
                continue
            planes = planes_of(stored, kind, size, self._decompressor)
            for name, column, part in zip(names, columns, split_planes(columns, planes, rows), strict=True):
                if name is None or not (wanted is None or name in wanted or name in layout.keys):
                    continue
                if name in decoded:
                    raise ValueError(f"column {name} occurs twice")
                dtype = layout.dtype[name]
                if dtype.itemsize < 8 and (plain := plain_column(column, part, rows, dtype)) is not None:
                    decoded[name] = plain
                else:
                    values = next(arrays)
                    restore_column(column, part, contexts, residuals, values)
                    decoded[name] = narrowed(values, dtype, name)
        return decoded

    def _decode_columns(
        self,
        buffer: Buffer,
        offset: int,
        header: ChunkHeader,
        layout: _Layout,
        wanted: Sequence[str] | None,
        arrays: Iterator[Words],
    ) -> dict[str, NDArray[Any]]:
        """The wanted columns of a chunk of version 1, and the keys."""
        start = offset + HEADER.itemsize + header.columns * COLUMN.itemsize
        payload = memoryview(buffer)
        (residuals,) = self._scratch.words(1, header.rows)
        decoded: dict[str, NDArray[Any]] = {}
        contexts = Contexts(layout.schema, decoded, header.rows, self._scratch)
        decompress_frame = partial(decompress, decompressor=self._decompressor)
        for number, code, bits, width, stored_bytes in directory_of(buffer, offset, header):
            name = layout.names.get(number)
            if name is not None and (wanted is None or name in wanted or name in layout.keys):
                if code != layout.codes[number] or bits & ~KNOWN_BITS or width > 8:
                    raise ValueError(f"column {name} is stored in a way that this program does not know")
                values = next(arrays)
                data = payload[start : start + stored_bytes]
                decode_column(data, bits, width, contexts, decompress_frame, residuals, values)
                decoded[name] = narrowed(values, layout.dtype[name], name)
            start += stored_bytes
        if missing := layout.keys - set(decoded):
            raise KeyError(*sorted(missing)[:1])
        return decoded


def _fresh(header: ChunkHeader, layout: _Layout) -> Iterator[Words]:
    """Arrays for the caller to keep."""
    return (np.empty(header.rows, np.uint64) for _ in layout.names)


def _integers(column: NDArray[Any]) -> NDArray[Any]:
    """A field of records as a column; of a float64 its bits: those of numbers near each other are near each other."""
    whole = np.ascontiguousarray(column)
    return whole.view(np.int64) if whole.dtype.kind == "f" else whole


def warm_up() -> None:
    """Compile every kernel that encoding and decoding use, or load what was compiled before."""
    ticks = np.zeros(8, DTYPES[Schema.TICK])
    for place, name in enumerate(COLUMN_IDS[Schema.TICK]):
        ticks[name] = np.arange(8) * np.arange(8) % (5 + place)
    decode_chunk(encode_chunk(ticks, Schema.TICK, 0))


class _Layout:
    """What decoding needs to know of a schema, looked up once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.dtype = DTYPES[schema]
        self.names = {number: name for name, number in COLUMN_IDS[schema].items()}
        self.codes = {number: type_code(self.dtype[name]) for number, name in self.names.items()}
        self.keys = frozenset(name for name, _ in KEYS[schema])


_LAYOUTS: Final = {int(schema): _Layout(schema) for schema in Schema}


def _assemble(columns: dict[str, NDArray[Any]], dtype: np.dtype[np.void], rows: int) -> Records:
    """Interleave columns into records, block by block, so that a block's cache lines are filled while they are near."""
    records = np.empty(rows, dtype)
    block_records = 4096
    for start in range(0, rows, block_records):
        end = start + block_records
        for name in dtype.names or ():
            column = columns.get(name)
            records[name][start:end] = 0 if column is None else column[start:end]
    return records
