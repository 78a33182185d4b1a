"""Binance messages as typed structs, and the reference decoder: one frame in, one message out. Pure and stateless.

The kernel of shapes writes ticks for the hot messages without these structs. Frames that fit no shape come here, and a
property test holds the two equal. A wrapped frame's kind follows from its stream's name, a raw frame's only from its
content.

    {"e":"trade","E":1788264000013,"s":"BNBBTC","t":5001,"p":"0.01250000","q":"4.20000000","T":1788264000011,"m":true}
    {"stream":"bnbbtc@bookTicker","data":{"u":400900217,"s":"BNBBTC","b":"0.01249","B":"31.2","a":"0.01251","A":"4"}}
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Final

import msgspec

from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.binance.other_messages import Kline, Liquidation, MarkPrice
from tickplant.feeds.venues.binance.wire_numbers import MAX_ID, Id

MARKET: Final = "MARKET"


class Level(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A price and the size at it. Messages from before 2020 have an empty list as a third element."""

    price: str
    size: str
    unused: Annotated[list[None], msgspec.Meta(max_length=0)] = []


Levels = list[Level]

_DIFF: Final = "depthUpdate"
_PARTIAL: Final = "partial"
_SNAPSHOT_STREAM: Final = "depthSnapshot"
_MARK: Final = "markPriceUpdate"
_STREAM: Final = re.compile(
    r"[^@]*@(?:(trade|aggTrade|bookTicker|depthSnapshot|forceOrder|(?:(depth)|(depth(?:5|10|20)))(?:@\d+ms)?)"
    r"|(markPrice)(?:@1s)?|(kline)_\w+(?:@\+08:00)?)\Z",
    re.ASCII,
)
_NAMES_KEPT: Final = 8192
_FEED_WIDE: Final = frozenset({"!bookTicker", "!serverShutdown"})
"""Streams without a symbol that are read."""


class Trade(msgspec.Struct, frozen=True):
    """One trade. On futures, an `origin` other than MARKET is a fill made off the book."""

    symbol: str = msgspec.field(name="s")
    id: Id = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    time: Id = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")
    origin: str = msgspec.field(name="X", default=MARKET)


class AggTrade(msgspec.Struct, frozen=True):
    """Fills of one taker order at one price; `id` counts in a space of its own."""

    symbol: str = msgspec.field(name="s")
    id: Id = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    first_trade: Id = msgspec.field(name="f")
    time: Id = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class PastTrade(msgspec.Struct, frozen=True):
    """A trade as REST returns it."""

    id: Id
    price: str
    qty: str
    time: Id
    isBuyerMaker: bool  # noqa: N815 -- the venue's names


class PastAggTrade(msgspec.Struct, frozen=True):
    """An aggregate trade as REST returns it: as in the stream, but without the symbol."""

    a: Id
    p: str
    q: str
    f: Id
    T: Id
    m: bool


class BookTicker(msgspec.Struct, frozen=True):
    """Best bid and offer. Spot messages have neither type nor time."""

    symbol: str = msgspec.field(name="s")
    id: Id = msgspec.field(name="u")
    bid_price: str = msgspec.field(name="b")
    bid_size: str = msgspec.field(name="B")
    ask_price: str = msgspec.field(name="a")
    ask_size: str = msgspec.field(name="A")
    time: Id = msgspec.field(name="T", default=0)


class Diff(msgspec.Struct, frozen=True):
    """Changed levels of the book; `previous` is the `last` of the preceding diff, on futures only."""

    symbol: str = msgspec.field(name="s")
    first: Id = msgspec.field(name="U")
    last: Id = msgspec.field(name="u")
    sent: Id = msgspec.field(name="E")
    bids: Levels = msgspec.field(name="b")
    asks: Levels = msgspec.field(name="a")
    previous: Id | None = msgspec.field(name="pu", default=None)
    matched: Id | None = msgspec.field(name="T", default=None)

    @property
    def time(self) -> int:
        """The matching engine's time if present, else the time of sending."""
        return self.sent if self.matched is None else self.matched


class Snapshot(msgspec.Struct, frozen=True):
    """A REST depth answer, which does not name its symbol. Id -1: a newly listed symbol, empty."""

    id: Annotated[int, msgspec.Meta(ge=-1, le=MAX_ID)] = msgspec.field(name="lastUpdateId")
    bids: Levels
    asks: Levels
    time: Id = msgspec.field(name="T", default=0)


class NamedSnapshot(msgspec.Struct, frozen=True):
    """A whole book with its symbol, named by the book or by the recorded stream's name; `body` is REST's answer."""

    symbol: str  # in lower case if it comes from the stream's name
    body: bytes


