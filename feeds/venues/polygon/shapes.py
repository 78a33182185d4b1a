"""Polygon's frequent messages as shapes: frames of trades and quotes, in any mixture.

The reference decoder reads frames with events of other kinds, numbers with exponents, trades whose id is text, absent
sides of a quote, trades that make no price, and everything else.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows
from tickplant.feeds.kit.shapes import Fresh, Part, Row, Seen, Shape, one_of
from tickplant.feeds.kit.state_table import SEEN_QUOTE, SEEN_TRADE
from tickplant.feeds.venues.polygon.venue import IRREGULAR
from tickplant.records.layouts import Flag, Kind

_IRREGULAR: Final = "".join(f"!{condition}" for condition in sorted(IRREGULAR))


def _trade(text: str, order: str = "c") -> tuple[Part, ...]:
    row = Row(Kind.TRADE, price="price", size="size", seq="id", order=order, time="time", flags=Flag.LAST)
    return text, Seen(SEEN_TRADE), Fresh("id", "time"), row


def _quote(text: str, seq: str = "id") -> tuple[Part, ...]:
    return (
        text,
        Seen(SEEN_QUOTE),
        *quote_rows(seq=seq, time="time"),
    )


_BID: Final = '"bp":<bid:price+>,"bs":<bid_size:size>'
_ASK: Final = '"ap":<ask:price+>,"as":<ask_size:size>'
_STOCK_QUOTE: Final = f'{{"ev":"Q","sym":"<symbol>","bx":<_:int>,{_BID},"ax":<_:int>,{_ASK},"c":<_:int>,'
_STOCK_TRADE: Final = '{"ev":"T","sym":"<symbol>","x":<_:int>,"i":"<_:text>","z":<_:int>,"p":<price>,"s":<size>,'

STOCKS: Final[dict[str, Shape]] = {
    "events": (
        one_of(
            _quote(_STOCK_QUOTE + '"i":<_:any>,"t":<time:epoch>,"q":<id:int>,"z":<_:int><*>}'),
            _trade(_STOCK_TRADE + f'"c":<c:bytes{_IRREGULAR}>,"t":<time:epoch>,"q":<id:int><*>}}'),
            _quote(_STOCK_QUOTE + '"t":<time:epoch>,"q":<id:int>,"z":<_:int><* but i>}'),
            _trade(_STOCK_TRADE + '"t":<time:epoch>,"q":<id:int><* but c>}', ""),
        ),
    )
}

OPTIONS: Final[dict[str, Shape]] = {
    "events": (
        one_of(
            _quote(
                '{"ev":"Q","sym":"<symbol>","bx":<_:int>,"ax":<_:int>,"bp":<bid:price+>,"ap":<ask:price+>,'
                '"bs":<bid_size:size>,"as":<ask_size:size>,"t":<time:epoch>,"q":<id:int><*>}'
            ),
            _trade(
                '{"ev":"T","sym":"<symbol>","x":<_:int>,"p":<price>,"s":<size>,"c":<c:bytes>,"t":<time:epoch>,'
                '"q":<id:int><*>}'
            ),
        ),
    )
}

CRYPTO: Final[dict[str, Shape]] = {
    "events": (
        one_of(
            _quote(f'{{"ev":"XQ","pair":"<symbol>",{_BID},{_ASK},"t":<time:epoch><* but q>}}', ""),
            _trade(
                '{"ev":"XT","pair":"<symbol>","p":<price>,"t":<time:epoch>,"s":<size>,"c":<c:bytes>,"i":<id:int><*>}'
            ),
        ),
    )
}
