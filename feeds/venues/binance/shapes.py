"""Binance's messages as shapes: trades, aggregate trades, quotes and depth diffs, raw and wrapped in `{stream, data}`.

The name of a wrapped frame's stream determines the kind of message, so the name is part of the shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows, trade_row
from tickplant.feeds.kit.shapes import Effect, Give, Ids, Part, Seen, Shape, Stamp, levels
from tickplant.feeds.kit.state_table import LAST_AGG, LAST_QUOTE, LAST_TRADE, NONE, SEEN_QUOTE
from tickplant.records.layouts import Flag, Side

DIFF: Final = 0
"""Number of the gift of a depth diff: its LEVEL rows; values first, last and previous id, and time in ns."""

SNAPSHOT: Final = 1
"""Number of the gift of a whole book: its LEVEL rows; values id and time in ns."""

_TRADE: Final = (
    Ids(LAST_TRADE, "id", "time"),
    trade_row(),
)
_AGG_TRADE: Final = (
    Ids(LAST_AGG, "id", "time"),
    trade_row(order="first", flags=Flag.AGGREGATE),
)


def _quote(time: str) -> tuple[Effect, ...]:
    return (
        Seen(SEEN_QUOTE),
        Ids(LAST_QUOTE, "id", time, by_one=False),
        # A price of 0 is an empty side, which the reference decoder records.
        *quote_rows(seq="id", time=time),
    )


def _diff(previous: str | int) -> tuple[Effect, ...]:
    return Stamp(time="time", seq="last"), Give(DIFF, "first", "last", previous, "time")


_FOUR: Final = '"b":"<bid:price+>","B":"<bid_size:size>","a":"<ask:price+>","A":"<ask_size:size>"'
_LEVEL: Final = '["<price>","<size>"]'
_SIDES: Final = '"b":', levels(_LEVEL, Side.BID), ',"a":', levels(_LEVEL, Side.ASK)
_SIDE: Final = '"m":<side:true=2|false=1>'
_SPOT_TRADE: Final = (
    '{"e":"trade","E":<_:int>,"s":"<symbol>","t":<id:int>,"p":"<price>","q":"<size>","T":<time:epoch>,'
    f'{_SIDE},"M":<_:true|false>'
)
_USDM_TRADE: Final = (
    '{"e":"trade","E":<_:int>,"T":<time:epoch>,"s":"<symbol>","t":<id:int>,"p":"<price>","q":"<size>",'
    f'"X":"MARKET",{_SIDE}'
)
_USDM_AGG_TRADE: Final = (
    '{"e":"aggTrade","E":<_:int>,"s":"<symbol>","a":<id:int>,"p":"<price>","q":"<size>","f":<first:int>,'
    f'"l":<_:int>,"T":<time:epoch>,{_SIDE}'
)
_SPOT_AGG_TRADE: Final = f'{_USDM_AGG_TRADE},"M":<_:true|false>'
_OTHER_AGG_TRADE: Final = _USDM_AGG_TRADE.replace('"s":"<symbol>","a":<id:int>', '"a":<id:int>,"s":"<symbol>"')
_SPOT_DIFF: Final = '{"e":"depthUpdate","E":<time:epoch>,"s":"<symbol>","U":<first:int>,"u":<last:int>,'
_USDM_DIFF: Final = (
    '{"e":"depthUpdate","E":<_:int>,"T":<time:epoch>,"s":"<symbol>","U":<first:int>,"u":<last:int>,"pu":<previous:int>,'
)
_COINM_DIFF: Final = _USDM_DIFF.replace('"s":"<symbol>"', '"s":"<symbol>","ps":"<_:text>"')
_SPOT_QUOTE: Final = f'{{"u":<id:int>,"s":"<symbol>",{_FOUR}'
# The venue sends the first form and documents the second.
_USDM_QUOTE: Final = f'{{"e":"bookTicker","u":<id:int>,"s":"<symbol>",{_FOUR},"T":<time:epoch>,"E":<_:int>'
_COINM_QUOTE: Final = (
    f'{{"u":<id:int>,"e":"bookTicker","s":"<symbol>","ps":"<_:text>",{_FOUR},"T":<time:epoch>,"E":<_:int>'
)
_DOCUMENTED_QUOTE: Final = f'{{"e":"bookTicker","u":<id:int>,"E":<_:int>,"T":<time:epoch>,"s":"<symbol>",{_FOUR}'

# Of each message: names of its streams, text up to the end, further keys that would change its meaning, effects.
_Message = tuple[tuple[str, ...], tuple[Part, ...], str, tuple[Effect, ...]]
_QUOTES: Final = "<_:text>@bookTicker", "!bookTicker"
_TRADES: Final = ("<_:text>@trade",)
_AGG_TRADES: Final = ("<_:text>@aggTrade",)
_DEPTH: Final = "<_:text>@depth@<_:int>ms", "<_:text>@depth"

_SPOT: Final[dict[str, _Message]] = {
    "quote": (_QUOTES, (_SPOT_QUOTE,), "T", _quote("")),
    "trade": (_TRADES, (_SPOT_TRADE,), "X", _TRADE),
    "diff": (_DEPTH, (_SPOT_DIFF, *_SIDES), "T, pu", _diff(NONE)),
    "aggregate trade": (_AGG_TRADES, (_SPOT_AGG_TRADE,), "", _AGG_TRADE),
}
_USDM: Final[dict[str, _Message]] = {
    "quote": (_QUOTES, (_USDM_QUOTE,), "", _quote("time")),
    "trade": (_TRADES, (_USDM_TRADE,), "", _TRADE),
    "diff": (_DEPTH, (_USDM_DIFF, *_SIDES), "", _diff("previous")),
    "aggregate trade": (_AGG_TRADES, (_USDM_AGG_TRADE,), "", _AGG_TRADE),
    "other aggregate trade": (_AGG_TRADES, (_OTHER_AGG_TRADE,), "", _AGG_TRADE),
    "documented quote": (_QUOTES, (_DOCUMENTED_QUOTE,), "", _quote("time")),
}
# COIN-M also names the pair, in `ps`, and its quotes begin with their id.
_COINM: Final[dict[str, _Message]] = {
    "quote": (_QUOTES, (_COINM_QUOTE,), "", _quote("time")),
    "trade": _USDM["trade"],
    "diff": (_DEPTH, (_COINM_DIFF, *_SIDES), "", _diff("previous")),
    "aggregate trade": _USDM["other aggregate trade"],
}


def _wrapped_and_raw(messages: dict[str, _Message]) -> Iterator[tuple[str, Shape]]:
    """The wrapped shapes in the order of the messages, then those of rarer streams, then the raw ones."""
    keys = "e, stream, data, lastUpdateId"
    for rank in range(2):
        for name, (streams, text, closed, effects) in messages.items():
            if rank < len(streams):
                shape = (f'{{"stream":"{streams[rank]}","data":', *text, _end(closed), f"<* but {keys}>}}", *effects)
                yield f"{name} of {streams[rank].rpartition('>')[2] if rank else 'stream'}", shape
    for name, (_, text, closed, effects) in messages.items():
        yield f"raw {name}", (*text, _end(closed), *effects)


def _end(closed: str) -> str:
    keys = ", ".join(filter(None, ("e, stream, data, lastUpdateId", closed)))
    return f"<* but {keys}>}}"


def _snapshot(head: str, closed: str, time: str) -> Shape:
    # An answer does not name its symbol: the reader puts both into one object.
    return (
        f'{{"symbol":"<symbol>","answer":{{"lastUpdateId":<id:int>{head},"bids":',
        levels(_LEVEL, Side.BID, Flag.SNAPSHOT),
        ',"asks":',
        levels(_LEVEL, Side.ASK, Flag.SNAPSHOT),
        f"<* but {closed}>}}}}",
        Stamp(time=time, seq="id"),
        Give(SNAPSHOT, "id", time or 0),
    )


SPOT: Final[dict[str, Shape]] = dict(_wrapped_and_raw(_SPOT))
USDM: Final[dict[str, Shape]] = dict(_wrapped_and_raw(_USDM))
COINM: Final[dict[str, Shape]] = dict(_wrapped_and_raw(_COINM))
SNAPSHOTS: Final[dict[str, Shape]] = {
    "spot": _snapshot("", "T, lastUpdateId", ""),
    "usdm": _snapshot(',"E":<_:int>,"T":<time:epoch>', "lastUpdateId", "time"),
    "coinm": _snapshot(',"E":<_:int>,"T":<time:epoch>,"symbol":"<_:text>","pair":"<_:text>"', "lastUpdateId", "time"),
}
