"""Attributes an unreadable frame to a product and channel by its beginning or its end. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"(\w{1,32})"')
_PRODUCT = re.compile(rb'"product_id"\s*:\s*"([^"\\]{1,64})"')
_CHANNELS: Final = {
    b"match": "trade",
    b"last_match": "trade",
    b"ticker": "quote",
    b"l2update": "book",
    b"snapshot": "book",
} | dict.fromkeys((b"received", b"open", b"done", b"change", b"activate"), "orders")


def owner(frame: bytes) -> tuple[str, str] | None:
    """Product and channel; None if either is unknown."""
    head = frame[:HEAD_BYTES]
    kind = _TYPE.match(head)
    product = _PRODUCT.search(head) or _PRODUCT.search(frame[-HEAD_BYTES:])
    channel = None if kind is None else _CHANNELS.get(kind[1])
    if channel is None or product is None:
        return None
    return product[1].decode(errors="replace"), channel
