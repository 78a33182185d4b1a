"""Values in the holes of a shape, as plain_shapes reads them: exact decimals and integers."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

_DECIMAL: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?\Z", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z", re.ASCII)
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z", re.ASCII)
_MAX: Final = 2**63 - 1
_MS_NS: Final = 1_000_000
_SIMPLE: Final = {"price": Decimal, "price+": Decimal, "size": Decimal, "size+": Decimal}


class NoFitError(Exception):
    """The frame does not fit the shape."""


class Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


def joined_value(kind: str, before: Any, value: Any) -> Any:
    """A value combined with the earlier value of the hole."""
    if kind == "later":
        return max(before, value)
    if kind == "nanos":
        value += before
        if value > _MAX:
            raise NoFitError
    return value


def read_value(kind: str, text: str) -> Any:
    """The value of a hole's text: Decimal or int."""
    if "|" in kind:
        for number, choice in enumerate(kind.split("|")):
            word, _, value = choice.partition("=")
            if word == text:
                return int(value) if value else number
        raise NoFitError
    if kind == "number":
        return 0
    if kind == "uuid":
        if not _UUID.match(text):
            raise NoFitError
        number = int(text.replace("-", "")[:16], 16)
        return number - (1 << 64) if number >> 63 else number
    if kind == "rfc3339":
        match = _TIME.match(text)
        try:
            when = datetime.fromisoformat(match[1] + "+00:00") if match else None
        except ValueError:
            when = None
        if match is None or when is None or not 1970 <= when.year <= 2261:
            raise NoFitError
        return int(when.timestamp()) * 10**9 + int((match[2] or "").ljust(9, "0"))
    if not _DECIMAL.match(text) or sum(map(str.isdigit, text)) > 19 or int(text.replace(".", "")) > _MAX:
        raise NoFitError
    if kind == "seconds":
        return mantissa_of(Decimal(text), 9, NoFitError)
    if kind in _SIMPLE:
        if kind.endswith("+") and not Decimal(text):
            raise NoFitError
        return Decimal(text)
    if "." in text:
        raise NoFitError
    if kind == "nanos" and int(text) >= _MS_NS:
        raise NoFitError
    return _epoch(int(text)) if kind in ("epoch", "later") else int(text)


def bytes_value(kind: str, members: list[Any]) -> int:
    """A list of integers as one integer, a byte each. Raises NoFitError."""
    left = {int(number) for number in kind.split("!")[1:]}
    if len(members) > 8 or not all(isinstance(each, Number) and _DECIMAL.match(each) for each in members):
        raise NoFitError
    if any("." in each or int(each) > _MAX or int(each) in left for each in members):
        raise NoFitError
    return int.from_bytes(bytes(min(int(each), 255) for each in members).ljust(8, b"\0"), "little", signed=True)


def _epoch(time: int) -> int:
    for unit, least in ((1_000_000, 0), (1_000, 10**14), (1, 10**17)):
        if least <= time <= _MAX // unit:
            return time * unit
    raise NoFitError


def mantissa_of(value: Decimal, scale: int, error: type[Exception]) -> int:
    """A decimal at a scale, exactly. Raises `error` if it does not fit."""
    digits = value.as_tuple()
    number: int
    shift = scale + int(digits.exponent)
    number = int("".join(map(str, digits.digits)))
    if shift < 0:
        number, rest = divmod(number, 10**-shift)
        if rest:
            raise error
    else:
        number *= 10**shift
    if number > _MAX:
        raise error
    return number
