"""dxLink: limits and words. Data only. Sources: dxFeed's dxLink 0.1 and its model of events; developer.tastytrade.com.

A feed opens three channels, so that a frame holds events of one type, which shapes can read.
"""

from __future__ import annotations

from typing import Final

DXLINK: Final = "dxlink"
TASTYTRADE: Final = "tastytrade"

VERSION: Final = "0.1-tickplant/1.0"
LINK: Final = "feed"

# Types of events.
QUOTE: Final = "Quote"
SALE: Final = "TimeAndSale"
TRADE: Final = "Trade"
CANDLE: Final = "Candle"
GREEKS: Final = "Greeks"
SUMMARY: Final = "Summary"

EVENTS_OF: Final[dict[str, tuple[str, ...]]] = {
    "quote": (QUOTE,),
    "trade": (SALE,),
    "agg_trade": (TRADE,),
    "venue_bar": (CANDLE,),
    "statistic": (GREEKS, SUMMARY),
}
"""Event types for each channel of the configuration."""

CHANNEL_OF: Final = {type_: channel for channel, types in EVENTS_OF.items() for type_ in types}

NUMBER_OF: Final = {QUOTE: 1, SALE: 3} | dict.fromkeys((TRADE, CANDLE, GREEKS, SUMMARY), 5)
"""Channel of the connection that carries a type. Channels opened by a client are odd."""

CONTRACT_OF: Final = {1: "STREAM", 3: "STREAM", 5: "AUTO"}
"""Every event of quotes and sales; only the newest of the others, and candles with their past."""

_HEAD: Final = ("eventType", "eventSymbol")
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    QUOTE: (
        *(*_HEAD, "bidTime", "bidPrice", "bidSize"),
        *("askTime", "askPrice", "askSize", "sequence"),
    ),
    SALE: (
        *(*_HEAD, "eventFlags", "index", "time", "timeNanoPart", "price", "size"),
        *("aggressorSide", "spreadLeg", "validTick", "type"),
    ),
    TRADE: (*_HEAD, "time", "timeNanoPart", "sequence", "price", "size"),
    CANDLE: (*_HEAD, "eventFlags", "time", "count", "open", "high", "low", "close", "volume"),
    GREEKS: (*_HEAD, "time", "price", "volatility", "delta", "gamma", "theta", "rho", "vega"),
    SUMMARY: (
        *(*_HEAD, "dayId", "dayOpenPrice", "dayHighPrice", "dayLowPrice", "dayClosePrice"),
        *("prevDayClosePrice", "prevDayVolume", "openInterest"),
    ),
}
"""The requested fields. FEED_CONFIG states the order of their values."""

BAR: Final = "{=m}"
"""Suffix of a symbol for its candles of one minute."""

REMOVE: Final = 2
"""Bit of eventFlags: the event is removed."""

STREAMS_PER_REQUEST: Final = 100
"""Subscriptions per message: servers have closed the connection (1009) for very long lists."""

SEND_INTERVAL_S: Final = 0.02
ANSWER_S: Final = 10
"""How long the server may take for an answer of the handshake."""

KEEPALIVE_S: Final = 30
"""This side sends something this often, or twice per timeout of the server if that is shorter."""

TIMEOUT_S: Final = 60
"""The timeout that each side announces: silence for this long ends the connection."""

# tastytrade.
SECRETS: Final = ("client_secret", "refresh_token")
ACCESS_PATH: Final = "/oauth/token"
QUOTES_PATH: Final = "/api-quote-tokens"
QUOTES_S: Final = 23 * 3600
"""A quote token is valid for 24 hours; another one is fetched before it expires."""
