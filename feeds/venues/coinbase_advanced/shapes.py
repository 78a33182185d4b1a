"""The frequent messages of Coinbase Advanced Trade as shapes: trades, tickers, changes of books, whole books.

A trade and changes of a book are recorded if their message is the next one of the connection. Other messages are given
to the adapter, which counts them itself. The reference decoder reads frames of several events.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows, trade_row
from tickplant.feeds.kit.shapes import Count, Effect, Give, Ids, Part, Seen, Shape, Stamp, each, levels
from tickplant.feeds.kit.state_table import LAST_TRADE, SEEN_BOOK, SEEN_QUOTE
from tickplant.records.layouts import Flag

# Numbers of gifts; the first value is the count of the message, the second its time in ns.
SNAPSHOT: Final = 0  # LEVEL rows of a whole book
TRADES: Final = 1  # TRADE rows, complete, newest first
QUOTES: Final = 2  # QUOTE rows in pairs, complete

_HEAD: Final = '"timestamp":"<time:rfc3339>","sequence_num":<seq:int>,"events":[{"type":"'
_TAIL: Final = "<*>}]<*>}"


def _book(kind: str, flags: int, *effects: Effect) -> Shape:
    level = '{"side":"<side:bid=1|offer=2>","event_time":"<_:text>","price_level":"<price>","new_quantity":"<size>"}'
    return (
        f'{{"channel":"l2_data",{_HEAD}{kind}","product_id":"<symbol>","updates":',
        levels(level, "side", flags),
        _TAIL,
        Stamp(time="time"),
        *effects,
    )


# A hole's name has one meaning in a frame and its lists, so the time of the message needs another name.
_TRADES: Final = f'{{"channel":"market_trades",{_HEAD}update","trades":'.replace("<time:", "<sent:")


def _trade(text: str) -> Shape:
    return (f"{_TRADES}[{text}]{_TAIL}", Count("seq"), Ids(LAST_TRADE, "id", "time"), trade_row())


def _trades(text: str) -> Shape:
    return (_TRADES, each(text, trade_row()), _TAIL, Give(TRADES, "seq", "sent"))


_QUOTE_TEXT: Final = (
    '{"type":"ticker","product_id":"<symbol>","price":"<_:text>","volume_24_h":"<_:text>","low_24_h":"<_:text>",'
    '"high_24_h":"<_:text>","low_52_w":"<_:text>","high_52_w":"<_:text>","price_percent_chg_24_h":"<_:text>",'
    '"best_bid":"<bid:price+>","best_bid_quantity":"<bid_size:size>","best_ask":"<ask:price+>",'
    '"best_ask_quantity":"<ask_size:size>"<*>}'
)
_QUOTES: Final[tuple[Part, ...]] = (
    _QUOTE_TEXT,
    Seen(SEEN_QUOTE),
    *quote_rows(time="time"),
)

# The side of a trade is the maker's.
_SIDE: Final = '"side":"<side:BUY=2|SELL=1>"'
_FIRST: Final = '"trade_id":"<id:int>"', '"product_id":"<symbol>"'
_NUMBERS: Final = '"price":"<price>","size":"<size>"'
_TIME: Final = '"time":"<time:rfc3339>"'

_ONE: Final = f"{{{_FIRST[1]},{_FIRST[0]},{_NUMBERS},{_TIME},{_SIDE}<*>}}"
_DOCUMENTED: Final = f"{{{_FIRST[0]},{_FIRST[1]},{_NUMBERS},{_SIDE},{_TIME}<*>}}"

SHAPES: Final[dict[str, Shape]] = {
    "l2_data": _book("update", 0, Count("seq"), Seen(SEEN_BOOK)),
    "market_trades of one": _trade(_ONE),
    "documented market_trades of one": _trade(_DOCUMENTED),
    "market_trades": _trades(_ONE),
    "documented market_trades": _trades(_DOCUMENTED),
    "ticker": (
        f'{{"channel":"ticker",{_HEAD}update","tickers":',
        each(*_QUOTES),
        _TAIL,
        Give(QUOTES, "seq", "time"),
    ),
    "l2_data snapshot": _book("snapshot", Flag.SNAPSHOT, Give(SNAPSHOT, "seq", "time")),
}
