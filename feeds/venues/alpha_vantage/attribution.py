"""Attributes an unreadable answer to a symbol by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 4096
"""Length of the part of an answer that is searched."""

_SYMBOL: Final = re.compile(rb'"2\. Symbol"\s*:\s*"([^"\\]{1,64})"')


def owner(body: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None if the symbol is unknown."""
    found = set(_SYMBOL.findall(body[:HEAD_BYTES]))
    return (found.pop().decode(errors="replace"), "venue_bar") if len(found) == 1 else None
