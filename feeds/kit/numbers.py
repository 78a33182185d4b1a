"""Exact numbers and times of messages, for reference decoders."""

from __future__ import annotations

import functools
import re
from typing import Final

from tickplant.feeds.kit.rejected import RejectError
from tickplant.instruments import parse_decimal, to_mantissa
from tickplant.times import parse_time

_MAX: Final = 2**63 - 1
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_NS_DIGITS: Final = 9


def price(text: str, scale: int) -> int:
    """Mantissa of a price, exactly. Raises RejectError "scale" if it does not fit, "value" if it is not a number."""
    try:
        return to_mantissa(text, scale)
    except ValueError as error:
        raise RejectError("scale" if _is_decimal(text) else "value", str(error)) from None


def size(text: str, scale: int) -> int:
    """Mantissa of a size, exactly. Raises RejectError as `price` does, also if the size is negative."""
    mantissa = price(text, scale)
    if mantissa < 0:
        raise RejectError("value", f"the size {text} is negative")
    return mantissa


def _is_decimal(text: str) -> bool:
    try:
        parse_decimal(text)
    except ValueError:
        return False
    return True


def wire_decimal(raw: bytes | memoryview) -> str:
    """A JSON number, or a decimal within quotation marks, as sent on the wire; not checked here."""
    return bytes(raw).decode().strip('"')


def decimals(text: str) -> int:
    """Number of decimals that a number on the wire has, trailing zeros included. Raises RejectError."""
    try:
        return parse_decimal(text)[1]
    except ValueError as error:
        raise RejectError("value", str(error)) from None


def integer(text: str) -> int:
    """An integer of 0 to 2**63 - 1 within quotation marks, by the rules of a shape. Raises RejectError."""
    if _INTEGER.fullmatch(text) is None or int(text) > _MAX:
        raise RejectError("value", f"{text[:100]!r} is no integer of 64 bits")
    return int(text)


def epoch_ns(time: int) -> int:
    """Nanoseconds of an integer time in ms, us or ns, recognized by magnitude; 0 stays 0. Raises RejectError."""
    if 0 <= time <= _MAX // 1_000_000:
        return time * 1_000_000
    if 10**14 <= time <= _MAX // 1_000:
        return time * 1_000
    if 10**17 <= time <= _MAX:
        return time
    raise RejectError("time", f"{time} is neither milliseconds nor microseconds nor nanoseconds of our time")


def rfc3339_ns(text: str) -> int:
    """Nanoseconds of a time such as 2026-09-01T12:00:01.000001Z. Raises RejectError."""
    try:
        # Consecutive messages mostly share their minute, so usually only seconds in UTC are left to read.
        seconds, fraction = text[17:19], text[20:-1]
        if text[16:20:3] == ":." and text[-1] == "Z" and seconds < "60" and len(fraction) <= _NS_DIGITS:
            digits = seconds + fraction.ljust(_NS_DIGITS, "0")
            if digits.isdigit() and digits.isascii() and fraction:
                return _minute_ns(text[:17]) + int(digits)
        if "T" in text:
            return parse_time(text)
    except ValueError:
        pass
    raise RejectError("time", f"{text[:100]!r} is not a time")


@functools.lru_cache(maxsize=64)
def _minute_ns(text: str) -> int:
    # `2026-09-01T12:00:`. Raises ValueError, also within the last minute that 64 bits hold.
    if "T" not in text:
        raise ValueError(text)
    parse_time(text + "59.999999999Z")
    return parse_time(text + "00Z")
