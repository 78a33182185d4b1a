"""From planes to values: the steps of `transform.py` backwards, in one pass over a column. Does no I/O.

A block of rows at a time is unpacked into the first cache, and goes from there to its place in the column: the numbers
between are never written to memory. Each kernel has a plain reference beside it, `…_reference`, made of those of
`transform.py`; the property tests hold them equal. Outside numba a wrapping operation warns, so callers run under
`np.errstate(over="ignore")`. Places are unsigned in these loops, since numba looks at each other
one for being negative.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel
from tickplant.writer.format import transform
from tickplant.writer.format.transform import Bytes, Rows, Words

_BLOCK: Final = 1024  # rows
_NARROW: Final = 4  # bytes: up to these a number is put together in 32 bits, twice as many of them at once
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_LOW: Final = np.uint32(1)
_NONE: Final = np.uint32(0)
_NO_ROWS: Final = np.empty(0, np.int32)


@inlined
def _unpack_block(
    planes: Bytes, rows: int, start: int, width: int, signed: bool, divisor: np.uint64, narrow: Any, words: Words
) -> None:
    """The numbers of the rows from `start` on into `words`, as many as it has; `narrow` is as long, of 32 bits."""
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
def restore_offsets(
    planes: Bytes, width: int, signed: bool, divisor: np.uint64, base: np.uint64, order: Rows, values: NDArray[Any]
) -> np.uint64:
    """A column whose prediction is the base, into `values`, of any unsigned type. An empty `order` is stored order.

    Returns all values or-ed together: a value has been cut where that is too large for the type.
    """
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


def restore_offsets_reference(
    planes: Bytes, width: int, signed: bool, divisor: int, base: int, order: Rows, values: NDArray[Any]
) -> int:
    """Plain `restore_offsets`."""
    residuals, words = np.empty((2, len(values)), np.uint64)
    transform.unpack_reference(planes, divisor, signed, width, residuals)
    transform.restore_values_reference(residuals, transform.BASE, base, _NO_ROWS, order, words)
    values[:] = words.astype(values.dtype)
    return int(np.bitwise_or.reduce(words))


@kernel
def restore_sums(
    planes: Bytes,
    width: int,
    signed: bool,
    divisor: np.uint64,
    base: np.uint64,
    order: Rows,
    ends: NDArray[np.int64],
    values: Words,
) -> None:
    """A column in which an earlier row is the prediction, into `values`: the inverse of `make_residuals` by ROW.

    Where groups end, in `ends`, says that the row before in the same group is: of `make_grouped_residuals`. One running
    sum for each group, since groups are in order of their rows, so the row before a group's first one is there already.
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
            total = values[first - 1] if first > 0 else base
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
            total += values[row]
            values[row] = total


def restore_sums_reference(
    planes: Bytes,
    width: int,
    signed: bool,
    divisor: int,
    base: int,
    order: Rows,
    ends: NDArray[np.int64],
    values: Words,
) -> None:
    """Plain `restore_sums`."""
    residuals = np.empty(len(values), np.uint64)
    transform.unpack_reference(planes, divisor, signed, width, residuals)
    if len(ends):
        transform.restore_grouped_values_reference(residuals, base, order, ends, values)
    else:
        transform.restore_values_reference(residuals, transform.ROW, base, _NO_ROWS, order, values)


@kernel
def fill_progression(base: np.uint64, step: np.uint64, values: Words) -> None:
    """A column of width 0: each row a step more than the one before."""
    for row in range(len(values)):
        values[row] = base + np.uint64(row) * step


def fill_progression_reference(base: int, step: int, values: Words) -> None:
    """Plain `fill_progression`."""
    for row in range(len(values)):
        values[row] = (int(base) + row * int(step)) % 2**64


@kernel
def add_part(part: NDArray[Any], shift: np.uint64, words: Words) -> None:
    """Put a narrow column into words that have room for it, `shift` bits up."""
    for row in range(len(words)):
        words[row] |= np.uint64(part[row]) << shift


def add_part_reference(part: NDArray[Any], shift: int, words: Words) -> None:
    """Plain `add_part`."""
    for row in range(len(words)):
        words[row] = int(words[row]) | int(part[row]) << int(shift)


@kernel
def interleave(words: Words, records: Words) -> None:
    """The first of these columns of words, shape (at least k, at least rows), to records of words, shape (rows, k)."""
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
