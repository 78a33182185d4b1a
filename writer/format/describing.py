"""Reads the column descriptions in a section of version 2. In plain Python this would take longer than small columns.

The kernel stands next to a plain reference, `describe_reference`; the property tests hold the two equal. Outside numba
a wrapping operation warns, so callers run under `np.errstate(over="ignore")`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel
from tickplant.writer.format.chunk_layout import COLUMN, HEADER, MAX_FRAME_BYTES
from tickplant.writer.format.columns import APART, HAS_BASE, HAS_DIVISOR, KNOWN_BITS
from tickplant.writer.format.transform import Bytes, Words

Number: TypeAlias = int | np.signedinteger[Any]

# The origin of a base, that is, the number from which it is stored as a difference; other values are column numbers.
ZERO: Final = -1
TS_RECV: Final = -2
FIRST_SEQ: Final = -3

CUT: Final = -1
UNKNOWN: Final = -2
ENDLESS: Final = -3
CROWDED: Final = -4
LARGE: Final = -5
MANY: Final = -6
REASONS: Final = {
    CUT: "a section ends in the middle of what it says of its columns",
    UNKNOWN: "a column is stored in a way that this program does not know",
    ENDLESS: "a number in a section has no end",
    CROWDED: "more rows are said to be apart than a chunk has",
    MANY: "sections tell of more columns than a chunk has",
    LARGE: f"a section declares more than {MAX_FRAME_BYTES} bytes",
}

_HEADER_BYTES: Final = HEADER.itemsize
_ENTRY_BYTES: Final = COLUMN.itemsize
_FIELDS: Final = 7  # of a column's description
_MASK: Final = 2**64 - 1
_UNKNOWN_BITS: Final = 0xFF & ~KNOWN_BITS
_NONE: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


@inlined
def _varint(data: Bytes, start: int) -> tuple[np.uint64, int]:
    """A number, and where it ends; -1 if it has no end."""
    number = _NONE
    for place in range(min(10, len(data) - start)):
        byte = data[start + place]
        number |= np.uint64(byte & 0x7F) << np.uint64(7 * place)
        if byte < 0x80:
            return number, start + place + 1
    return number, -1


@kernel
def describe(
    data: Bytes,
    rows: int,
    origins: NDArray[np.int16],
    first_seq: np.uint64,
    ts_recv: np.int64,
    table: Words,
) -> int:
    """Read a section's column descriptions, one into each row of `table`, as the fields of `Described`.

    `rows` is the chunk's number of rows; `origins` gives the origin of a column's base, by column number. Returns where
    the planes begin, or one of REASONS.
    """
    bases = np.zeros(256, np.uint64)
    start = 0
    size = _NONE
    for place in range(len(table)):
        if len(data) < start + 3:
            return CUT
        number, bits, width = data[start], data[start + 1], data[start + 2]
        start += 3
        if bits & _UNKNOWN_BITS or width > 8:
            return UNKNOWN
        base = divisor = apart = _NONE
        if bits & HAS_BASE:
            offset, start = _varint(data, start)
            if start < 0:
                return ENDLESS
            origin = origins[number]
            near = _NONE
            if origin == TS_RECV:
                near = np.uint64(ts_recv)
            elif origin == FIRST_SEQ:
                near = first_seq
            elif origin != ZERO:
                near = bases[origin]
            base = ((offset >> _ONE) ^ (_NONE - (offset & _ONE))) + near
        if bits & HAS_DIVISOR:
            divisor, start = _varint(data, start)
            if start < 0:
                return ENDLESS
        if bits & APART:
            apart, start = _varint(data, start)
            if start < 0:
                return ENDLESS
        bases[number] = base
        table[place, 0], table[place, 1], table[place, 2] = number, bits, width
        table[place, 3], table[place, 4], table[place, 5], table[place, 6] = base, divisor, apart, size
        if apart > np.uint64(rows):
            return CROWDED
        size += np.uint64(rows) * np.uint64(width) + apart * np.uint64(8)
        if size > np.uint64(MAX_FRAME_BYTES):
            return LARGE
    return start


def describe_reference(
    data: bytes, rows: int, origins: NDArray[np.int16], first_seq: int, ts_recv: int, table: Words
) -> int:
    """Plain `describe`."""
    bases: dict[int, int] = {}
    start = size = 0

    def varint() -> int:
        nonlocal start
        number = 0
        for place, byte in enumerate(data[start : start + 10]):
            number |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                start += place + 1
                return number & _MASK
        raise EOFError

    for place in range(len(table)):
        if len(data) < start + 3:
            return CUT
        number, bits, width = data[start : start + 3]
        start += 3
        if bits & _UNKNOWN_BITS or width > 8:
            return UNKNOWN
        near = {ZERO: 0, TS_RECV: ts_recv, FIRST_SEQ: first_seq}.get(int(origins[number]))
        near = bases.get(int(origins[number]), 0) if near is None else near
        try:
            offset = varint() if bits & HAS_BASE else None
            base = 0 if offset is None else ((offset >> 1) ^ -(offset & 1)) + near & _MASK
            divisor = varint() if bits & HAS_DIVISOR else 0
            apart = varint() if bits & APART else 0
        except EOFError:
            return ENDLESS
        bases[number] = base
        table[place] = number, bits, width, base, divisor, apart, size
        if apart > rows:
            return CROWDED
        size += width * rows + 8 * apart
        if size > MAX_FRAME_BYTES:
            return LARGE
    return start


@kernel
def describe_sections(
    chunk: Bytes,
    count: int,
    rows: int,
    known: NDArray[np.bool_],
    needed: NDArray[np.bool_],
    origins: NDArray[np.int16],
    first_seq: np.uint64,
    ts_recv: np.int64,
    table: Words,
    sections: NDArray[np.int64],
) -> Number:
    """`describe` for all sections of a chunk but those that begin with an unknown column, or hold only one not needed.

    Args:
        chunk: the chunk, from its header on; its directory has been checked.
        count: number of sections.
        rows: number of rows in the chunk.
        known: by column number, whether the schema has that column.
        needed: by column number, whether the column will be decoded.
        origins: as in `describe`.
        first_seq: likewise.
        ts_recv: likewise.
        table: receives, for each column, the fields of `Described` and the number of its section.
        sections: receives, for each section described, where its stored planes begin and end, its type, and the size of
            the planes in bytes.

    Returns:
        How many columns are described, or one of REASONS.
    """
    start: Number = _HEADER_BYTES + _ENTRY_BYTES * count
    found: Number = 0
    for place in range(count):
        entry = _HEADER_BYTES + _ENTRY_BYTES * place
        width = np.int64(chunk[entry + 3])
        end = start
        for byte in range(4):
            end += np.int64(chunk[entry + 4 + byte]) << np.int64(8 * byte)
        # A section of a single column begins with that column's number.
        other = width == 1 and end > start and not needed[chunk[start]]
        if known[chunk[entry]] and width > 0 and not other:
            if found + width > len(table):
                return MANY
            told = table[found : found + width]
            begin = describe(chunk[start:end], rows, origins, first_seq, ts_recv, told)
            if begin < 0:
                return begin
            told[:, _FIELDS] = place
            last = told[width - 1]
            sections[place, 0], sections[place, 1], sections[place, 2] = start + begin, end, chunk[entry + 1]
            sections[place, 3] = np.int64(last[6]) + np.int64(last[2]) * rows + np.int64(last[5]) * 8
            found += width
        start = end
    return found


def describe_sections_reference(
    chunk: bytes,
    count: int,
    rows: int,
    known: NDArray[np.bool_],
    needed: NDArray[np.bool_],
    origins: NDArray[np.int16],
    first_seq: int,
    ts_recv: int,
    table: Words,
    sections: NDArray[np.int64],
) -> int:
    """Plain `describe_sections`."""
    start, found = _HEADER_BYTES + _ENTRY_BYTES * count, 0
    for place, entry in enumerate(np.frombuffer(chunk, COLUMN, count, _HEADER_BYTES)):
        number, kind, _, width, stored_bytes = entry.tolist()
        data = chunk[start : start + stored_bytes]
        if known[number] and width and (width > 1 or not data or needed[data[0]]):
            if found + width > len(table):
                return MANY
            told = np.zeros((width, _FIELDS), np.uint64)
            begin = describe_reference(data, rows, origins, first_seq, ts_recv, told)
            table[found : found + width, :_FIELDS] = told
            if begin < 0:
                return begin
            table[found : found + width, _FIELDS] = place
            _, _, byte_width, _, _, apart, before = told[-1].tolist()
            size = before + byte_width * rows + 8 * apart
            sections[place] = start + begin, start + stored_bytes, kind, size
            found += width
        start += stored_bytes
    return found
