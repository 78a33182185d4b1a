"""From planes to values: reverses the steps of `transform.py` in one pass over a column. Does no I/O.

Rows are unpacked block by block into the first-level cache, and go from there to their places in the column:
intermediate numbers never reach memory. Each kernel stands next to a plain reference, `…_reference`, made from those of
`transform.py`; the property tests hold the two equal. Outside numba a wrapping operation warns, so callers run under
`np.errstate(over="ignore")`. Indices in these loops are unsigned: numba checks signed ones for being negative.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel, part
from tickplant.writer.format import transform
from tickplant.writer.format.columns import APART, PREDICTOR_BITS, SIGNED
from tickplant.writer.format.transform import Bytes, Rows, Words

Number: TypeAlias = int | np.signedinteger[Any]

NARROW: Final = 1
"""The column has a narrow type, but must be decoded as words first: no writer stores such a column."""
LARGE: Final = 2
UNSORTED: Final = 3
MISCOUNTED: Final = 4
REASONS: Final = {
    LARGE: "holds a number that is too large for it",
    UNSORTED: "is predicted from groups that it is not sorted by",
    MISCOUNTED: "has other rows apart than there are",
}

_BLOCK: Final = 1024  # rows
_RECORDS: Final = 256  # as many as fit in the first-level cache
_WORD: Final = np.uint64(64)  # bits
_BYTE: Final = np.uint64(8)
_NARROW: Final = 4  # bytes: up to this width numbers are assembled in 32 bits, twice as many at once
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_LOW: Final = np.uint32(1)
_NONE: Final = np.uint32(0)
_NO_ROWS: Final = np.empty(0, np.int32)


@inlined
def _unpack_block(
    planes: Bytes, rows: int, start: int, width: Number, signed: bool, divisor: np.uint64, narrow: Any, words: Words
) -> None:
    """Fill `words` with the numbers of the rows from `start` on; `narrow` is 32-bit scratch of the same length."""
    count = len(words)
    if width <= _NARROW:
        plane = planes[start : start + count]
        for row in range(count):
            narrow[row] = plane[row]
        for byte in range(1, width):
            short = np.uint32(8 * byte)
            plane = planes[byte * rows + start : byte * rows + start + count]
            for row in range(count):
                narrow[row] |= np.uint32(plane[row]) << short
        if signed:
            for row in range(count):
                half = (narrow[row] >> _LOW) ^ (_NONE - (narrow[row] & _LOW))
                words[row] = np.uint64(np.int64(np.int32(half)))
        else:
            for row in range(count):
                words[row] = narrow[row]
    else:
        plane = planes[start : start + count]
        for row in range(count):
            words[row] = plane[row]
        for byte in range(1, width):
            shift = np.uint64(8 * byte)
            plane = planes[byte * rows + start : byte * rows + start + count]
            for row in range(count):
                words[row] |= np.uint64(plane[row]) << shift
        if signed:
            for row in range(count):
                words[row] = (words[row] >> _ONE) ^ (_ZERO - (words[row] & _ONE))
    if divisor != _ONE:
        for row in range(count):
            words[row] *= divisor


@kernel
def restore(
    planes: Bytes, column: Words, order: Rows, ends: NDArray[np.int64], apart: NDArray[np.int64], values: NDArray[Any]
) -> int:
    """Decode a column into `values`, shape (rows,), of any unsigned type. Returns 0, NARROW or one of REASONS.

    Args:
        planes: the planes of its section.
        column: the fields of `Described`, as the section gives them.
        order: the row at each position of the order by stream or group; empty for stored order.
        ends: where those streams or groups end; empty if `order` is.
        apart: the rows apart.
        values: receives the column.
    """
    rows = len(values)
    bits, width, base, divisor, start = column[1], np.int64(column[2]), column[3], column[4], np.int64(column[6])
    predictor = bits & np.uint64(PREDICTOR_BITS)
    signed = bits & np.uint64(SIGNED) != _ZERO
    limit = np.uint64(8 * values.itemsize)
    if limit < _WORD and ((width and predictor) or bits & np.uint64(APART)):
        return NARROW
    seen = base
    if width == 0:
        if divisor == _ZERO:
            for row in range(rows):
                values[row] = base
        else:
            for row in range(rows):
                word = base + np.uint64(row) * divisor
                seen |= word
                values[row] = word
    else:
        own = planes[start : start + width * rows]
        factor = max(divisor, _ONE)
        plain = predictor == _ZERO and factor == _ONE and not signed and not len(order)
        if plain and width == 1 and limit == _BYTE and base >> _BYTE == _ZERO:
            seen = _restore_bytes(own, base, values)
        elif predictor == _ZERO:
            seen = _restore_offsets(own, width, signed, factor, base, order, values)
        elif predictor == _ONE:
            _restore_sums(own, width, signed, factor, base, order, ends[:0], values)
        elif len(order):
            _restore_sums(own, width, signed, factor, base, order, ends, values)
        else:
            return UNSORTED
    if bits & np.uint64(APART):
        if np.uint64(len(apart)) != column[5]:
            return MISCOUNTED
        place = start + width * rows
        for row in apart:
            word = _ZERO
            for byte in range(8):
                word |= np.uint64(planes[place + byte]) << np.uint64(8 * byte)
            values[row] = word
            place += 8
    return LARGE if limit < _WORD and seen >> limit != _ZERO else 0


def restore_reference(
    planes: Bytes, column: Words, order: Rows, ends: NDArray[np.int64], apart: NDArray[np.int64], values: NDArray[Any]
) -> int:
    """Plain `restore`."""
    rows, limit = len(values), 8 * values.itemsize
    _, bits, width, base, divisor, count, start = column.tolist()
    predictor = bits & PREDICTOR_BITS
    residuals, words = np.zeros((2, rows), np.uint64)
    if width == 0:
        words[:] = [(base + row * divisor) % 2**64 for row in range(rows)]
    else:
        own = planes[start : start + width * rows]
        transform.unpack_reference(own, divisor or 1, bool(bits & SIGNED), width, residuals)
    if limit < 64 and (bits & APART or (width and predictor)):
        return NARROW
    if width and predictor <= transform.ROW:
        transform.restore_values_reference(residuals, predictor, base, _NO_ROWS, order, words)
    elif width and not len(order):
        return UNSORTED
    elif width:
        transform.restore_grouped_values_reference(residuals, base, order, ends, words)
    if bits & APART:
        if len(apart) != count:
            return MISCOUNTED
        kept = planes[start + width * rows :][: 8 * count].tobytes()
        words[apart] = np.frombuffer(kept, np.uint64)
    values[:] = words.astype(values.dtype)
    return LARGE if limit < 64 and int(words.max()) >> limit else 0


@part
def _restore_bytes(planes: Bytes, base: np.uint64, values: NDArray[Any]) -> np.uint64:
    """As `_restore_offsets`, for one-byte rows, values and base. Returns the largest value, before it wraps."""
    largest = np.uint8(0)
    for row in range(len(values)):
        largest = max(largest, planes[row])
    near = np.uint8(base)
    for row in range(len(values)):
        values[row] = planes[row] + near
    return base + np.uint64(largest)


@part
def _restore_offsets(
    planes: Bytes, width: Number, signed: bool, divisor: np.uint64, base: np.uint64, order: Rows, values: NDArray[Any]
) -> np.uint64:
    """Restore a column that is predicted by its base. Returns the bitwise or of all values."""
    rows = len(values)
    seen = _ZERO
    all_narrow = np.empty(_BLOCK, np.uint32)
    all_words = np.empty(_BLOCK, np.uint64)
    for start in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - start)
        words = all_words[:count]
        _unpack_block(planes, rows, start, width, signed, divisor, all_narrow[:count], words)
        if base != _ZERO:
            for row in range(count):
                words[row] += base
        for row in range(count):
            seen |= words[row]
        if len(order):
            places = order[start : start + count]
            for row in range(count):
                values[np.uint64(places[row])] = words[row]
        else:
            block = values[start : start + count]
            for row in range(count):
                block[row] = words[row]
    return seen


@part
def _restore_sums(
    planes: Bytes,
    width: Number,
    signed: bool,
    divisor: np.uint64,
    base: np.uint64,
    order: Rows,
    ends: NDArray[np.int64],
    values: NDArray[Any],
) -> None:
    """Restore a column that is predicted by earlier rows: the inverse of `make_residuals` with ROW.

    With `ends`, where groups end, it is the inverse of `make_grouped_residuals`: the previous row of the group predicts
    a row. Each group is one running sum. Groups come in the order of their first rows, so the row before a group's
    first row is already restored.
    """
    rows = len(values)
    all_narrow = np.empty(_BLOCK, np.uint32)
    all_words = np.empty(_BLOCK, np.uint64)
    position = 0
    total = base
    for group in range(max(1, len(ends))):
        end = rows
        if len(ends):
            first = order[position]
            total = np.uint64(values[first - 1]) if first > 0 else base
            end = ends[group]
        while position < end:
            count = min(_BLOCK, end - position)
            words = all_words[:count]
            _unpack_block(planes, rows, position, width, signed, divisor, all_narrow[:count], words)
            if len(ends):
                places = order[position : position + count]
                for row in range(count):
                    total += words[row]
                    values[np.uint64(places[row])] = total
            elif len(order):
                places = order[position : position + count]
                for row in range(count):
                    values[np.uint64(places[row])] = words[row]
            else:
                block = values[position : position + count]
                for row in range(count):
                    total += words[row]
                    block[row] = total
            position += count
    if len(order) and not len(ends):
        for row in range(rows):
            total += np.uint64(values[row])
            values[row] = total


@kernel
def add_part(part: NDArray[Any], shift: np.uint64, words: Words) -> None:
    """Put a narrow column into its place in words, `shift` bits up."""
    for row in range(len(words)):
        words[row] |= np.uint64(part[row]) << shift


def add_part_reference(part: NDArray[Any], shift: int, words: Words) -> None:
    """Plain `add_part`."""
    for row in range(len(words)):
        words[row] = int(words[row]) | int(part[row]) << int(shift)


@kernel
def take_part(words: Words, shift: np.uint64, part: NDArray[Any]) -> None:
    """The inverse of `add_part`."""
    for row in range(len(words)):
        part[row] = words[row] >> shift


def take_part_reference(words: Words, shift: int, part: NDArray[Any]) -> None:
    """Plain `take_part`."""
    for row in range(len(words)):
        part[row] = (int(words[row]) >> int(shift)) % 256**part.itemsize


@kernel
def interleave(words: Words, records: Words) -> None:
    """Columns of words, shape (at least k, at least rows), to records of words, shape (rows, k)."""
    rows, width = records.shape
    place = 0
    while place + 8 <= width:  # a cache line of each record
        first, second, third, fourth = words[place], words[place + 1], words[place + 2], words[place + 3]
        fifth, sixth, seventh, eighth = words[place + 4], words[place + 5], words[place + 6], words[place + 7]
        for row in range(rows):
            records[row, place] = first[row]
            records[row, place + 1] = second[row]
            records[row, place + 2] = third[row]
            records[row, place + 3] = fourth[row]
            records[row, place + 4] = fifth[row]
            records[row, place + 5] = sixth[row]
            records[row, place + 6] = seventh[row]
            records[row, place + 7] = eighth[row]
        place += 8
    while place < width:
        column = words[place]
        for row in range(rows):
            records[row, place] = column[row]
        place += 1


def interleave_reference(words: Words, records: Words) -> None:
    """Plain `interleave`."""
    rows, width = records.shape
    records[:] = words[:width, :rows].T


@kernel
def separate(records: Words, words: Words) -> None:
    """The inverse of `interleave`, a block of records at a time, so that each cache line is loaded once."""
    rows, width = records.shape
    for start in range(0, rows, _RECORDS):
        end = min(rows, start + _RECORDS)
        for place in range(width):
            column = words[place]
            for row in range(start, end):
                column[row] = records[row, place]


def separate_reference(records: Words, words: Words) -> None:
    """Plain `separate`."""
    rows, width = records.shape
    words[:width, :rows] = records.T
