"""Names of the channels under which records are published and stored. Imports nothing."""

from __future__ import annotations

from typing import Final

TICK_CHANNELS: Final = ("trade", "agg_trade", "quote", "book", "status")
"""Channels of TICK records. A GAP goes to each channel that it concerns."""

BBO_CHANNEL: Final = "bbo"


def bar_channel(interval_s: int) -> str:
    """Channel of the bars of one length: `bar_1s`, `bar_90s`, `bar_1m`, `bar_1h`."""
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if interval_s % unit_s == 0:
            return f"bar_{interval_s // unit_s}{letter}"
    return f"bar_{interval_s}s"
