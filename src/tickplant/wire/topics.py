"""Topics: `venue.SYMBOL.channel`, UTF-8. Only the symbol may contain dots: split at the first and the last one."""

from __future__ import annotations


def make_topic(venue: str, symbol: str, channel: str) -> str:
    """`venue.SYMBOL.channel`. Raises ValueError if the topic could not be split again."""
    if "." in venue or "." in channel or not (venue and symbol and channel):
        raise ValueError(f"{venue!r}, {symbol!r}, {channel!r} do not make a topic: a dot or a part too few")
    return f"{venue}.{symbol}.{channel}"


def split_topic(topic: str) -> tuple[str, str, str]:
    """Venue, symbol and channel. Raises ValueError for a text that is not a topic."""
    venue, _, rest = topic.partition(".")
    symbol, _, channel = rest.rpartition(".")
    if not (venue and symbol and channel):
        raise ValueError(f"{topic!r} is not a topic such as binance.BTCUSDT.trade")
    return venue, symbol, channel
