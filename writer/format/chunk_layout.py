"""The chunk: how records lie on disk. Does no I/O.

A file holds chunks one after another and nothing else. All numbers are little-endian.

    offset           bytes   what
    0                4       length_bytes, of the whole chunk, including this field and the trailer
    4                100     the rest of `HEADER`: magic, version, schema, rows, ranges, checksums
    104              8 c     the directory: one `COLUMN` for each of c sections
    104 + 8 c        ...     the sections, in the order of the directory
    length - 12      4       length_bytes again, so that a file can be walked backwards
    length - 8       8       the commit mark

A chunk is valid if and only if its magic and version are known; `rows` is 1 to MAX_ROWS and `columns` 1 to
MAX_COLUMNS, each id once; both lengths are equal, at most MAX_CHUNK_BYTES and no longer than the rest of the file;
header_checksum is the CRC-32 of the header before it followed by the directory; the sections exactly fill the space
between directory and trailer; payload_checksum is the CRC-32 of the sections; and the commit mark is there. So every
byte is covered. A chunk is written front to back in one go: a torn one lacks its mark, or has holes that the checksums
find.

Checksums stop accidents, not forgers. So a reader checks everything that a chunk declares against the chunk's own bytes
and the limits above, before it allocates memory. Whatever a chunk holds, it decodes to records or to a DamageError.

A reader walks a file from offset 0, chunk by chunk, by length_bytes. If a chunk is not valid, the reader searches
forward for the next valid chunk, 4 bytes before an occurrence of the magic. The bytes that it skips are damage or, at
the end of a file that is being written, a chunk that is not committed yet. `HEADER` alone answers most range queries.

A section of version 2 holds one or more columns of the schema. A small chunk has one section for all columns, which
costs far less than a frame for each; otherwise most columns have a section of their own, so that they can be read
alone. In the directory, `id` is that of the section's first column, or of a column that would be first if it were not 0
in every row; `type` is 0 for plain planes and 1 for a zstd frame of them; `transform` is 0; `width` is the number of
columns. A section is

    for each column   [id u1] [transform u1] [width u1] [base] [divisor] [apart]   these three as transform says, LEB128
    then              the planes of all these columns, column after column, or the zstd frame of them

Values are 64-bit words; signed types are sign-extended. `base` is stored as the zigzag of its difference from an
origin: ts_recv_min for times; first_seq for seq; for a column in `sections.BASE_FROM`, the base of the column named
there, if that comes earlier in the same section; otherwise 0. A column of width 0 has no planes: row i is
base + i * divisor modulo 2**64, where an absent base or divisor is 0. Otherwise the planes of a column are
`width * rows` bytes, made by the steps in `transform.py`; an absent divisor is 1. With predictor STREAM or GROUP, rows
are always sorted by stream or group, and each row is predicted from its predecessor in that order. `apart` counts the
rows that are not market data (STATUS and GAP). Their values, 8 bytes each, follow the planes in stored order; the
planes hold a placeholder for them. A column in no section is 0 in every row.

A section of version 1 is one column, `[base u8] [divisor u8] [zstd frame]`, with `id`, `type` (bytes per value; 0x80:
signed), `transform` and `width` in the directory. Its frame holds planes and the values of rows apart, as above. Its
grouped order is by group for every predictor.

The contexts of rows are given by the schema's key columns (`KEYS`). In a *group* all keys are equal (for ticks:
instrument, kind and side); in a *stream* the keys are equal but for their `STREAM_SHIFT` lowest bits (for ticks:
instrument and kind are equal). The key columns themselves use neither contexts nor the grouped order, and come first.

Columns are matched by id, never by position: a reader skips ids that it does not know, and columns that a chunk lacks
are 0. A field is added under a new id; old chunks stay as they are. Any change to the above needs a new version, but
must leave `HEADER` and its checksum where they are, so that an older reader can report the version.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Schema

Buffer: TypeAlias = bytes | bytearray | memoryview

VERSION: Final = 2
MAGIC: Final = b"\xf7TPC"
COMMIT_MARK: Final = b"TPCOMMIT"
MAX_ROWS: Final = 1 << 20
"""Most records in one chunk: bounds a reader's memory."""
MAX_COLUMNS: Final = 255
"""Most columns in one chunk: an id is one byte, and each occurs once."""
MAX_CHUNK_BYTES: Final = 1 << 28
"""Longest chunk: more than MAX_ROWS records of any schema need, compressible or not."""

