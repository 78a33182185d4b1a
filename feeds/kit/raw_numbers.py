"""Kernel parts that read numbers and times from text at an address, exactly or not at all.

Each returns first the address after the text it read, or -1 if the text is anything else or does not fit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.kit.raw_text import MAX, byte_at, digits_at
from tickplant.kernels import inlined, part

RAW: Final = -1
"""Decimals of a number that has no scale: an id, a count."""

# Forms of times.
EPOCH: Final = 0  # an integer in ms, us or ns
SECONDS: Final = 1  # with a fraction
RFC3339: Final = 2  # 2026-09-01T12:00:01.000001Z, with 0 to 9 decimals, in 1970 to 2261
LATER: Final = 3  # like EPOCH; the later one of this time and the earlier value
NANOS: Final = 4  # an integer of ns within the ms of the earlier value, 0 to 999999

UUID: Final = 5
"""Not a time but read like one: 3f6c0c1e-0000-4000-8000-000000000001; its first 16 digits are the number."""

_NS_DECIMALS: Final = 9
_MS_NS: Final = 1_000_000
_EIGHT_DIGITS: Final = 100_000_000
_DIGITS: Final = 19
"""Longer numbers do not fit 63 bits."""

_POWERS: NDArray[np.int64] = 10 ** np.arange(19, dtype=np.int64)
_ZERO, _DOT, _DASH, _COLON, _T, _Z, _OPEN_LIST, _CLOSE_LIST, _COMMA = (ord(c) for c in "0.-:TZ[],")
_MOST_BYTE: Final = 255
_LEFT_BITS: Final = 63
_DAYS_BEFORE: NDArray[np.int64] = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2261  # the last year whose nanoseconds fit


@inlined
def _digits_after(at: int, value: int) -> tuple[int, int]:
    # (end, value with the digits at `at` appended). The value wraps around beyond 19 digits.
    # Where eight digits are usual, the processor predicts that branch and goes on before it has counted them.
    count, more = digits_at(at)
    while count == 8:
        value = value * _EIGHT_DIGITS + more
        at += 8
        if not 48 <= byte_at(at) <= 57:
            return at, value
        count, more = digits_at(at)
    return at + count, value * int(_POWERS[count]) + more


@inlined
def decimal_at(at: int) -> tuple[int, int, int]:
    """(end, mantissa, decimals) of a plain non-negative JSON number: digits, then perhaps a point and digits."""
    end, mantissa = _digits_after(at, 0)
    length = end - at
    if length == 0 or (length > 1 and byte_at(at) == _ZERO):
        return -1, 0, 0
    decimals = 0
    if byte_at(end) == _DOT:
        begin = end + 1
        end, mantissa = _digits_after(begin, mantissa)
        decimals = end - begin
        length += decimals
        if decimals == 0:
            return -1, 0, 0
    # A number of at most 19 digits is below 2**64, so the sign shows whether it fits.
    if length > _DIGITS or mantissa < 0 or mantissa > MAX:
        return -1, 0, 0
    return end, mantissa, decimals


@inlined
def int_at(at: int) -> tuple[int, int]:
    """(end, value) of a JSON integer of 0 to 2**63 - 1."""
    end, value = _digits_after(at, 0)
    length = end - at
    if length == 0 or length > _DIGITS or (length > 1 and byte_at(at) == _ZERO) or value < 0 or value > MAX:
        return -1, 0
    return end, value


@part
def bytes_at(at: int, left: int) -> tuple[int, int]:
    """(end, value) of a list of at most 8 plain integers, a byte each; -1 if one of them is a bit of `left`."""
    if byte_at(at) != _OPEN_LIST:
        return -1, 0
    at += 1
    if byte_at(at) == _CLOSE_LIST:
        return at + 1, 0
    value = 0
    for shift in range(0, 64, 8):
        at, number = int_at(at)
        if at < 0 or (number < _LEFT_BITS and left >> number & 1):
            return -1, 0
        value |= min(number, _MOST_BYTE) << shift
        at += 1
        if byte_at(at - 1) == _CLOSE_LIST:
            return at, value
        if byte_at(at - 1) != _COMMA:
            return -1, 0
    return -1, 0


@inlined
def rescale(mantissa: int, decimals: int, scale: int) -> int:
    """The mantissa at another scale, exactly; -1 if it does not fit. A number without a scale stays as it is."""
    if decimals in (scale, RAW):
        return mantissa
    if decimals < scale:
        power = int(_POWERS[scale - decimals])
        return mantissa * power if mantissa <= MAX // power else -1
    power = int(_POWERS[decimals - scale])
    quotient = mantissa // power
    return quotient if quotient * power == mantissa else -1


@inlined
def _uuid_at(at: int) -> tuple[int, int]:
    # (end, the first 64 bits as a signed integer).
    high = low = 0
    for place in range(36):
        c = byte_at(at + place)
        if place in (8, 13, 18, 23):
            if c != _DASH:
                return -1, 0
            continue
        digit = c - 48 if 48 <= c <= 57 else c - 87 if 97 <= c <= 102 else c - 55 if 65 <= c <= 70 else -1
        if digit < 0:
            return -1, 0
        if place < 8:
            high = high << 4 | digit
        elif place < 18:
            low = low << 4 | digit
    return at + 36, (high - (1 << 32) if high >> 31 else high) << 32 | low


@inlined
def time_at(at: int, form: int) -> tuple[int, int]:
    """(end, ns) of a time in one of the forms above."""
    if form == RFC3339:
        return _rfc3339_at(at)
    if form == UUID:
        return _uuid_at(at)
    if form == SECONDS:
        end, mantissa, decimals = decimal_at(at)
        time = rescale(mantissa, decimals, _NS_DECIMALS)
    elif form == NANOS:
        end, time = int_at(at)
        time = time if time < _MS_NS else -1
    else:
        end, time = int_at(at)
        time = _epoch_ns(time)
    return end if time >= 0 else -1, time


@inlined
def joined(before: int, time: int, form: int) -> int:
    """A time combined with its earlier value, in ns, where the form says so; below 0 if the result does not fit."""
    if form == LATER:
        return max(before, time)
    return before + time if form == NANOS else time


@inlined
def _epoch_ns(time: int) -> int:
    # The magnitude gives the unit: ms, us or ns. A time of any other magnitude gives -1.
    if time <= 9_223_372_036_854:
        return time * 1_000_000
    if 100_000_000_000_000 <= time <= 9_223_372_036_854_775:
        return time * 1_000
    if time >= 100_000_000_000_000_000:
        return time
    return -1


@inlined
def _pair(at: int) -> int:
    # The value of two digits; far below 0 if they are not digits.
    high, low = byte_at(at) - _ZERO, byte_at(at + 1) - _ZERO
    return high * 10 + low if 0 <= high <= 9 and 0 <= low <= 9 else -100_000


@part
def _rfc3339_at(at: int) -> tuple[int, int]:
    year, month, day = _pair(at) * 100 + _pair(at + 2), 0, 0
    if byte_at(at + 4) == _DASH and _FIRST_YEAR <= year <= _LAST_YEAR:
        month, day = _pair(at + 5), _pair(at + 8)
    if not (1 <= month <= 12 and byte_at(at + 7) == _DASH and byte_at(at + 10) == _T):
        return -1, 0
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    length = int(_DAYS_BEFORE[month + 1] - _DAYS_BEFORE[month]) + (leap if month == 2 else 0)
    hour, minute, second = _pair(at + 11), _pair(at + 14), _pair(at + 17)
    if not (1 <= day <= length and 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return -1, 0
    if byte_at(at + 13) != _COLON or byte_at(at + 16) != _COLON:
        return -1, 0
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719_162  # from 1970 on
    days += int(_DAYS_BEFORE[month]) + (leap if month > 2 else 0) + day - 1
    at += 19
    fraction = 0
    if byte_at(at) == _DOT:
        count, fraction = digits_at(at + 1)
        at += 1 + count
        if count == 8:
            ninth = byte_at(at) - _ZERO
            if 0 <= ninth <= 9:
                fraction = fraction * 10 + ninth
                at += 1
                count = 9
        if count == 0:
            return -1, 0
        fraction *= int(_POWERS[9 - count])
    if byte_at(at) != _Z:
        return -1, 0
    return at + 1, (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction
