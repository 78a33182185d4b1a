"""Polygon's frequent messages as shapes: frames whose events are all of one kind.

Frames of several kinds, numbers with exponents, trades whose id is text, absent sides of a quote, trades that make no
price, and all else are for the reference decoder.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shapes import Fresh, Row, Seen, Shape, each
from tickplant.feeds.kit.state_table import SEEN_QUOTE, SEEN_TRADE
from tickplant.feeds.venues.polygon.venue import IRREGULAR
from tickplant.records.layouts import Flag, Kind, Side

_IRREGULAR: Final = "".join(f"!{condition}" for condition in sorted(IRREGULAR))


def _trade(text: str, order: str = "c") -> Shape:
    return (
        each(
            text,
            Seen(SEEN_TRADE),
            Fresh("id", "time"),
            Row(Kind.TRADE, price="price", size="size", seq="id", order=order, time="time", flags=Flag.LAST),
        ),
    )


def _quote(text: str, seq: str = "id") -> Shape:
    return (
        each(
            text,
            Seen(SEEN_QUOTE),
            Row(Kind.QUOTE, side=Side.BID, price="bid", size="bid_size", seq=seq, time="time"),
            Row(Kind.QUOTE, side=Side.ASK, price="ask", size="ask_size", seq=seq, time="time", flags=Flag.LAST),
        ),
    )


_PRICES: Final = '"bp":<bid:price+>,"bs":<bid_size:size>'
_OFFERS: Final = '"ap":<ask:price+>,"as":<ask_size:size>'

STOCKS: Final[dict[str, Shape]] = {
    "quote": _quote(
        f'{{"ev":"Q","sym":"<symbol>","bx":<_:int>,{_PRICES},"ax":<_:int>,{_OFFERS},"c":<_:int>,"i":<_:any>,'
        '"t":<time:epoch>,"q":<id:int>,"z":<_:int><*>}'
    ),
    "quote without indicators": _quote(
        f'{{"ev":"Q","sym":"<symbol>","bx":<_:int>,{_PRICES},"ax":<_:int>,{_OFFERS},"c":<_:int>,'
        '"t":<time:epoch>,"q":<id:int>,"z":<_:int><* but i>}'
    ),
    "trade": _trade(
        '{"ev":"T","sym":"<symbol>","x":<_:int>,"i":"<_:text>","z":<_:int>,"p":<price>,"s":<size>,'
        f'"c":<c:bytes{_IRREGULAR}>,"t":<time:epoch>,"q":<id:int><*>}}'
    ),
    "trade without conditions": _trade(
        '{"ev":"T","sym":"<symbol>","x":<_:int>,"i":"<_:text>","z":<_:int>,"p":<price>,"s":<size>,"t":<time:epoch>,'
        '"q":<id:int><* but c>}',
        "",
    ),
}

OPTIONS: Final[dict[str, Shape]] = {
    "quote": _quote(
        '{"ev":"Q","sym":"<symbol>","bx":<_:int>,"ax":<_:int>,"bp":<bid:price+>,"ap":<ask:price+>,'
        '"bs":<bid_size:size>,"as":<ask_size:size>,"t":<time:epoch>,"q":<id:int><*>}'
    ),
    "trade": _trade(
        '{"ev":"T","sym":"<symbol>","x":<_:int>,"p":<price>,"s":<size>,"c":<c:bytes>,"t":<time:epoch>,"q":<id:int><*>}'
    ),
}

CRYPTO: Final[dict[str, Shape]] = {
    "quote": _quote(f'{{"ev":"XQ","pair":"<symbol>",{_PRICES},{_OFFERS},"t":<time:epoch><* but q>}}', ""),
    "trade": _trade(
        '{"ev":"XT","pair":"<symbol>","p":<price>,"t":<time:epoch>,"s":<size>,"c":<c:bytes>,"i":<id:int><*>}'
    ),
}
