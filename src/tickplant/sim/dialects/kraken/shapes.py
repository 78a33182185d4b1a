"""The frames of Kraken's channels, field by field, and the names of its streams. No I/O.

Facts: Kraken's WebSocket v2 documentation, and recordings of 2021 and 2026.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.sim.order_flow import MESSAGE
from tickplant.sim.sim_source import Traded
from tickplant.sim.templates import ASKS, BIDS, HUNDREDTHS, NUMBER, PRICE, SIZE, STAMP, Shape, Style

DEPTHS: Final = (10, 25, 100, 500, 1000)
TRIGGERS: Final = ("bbo", "trades")
TRADES_SHOWN: Final = 50  # in a snapshot

INSTRUMENT: Final = "instrument"
STATUS: Final = "status"

# Kinds of streams of a pair; a book's is BOOK + its place in DEPTHS.
TRADE: Final = 0
TICKER_BBO: Final = 1
TICKER_TRADES: Final = 2
BOOK: Final = 3
KINDS: Final = BOOK + len(DEPTHS)

FRAME: Final = np.dtype(
    [
        *((name, "i8") for name in MESSAGE.names or ()),  # of a ticker, price and size are the bid's
        ("run", "i8"),  # trade: number of rows that form one frame
        ("limit", "i8"),  # 1: the taker's order was a limit order
        ("last_price", "i8"),
        ("volume", "i8"),
        ("vwap", "i8"),
        ("low", "i8"),
        ("high", "i8"),
        ("change", "i8"),
        ("percent", "i8"),  # hundredths
        ("checksum", "i8"),
    ]
)
"""A frame, or one trade of it, before it becomes text."""

LEVEL: Final = ('{"price":', ',"qty":', "}")

STYLE: Final = Style(
    FRAME,
    dict.fromkeys(("price", "ask", "last_price", "vwap", "low", "high", "change"), PRICE)
    | dict.fromkeys(("size", "ask_size", "volume"), SIZE)
    | dict.fromkeys(("id", "checksum"), NUMBER)
    | {"time": STAMP, "percent": HUNDREDTHS, "bids": BIDS, "asks": ASKS},
    LEVEL,
)

_TRADES: Final = (
    '{"channel":"trade","type":"<type>","data":[<run*>{"symbol":"<symbol>","side":"<maker?buy|sell>","price":<price>,'
    '"qty":<size>,"ord_type":"<limit?market|limit>","trade_id":<id>,"timestamp":"<time>"}<*>]}'
)
_TICKER: Final = (
    '{"channel":"ticker","type":"<type>","data":[{"symbol":"<symbol>","bid":<price>,"bid_qty":<size>,"ask":<ask>,'
    '"ask_qty":<ask_size>,"last":<last_price>,"volume":<volume>,"vwap":<vwap>,"low":<low>,"high":<high>,'
    '"change":<change>,"change_pct":<percent>,"timestamp":"<time>"}]}'
)
BOOK_FRAME: Final = (
    '{"channel":"book","type":"<type>","data":[{"symbol":"<symbol>","bids":[<bids>],"asks":[<asks>],'
    '"checksum":<checksum>,"timestamp":"<time>"}]}'
)


def update_shapes(one: Traded) -> list[Shape]:
    """The updates of every kind."""
    texts = [_TRADES, _TICKER, _TICKER, *[BOOK_FRAME] * len(DEPTHS)]
    return [Shape(text.replace("<type>", "update")) for text in texts]


def snapshot_shapes(one: Traded) -> list[Shape]:
    """The snapshots of every kind."""
    return [Shape(text.replace('"update"', '"snapshot"')) for text, _ in update_shapes(one)]


def stream_names(symbol: str) -> list[str]:
    """Streams of a pair, in the order of kinds."""
    names = ["trade", *(f"ticker-{trigger}" for trigger in TRIGGERS), *(f"book-{depth}" for depth in DEPTHS)]
    return [f"{symbol}@{name}" for name in names]


def kind_of(stream: str) -> int:
    """Kind of a pair's stream."""
    return stream_names(stream.partition("@")[0]).index(stream)