class PartialDepth(msgspec.Struct, frozen=True):
    """The best 5, 10 or 20 levels, whole. `stream_symbol` is in lower case, as in the stream's name."""

    stream_symbol: str
    id: int
    bids: Levels
    asks: Levels
    time: int


class Shutdown(msgspec.Struct, frozen=True):
    """The server announces that it will close the connection."""

    time: Id = msgspec.field(name="E")


class Answer(msgspec.Struct, frozen=True):
    """A request was carried out."""

    id: int | str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A request was refused."""

    code: int
    text: str
    id: int | str | None = None


class SymbolFilter(msgspec.Struct, frozen=True):
    """One of the rules for orders: PRICE_FILTER has the tick size, LOT_SIZE the step of sizes."""

    filterType: str = ""  # noqa: N815 -- the venue's names
    tickSize: str | None = None  # noqa: N815
    stepSize: str | None = None  # noqa: N815


class SymbolInfo(msgspec.Struct, frozen=True):
    """The instrument data of a symbol; spot and futures use different fields for its decimals."""

    symbol: str
    status: str | None = None
    contractStatus: str | None = None  # noqa: N815 -- of COIN-M
    filters: list[SymbolFilter] = []
    quotePrecision: int | None = None  # noqa: N815 -- the venue's names
    baseAssetPrecision: int | None = None  # noqa: N815
    pricePrecision: int | None = None  # noqa: N815
    quantityPrecision: int | None = None  # noqa: N815


class ExchangeInfo(msgspec.Struct, frozen=True):
    """The REST answer with the instrument data. A symbol with unreadable fields has its name only."""

    symbols: list[SymbolInfo]


class Ignored(msgspec.Struct, frozen=True):
    """A message of a kind that is not recorded."""

    kind: str


Message = (
    Trade
    | AggTrade
    | BookTicker
    | Diff
    | Snapshot
    | NamedSnapshot
    | PartialDepth
    | Kline
    | MarkPrice
    | Liquidation
    | Shutdown
    | Answer
    | Refusal
    | ExchangeInfo
    | Ignored
)


_Event = Trade | AggTrade | BookTicker | Diff | Kline | MarkPrice | Liquidation | Shutdown


class _Head(msgspec.Struct, frozen=True):
    # The fields that distinguish messages. Raw fields are empty if the key is absent.
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    u: msgspec.Raw = msgspec.Raw()
    lastUpdateId: msgspec.Raw = msgspec.Raw()  # noqa: N815 -- the venue's name
    result: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    symbols: msgspec.Raw = msgspec.Raw()
    symbol: str = ""


class _RawExchangeInfo(msgspec.Struct, frozen=True):
    # The symbols one by one: a changed field of one symbol must not lose the others.
    symbols: list[msgspec.Raw]


class _SymbolName(msgspec.Struct, frozen=True):
    symbol: str


class _Error(msgspec.Struct, frozen=True):
    code: int
    msg: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    # {"code":2,"msg":"…"} on most servers, {"error":{"code":2,"msg":"…"}} on some; the id may be missing.
    code: int = 0
    msg: str = ""
    error: _Error | None = None
    id: int | str | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)
_HEADS: Final = msgspec.json.Decoder(list[_Head])
_BOOK_TICKER: Final = msgspec.json.Decoder(BookTicker)
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)
_EXCHANGE_INFO: Final = msgspec.json.Decoder(_RawExchangeInfo)
_SYMBOL_INFO: Final = msgspec.json.Decoder(SymbolInfo)
_SYMBOL_NAME: Final = msgspec.json.Decoder(_SymbolName)
_ANSWER: Final = msgspec.json.Decoder(Answer)
_REFUSAL: Final = msgspec.json.Decoder(_Refusal)
_PAST_TRADES: Final = msgspec.json.Decoder(list[PastTrade])
_PAST_AGG_TRADES: Final = msgspec.json.Decoder(list[PastAggTrade])
_EVENTS: Final[dict[str, msgspec.json.Decoder[_Event]]] = {
    "trade": msgspec.json.Decoder(Trade),
    "aggTrade": msgspec.json.Decoder(AggTrade),
    "bookTicker": msgspec.json.Decoder(BookTicker),
    _DIFF: msgspec.json.Decoder(Diff),
    "kline": msgspec.json.Decoder(Kline),
    _MARK: msgspec.json.Decoder(MarkPrice),
    "forceOrder": msgspec.json.Decoder(Liquidation),
    "serverShutdown": msgspec.json.Decoder(Shutdown),
}
_NOT_LISTED: Final = frozenset(_EVENTS) - {_MARK}
"""Events that no stream sends in lists."""


def decode(body: bytes) -> Message:
    """The message of a frame, raw or wrapped in `{stream, data}`, or of a REST answer. Raises RejectError."""
    try:
        if body[:1] != b"{" and body.lstrip(b" \t\r\n")[:1] == b"[":
            return _decode_list(_HEADS.decode(body))
        head = _HEAD.decode(body)
        return _decode(head, body) if head.stream is None else _decode_stream(head.stream, head.data or body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None


def _decode_list(heads: list[_Head]) -> Message:
    # Only the `!…@arr` streams send lists, of statistics: a list is ignored if each member is of such a kind.
    kinds = {head.e for head in heads}
    if not kinds or None in kinds or kinds & _NOT_LISTED:
        raise RejectError("schema", "a list that is not one of events of a kind that is not recorded")
    return Ignored(", ".join(sorted(kind for kind in kinds if kind is not None)))


def _decode_stream(name: str, payload: bytes | msgspec.Raw) -> Message:
    kind = stream_kind(name)
    if kind is None:
        return Ignored(_ignored_kind(name))
    head = _HEAD.decode(payload)
    symbol = name.partition("@")[0]
    if head.e is None and head.lastUpdateId:
        if kind == _SNAPSHOT_STREAM:
            return NamedSnapshot(symbol, bytes(payload))
        if kind == _PARTIAL:
            book = _SNAPSHOT.decode(payload)
            return PartialDepth(symbol, max(book.id, 0), book.bids, book.asks, book.time)
    # On futures the partial depth streams have the shape of diffs.
    event = _DIFF if kind == _PARTIAL else kind
    untyped_quote = event == "bookTicker" and head.e is None and head.u and not head.lastUpdateId
    if event not in _EVENTS or (head.e != event and not untyped_quote):
        raise RejectError("unknown message", f"{(head.e or 'no event')[:100]} on stream {name[:100]}")
    message = _EVENTS[event].decode(payload)
    if kind == _PARTIAL and isinstance(message, Diff):
        return PartialDepth(symbol, message.last, message.bids, message.asks, message.time)
    return message


@functools.lru_cache(_NAMES_KEPT)
def stream_kind(name: str) -> str | None:
    """What a stream carries, by its whole name: an event, a partial book or a snapshot; None if it is not recorded.

    Only the name shows it: streams that are not recorded, such as `@rpiDepth`, send events of the same type.
    """
    if name in _FEED_WIDE:
        return name[1:]
    match = _STREAM.match(name)
    if match is None:
        return None
    if match[4] or match[5]:
        return _MARK if match[4] else match[5]
    return _DIFF if match[2] else _PARTIAL if match[3] else match[1]


def _decode(head: _Head, payload: bytes | msgspec.Raw) -> Message:
    # Without a stream's name, only the content shows the kind of a message.
    if head.e is not None:
        decoder = _EVENTS.get(head.e)
        return decoder.decode(payload) if decoder is not None else Ignored(head.e)
    if head.lastUpdateId:
        # COIN-M names the symbol in its REST answer.
        return NamedSnapshot(head.symbol, bytes(payload)) if head.symbol else _SNAPSHOT.decode(payload)
    if head.u:
        return _BOOK_TICKER.decode(payload)
    if head.code or head.error:
        refusal = _REFUSAL.decode(payload)
        error = refusal.error or _Error(refusal.code, refusal.msg)
        return Refusal(error.code, error.msg, refusal.id)
    if head.result:
        return _ANSWER.decode(payload)
    if head.symbols:
        return ExchangeInfo([_symbol_info(raw) for raw in _EXCHANGE_INFO.decode(payload).symbols])
    raise RejectError("unknown message", "neither an event, a quote, a book, an answer nor instrument data")


def _symbol_info(raw: msgspec.Raw) -> SymbolInfo:
    try:
        return _SYMBOL_INFO.decode(raw)
    except msgspec.ValidationError:
        return SymbolInfo(_SYMBOL_NAME.decode(raw).symbol)


def _ignored_kind(name: str) -> str:
    # The kind of an unrecorded stream: its name without symbol, speed and the rest.
    symbol, _, rest = name.partition("@")
    return symbol if symbol.startswith("!") or not rest else rest.partition("@")[0]


def decode_past(body: bytes, symbol: str, *, aggregate: bool) -> list[Trade | AggTrade]:
    """The trades of a REST answer, which does not name their symbol. Raises RejectError."""
    try:
        if aggregate:
            return [AggTrade(symbol, row.a, row.p, row.q, row.f, row.T, row.m) for row in _PAST_AGG_TRADES.decode(body)]
        rows = _PAST_TRADES.decode(body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    return [Trade(symbol, row.id, row.price, row.qty, row.time, row.isBuyerMaker) for row in rows]
