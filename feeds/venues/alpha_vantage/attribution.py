"""Whose is an answer that cannot be read: what its beginning says of the symbol. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of an answer is looked at."""

_SYMBOL: Final = re.compile(rb'"2\. Symbol"\s*:\s*"([^"\\]{1,64})"')


def owner(body: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None where the symbol cannot be known."""
    found = set(_SYMBOL.findall(body[:HEAD_BYTES]))
    return (found.pop().decode(errors="replace"), "venue_bar") if len(found) == 1 else None
