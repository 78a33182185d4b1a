"""Attributes an unreadable frame to a symbol and channel by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

from tickplant.feeds.venues.okx.venue import CHANNEL_OF

_HEAD: Final = re.compile(rb'\s*\{\s*"arg"\s*:\s*\{\s*"channel"\s*:\s*"(\w+)"\s*,\s*"instId"\s*:\s*"([^"\\]{1,64})"')
_CHANNELS: Final = {theirs.encode(): ours for ours, theirs in CHANNEL_OF.items()}


def owner(frame: bytes) -> tuple[str, str] | None:
    """Symbol and channel; None if either is unknown."""
    head = _HEAD.match(frame)
    return None if head is None or head[1] not in _CHANNELS else (head[2].decode(errors="replace"), _CHANNELS[head[1]])
