"""Ids of orders as 64-bit numbers, where a venue writes them as text."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def order_number(text: str) -> int:
    """The `order_id` of a record: the first 16 hex digits of a UUID, else the first 8 bytes of BLAKE2b."""
    if _UUID.fullmatch(text):
        return int(text[:18].replace("-", ""), 16)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
