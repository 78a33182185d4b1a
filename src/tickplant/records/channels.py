"""The one table of channels: names under which records are published, stored and configured, and their flags."""

from __future__ import annotations

from typing import Final

from tickplant.records.layouts import Flag, Kind

TICK_CHANNELS: Final = (
    *("trade", "agg_trade", "quote", "book", "status"),
    *("orders", "venue_bar", "statistic", "liquidation"),
)
"""Channels of TICK records. A GAP goes to each channel that it concerns. Append only: masks depend on the order."""

BBO_CHANNEL: Final = "bbo"

ON_CHANNEL: Final[dict[str, Flag]] = {
    "trade": Flag.ON_TRADE,
    "agg_trade": Flag.ON_TRADE,
    "quote": Flag.ON_QUOTE,
    "book": Flag.ON_BOOK,
    "orders": Flag.ON_ORDERS,
    "venue_bar": Flag.ON_OTHER,
    "statistic": Flag.ON_OTHER,
    "liquidation": Flag.ON_OTHER,
    "partial_book": Flag.ON_OTHER,  # published on `book`, with PARTIAL
}
"""The flag of a STATUS or GAP that concerns a channel, by the feed's name of the channel."""

OTHER_CHANNELS: Final = frozenset(channel for channel, flag in ON_CHANNEL.items() if flag == Flag.ON_OTHER)
"""A feed's channels whose records have no ids and no state."""

COMMON_STREAMS: Final = Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK
"""The streams assumed for an instrument about which nothing else is known."""

ALL_STREAMS: Final = COMMON_STREAMS | Flag.ON_ORDERS | Flag.ON_OTHER

STREAM_NAMES: Final = {
    Flag.ON_TRADE: "trade",
    Flag.ON_QUOTE: "quote",
    Flag.ON_BOOK: "book",
    Flag.ON_ORDERS: "orders",
    Flag.ON_OTHER: "other",
}
"""The name of each stream, by its flag."""

STREAM_OF_KIND: Final = {
    Kind.TRADE: Flag.ON_TRADE,
    Kind.LEVEL: Flag.ON_BOOK,
    Kind.CLEAR: Flag.ON_BOOK,
    Kind.QUOTE: Flag.ON_QUOTE,
    Kind.ORDER_ADD: Flag.ON_ORDERS,
    Kind.ORDER_MODIFY: Flag.ON_ORDERS,
    Kind.ORDER_CANCEL: Flag.ON_ORDERS,
    Kind.ORDER_FILL: Flag.ON_ORDERS,
    Kind.CHECKSUM: Flag.ON_BOOK,
    Kind.STATISTIC: Flag.ON_OTHER,
    Kind.VENUE_BAR: Flag.ON_OTHER,
    Kind.LIQUIDATION: Flag.ON_OTHER,
}
"""The stream of each kind of data, as a GAP in it says. A CLEAR or CHECKSUM may itself carry ON_ORDERS instead."""


def streams_of(flags: int) -> list[str]:
    """Names of the streams that a STATUS or GAP with these flags concerns."""
    return [name for flag, name in STREAM_NAMES.items() if flags & flag]


def bar_channel(interval_s: int) -> str:
    """Channel of bars of this length: `bar_1s`, `bar_90s`, `bar_1m`, `bar_1h`."""
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if interval_s % unit_s == 0:
            return f"bar_{interval_s // unit_s}{letter}"
    return f"bar_{interval_s}s"
