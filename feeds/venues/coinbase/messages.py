"""The reference decoder of the Coinbase Exchange feed: from frames to typed messages. Numbers stay text."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from tickplant.feeds.kit.rejected import RejectError

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Side = Literal["buy", "sell"]
T = TypeVar("T")
Level = tuple[str, str]
"""Price and size."""

Change = tuple[Side, str, str]
"""Side, price and size."""

RestOrder = tuple[str, str, str]
"""Price, size and the order's id."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message about one product."""

    product_id: str


class Match(Message, frozen=True, tag_field="type", tag="match"):
    """A trade; `side` is the maker's. On the channel `full` it also changes the book."""

    trade_id: Id
    side: Side
    size: str
    price: str
    time: str
    sequence: Id = 0
    maker_order_id: str = ""


class LastMatch(Match, frozen=True, tag_field="type", tag="last_match"):
    """The newest trade before a subscription."""


class Ticker(Message, frozen=True, tag_field="type", tag="ticker"):
    """Best bid and offer at the time of a trade. Recordings from before 2022 lack sizes; an empty side is left out."""

    sequence: Id
    time: str = ""
    best_bid: str | None = None
    best_ask: str | None = None
    best_bid_size: str | None = None
    best_ask_size: str | None = None


class Snapshot(Message, frozen=True, tag_field="type", tag="snapshot"):
    """A whole book."""

    bids: list[Level]
    asks: list[Level]
    time: str = ""


class Update(Message, frozen=True, tag_field="type", tag="l2update"):
    """Changes of a book, in order: absolute sizes, zero deletes."""

    changes: list[Change]
    time: str = ""


class Heartbeat(Message, frozen=True, tag_field="type", tag="heartbeat"):
    """Sent once a second: the present state of the product."""

    last_trade_id: Id
    sequence: Id = 0
    time: str = ""


class OrderMessage(Message, frozen=True):
    """A message of the channel `full`: an event of one order."""

    sequence: Id
    order_id: str = ""
    side: Side = "buy"
    time: str = ""


class Received(OrderMessage, frozen=True, tag_field="type", tag="received"):
    """The venue has received an order; it is not on the book yet, and may never be."""


class Open(OrderMessage, frozen=True, kw_only=True, tag_field="type", tag="open"):
    """An order is on the book, behind the others at its price."""

    price: str
    remaining_size: str


class Done(OrderMessage, frozen=True, tag_field="type", tag="done"):
    """An order is no longer on the book, or never was."""

    reason: str = ""
    price: str | None = None


class Altered(OrderMessage, frozen=True, tag_field="type", tag="change"):
    """An order has changed its size or price; a market order has no price."""

    price: str | None = None
    new_price: str | None = None
    new_size: str | None = None


class Activated(OrderMessage, frozen=True, tag_field="type", tag="activate"):
    """A stop order becomes an order; the book does not change."""


class Subscribed(msgspec.Struct, frozen=True):
    """A channel and its products."""

    name: str
    product_ids: list[str] = []


class Subscriptions(msgspec.Struct, frozen=True, tag_field="type", tag="subscriptions"):
    """All subscriptions of the connection."""

    channels: list[Subscribed] = []


class Refusal(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A request was not carried out."""

    message: str = ""
    reason: str = ""


class Product(msgspec.Struct, frozen=True):
    """The instrument data of one product."""

    id: str
    base_increment: str | None = None
    quote_increment: str | None = None
    status: str = "online"
    trading_disabled: bool = False
    cancel_only: bool = False


class Products(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """Instrument data."""

    products: list[Product] = []


class Ignored(msgspec.Struct, frozen=True):
    """A message that is not recorded."""

    kind: str


Order = Received | Open | Done | Altered | Activated
_Known = (
    Match
    | LastMatch
    | Ticker
    | Snapshot
    | Update
    | Heartbeat
    | Received
    | Open
    | Done
    | Altered
    | Activated
    | Subscriptions
    | Refusal
    | Products
)
Decoded = _Known | Ignored


class _Head(msgspec.Struct, frozen=True):
    type: str = ""


class OrderBook(msgspec.Struct, frozen=True):
    """All orders of a product, as REST returns them."""

    sequence: Id
    bids: list[RestOrder]
    asks: list[RestOrder]
    time: str = ""


class RestTrade(msgspec.Struct, frozen=True):
    """A past trade; `side` is the maker's."""

    trade_id: Id
    side: Side
    size: str
    price: str
    time: str


_MESSAGE: Final[msgspec.json.Decoder[_Known]] = msgspec.json.Decoder(_Known)
_HEAD: Final = msgspec.json.Decoder(_Head)
_KINDS: Final = frozenset(
    {"match", "last_match", "ticker", "snapshot", "l2update", "heartbeat", "received", "open", "done", "change"}
    | {"activate", "subscriptions", "error", "status"}
)
ORDERS: Final = msgspec.json.Decoder(OrderBook)
TRADES: Final = msgspec.json.Decoder(list[RestTrade])
PRODUCTS: Final = msgspec.json.Decoder(list[Product])


def decode(frame: bytes) -> Decoded:
    """The message of a frame. Raises RejectError."""
    try:
        return _MESSAGE.decode(frame)
    except msgspec.ValidationError as error:
        return _unknown(frame, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None


def _unknown(frame: bytes, why: str) -> Ignored:
    # The venue asks its clients to ignore unknown messages.
    try:
        kind = _HEAD.decode(frame).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        kind = ""
    if kind in _KINDS:
        raise RejectError("schema", why)
    if not kind:
        raise RejectError("unknown message", why)
    return Ignored(kind)


def decode_answer(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of an answer. Raises RejectError."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
