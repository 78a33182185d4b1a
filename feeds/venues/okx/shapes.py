"""The messages of OKX as shapes. The reference decoder reads snapshots, empty sides and everything else."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows, trade_row
from tickplant.feeds.kit.shapes import Effect, Fresh, Give, Seen, Shape, Stamp, each, levels
from tickplant.feeds.kit.state_table import SEEN_QUOTE, SEEN_TRADE
from tickplant.records.layouts import Flag, Side

AS_IS: Final = 0
NEGATIVE: Final = 1
"""Numbers of the gifts of a book: LEVEL rows and a CHECKSUM; the shape has read its sign (NEGATIVE) or not. Values:
its number without the sign, time, prevSeqId and seqId."""

FILLS: Final = 2
"""Number of the gift of a trade of several fills: its TRADE; values its id and their number."""

_LEVEL: Final = '["<price>","<size>","<_:text>","<_:text>"]'


def _book(number: int, sign: str) -> Shape:
    return (
        '{"arg":{"channel":"books","instId":"<symbol>"},"action":"update","data":',
        each(
            '{"asks":',
            levels(_LEVEL, Side.ASK),
            ',"bids":',
            levels(_LEVEL, Side.BID),
            f',"ts":"<time:epoch>","checksum":{sign}<checksum:int>,"prevSeqId":<prev:int>,"seqId":<seq:int><*>}}',
            Stamp(time="time", checksum="checksum"),
            Give(number, "checksum", "time", "prev", "seq"),
        ),
        "<*>}",
    )


def _trade(fills: str, first: str, *more: Effect) -> Shape:
    return (
        '{"arg":{"channel":"trades","instId":"<symbol>"},"data":',
        each(
            '{"instId":"<_:text>","tradeId":"<id:int>","px":"<price>","sz":"<size>","side":"<side:buy=1|sell=2>",'
            f'"ts":"<time:epoch>","count":"{fills}"<*>}}',
            Seen(SEEN_TRADE),
            Fresh("id", "time"),
            trade_row(order=first, flags=Flag.AGGREGATE),
            *more,
        ),
        "<*>}",
    )


SHAPES: Final[dict[str, Shape]] = {
    "book": _book(AS_IS, ""),
    "trade": _trade("1", "id"),
    "ticker": (
        '{"arg":{"channel":"tickers","instId":"<symbol>"},"data":',
        each(
            '{"instType":"<_:text>","instId":"<_:text>","last":"<_:text>","lastSz":"<_:text>","askPx":"<ask:price+>",'
            '"askSz":"<ask_size:size>","bidPx":"<bid:price+>","bidSz":"<bid_size:size>","open24h":"<_:text>",'
            '"high24h":"<_:text>","low24h":"<_:text>","sodUtc0":"<_:text>","sodUtc8":"<_:text>",'
            '"volCcy24h":"<_:text>","vol24h":"<_:text>","ts":"<time:epoch>"<*>}',
            Seen(SEEN_QUOTE),
            *quote_rows(time="time"),
        ),
        "<*>}",
    ),
    "book, negative": _book(NEGATIVE, "-"),
    "trade of several fills": _trade("<fills:int>", "fills", Give(FILLS, "id", "fills")),
}
