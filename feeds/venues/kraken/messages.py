"""The reference decoder of Kraken's WebSocket v2: from frames to typed messages. Numbers stay text, as on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from tickplant.feeds.kit.numbers import rfc3339_ns, wire_decimal
from tickplant.feeds.kit.rejected import RejectError

MINUTE_NS: Final = 60 * 10**9


class _Numbers(msgspec.Struct, frozen=True):
    price: msgspec.Raw
    qty: msgspec.Raw


class Level:
    """A level as sent on the wire."""

    __slots__ = ("price", "size")

    def __init__(self, raw: _Numbers) -> None:
        self.price = wire_decimal(raw.price)
        self.size = wire_decimal(raw.qty)


class _Trade(msgspec.Struct, frozen=True):
    symbol: str
    side: str
    price: msgspec.Raw
    qty: msgspec.Raw
    trade_id: int
    timestamp: str


class Trade(msgspec.Struct, frozen=True):
    """One trade; `side` is the taker's."""

    symbol: str
    side: str  # buy or sell
    price: str
    size: str
    id: int
    time: int  # ns


class Trades(msgspec.Struct, frozen=True):
    """The trades of a frame, by rising id."""

    trades: list[Trade]
    snapshot: bool  # past trades, sent after subscribing


class _Quote(msgspec.Struct, frozen=True):
    symbol: str
    bid: msgspec.Raw
    bid_qty: msgspec.Raw
    ask: msgspec.Raw
    ask_qty: msgspec.Raw
    timestamp: str = ""


class Quote(msgspec.Struct, frozen=True):
    """Best bid and offer, each as (price, size)."""

    symbol: str
    bid: tuple[str, str]
    ask: tuple[str, str]
    time: int  # ns; 0 if the venue sends none


class _Book(msgspec.Struct, frozen=True):
    symbol: str
    bids: list[_Numbers]
    asks: list[_Numbers]
    checksum: int
    timestamp: str = ""


class Book(msgspec.Struct, frozen=True):
    """A whole book, or one event of it."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: int
    time: int  # ns; 0 if the venue sends none
    snapshot: bool


class _Order(msgspec.Struct, frozen=True):
    order_id: str
    limit_price: msgspec.Raw
    order_qty: msgspec.Raw
    timestamp: str = ""
    event: Literal["add", "modify", "delete"] = "add"


class Order(msgspec.Struct, frozen=True):
    """An order of a book, or its change; numbers as on the wire."""

    id: str
    price: str
    size: str
    time: int  # ns; 0 if the venue sends none
    event: str  # add, modify or delete


class _OrderBook(msgspec.Struct, frozen=True):
    symbol: str
    bids: list[_Order]
    asks: list[_Order]
    checksum: int


class OrderBook(msgspec.Struct, frozen=True):
    """A whole book of orders, or one event of it. Orders of one price stand in the order of their queue."""

    symbol: str
    bids: list[Order]
    asks: list[Order]
    checksum: int
    snapshot: bool


class OrderBooks(msgspec.Struct, frozen=True):
    """The books of orders, or their events, in a frame."""

    books: list[OrderBook]


class _Bar(msgspec.Struct, frozen=True):
    symbol: str
    open: msgspec.Raw
    high: msgspec.Raw
    low: msgspec.Raw
    close: msgspec.Raw
    volume: msgspec.Raw
    vwap: msgspec.Raw
    trades: Annotated[int, msgspec.Meta(ge=0)]
    interval_begin: str
    interval: Annotated[int, msgspec.Meta(gt=0, le=21_600)]  # minutes


class Bar(msgspec.Struct, frozen=True):
    """A bar in its present state. The venue does not say when it is complete: a later bar shows it."""

    symbol: str
    begin: int  # ns
    end: int  # exclusive
    open: str
    high: str
    low: str
    close: str
    volume: str
    vwap: str
    trades: int


class Bars(msgspec.Struct, frozen=True):
    """The bars of a frame: those of each symbol by rising time."""

    bars: dict[str, list[Bar]]
    snapshot: bool


class Quotes(msgspec.Struct, frozen=True):
    """The quotes of a frame."""

    quotes: list[Quote]


class Books(msgspec.Struct, frozen=True):
    """The books, or book events, of a frame."""

    books: list[Book]


class Pair(msgspec.Struct, frozen=True):
    """The instrument data of one symbol."""

    symbol: str
    status: str = "online"
    price_precision: int | None = None
    qty_precision: int | None = None
    price_increment: msgspec.Raw = msgspec.Raw()
    qty_increment: msgspec.Raw = msgspec.Raw()


class Pairs(msgspec.Struct, frozen=True):
    """Instrument data; with `snapshot`, a symbol that they do not list is not listed."""

    pairs: list[Pair]
    snapshot: bool


class _SystemStatus(msgspec.Struct, frozen=True):
    system: str


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request, for one symbol."""

    request: int | None
    success: bool
    symbol: str
    error: str
    channel: str
    depth: int


class Status(msgspec.Struct, frozen=True):
    """The state of the venue's system."""

    system: str


class Ignored(msgspec.Struct, frozen=True):
    """A message that is not recorded."""

    kind: str


Message = Trades | Quotes | Books | OrderBooks | Bars | Pairs | Answer | Status | Ignored


