"""The one table of channels: names under which records are published, stored and configured, and their flags."""

from __future__ import annotations

from typing import Final

from tickplant.records.layouts import Flag

TICK_CHANNELS: Final = ("trade", "agg_trade", "quote", "book", "status")
"""Channels of TICK records. A GAP goes to each channel that it concerns."""

BBO_CHANNEL: Final = "bbo"

ON_CHANNEL: Final = {
    "trade": Flag.ON_TRADE,
    "agg_trade": Flag.ON_TRADE,
    "quote": Flag.ON_QUOTE,
    "book": Flag.ON_BOOK,
}
"""By channel of a feed, the flag of a STATUS or GAP that concerns it."""

ALL_STREAMS: Final = Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK

STREAM_NAMES: Final = {Flag.ON_TRADE: "trade", Flag.ON_QUOTE: "quote", Flag.ON_BOOK: "book"}
"""By flag, the stream in words."""


def streams_of(flags: int) -> list[str]:
    """The streams that a STATUS or GAP with these flags concerns, in words."""
    return [name for flag, name in STREAM_NAMES.items() if flags & flag]


def bar_channel(interval_s: int) -> str:
    """Channel of the bars of one length: `bar_1s`, `bar_90s`, `bar_1m`, `bar_1h`."""
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if interval_s % unit_s == 0:
            return f"bar_{interval_s // unit_s}{letter}"
    return f"bar_{interval_s}s"
