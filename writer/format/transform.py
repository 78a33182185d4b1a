"""Column transforms, which make a column of integers small before zstd.

A column of `n` rows is always handled as 64-bit words, with all arithmetic modulo 2**64, so every value of every
integer type survives. The steps, in order:

1. residual   value minus a prediction: a base, or the value of an earlier row
2. order      rows in stored order, or stably sorted by group, which brings similar rows together
3. divisor    residuals divided by their greatest common divisor (Binance sizes are multiples of 1000 at scale 8)
4. zigzag     signed residuals become small unsigned numbers: 0, -1, 1, -2 … -> 0, 1, 2, 3 …
5. planes     the narrowest width in bytes that holds all numbers, byte by byte: all lowest bytes first, then the next

Each kernel stands next to a plain reference, `…_reference`; the property tests hold the two equal. Outside numba a
wrapping operation warns, so callers run under `np.errstate(over="ignore")`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel

Words = NDArray[np.uint64]
Rows = NDArray[np.int32]
Bytes = NDArray[np.uint8]

BASE: Final = 0
"""Predictor: the base, for every row."""
ROW: Final = 1
"""Predictor: the row before; the base for the first row."""
CONTEXT: Final = 2
"""Predictor: the row that `previous` names; the base for the first row."""

_MASK: Final = 2**64 - 1
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_TWO: Final = np.uint64(2)
_SIGN: Final = np.uint64(63)
_ALL: Final = np.uint64(2**64 - 1)
_BLOCK: Final = 1024  # rows handled at a time, so that they stay in the first-level cache


@kernel
def is_progression(values: Words) -> bool:
    """Whether every value exceeds the one before by the same step, modulo 2**64: constants and counters."""
    row = 2
    while row < len(values) and values[row] - values[row - 1] == values[1] - values[0]:
        row += 1
    return row >= len(values)


def is_progression_reference(values: Words) -> bool:
    """Plain `is_progression`."""
    steps = np.diff(values)
    return bool((steps == steps[0]).all()) if len(steps) else True


@kernel
def make_residuals(
    values: Words, predictor: int, base: np.uint64, previous: Rows, order: Rows, residuals: Words
) -> None:
    """Steps 1 and 2, into `residuals`. An empty `order` means stored order; `previous` is read for CONTEXT only."""
    rows = len(values)
    if predictor == BASE:
        if len(order):
            for position in range(rows):
                residuals[position] = values[np.uint64(order[position])] - base
        else:
            for row in range(rows):
                residuals[row] = values[row] - base
    elif predictor == ROW and not len(order):
        residuals[0] = values[0] - base
        for row in range(1, rows):
            residuals[row] = values[row] - values[row - 1]
    else:
        for position in range(rows):
            row = order[position] if len(order) else position
            before = row - 1 if predictor == ROW or row == 0 else previous[row]
            residuals[position] = values[row] - (values[np.uint64(before)] if row > 0 else base)


def make_residuals_reference(
    values: Words, predictor: int, base: int, previous: Rows, order: Rows, residuals: Words
) -> None:
    """Plain `make_residuals`."""
    words = values.tolist()
    for position, row in enumerate(order.tolist() if len(order) else range(len(words))):
        if predictor == BASE or row == 0:
            prediction = int(base)
        else:
            prediction = words[row - 1 if predictor == ROW else int(previous[row])]
        residuals[position] = (words[row] - prediction) & _MASK


@kernel
def restore_values(
    residuals: Words, predictor: int, base: np.uint64, previous: Rows, order: Rows, values: Words
) -> None:
    """The inverse of `make_residuals`, into `values`, which may be `residuals` itself if `order` is empty."""
    rows = len(values)
    if len(order):
        for position in range(rows):
            values[order[position]] = residuals[position]
    else:
        for row in range(rows):
            values[row] = residuals[row]
    if predictor == BASE:
        if base != _ZERO:
            for row in range(rows):
                values[row] += base
    elif predictor == ROW:
        total = base
        for row in range(rows):
            total += values[row]
            values[row] = total
    else:
        values[0] += base
        for row in range(1, rows):
            values[row] += values[previous[row]]


def restore_values_reference(
    residuals: Words, predictor: int, base: int, previous: Rows, order: Rows, values: Words
) -> None:
    """Plain `restore_values`."""
    words = residuals.tolist()
    if len(order):
        for position, row in enumerate(order.tolist()):
            words[row] = int(residuals[position])
    for row in range(len(words)):
        if predictor == BASE or row == 0:
            prediction = int(base)
        else:
            prediction = words[row - 1 if predictor == ROW else int(previous[row])]
        words[row] = (words[row] + prediction) & _MASK
    values[:] = words


@kernel
def make_grouped_residuals(
    values: Words, base: np.uint64, order: Rows, ends: NDArray[np.int64], residuals: Words
) -> None:
    """Steps 1 and 2 for a chunk of version 2: each row minus its predecessor in the group, in grouped order.

    The row stored before the first row of a group predicts it; the base predicts row 0.
    """
    position = 0
    for group in range(len(ends)):
        row = order[position]
        before = values[row - 1] if row > 0 else base
        while position < ends[group]:
            value = values[order[position]]
            residuals[position] = value - before
            before = value
            position += 1


def make_grouped_residuals_reference(
    values: Words, base: int, order: Rows, ends: NDArray[np.int64], residuals: Words
) -> None:
    """Plain `make_grouped_residuals`."""
    words, rows, starts = values.tolist(), order.tolist(), {0, *ends.tolist()}
    for position, row in enumerate(rows):
        before = rows[position - 1] if position not in starts else row - 1
        residuals[position] = (words[row] - (words[before] if before >= 0 else int(base))) & _MASK


def restore_grouped_values_reference(
    residuals: Words, base: int, order: Rows, ends: NDArray[np.int64], values: Words
) -> None:
    """The plain inverse of `make_grouped_residuals`; `restoring.py` has the kernel."""
    words, rows, starts = residuals.tolist(), order.tolist(), {0, *ends.tolist()}
    for position, row in enumerate(rows):
        before = rows[position - 1] if position not in starts else row - 1
        values[row] = (words[position] + (int(values[before]) if before >= 0 else int(base))) & _MASK


@inlined
def _exact(divisor: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64]:
    """`(shift, inverse, limit)` for exact division, since `//` takes 30 times as long.

    A multiple, shifted down, times the inverse of the divisor's odd part modulo 2**64, is the quotient. A number that
    is not a multiple loses bits in the shift, or exceeds the limit.
    """
    shift = _ZERO
    while not divisor & _ONE:
        divisor >>= _ONE
        shift += _ONE
    inverse = divisor  # correct in 3 bits; each step doubles their number
    for _ in range(5):
        inverse *= _TWO - divisor * inverse
    return shift, inverse, _ALL // divisor


@kernel
def measure(residuals: Words) -> tuple[np.uint64, np.uint64, bool]:
    """`(divisor, largest, signed)` of residuals read as signed numbers: gcd and maximum of their absolute values.

    If all residuals are zero, the divisor is 1.
    """
    divisor = shift = inverse = limit = low_bits = _ZERO
    largest = every = _ZERO
    for start in range(0, len(residuals), _BLOCK):
        block = residuals[start : start + _BLOCK]
        for row in range(len(block)):
            word = block[row]
            every |= word
            largest = max(largest, (word ^ (_ZERO - (word >> _SIGN))) + (word >> _SIGN))
        if divisor == _ONE:
            continue
        for row in range(len(block)):
            word = block[row]
            magnitude = (word ^ (_ZERO - (word >> _SIGN))) + (word >> _SIGN)
            if magnitude & low_bits or (magnitude >> shift) * inverse > limit or (divisor == _ZERO and magnitude):
                low, high = divisor, magnitude
                while low != _ZERO:
                    low, high = high % low, low
                divisor = high
                if divisor == _ONE:
                    break
                shift, inverse, limit = _exact(divisor)
                low_bits = (_ONE << shift) - _ONE
    return max(divisor, _ONE), largest, every >> _SIGN != _ZERO


def measure_reference(residuals: Words) -> tuple[int, int, bool]:
    """Plain `measure`."""
    numbers = residuals.view(np.int64).tolist()
    magnitudes = [abs(number) for number in numbers]
    return math.gcd(*magnitudes) or 1, max(magnitudes), any(number < 0 for number in numbers)


def width_of(largest: int, divisor: int, *, signed: bool) -> int:
    """The width in bytes of the largest number after step 4, from the results of `measure`."""
    quotient = largest // divisor
    # Zigzag maps -2**63 to 2**64 - 1, which still fits a word.
    return min(8, max(1, (quotient.bit_length() + signed + 7) // 8))


@kernel
def pack(residuals: Words, divisor: np.uint64, signed: bool, width: int, planes: Bytes) -> None:
    """Steps 3 to 5, into `planes`: `width * n` bytes. Uses `residuals` as scratch."""
    rows = len(residuals)
    down, inverse, _ = _exact(divisor)
    for row in range(rows):
        word = np.uint64(np.int64(residuals[row]) >> np.int64(down)) * inverse
        residuals[row] = (word << _ONE) ^ (_ZERO - (word >> _SIGN)) if signed else word
    for start in range(0, rows, _BLOCK):
        words = residuals[start : start + _BLOCK]
        for byte in range(width):
            shift = np.uint64(8 * byte)
            plane = planes[byte * rows + start : byte * rows + start + _BLOCK]
            for row in range(len(words)):
                plane[row] = (words[row] >> shift) & np.uint64(255)


def pack_reference(residuals: Words, divisor: int, signed: bool, width: int, planes: Bytes) -> None:
    """Plain `pack`."""
    rows = len(residuals)
    for row, number in enumerate(residuals.view(np.int64).tolist()):
        quotient = abs(number) // int(divisor)
        word = 2 * quotient - (number < 0) if signed else quotient
        planes.reshape(width, rows)[:, row] = list(word.to_bytes(8, "little")[:width])


@kernel
def unpack(planes: Bytes, divisor: np.uint64, signed: bool, width: int, residuals: Words) -> None:
    """The inverse of `pack`, into `residuals`."""
    rows = len(residuals)
    for start in range(0, rows, _BLOCK):
        # Slices: numba cannot vectorise indexing when it must check indices for being negative.
        words = residuals[start : start + _BLOCK]
        plane = planes[start : start + _BLOCK]
        for row in range(len(words)):
            words[row] = plane[row]
        for byte in range(1, width):
            shift = np.uint64(8 * byte)
            plane = planes[byte * rows + start : byte * rows + start + _BLOCK]
            for row in range(len(words)):
                words[row] |= np.uint64(plane[row]) << shift
        if signed:
            for row in range(len(words)):
                negative = words[row] & _ONE
                magnitude = (words[row] >> _ONE) + negative
                words[row] = (magnitude ^ (_ZERO - negative)) + negative
        if divisor != _ONE:
            for row in range(len(words)):
                words[row] *= divisor


def unpack_reference(planes: Bytes, divisor: int, signed: bool, width: int, residuals: Words) -> None:
    """Plain `unpack`."""
    rows = len(residuals)
    for row in range(rows):
        word = int.from_bytes(planes.reshape(width, rows)[:, row].tobytes(), "little")
        number = (word >> 1) + (word & 1) if signed else word
        residuals[row] = (-number if signed and word & 1 else number) * int(divisor) & _MASK
