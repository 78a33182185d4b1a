"""Records to chunks and back; `chunk_layout` says how a chunk lies on disk. Does no I/O."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
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
    encode_column,
    to_words,
    type_code,
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
    columns = {name: np.ascontiguousarray(records[name]) for name in ids}
    directory = np.zeros(len(ids), COLUMN)
    sections: list[bytes] = []
    with np.errstate(over="ignore"):
        contexts = Contexts(schema, {name: to_words(columns[name]) for name, _ in KEYS[schema]}, rows, Scratch())
        compressor = zstandard.ZstdCompressor(level=level)
        for place, (name, number) in enumerate(ids.items()):
            section = encode_column(name, columns[name], contexts, compressor)
            code = type_code(columns[name].dtype)
            directory[place] = (number, code, section.bits, section.width, len(section.data))
            sections.append(section.data)
    payload = b"".join(sections)
    length = HEADER.itemsize + directory.nbytes + len(payload) + TRAILER_BYTES

    event_times = columns["ts_event"][columns["ts_event"] != 0]
    header = np.zeros((), HEADER)
    header["length_bytes"], header["magic"], header["version"] = length, np.void(MAGIC), VERSION
    header["schema"], header["columns"], header["rows"] = schema, len(ids), rows
    header["producer"], header["epoch"] = producer, epoch
    header["first_seq"], header["last_seq"] = columns["seq"][0], columns["seq"][-1]
    if len(event_times):
        header["ts_event_min"], header["ts_event_max"] = event_times.min(), event_times.max()
    header["ts_recv_min"], header["ts_recv_max"] = columns["ts_recv"].min(), columns["ts_recv"].max()
    header["instruments"] = instrument_bits(columns["instrument"])
    header["kinds"] = kind_bits(columns["kind"]) if "kind" in columns else 0
    header["payload_checksum"] = zlib.crc32(payload)
    header["header_checksum"] = header_checksum(header.tobytes() + directory.tobytes())
    return header.tobytes() + directory.tobytes() + payload + length.to_bytes(4, "little") + COMMIT_MARK


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
        layout, header, decoded = self._decoded(buffer, offset, columns, path, origin)
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
        layout, header, decoded = self._decoded(buffer, offset, names, path, origin)
        dtype = layout.dtype
        found = {
            name: decoded[name].astype(dtype[name]) if name in decoded else np.zeros(header.rows, dtype[name])
            for name in (layout.dtype.names or () if names is None else names)
        }
        return found, header, offset + header.length_bytes

    def _decoded(
        self, buffer: Buffer, offset: int, wanted: Sequence[str] | None, path: Path | str, origin: int
    ) -> tuple[_Layout, ChunkHeader, dict[str, Words]]:
        """The words of the wanted columns, which the next chunk overwrites."""
        header = read_header(buffer, offset, path=path, origin=origin)
        check_payload(buffer, offset, header, path=path, origin=origin)
        layout = _LAYOUTS[header.schema]
        if unknown := set(wanted or ()) - set(COLUMN_IDS[layout.schema]):
            raise ValueError(f"{layout.schema.name} has no column {', '.join(sorted(unknown))}")
        try:
            with np.errstate(over="ignore"):
                return layout, header, self._decode_columns(buffer, offset, header, layout, wanted)
        except (ValueError, KeyError, zstandard.ZstdError) as error:
            # The checksum matched, so this was written so: a bug of a writer, or a forgery, but never a crash here.
            why = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DamageError(f"the chunk cannot be decoded: {why}", path=path, offset=origin + offset) from error

    def _decode_columns(
        self, buffer: Buffer, offset: int, header: ChunkHeader, layout: _Layout, wanted: Sequence[str] | None
    ) -> dict[str, Words]:
        """The wanted columns and the keys they need, by name. The arrays are reused by the next chunk."""
        directory = np.frombuffer(buffer, COLUMN, header.columns, offset + HEADER.itemsize).tolist()
        start = offset + HEADER.itemsize + header.columns * COLUMN.itemsize
        payload = memoryview(buffer)
        # By what this program knows, not by what the chunk declares: only known columns are decoded.
        residuals, *arrays = self._scratch.words(len(layout.names) + 1, header.rows)
        decoded: dict[str, Words] = {}
        contexts = Contexts(layout.schema, decoded, header.rows, self._scratch)
        for number, code, bits, width, stored_bytes in directory:
            name = layout.names.get(number)
            if name is not None and (wanted is None or name in wanted or name in layout.keys):
                if code != layout.codes[number] or bits & ~KNOWN_BITS or width > 8:
                    raise ValueError(f"column {name} is stored in a way that this program does not know")
                values = arrays[len(decoded)]
                data = payload[start : start + stored_bytes]
                decode_column(data, bits, width, contexts, self._decompressor, residuals, values)
                if (limit := layout.limits[number]) and (values > limit).any():
                    raise ValueError(f"column {name} holds a number that is too large for it")
                decoded[name] = values
            start += stored_bytes
        return decoded


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
        # Largest word of each column that is narrower than a word: all of those are unsigned.
        self.limits = {
            number: np.uint64(256 ** self.dtype[name].itemsize - 1) if self.dtype[name].itemsize < 8 else None
            for number, name in self.names.items()
        }


_LAYOUTS: Final = {int(schema): _Layout(schema) for schema in Schema}


def _assemble(columns: dict[str, Words], dtype: np.dtype[np.void], rows: int) -> Records:
    """Interleave columns into records, block by block, so that a block's cache lines are filled while they are near."""
    records = np.empty(rows, dtype)
    block_records = 4096
    for start in range(0, rows, block_records):
        end = start + block_records
        for name in dtype.names or ():
            column = columns.get(name)
            records[name][start:end] = 0 if column is None else column[start:end]
    return records
