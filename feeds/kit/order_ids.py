"""The order_id that records give an order which the venue names by text."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z", re.ASCII)


def order_id(text: str) -> int:
    """The first 16 hex digits of a UUID as an unsigned integer; for any other text, 8 bytes of its hash."""
    if _UUID.match(text):
        return int(text[:8] + text[9:13] + text[14:18], 16)
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def order_word(text: str) -> int:
    """The order_id as the signed integer that a row of words holds."""
    number = order_id(text)
    return number - (1 << 64) if number >> 63 else number
