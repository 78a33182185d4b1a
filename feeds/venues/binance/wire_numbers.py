"""Ids and times in Binance messages."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from tickplant.feeds.kit.rejected import RejectError

MAX_ID: Final = 2**63 - 1

Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]


def to_ns(time: int) -> int:
    """Nanoseconds of a venue time in ms, us or ns, told apart by magnitude; 0 stays 0. Raises RejectError."""
    if time <= MAX_ID // 1_000_000:
        return time * 1_000_000
    if 10**14 <= time <= MAX_ID // 1_000:
        return time * 1_000
    if time >= 10**17:
        return time
    raise RejectError("time", f"{time} is neither milliseconds nor microseconds of our time")
