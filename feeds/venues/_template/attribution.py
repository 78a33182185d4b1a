"""Whose is a frame that cannot be read: what its beginning says of symbol and channel. Pure."""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"trade"\s*,\s*"product"\s*:\s*"([^"\\]{1,64})"')


def owner(frame: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None where neither can be known."""
    return (head[1].decode(errors="replace"), "trade") if (head := _HEAD.match(frame)) else None
