"""The reference decoder of Coinbase Advanced Trade: from frames to typed messages. Numbers stay text."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec

from tickplant.feeds.kit.rejected import RejectError

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
IdText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")]


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The fields that all messages of the venue's channels share: the time, and the connection's message count."""

    sequence_num: Id
    timestamp: str


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade; `side` is the maker's."""

    product_id: str
    trade_id: IdText
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    time: str


class _Trades(msgspec.Struct, frozen=True):
    type: Literal["snapshot", "update"]
    trades: list[Trade]


class Trades(Envelope, frozen=True, tag_field="channel", tag="market_trades"):
    """Trades, newest first; those of a snapshot were made before the subscription."""

    events: list[_Trades]


class Change(msgspec.Struct, frozen=True, gc=False):
    """The present state of a level; zero deletes."""

    side: Literal["bid", "offer"]
    price_level: str
    new_quantity: str


class Book(msgspec.Struct, frozen=True):
    """A whole book, or changes of it."""

    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[Change]


class Books(Envelope, frozen=True, tag_field="channel", tag="l2_data"):
    """Books, or changes of books."""

    events: list[Book]


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and offer; an empty text for an empty side."""

    product_id: str
    best_bid: str
    best_bid_quantity: str
    best_ask: str
    best_ask_quantity: str


class _Tickers(msgspec.Struct, frozen=True):
    tickers: list[Ticker]


class Tickers(Envelope, frozen=True, tag_field="channel", tag="ticker"):
    """Best bids and offers of several products."""

    events: list[_Tickers]


class Heartbeat(Envelope, frozen=True, tag_field="channel", tag="heartbeats"):
    """Sent once a second."""


class _State(msgspec.Struct, frozen=True):
    subscriptions: dict[str, list[str]]


class Subscriptions(Envelope, frozen=True, tag_field="channel", tag="subscriptions"):
    """All subscriptions of the connection: products by channel."""

    events: list[_State]


class Product(msgspec.Struct, frozen=True):
    """The instrument data of one product."""

    id: str
    base_increment: str | None = None
    quote_increment: str | None = None
    status: str = "online"


class _Products(msgspec.Struct, frozen=True):
    type: str = ""
    products: list[Product] = []


class Products(Envelope, frozen=True, tag_field="channel", tag="status"):
    """Instrument data."""

    events: list[_Products]


class Ignored(msgspec.Struct, frozen=True):
    """A message that is not recorded; `sequence_num` is None if it has no number."""

    kind: str
    sequence_num: int | None


class Refusal(msgspec.Struct, frozen=True):
    """A request was not carried out; the message does not say which."""

    message: str


_Known = Trades | Books | Tickers | Heartbeat | Subscriptions | Products
Decoded = _Known | Ignored | Refusal


class _Head(msgspec.Struct, frozen=True):
    channel: str = ""
    type: str = ""
    message: str = ""


_MESSAGE: Final[msgspec.json.Decoder[_Known]] = msgspec.json.Decoder(_Known)
_HEAD: Final = msgspec.json.Decoder(_Head)
_CHANNELS: Final = frozenset({"market_trades", "l2_data", "ticker", "heartbeats", "subscriptions", "status"})
_NUMBER: Final = re.compile(rb'"sequence_num"\s*:\s*(\d{1,18})\b')


def decode(frame: bytes) -> Decoded:
    """The message of a frame. Raises RejectError."""
    try:
        return _MESSAGE.decode(frame)
    except msgspec.ValidationError as error:
        return _other(frame, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None


def _other(frame: bytes, why: str) -> Ignored | Refusal:
    try:
        head = _HEAD.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RejectError("schema", why) from None
    if head.channel in _CHANNELS:
        raise RejectError("schema", why)
    if head.channel:
        return Ignored(head.channel, number_of(frame))
    if head.type == "error":
        return Refusal(head.message)
    raise RejectError("unknown message", why)


def number_of(frame: bytes) -> int | None:
    """The count of an otherwise unreadable frame."""
    found = _NUMBER.search(frame)
    return None if found is None else int(found[1])
