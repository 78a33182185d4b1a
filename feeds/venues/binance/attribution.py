"""Attributes an unreadable frame to a symbol and stream by its beginning. Pure; imports nothing here."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_STREAM = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"@\\]{1,256})@(\w+)')
_EVENT = re.compile(rb'"e"\s*:\s*"(\w+)"')
_SYMBOL = re.compile(rb'"s"\s*:\s*"([^"\\]{1,256})"')
_QUOTE = re.compile(rb'\s*\{\s*"u"\s*:')  # spot quotes have no type
_PARTIAL = re.compile(r"depth(?:5|10|20)\Z")

_CHANNELS: Final = {
    "trade": "trade",
    "aggTrade": "agg_trade",
    "bookTicker": "quote",
    "depth": "book",
    "depthUpdate": "book",
    "markPrice": "statistic",
    "markPriceUpdate": "statistic",
    "forceOrder": "liquidation",
    "kline": "venue_bar",
}


def owner(body: bytes) -> tuple[str, str] | None:
    """Symbol, in the frame's letter case, and channel; None if either is unknown."""
    head = body[:HEAD_BYTES]
    if named := _STREAM.match(head):
        name = named[2].decode(errors="replace")
        name = "kline" if name.startswith("kline_") else name
        channel = "partial_book" if _PARTIAL.match(name) else _CHANNELS.get(name)
        symbol = named[1]
    else:
        event, found = _EVENT.search(head), _SYMBOL.search(head)
        if found is None:
            return None
        channel = _CHANNELS.get(event[1].decode(errors="replace")) if event else "quote" if _QUOTE.match(head) else None
        symbol = found[1]
    return None if channel is None else (symbol.decode(errors="replace"), channel)
