"""Column transforms: what makes a column of integers small before zstd.

A column of `n` rows is always worked on as 64-bit words, all arithmetic modulo 2**64, so every value of every integer
type survives. In order:

1. residual   value minus a prediction: a base, or the value of an earlier row
2. order      rows in stored order, or stably sorted by group, which puts like beside like
3. divisor    residuals over their greatest common divisor (Binance sizes are multiples of 1000 at scale 8)
4. zigzag     signed residuals become small unsigned numbers: 0, -1, 1, -2 … -> 0, 1, 2, 3 …
5. planes     the narrowest width in bytes that holds them all, byte by byte: all lowest bytes first, then the next

Each kernel has a plain reference beside it, `…_reference`; the property tests hold them equal. Outside numba a
wrapping operation warns, so callers run under `np.errstate(over="ignore")`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

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
_SIGN: Final = np.uint64(63)
_BLOCK: Final = 1024  # rows worked on at a time, so that they stay in the first cache
_HASH: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads keys over the table (Knuth, TAOCP 6.4)


@kernel
def join_keys(first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words) -> None:
    """Up to three key columns, of unsigned types, as one word a row; empty ones are left out. The first is highest."""
    for row in range(len(keys)):
        keys[row] = first[row]
    if len(second):
        shift = np.uint64(8 * second.itemsize)
        for row in range(len(keys)):
            keys[row] = keys[row] << shift | np.uint64(second[row])
    if len(third):
        shift = np.uint64(8 * third.itemsize)
        for row in range(len(keys)):
            keys[row] = keys[row] << shift | np.uint64(third[row])


def join_keys_reference(first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words) -> None:
    """Plain `join_keys`."""
    for row in range(len(keys)):
        key = int(first[row])
        for column in (second, third):
            if len(column):
                key = key << 8 * column.itemsize | int(column[row])
        keys[row] = key


@kernel
def number_keys(keys: Words, slots: Rows, names: Words, numbers: Rows) -> int:
    """Number the distinct keys 0, 1, 2 … by first appearance: each row's goes into `numbers`. Returns how many.

    `slots`, all -1, and `names` are a hash table whose size is a power of two. Where it is too small for the keys, or
    they collide in it again and again, -1 is returned and the caller tries again with a larger one: a table that grows
    in the loop is 30 times slower.
    """
    mask = np.uint64(len(slots) - 1)  # places are unsigned: numba looks at each other one for being negative
    count = 0
    probes = 8 * len(keys) + 1024  # many times as many as keys need that were not made to collide
    for row in range(len(keys)):
        key = keys[row]
        slot = ((key * _HASH) >> np.uint64(33)) & mask
        while names[slot] != key or slots[slot] < 0:
            if slots[slot] < 0:
                if 2 * count >= len(slots):
                    return -1
                slots[slot] = count
                names[slot] = key
                count += 1
                break
            slot = (slot + _ONE) & mask
            probes -= 1
            if probes < 0:
                return -1
        numbers[row] = slots[slot]
    return count


def number_keys_reference(keys: Words, numbers: Rows) -> int:
    """Plain `number_keys`, with a table that is always large enough."""
    known: dict[int, int] = {}
    for row, key in enumerate(keys.tolist()):
        numbers[row] = known.setdefault(key, len(known))
    return len(known)


@kernel
def link_rows(numbers: Rows, count: int, previous: Rows) -> None:
    """The nearest earlier row with the same number, or just the row before where there is none (-1 for row 0)."""
    last = np.full(count, -1, np.int32)
    for row in range(len(numbers)):
        found = last[numbers[row]]
        previous[row] = found if found >= 0 else row - 1
        last[numbers[row]] = row


def link_rows_reference(numbers: Rows, count: int, previous: Rows) -> None:
    """Plain `link_rows`."""
    last: dict[int, int] = {}
    for row, number in enumerate(numbers.tolist()):
        assert number < count
        previous[row] = last.get(number, row - 1)
        last[number] = row


@kernel
def order_by_group(group: Rows, groups: int, order: Rows) -> NDArray[np.int64]:
    """Rows sorted by group, stably: `order[position]` becomes the row at that position. Returns where groups end."""
    starts = np.zeros(groups + 1, np.int64)
    for row in range(len(group)):
        starts[np.uint64(group[row]) + _ONE] += 1
    for number in range(groups):
        starts[number + 1] += starts[number]
    for row in range(len(group)):
        place = np.uint64(group[row])
        position = np.uint64(starts[place])
        order[position] = row
        starts[place] = position + _ONE
    return starts[:groups]


def order_by_group_reference(group: Rows, groups: int, order: Rows) -> NDArray[np.int64]:
    """Plain `order_by_group`."""
    order[:] = np.argsort(group, kind="stable")
    return np.cumsum(np.bincount(group, minlength=groups))


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
    for position in range(rows):
        row = order[position] if len(order) else position
        if predictor == BASE or row == 0:
            prediction = base
        elif predictor == ROW:
            prediction = values[row - 1]
        else:
            prediction = values[previous[row]]
        residuals[position] = values[row] - prediction


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
    """The inverse of `make_residuals`, into `values`, which may be `residuals` where `order` is empty."""
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
    """Steps 1 and 2 of a chunk of version 2: each row less the one before in its group, in the grouped order.

    The first row of a group is predicted by the row before it, row 0 by the base.
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
    """The inverse of `make_grouped_residuals`, plain; `restoring.py` has the kernel."""
    words, rows, starts = residuals.tolist(), order.tolist(), {0, *ends.tolist()}
    for position, row in enumerate(rows):
        before = rows[position - 1] if position not in starts else row - 1
        values[row] = (words[position] + (int(values[before]) if before >= 0 else int(base))) & _MASK


@kernel
def measure(residuals: Words) -> tuple[np.uint64, np.uint64, bool]:
    """`(divisor, largest, signed)` of residuals read as signed numbers: gcd and maximum of their absolute values.

    The divisor of residuals that are all zero is 1.
    """
    divisor = _ZERO
    largest = _ZERO
    signed = False
    for row in range(len(residuals)):
        magnitude = residuals[row]
        if magnitude >> _SIGN:
            signed = True
            magnitude = _ZERO - magnitude
        largest = max(largest, magnitude)
        if divisor != _ONE and magnitude != _ZERO:
            low, high = divisor, magnitude
            while low != _ZERO:
                low, high = high % low, low
            divisor = high
    return max(divisor, _ONE), largest, signed


def measure_reference(residuals: Words) -> tuple[int, int, bool]:
    """Plain `measure`."""
    numbers = residuals.view(np.int64).tolist()
    magnitudes = [abs(number) for number in numbers]
    return math.gcd(*magnitudes) or 1, max(magnitudes), any(number < 0 for number in numbers)


def width_of(largest: int, divisor: int, *, signed: bool) -> int:
    """Bytes that the largest number of step 4 takes, from what `measure` said."""
    quotient = largest // divisor
    # The doubled -2**63 is still a word, since zigzag makes it odd and one less.
    return min(8, max(1, (quotient.bit_length() + signed + 7) // 8))


@kernel
def pack(residuals: Words, divisor: np.uint64, signed: bool, width: int, planes: Bytes) -> None:
    """Steps 3 to 5, into `planes`: `width * n` bytes. Uses `residuals` as scratch."""
    rows = len(residuals)
    for row in range(rows):
        word = residuals[row]
        negative = word >> _SIGN
        if negative:
            word = _ZERO - word
        if divisor != _ONE:
            word = word // divisor
        residuals[row] = (word << _ONE) - negative if signed else word
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
        # Slices, since numba cannot vectorise an index that it must check for being negative.
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
