"""Attributes an unreadable frame to a symbol and channel by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_HEAD = re.compile(rb'\s*\{\s*"channel"\s*:\s*"(trade|ticker|book|level3|ohlc)"')
_SYMBOL = re.compile(rb'"symbol"\s*:\s*"([^"\\]{1,64})"')
_CHANNELS: Final = {
    b"trade": "trade",
    b"ticker": "quote",
    b"book": "book",
    b"level3": "orders",
    b"ohlc": "venue_bar",
}


def owner(frame: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None if either is unknown, or if there are several symbols."""
    head = frame[:HEAD_BYTES]
    channel, symbols = _HEAD.match(head), set(_SYMBOL.findall(head))
    if channel is None or len(symbols) != 1:
        return None
    return symbols.pop().decode(errors="replace"), _CHANNELS[channel[1]]
