"""Attributes an unreadable frame to a product and channel by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_CHANNEL = re.compile(rb'\s*\{\s*"channel"\s*:\s*"(\w{1,32})"')
_PRODUCT = re.compile(rb'"product_id"\s*:\s*"([^"\\]{1,64})"')
_CHANNELS: Final = {b"market_trades": "trade", b"ticker": "quote", b"l2_data": "book"}


def owner(frame: bytes) -> tuple[str, str] | None:
    """Product and channel; None if either is unknown, or if there are several products."""
    head = frame[:HEAD_BYTES]
    found, products = _CHANNEL.match(head), set(_PRODUCT.findall(head))
    channel = None if found is None else _CHANNELS.get(found[1])
    if channel is None or len(products) != 1:
        return None
    return products.pop().decode(errors="replace"), channel
