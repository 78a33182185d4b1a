"""Kernels that print numbers, times and levels as text. No I/O."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import JIT_ENABLED, kernel

_MOST_DIGITS: Final = 19  # of 2**63 - 1


@kernel
def copy_text(text: NDArray[np.uint8], first: int, last: int, out: NDArray[np.uint8], at: int) -> int:
    """Copy `text[first:last]`; returns the end position."""
    if JIT_ENABLED:
        # The pieces are short: faster than a slice, and an unsigned index needs no comparison with zero.
        for i in range(last - first):
            out[np.uint64(at + i)] = text[np.uint64(first + i)]
    else:
        out[at : at + last - first] = text[first:last]
    return at + last - first


@kernel
def print_digits(value: int, digits: int, out: NDArray[np.uint8], at: int) -> int:
    """Print a non-negative number with this many digits; returns the end position."""
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def print_integer(value: int, out: NDArray[np.uint8], at: int) -> int:
    """Print a non-negative number; returns the end position."""
    digits = 1
    power = 10
    while digits < _MOST_DIGITS and value >= power:
        power *= 10
        digits += 1
    return print_digits(value, digits, out, at)


@kernel
def print_decimal(mantissa: int, digits: int, out: NDArray[np.uint8], at: int) -> int:
    """Print `mantissa * 10**-digits` in fixed point; returns the end position."""
    if mantissa < 0:
        out[at] = 45
        return _print_positive(-mantissa, digits, out, at + 1)
    return _print_positive(mantissa, digits, out, at)


@kernel
def _print_positive(mantissa: int, digits: int, out: NDArray[np.uint8], at: int) -> int:
    power = 10**digits
    at = print_integer(mantissa // power, out, at)
    if digits == 0:
        return at
    out[at] = 46
    return print_digits(mantissa % power, digits, out, at + 1)


@kernel
def print_stamp(time_ns: int, out: NDArray[np.uint8], at: int) -> int:
    """Print a time since the epoch as `2026-09-01T12:00:00.000001Z`; returns the end position."""
    micros = time_ns // 1000
    days = micros // 86_400_000_000
    micros -= days * 86_400_000_000
    # Days to year, month, day in eras of 400 years from 1 March: H. Hinnant, "chrono-compatible date algorithms".
    shifted = days + 719_468
    era = shifted // 146_097
    day = shifted - era * 146_097
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (1 if month <= 2 else 0)
    at = print_digits(year, 4, out, at)
    out[at] = 45
    at = print_digits(month, 2, out, at + 1)
    out[at] = 45
    at = print_digits(day, 2, out, at + 1)
    out[at] = 84
    seconds = micros // 1_000_000
    at = print_digits(seconds // 3600, 2, out, at + 1)
    out[at] = 58
    at = print_digits(seconds // 60 % 60, 2, out, at + 1)
    out[at] = 58
    at = print_digits(seconds % 60, 2, out, at + 1)
    out[at] = 46
    at = print_digits(micros % 1_000_000, 6, out, at + 1)
    out[at] = 90
    return at + 1


@kernel
def print_levels(
    levels: NDArray[np.int64],
    first: int,
    last: int,
    decimals: NDArray[np.int64],
    pool: NDArray[np.uint8],
    around: NDArray[np.int64],
    out: NDArray[np.uint8],
    at: int,
) -> int:
    """Print levels separated by commas; returns the end position."""
    for i in range(first, last):
        if i > first:
            out[at] = 44
            at += 1
        at = copy_text(pool, around[0, 0], around[0, 1], out, at)
        at = print_decimal(levels[i, 0] * decimals[0], decimals[1], out, at)
        at = copy_text(pool, around[1, 0], around[1, 1], out, at)
        at = print_decimal(levels[i, 1] * decimals[2], decimals[3], out, at)
        at = copy_text(pool, around[2, 0], around[2, 1], out, at)
    return at
