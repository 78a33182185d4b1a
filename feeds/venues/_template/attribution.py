"""Attributes an unreadable frame to a symbol and channel by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"trade"\s*,\s*"product"\s*:\s*"([^"\\]{1,64})"')


def owner(frame: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None if either is unknown."""
    return (head[1].decode(errors="replace"), "trade") if (head := _HEAD.match(frame)) else None
