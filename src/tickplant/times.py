"""RFC 3339 times to and from integer nanoseconds since the Unix epoch, exactly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})?)?\Z", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch, from an RFC 3339 time or an integer number of nanoseconds.

    A date alone means its midnight; a time without an offset is UTC. Raises ValueError for any other text, with the
    accepted forms, and for times that do not fit 64 bits.
    """
    if re.fullmatch(r"\d{1,19}", text, re.ASCII):
        return _within_64_bits(int(text), text)
    match = _RFC3339.match(text)
    try:
        if match is None:
            raise ValueError(text)
        date, clock, fraction, offset = match.groups()
        zone = "+00:00" if offset in (None, "Z", "z") else offset
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}{zone}")
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time such as 2024-08-08T23:54:13.9Z nor an integer number of nanoseconds"
        ) from None
    whole_s = (moment - _EPOCH) // timedelta(seconds=1)
    return _within_64_bits(whole_s * 10**9 + int((fraction or "").ljust(9, "0")), text)


def _within_64_bits(time_ns: int, text: str) -> int:
    if not -(2**63) <= time_ns < 2**63:
        raise ValueError(f"{text} is not within the years 1678 to 2261, which 64 bits of nanoseconds hold")
    return time_ns


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nine decimals: `2024-08-08T23:54:13.937085768Z`."""
    whole_s, fraction_ns = divmod(time_ns, 10**9)
    return f"{_EPOCH + timedelta(seconds=whole_s):%Y-%m-%dT%H:%M:%S}.{fraction_ns:09d}Z"
