"""The frequent messages of the Coinbase Exchange feed as shapes: trades, tickers, changes of books, whole books.

The reference decoder reads orders one by one, numbers with exponents and everything else.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows, trade_row
from tickplant.feeds.kit.shapes import Give, Ids, Row, Seen, Shape, Stamp, levels
from tickplant.feeds.kit.state_table import LAST_QUOTE, LAST_TRADE, SEEN_BOOK, SEEN_QUOTE
from tickplant.records.layouts import Flag, Kind, Side

SNAPSHOT: Final = 0
"""Number of the gift of a whole book: its LEVEL rows, side by side; value time in ns."""

# Gifts of one order: its row, if any, with the values order_id, sequence and time in ns.
RECEIVED: Final = 1
OPENED: Final = 2
CANCELED: Final = 3

_LEVEL: Final = '["<price>","<size>"]'
_SIDES: Final = {
    name: (f'"{name}":', levels(_LEVEL, side, Flag.SNAPSHOT)) for name, side in (("bids", Side.BID), ("asks", Side.ASK))
}

# The side of a trade is the maker's.
_MATCH_TEXT: Final = (
    '{"type":"match","trade_id":<id:int>,"maker_order_id":"<_:text>","taker_order_id":"<_:text>",'
    '"side":"<side:buy=2|sell=1>","size":"<size>","price":"<price>","product_id":"<symbol>","sequence":<_:int>,'
    '"time":"<time:rfc3339>"<*>}'
)
_TICKER_TEXT: Final = (
    '{"type":"ticker","sequence":<id:int>,"product_id":"<symbol>","price":"<_:text>","open_24h":"<_:text>",'
    '"volume_24h":"<_:text>","low_24h":"<_:text>","high_24h":"<_:text>","volume_30d":"<_:text>",'
    '"best_bid":"<bid:price+>","best_bid_size":"<bid_size:size>","best_ask":"<ask:price+>",'
    '"best_ask_size":"<ask_size:size>","side":"<_:text>","time":"<time:rfc3339>"<*>}'
)
MATCH: Final[Shape] = (
    _MATCH_TEXT,
    Ids(LAST_TRADE, "id", "time"),
    trade_row(),
)
_UPDATE: Final[Shape] = (
    '{"type":"l2update","product_id":"<symbol>","changes":',
    levels('["<side:buy=1|sell=2>","<price>","<size>"]', "side"),
    ',"time":"<time:rfc3339>"<*>}',
    Seen(SEEN_BOOK),
    Stamp(time="time"),
)
_TICKER: Final[Shape] = (
    _TICKER_TEXT,
    Seen(SEEN_QUOTE),
    Ids(LAST_QUOTE, "id", "time", by_one=False),
    *quote_rows(seq="id", time="time"),
)


def _snapshot(first: str, second: str, *, time: bool) -> Shape:
    return (
        '{"type":"snapshot","product_id":"<symbol>",',
        *_SIDES[first],
        ",",
        *_SIDES[second],
        ',"time":"<time:rfc3339>"<*>}' if time else "<* but time>}",
        Stamp(time="time" if time else ""),
        Give(SNAPSHOT, "time" if time else 0),
    )


_ORDER_END: Final = '"product_id":"<symbol>","sequence":<seq:int>,"time":"<time:rfc3339>"<*>}'
_RECEIVED_TEXT: Final = f'{{"type":"received","order_id":"<order:uuid>",{_ORDER_END}'
_OPEN_TEXT: Final = (
    '{"type":"open","side":"<side:buy=1|sell=2>","price":"<price>","order_id":"<order:uuid>",'
    f'"remaining_size":"<size>",{_ORDER_END}'
)
_DONE_TEXT: Final = (
    '{"type":"done","side":"<side:buy=1|sell=2>","order_id":"<order:uuid>","reason":"canceled",'
    '"product_id":"<symbol>","price":"<price>","remaining_size":"<_:text>","sequence":<seq:int>,'
    '"time":"<time:rfc3339>"<*>}'
)
_ORDERS: Final[dict[str, Shape]] = {
    "received": (_RECEIVED_TEXT, Give(RECEIVED, "order", "seq", "time")),
    "open": (
        _OPEN_TEXT,
        Row(Kind.ORDER_ADD, "side", "price", "size", "seq", "order", "time", Flag.LAST),
        Give(OPENED, "order", "seq", "time"),
    ),
    "done": (
        _DONE_TEXT,
        Row(Kind.ORDER_CANCEL, "side", "price", "", "seq", "order", "time", Flag.LAST),
        Give(CANCELED, "order", "seq", "time"),
    ),
}
ORDERS: Final[dict[str, Shape]] = {
    **_ORDERS,
    "l2update": _UPDATE,
    "ticker": _TICKER,
    "snapshot": _snapshot("bids", "asks", time=True),
    "recorded snapshot": _snapshot("asks", "bids", time=True),
    "snapshot without time": _snapshot("bids", "asks", time=False),
    "recorded snapshot without time": _snapshot("asks", "bids", time=False),
}
"""For feeds where a match also changes a book of orders, or may do so."""

SHAPES: Final[dict[str, Shape]] = {"match": MATCH, **ORDERS}