HEADER: Final = np.dtype(
    [
        ("length_bytes", "<u4"),  # 0
        ("magic", "V4"),  # 4
        ("version", "<u2"),  # 8
        ("schema", "<u2"),  # 10
        ("columns", "<u2"),  # 12
        ("reserved", "<u2"),  # 14: 0
        ("rows", "<u4"),  # 16
        ("kinds", "<u4"),  # 20: bit k is set if a record has kind k; 0 for schemas without kinds
        ("producer", "<u8"),  # 24: producer_id of its name
        ("epoch", "<u8"),  # 32: of the ring that the records came through
        ("first_seq", "<u8"),  # 40: of the first and the last row
        ("last_seq", "<u8"),  # 48
        ("ts_event_min", "<i8"),  # 56: of the rows with a venue time; both are 0 if no row has one
        ("ts_event_max", "<i8"),  # 64
        ("ts_recv_min", "<i8"),  # 72
        ("ts_recv_max", "<i8"),  # 80
        ("instruments", "<u8"),  # 88: bit (id mod 64) is set if a record is of instrument id
        ("payload_checksum", "<u4"),  # 96
        ("header_checksum", "<u4"),  # 100
    ]
)
COLUMN: Final = np.dtype(
    [
        ("id", "u1"),  # 0: of `COLUMN_IDS`
        ("type", "u1"),  # 1: item size in bytes; 0x80 is set for signed integers
        ("transform", "u1"),  # 2: bits 0-1 predictor, then the flags of `columns.py`
        ("width", "u1"),  # 3: bytes per row before zstd; 0: no frame
        ("stored_bytes", "<u4"),  # 4: of the section
    ]
)
TRAILER_BYTES: Final = 12
MAX_FRAME_BYTES: Final = 128 * MAX_ROWS
"""Most bytes in a section's frame: several columns of 8 bytes per row, and as many again if all rows are apart."""
HEAD_BYTES: Final = HEADER.itemsize + MAX_COLUMNS * COLUMN.itemsize
"""The header and directory of any chunk fit in this many bytes."""


_SCHEMAS: Final = frozenset(map(int, Schema))
_HEAD: Final = struct.Struct("<I4s4H2I4Q4qQ2I")  # HEADER; numpy would take ten times as long
_ENTRY: Final = struct.Struct("<4BI")  # COLUMN


class ChunkHeader(NamedTuple):
    """The fields of `HEADER`, in its order, as Python values."""

    length_bytes: int
    magic: bytes
    version: int
    schema: int
    columns: int
    reserved: int
    rows: int
    kinds: int
    producer: int
    epoch: int
    first_seq: int
    last_seq: int
    ts_event_min: int
    ts_event_max: int
    ts_recv_min: int
    ts_recv_max: int
    instruments: int
    payload_checksum: int
    header_checksum: int


def producer_id(name: str) -> int:
    """The hash of a producer's name that a chunk's header holds."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def instrument_bits(ids: NDArray[np.integer]) -> int:
    """`HEADER.instruments` for these ids: a chunk can hold one of them only if their bits overlap."""
    bits = np.left_shift(np.uint64(1), ids.astype(np.uint64) & np.uint64(63))
    return int(np.bitwise_or.reduce(bits))


def kind_bits(kinds: NDArray[np.uint8]) -> int:
    """`HEADER.kinds` for these kinds; kinds above 31 share bit 31."""
    present = np.flatnonzero(np.bincount(np.minimum(kinds, 31)))
    return sum(1 << int(kind) for kind in present)


def header_checksum(chunk: Buffer) -> int:
    """The correct `HEADER.header_checksum` of a chunk, from its first bytes, at least up to the directory's end."""
    view = memoryview(chunk)
    end = HEADER.itemsize + int.from_bytes(view[12:14], "little") * COLUMN.itemsize
    return zlib.crc32(view[HEADER.itemsize : end], zlib.crc32(view[: HEADER.itemsize - 4]))


