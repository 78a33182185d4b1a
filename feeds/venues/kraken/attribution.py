"""Whose is a frame that cannot be read: what its beginning says of symbol and channel. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of a frame is looked at."""

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
    """Symbol and channel; None where neither can be known, or where there are several symbols."""
    head = frame[:HEAD_BYTES]
    channel, symbols = _HEAD.match(head), set(_SYMBOL.findall(head))
    if channel is None or len(symbols) != 1:
        return None
    return symbols.pop().decode(errors="replace"), _CHANNELS[channel[1]]
