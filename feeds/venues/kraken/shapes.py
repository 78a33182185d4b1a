"""Kraken's messages as shapes: WebSocket v2, updates of trades, tickers and books of price levels.

The reference decoder reads snapshots, ids out of order, numbers with exponents and everything else.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows, trade_row
from tickplant.feeds.kit.shapes import Give, Ids, Seen, Shape, Stamp, each, levels
from tickplant.feeds.kit.state_table import LAST_TRADE, SEEN_QUOTE
from tickplant.records.layouts import Side

BOOK_EVENT: Final = 0
"""Number of the gift of a book event: LEVEL rows, then a CHECKSUM row; values checksum and time in ns."""

_TRADE: Final = (
    '{"channel":"trade","type":"update","data":',
    each(
        '{"symbol":"<symbol>","side":"<side:buy=1|sell=2>","price":<price>,"qty":<size>,"ord_type":"<_:text>",'
        '"trade_id":<id:int>,"timestamp":"<time:rfc3339>"<*>}',
        # Trades of one instant may come with their ids out of order, so an id below the last may not be a duplicate.
        Ids(LAST_TRADE, "id", "time", drop_repeats=False),
        trade_row(),
    ),
    "<*>}",
)

_LEVEL: Final = '{"price":<price>,"qty":<size>}'
_BOOK: Final = (
    '{"channel":"book","type":"update","data":',
    each(
        '{"symbol":"<symbol>","bids":',
        levels(_LEVEL, Side.BID),
        ',"asks":',
        levels(_LEVEL, Side.ASK),
        ',"checksum":<checksum:int>,"timestamp":"<time:rfc3339>"<*>}',
        Stamp(time="time", checksum="checksum"),
        Give(BOOK_EVENT, "checksum", "time"),
    ),
    "<*>}",
)


def _ticker(last_member: str, time: str) -> Shape:
    return (
        '{"channel":"ticker","type":"update","data":',
        each(
            '{"symbol":"<symbol>","bid":<bid:price+>,"bid_qty":<bid_size:size>,"ask":<ask:price+>,'
            '"ask_qty":<ask_size:size>,"last":<_:number>,"volume":<_:number>,"vwap":<_:number>,"low":<_:number>,'
            f'"high":<_:number>,"change":<_:number>,"change_pct":<_:number>{last_member}}}',
            Seen(SEEN_QUOTE),
            *quote_rows(time=time),
        ),
        "<*>}",
    )


SHAPES: Final[dict[str, Shape]] = {
    "book": _BOOK,
    "trade": _TRADE,
    "ticker": _ticker(',"timestamp":"<time:rfc3339>"<*>', "time"),
    "ticker without time": _ticker("<* but timestamp>", ""),
}
