"""The receive time at the beginning of a recorded line: recognized, or refused with the reason, never guessed.

    1723161253937085768 FRAME               since the epoch, in ns, µs, ms or s
    1723161253.937085768 FRAME              likewise, with decimals down to the nanosecond
    2024-08-08T23:54:13.937085768Z FRAME    RFC 3339, with its zone

The size of a number gives its unit: only one unit puts the time between the years 2000 and 2100.
"""

from __future__ import annotations

import re
from typing import Final

from tickplant.times import parse_time

EARLIEST_NS: Final = 946_684_800 * 10**9
LATEST_NS: Final = 4_102_444_800 * 10**9
"""Receive times of a recording: from the year 2000 to before 2100."""

_UNITS: Final = ((1, 0), (1_000, 3), (1_000_000, 6), (1_000_000_000, 9))
"""For ns, µs, ms and s: the factor to ns, and the number of decimals that reach down to it."""
_DECIMAL: Final = re.compile(rb"(\d{9,16})\.(\d{1,9})")
_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\d")
_RFC3339: Final = re.compile(rb"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_ZONELESS: Final = re.compile(rb"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?(\.\d+)?(?![\d.Zz:+-])")
_STAMPED: Final = re.compile(rb"\d{18,19}(?!\d)")


def split_time(line: bytes) -> tuple[int, bytes] | None:
    """Receive time in ns and frame; None if the line has another form: see `why_not_split`."""
    text, _, frame = line.partition(b" ")
    if not frame:
        return None
    time_ns = _whole(text) if text.isdigit() else _written(text)
    return None if time_ns is None else (time_ns, frame)


def time_of(line: bytes) -> int | None:
    """Receive time in ns of a line; in a capture's line the time ends at a mark. None if there is none."""
    if found := split_time(line):
        return found[0]
    match = _STAMPED.match(line)
    return _whole(match[0]) if match else None


def _whole(digits: bytes) -> int | None:
    if len(digits) > 19:
        return None
    number = int(digits)
    for factor, _ in _UNITS:
        if EARLIEST_NS <= number * factor < LATEST_NS:
            return number * factor
    return None


def _written(text: bytes) -> int | None:
    """A number with decimals, or a date."""
    if match := _DECIMAL.fullmatch(text):
        whole, decimals = int(match[1]), match[2]
        for factor, digits in _UNITS:
            if EARLIEST_NS <= whole * factor < LATEST_NS and len(decimals) <= digits:
                return whole * factor + int(decimals.ljust(digits, b"0"))
        return None
    if _RFC3339.fullmatch(text) is None:
        return None
    try:
        time_ns = parse_time(text.decode())
    except ValueError:  # no such day or hour
        return None
    return time_ns if EARLIEST_NS <= time_ns < LATEST_NS else None


def why_not_split(line: bytes) -> str:
    """Why `split_time` finds nothing in a line."""
    text, _, frame = line.partition(b" ")
    if text.isdigit() or _DECIMAL.fullmatch(text):
        if not frame.rstrip(b"\r"):
            return "has no frame"
        if text.isdigit() or len(text.partition(b".")[2]) <= 3:
            return "has a receive time that is not between the years 2000 and 2100"
        return "has a receive time finer than a nanosecond, or not between the years 2000 and 2100"
    if _ZONELESS.match(line):
        return "has a receive time without a zone: write 2024-08-08T23:54:13.9Z, or +02:00 for the Z"
    if _DATE.match(text):
        return "has a receive time that is not of the form 2024-08-08T23:54:13.9Z between the years 2000 and 2100"
    return "does not begin with a receive time (in s, ms, µs or ns, or 2024-08-08T23:54:13.9Z) and a space"