def read_header(buffer: Buffer, offset: int = 0, *, path: Path | str = "chunk", origin: int = 0) -> ChunkHeader:
    """The header of the chunk at `offset`. Header, directory and trailer are checked, but not the payload.

    `path` names the file in errors; `origin` is the position of the buffer in that file. Raises DamageError if no
    committed chunk begins at `offset`, and StoreError for a chunk of a later version.
    """
    view = memoryview(buffer)
    header = read_head(view[offset : offset + HEAD_BYTES], len(view) - offset, path=path, offset=origin + offset)
    end = offset + header.length_bytes
    check_trailer(view[end - TRAILER_BYTES : end], header, path=path, offset=origin + offset)
    return header


def read_head(head: Buffer, left_bytes: int, *, path: Path | str, offset: int) -> ChunkHeader:
    """The header of a chunk, from its first HEAD_BYTES, or fewer at the end of a file. Checks header and directory.

    So a reader can trust a chunk's lengths before it reads the rest. `left_bytes` counts the bytes from the start of
    the chunk to the end of the file at `path`; `offset` is the position of that start. Raises as `read_header`.
    """

    def damage(why: str) -> DamageError:
        return DamageError(why, path=path, offset=offset)

    if left_bytes < HEADER.itemsize + TRAILER_BYTES:
        raise damage(f"{left_bytes} bytes are left, too few for a chunk")
    header = ChunkHeader._make(_HEAD.unpack_from(head))
    if header.magic != MAGIC:
        raise damage("no chunk begins here")
    directory_end = HEADER.itemsize + header.columns * COLUMN.itemsize
    if not directory_end + TRAILER_BYTES <= header.length_bytes <= left_bytes:
        raise damage(f"the chunk's length of {header.length_bytes} bytes does not fit the {left_bytes} that are left")
    if header.columns > MAX_COLUMNS or header.length_bytes > MAX_CHUNK_BYTES:
        raise damage(f"the chunk's header makes no sense: {header.columns} columns in {header.length_bytes} bytes")
    if header_checksum(head) != header.header_checksum:
        raise damage("the chunk's header does not match its checksum")
    if header.version > VERSION:
        why = f"a chunk has format {header.version}, and this program reads formats up to {VERSION}: update it"
        raise StoreError(why, path=path)
    if header.schema not in _SCHEMAS or not 1 <= header.rows <= MAX_ROWS or not header.columns:
        why = f"schema {header.schema}, {header.rows} rows, {header.columns} columns"
        raise damage(f"the chunk's header makes no sense: {why}")
    directory = directory_of(head, 0, header)
    if len({entry[0] for entry in directory}) < header.columns:
        raise damage("the chunk's header makes no sense: a column occurs twice")
    if sum(entry[4] for entry in directory) != header.length_bytes - directory_end - TRAILER_BYTES:
        raise damage("the columns do not fill the chunk")
    return header


def directory_of(buffer: Buffer, offset: int, header: ChunkHeader) -> list[tuple[int, int, int, int, int]]:
    """The fields of each `COLUMN` in the directory of the chunk at `offset`."""
    start = offset + HEADER.itemsize
    entries = memoryview(buffer)[start : start + header.columns * COLUMN.itemsize]
    return [*_ENTRY.iter_unpack(entries)]


def check_trailer(trailer: Buffer, header: ChunkHeader, *, path: Path | str, offset: int) -> None:
    """Check that a chunk ends as `header` says. Raises DamageError."""
    if bytes(trailer) != header.length_bytes.to_bytes(4, "little") + COMMIT_MARK:
        raise DamageError("the chunk has no commit mark", path=path, offset=offset)


def check_payload(
    buffer: Buffer, offset: int, header: ChunkHeader, *, path: Path | str = "chunk", origin: int = 0
) -> None:
    """Check the sections of a chunk against their checksum. Raises DamageError."""
    start = offset + HEADER.itemsize + header.columns * COLUMN.itemsize
    end = offset + header.length_bytes - TRAILER_BYTES
    if zlib.crc32(memoryview(buffer)[start:end]) != header.payload_checksum:
        raise DamageError("the chunk's columns do not match their checksum", path=path, offset=origin + offset)
