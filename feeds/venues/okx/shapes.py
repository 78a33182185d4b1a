"""The messages of OKX as shapes. Snapshots, empty sides and all else are for the reference decoder."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shapes import Fresh, Give, Row, Seen, Shape, Stamp, each, levels
from tickplant.feeds.kit.state_table import SEEN_QUOTE, SEEN_TRADE
from tickplant.records.layouts import Flag, Kind, Side

AS_IS: Final = 0
NEGATIVE: Final = 1
"""Numbers of what is given of a book: LEVEL rows and a CHECKSUM, whose sign the shape has read or not; values its
number without the sign, time, prevSeqId and seqId."""

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


SHAPES: Final[dict[str, Shape]] = {
    "book": _book(AS_IS, ""),
    "trade": (
        '{"arg":{"channel":"trades","instId":"<_:text>"},"data":',
        each(
            '{"instId":"<symbol>","tradeId":"<id:int>","px":"<price>","sz":"<size>","side":"<side:buy=1|sell=2>",'
            '"ts":"<time:epoch>"<*>}',
            Seen(SEEN_TRADE),
            Fresh("id", "time"),
            Row(Kind.TRADE, side="side", price="price", size="size", seq="id", time="time", flags=Flag.LAST),
        ),
        "<*>}",
    ),
    "ticker": (
        '{"arg":{"channel":"tickers","instId":"<_:text>"},"data":',
        each(
            '{"instType":"<_:text>","instId":"<symbol>","last":"<_:text>","lastSz":"<_:text>","askPx":"<ask:price+>",'
            '"askSz":"<ask_size:size>","bidPx":"<bid:price+>","bidSz":"<bid_size:size>","open24h":"<_:text>",'
            '"high24h":"<_:text>","low24h":"<_:text>","sodUtc0":"<_:text>","sodUtc8":"<_:text>",'
            '"volCcy24h":"<_:text>","vol24h":"<_:text>","ts":"<time:epoch>"<*>}',
            Seen(SEEN_QUOTE),
            Row(Kind.QUOTE, side=Side.BID, price="bid", size="bid_size", time="time"),
            Row(Kind.QUOTE, side=Side.ASK, price="ask", size="ask_size", time="time", flags=Flag.LAST),
        ),
        "<*>}",
    ),
    "book, negative": _book(NEGATIVE, "-"),
}
