"""The frames of dxLink's events, field by field, and the names of its streams. No I/O.

The server sends the fields in an order of its own, which only FEED_CONFIG states. Facts: dxFeed's dxLink protocol 0.1.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from tickplant.sim.order_flow import MESSAGE
from tickplant.sim.sim_source import Traded
from tickplant.sim.templates import NUMBER, PRICE, SIZE, Shape, Style

# Kinds of streams of a symbol.
SALE: Final = 0
QUOTE: Final = 1
LAST: Final = 2
TYPES: Final = ("TimeAndSale", "Quote", "Trade")
KINDS: Final = len(TYPES)

CHANNELS: Final = {"Quote": 1, "TimeAndSale": 3, "Trade": 5}
"""Channel of the connection in a frame, unless a client has chosen another."""

FRAME: Final = np.dtype(
    [
        *((name, "i8") for name in MESSAGE.names or ()),  # of a quote, price and size are the bid's
        ("run", "i8"),  # sale: number of rows that form one frame
        ("side", "i8"),  # of the aggressor: 0 buys, 1 sells, 2 unknown
        ("index", "i8"),
        ("ms", "i8"),  # time since the epoch
        ("nanos", "i8"),  # within the ms
        ("second_ms", "i8"),  # the time in whole seconds
    ]
)
"""A frame, or one event of it, before it becomes text."""

STYLE: Final = Style(
    FRAME,
    {"price": PRICE, "ask": PRICE, "size": SIZE, "ask_size": SIZE}
    | dict.fromkeys(("id", "index", "ms", "nanos", "second_ms"), NUMBER),
    ("", "", ""),
)

FIELDS: Final = {
    "TimeAndSale": (
        *("eventType", "eventSymbol", "index", "time", "timeNanoPart", "exchangeCode", "size", "price"),
        *("aggressorSide", "spreadLeg", "validTick", "type", "eventFlags", "exchangeSaleConditions"),
    ),
    "Quote": (
        *("eventType", "eventSymbol", "eventTime", "sequence", "askTime", "askPrice", "askSize"),
        *("bidTime", "bidPrice", "bidSize"),
    ),
    "Trade": ("eventType", "eventSymbol", "size", "price", "time", "timeNanoPart", "sequence"),
}
"""The order of values by type."""

_VALUES: Final = (
    (
        '"TimeAndSale","<symbol>",<index>,<ms>,<nanos>,"Q",<size>,<price>,"<side?BUY|SELL|UNDEFINED>",false,true,'
        '"NEW",0,"@   "'
    ),
    '"Quote","<symbol>",0,0,<second_ms>,<ask>,<ask_size>,<second_ms>,<price>,<size>',
    '"Trade","<symbol>",<size>,<price>,<ms>,<nanos>,0',
)


def shapes(one: Traded) -> list[Shape]:
    """The messages of every kind."""
    del one
    return [
        Shape(f'{{"type":"FEED_DATA","channel":{CHANNELS[kind]},"data":["{kind}",[{_repeated(kind, values)}]]}}')
        for kind, values in zip(TYPES, _VALUES, strict=True)
    ]


def _repeated(kind: str, values: str) -> str:
    return f"<run*>{values}<*>" if kind == "TimeAndSale" else values


def stream_names(symbol: str) -> list[str]:
    """Streams of a symbol, in the order of kinds."""
    return [f"{symbol}@{kind}" for kind in TYPES]


# symbol: first price in cents, typical size
_KNOWN: Final = {"AAPL": (23_010, 100), "MSFT": (41_410, 80), "SPY": (65_001, 150), "/ESZ26:XCME": (650_025, 2)}


def traded(symbol: str) -> Traded:
    """Properties of an instrument: near the real ones if known, else derived from its name, always the same."""
    cents, typical = _KNOWN.get(symbol, (2_000 + zlib.crc32(symbol.encode()) % 50_000, 100))
    return Traded(symbol, symbol, "USD", cents, 1, 2, 1, 0, max(3, typical))