class _Head(msgspec.Struct, frozen=True):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()
    method: str = ""
    result: dict[str, Any] = {}
    success: bool = True
    error: str = ""
    Error: str = ""
    symbol: str = ""
    req_id: int | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
_QUOTES: Final = msgspec.json.Decoder(list[_Quote])
_BOOKS: Final = msgspec.json.Decoder(list[_Book])
_ORDERS: Final = msgspec.json.Decoder(list[_OrderBook])
_BARS: Final = msgspec.json.Decoder(list[_Bar])
_STATUS: Final = msgspec.json.Decoder(list[_SystemStatus])


class _Instruments(msgspec.Struct, frozen=True):
    pairs: list[Pair]


_PAIRS: Final = msgspec.json.Decoder(_Instruments)


_TYPED: Final = frozenset({"trade", "ticker", "book", "level3", "ohlc"})
"""Channels whose messages are snapshots or updates."""


def decode(frame: bytes) -> Message:
    """The message of a frame. Raises RejectError."""
    try:
        return _decode(_HEAD.decode(frame))
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None


def _decode(head: _Head) -> Message:
    if head.method or head.Error or head.error:
        if head.method == "pong":
            return Ignored("pong")
        result = head.result
        symbol = head.symbol or str(result.get("symbol") or "")
        depth = result.get("depth")
        return Answer(
            head.req_id,
            head.success and not head.Error,
            symbol,
            head.error or head.Error,
            str(result.get("channel") or ""),
            depth if isinstance(depth, int) else 0,
        )
    snapshot = head.type == "snapshot"
    if head.channel in _TYPED and head.type not in ("snapshot", "update"):
        raise RejectError("unknown message", f"{head.channel} of type {head.type[:100]!r}")
    match head.channel:
        case "trade":
            trades = sorted(_TRADES.decode(head.data), key=lambda trade: trade.trade_id)
            return Trades([_trade(trade) for trade in trades], snapshot)
        case "ticker":
            return Quotes([_quote(quote) for quote in _QUOTES.decode(head.data)])
        case "book":
            return Books([_book(book, snapshot=snapshot) for book in _BOOKS.decode(head.data)])
        case "level3":
            return OrderBooks([_order_book(book, snapshot=snapshot) for book in _ORDERS.decode(head.data)])
        case "ohlc":
            bars: dict[str, list[Bar]] = {}
            for bar in sorted(map(_bar, _BARS.decode(head.data)), key=lambda bar: bar.begin):
                bars.setdefault(bar.symbol, []).append(bar)
            return Bars(bars, snapshot)
        case "instrument":
            return Pairs(_PAIRS.decode(head.data).pairs, snapshot)
        case "status":
            states = _STATUS.decode(head.data)
            return Status(states[-1].system) if states else Ignored("status")
        case "":
            raise RejectError("unknown message", "neither channel nor method")
        case _:
            return Ignored(head.channel)


def _trade(raw: _Trade) -> Trade:
    if raw.side not in ("buy", "sell") or not 0 <= raw.trade_id < 2**63:
        raise RejectError("schema", f"trade {raw.trade_id} with side {raw.side[:20]!r}")
    price, size = wire_decimal(raw.price), wire_decimal(raw.qty)
    return Trade(raw.symbol, raw.side, price, size, raw.trade_id, _time(raw.timestamp))


def _quote(raw: _Quote) -> Quote:
    bid, ask = (wire_decimal(raw.bid), wire_decimal(raw.bid_qty)), (wire_decimal(raw.ask), wire_decimal(raw.ask_qty))
    return Quote(raw.symbol, bid, ask, _time(raw.timestamp))


def _book(raw: _Book, *, snapshot: bool) -> Book:
    _check(raw.checksum)
    bids, asks = [Level(level) for level in raw.bids], [Level(level) for level in raw.asks]
    return Book(raw.symbol, bids, asks, raw.checksum, _time(raw.timestamp), snapshot)


def _order_book(raw: _OrderBook, *, snapshot: bool) -> OrderBook:
    _check(raw.checksum)
    bids, asks = ([_order(order, snapshot=snapshot) for order in side] for side in (raw.bids, raw.asks))
    return OrderBook(raw.symbol, bids, asks, raw.checksum, snapshot)


def _order(raw: _Order, *, snapshot: bool) -> Order:
    price, size = wire_decimal(raw.limit_price), wire_decimal(raw.order_qty)
    return Order(raw.order_id, price, size, _time(raw.timestamp), "add" if snapshot else raw.event)


def _bar(raw: _Bar) -> Bar:
    begin = rfc3339_ns(raw.interval_begin)
    return Bar(
        raw.symbol,
        begin,
        begin + raw.interval * MINUTE_NS,
        wire_decimal(raw.open),
        wire_decimal(raw.high),
        wire_decimal(raw.low),
        wire_decimal(raw.close),
        wire_decimal(raw.volume),
        wire_decimal(raw.vwap),
        raw.trades,
    )


def _check(checksum: int) -> None:
    if not 0 <= checksum < 2**32:
        raise RejectError("schema", f"checksum {checksum}")


def _time(text: str) -> int:
    return rfc3339_ns(text) if text else 0
