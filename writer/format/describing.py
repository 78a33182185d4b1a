"""What a section of version 2 says of its columns, read by a kernel: Python takes longer than small columns do.

The kernel has a plain reference beside it, `describe_reference`; the property tests hold them equal. Outside numba a
wrapping operation warns, so callers run under `np.errstate(over="ignore")`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel
from tickplant.writer.format.chunk_layout import MAX_FRAME_BYTES
from tickplant.writer.format.columns import APART, HAS_BASE, HAS_DIVISOR, KNOWN_BITS
from tickplant.writer.format.transform import Bytes, Words

# What a base is stored as the difference from, where that is not the base of a column, by its number.
ZERO: Final = -1
TS_RECV: Final = -2
FIRST_SEQ: Final = -3

CUT: Final = -1
UNKNOWN: Final = -2
ENDLESS: Final = -3
CROWDED: Final = -4
LARGE: Final = -5
REASONS: Final = {
    CUT: "a section ends in the middle of what it says of its columns",
    UNKNOWN: "a column is stored in a way that this program does not know",
    ENDLESS: "a number in a section has no end",
    CROWDED: "more rows are said to be apart than a chunk has",
    LARGE: f"a section declares more than {MAX_FRAME_BYTES} bytes",
}

_MASK: Final = 2**64 - 1
_UNKNOWN_BITS: Final = 0xFF & ~KNOWN_BITS
_NONE: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


@inlined
def _varint(data: Bytes, start: int) -> tuple[np.uint64, int]:
    """A number, and where it ends; -1 where it does not."""
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
    """Read what a section says of its columns, one for each row of `table`, which gets the fields of `Described`.

    `rows` is how many the chunk has; `origins` what the base of a column is stored as the difference from, by the
    column's number. Returns where the planes begin, or one of REASONS.
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
