"""The shapes of all venues, and those of none that use what no venue's do; readers of them side by side."""

from __future__ import annotations

import functools

from shape_tools import Pair

from tickplant.feeds.kit.shapes import (
    Fresh,
    Give,
    Ids,
    Last,
    Row,
    Seen,
    Shape,
    Shapes,
    Stamp,
    each,
    levels,
    one_of,
)
from tickplant.feeds.kit.state_table import LAST_QUOTE, LAST_TRADE, SEEN_BOOK, SEEN_QUOTE, SEEN_TRADE
from tickplant.feeds.venues.binance import shapes as binance
from tickplant.feeds.venues.coinbase import shapes as coinbase
from tickplant.feeds.venues.coinbase_advanced import shapes as advanced
from tickplant.feeds.venues.dxlink import shapes as dxlink
from tickplant.feeds.venues.kraken import shapes as kraken
from tickplant.feeds.venues.okx import shapes as okx
from tickplant.feeds.venues.polygon import shapes as polygon
from tickplant.records.layouts import Flag, Kind, Side

# Of no venue: what the shapes of venues do not use as yet.
OTHERS: dict[str, Shape] = {
    "nested lists, sides by word, time behind": (
        '{"channel":"l2_data","time":"<time:rfc3339>","events":',
        each(
            '{"type":"update","product":"<symbol>","updates":',
            each(
                '{"side":"<side:bid=1|offer=2>","price":"<price>","size":"<size>"<*>}',
                Row(Kind.LEVEL, side="side", price="price", size="size"),
            ),
            "}",
            Seen(SEEN_BOOK),
            Stamp(time="time"),
            Give(3, 5, "time"),
        ),
        ',"n":<n:int>}',
    ),
    "price before symbol, seconds, the last row flagged": (
        '{"trades":',
        each(
            '{"p":<price+>,"q":<size>,"buy":<side:true=1|false=2>,"i":<id:int>,"t":"<time:seconds>","s":"<symbol>"}',
            Ids(LAST_TRADE, "id", "time"),
            Row(Kind.TRADE, side="side", price="price", size="size", seq="id", time="time"),
        ),
        "<*>}",
        Last(),
    ),
    "levels with a key, any value": (
        '{"s":"<symbol>","x":<_:any>,"bid":',
        levels('{"price":"<price>","qty":"<size>"<*>}', Side.BID),
        ',"seq":<id:int>,"t":<time:epoch>}',
        Seen(SEEN_QUOTE),
        Ids(LAST_QUOTE, "id", "time", by_one=False, drop_repeats=False),
        Stamp(time="time", seq="id", checksum="id"),
    ),
    "a bare quote": (
        '["<symbol>",<price>,<size>,<_:number>]',
        Row(Kind.QUOTE, price="price", size="size", flags=Flag.LAST),
    ),
    "ids with holes, lists as bytes": (
        "[",
        '{"y":"<symbol>","i":<id:int>,"c":<why:bytes!2!60>,"d":<bytes>,"p":<price>,"q":<size>,"t":<time:epoch><*>}',
        "]",
        Seen(SEEN_TRADE),
        Fresh("id", "time"),
        Row(Kind.TRADE, price="price", size="size", seq="id", order="why", time="time", flags=Flag.LAST),
        Row(Kind.TRADE, order="bytes"),
    ),
}
_CHOSEN_TRADE = (
    '{"y":"T","s":"<symbol>","i":<id:int>,"p":<price>,"q":<size>,"t":<time:epoch><*>}',
    Seen(SEEN_TRADE),
    Fresh("id", "time"),
    Row(Kind.TRADE, price="price", size="size", seq="id", time="time", flags=Flag.LAST),
)
_CHOSEN_QUOTE = (
    '{"y":"Q","s":"<symbol>","i":<id:int>,"b":<bid:price+>,"a":<ask:price+>}',
    Ids(LAST_QUOTE, "id", by_one=False),
    Row(Kind.QUOTE, side=Side.BID, price="bid", seq="id"),
    Row(Kind.QUOTE, side=Side.ASK, price="ask", seq="id", flags=Flag.LAST),
)
_CHOSEN_OTHER = ('{"y":"T","s":"<symbol>","i":"<_:text>"}', Row(Kind.TRADE))
OTHERS["elements of several kinds"] = ('{"d":', one_of(_CHOSEN_TRADE, _CHOSEN_QUOTE, _CHOSEN_OTHER), "<*>}", Last())
_QUOTE = "eventType eventSymbol eventTime sequence askTime askPrice askSize bidTime bidPrice bidSize"
_SALE = "index time timeNanoPart exchangeCode size price aggressorSide spreadLeg validTick type eventFlags eventSymbol"
DXLINK = dxlink.texts_of(
    [
        (1, "Quote", _QUOTE.split()),
        (3, "TimeAndSale", _SALE.split()),
        (5, "TimeAndSale", ["eventSymbol", "index", "price", "type"]),
    ]
)
VENUES = {
    "spot": binance.SPOT,
    "usdm": binance.USDM,
    "coinm": binance.COINM,
    "kraken": kraken.SHAPES,
    "stocks": polygon.STOCKS,
    "options": polygon.OPTIONS,
    "pairs": polygon.CRYPTO,
    "dxlink": DXLINK,
    "others": OTHERS,
}
VENUES |= {"coinbase": {"match": coinbase.MATCH, **coinbase.ORDERS}, "coinbase-advanced": advanced.SHAPES}
VENUES |= {"okx": okx.SHAPES}
SYMBOLS = ("BTCUSDT", "A", "BTC/USD", "EIGHTLTR", "SIXTEEN-LETTERS-", "A-SYMBOL-OF-24-LETTERS-X")

DAMAGE = b'0"\\.,:-e{}[]tn 9@\x00\xff'
"""Bytes that harm a frame, put into it or in the place of another."""


@functools.cache
def compiled(venue: str) -> Shapes:
    return Shapes(VENUES[venue])


def pair(venue: str, scale: int = 8) -> Pair:
    return Pair(VENUES[venue], compiled(venue), SYMBOLS, scale=scale)
