"""Attributes an unreadable event or frame to a symbol and channel. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_EVENT: Final = re.compile(rb'"ev"\s*:\s*"(\w{1,4})"\s*,\s*"(?:sym|pair|T)"\s*:\s*"([^"\\]{1,64})"')
_CHANNELS: Final = {
    b"T": "trade",
    b"XT": "trade",
    b"Q": "quote",
    b"XQ": "quote",
    b"A": "venue_bar",
    b"AM": "venue_bar",
    b"XA": "venue_bar",
    b"XAS": "venue_bar",
    b"LULD": "statistic",
    b"XL2": "partial_book",
}


def owner(frame: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None if either is unknown, or if there are several."""
    found = set(_EVENT.findall(frame[:HEAD_BYTES]))
    if len(found) != 1:
        return None
    kind, symbol = found.pop()
    channel = _CHANNELS.get(kind)
    return None if channel is None else (symbol.decode(errors="replace"), channel)
