"""The reference decoder of Polygon: from frames to typed events. Numbers stay text, as on the wire.

A frame is an array of events of any kinds. All known ones are decoded in one go; if that fails, each is decoded by
itself, so that a bad event does not affect the others.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import msgspec

from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError

MOST_CONDITIONS: Final = 8
MANY: Final = 255
"""Byte for a condition above 254."""

_ID_MASK: Final = 2**63 - 1


class _Event(msgspec.Struct, frozen=True, tag_field="ev"):
    """An event. Numbers with a point are text, others are integers; see `decimal`."""


class _Print(_Event, frozen=True):
    """What trades of all clusters share."""

    price: Any = msgspec.field(name="p")
    size: Any = msgspec.field(name="s")
    t: int
    c: list[int] | int | None = None
    exchange: int = msgspec.field(name="x", default=0)

    @property
    def conditions(self) -> list[int]:
        """The venue's codes, in its order."""
        return [] if self.c is None else [self.c] if isinstance(self.c, int) else self.c

    @property
    def packed(self) -> int:
        """The first eight conditions, a byte each, low byte first, 255 for those above 254; as an int64."""
        found = self.conditions
        if not found:
            return 0
        if min(found) < 0:
            raise RejectError("schema", f"condition {min(found)}")
        codes = bytes(min(code, MANY) for code in found[:MOST_CONDITIONS])
        return int.from_bytes(codes.ljust(MOST_CONDITIONS, b"\0"), "little", signed=True)


class Trade(_Print, frozen=True, tag="T", kw_only=True):
    """A trade of a stock or an option. Its sequence is unique per symbol and day, and rises with holes."""

    symbol: str = msgspec.field(name="sym")
    sequence: int = msgspec.field(name="q", default=0)
    name: Any = msgspec.field(name="i", default="")  # the exchange's id; options have none
    trf_time: int = msgspec.field(name="trft", default=0)

    @property
    def id(self) -> int:
        """Identifies the trade, together with its time."""
        if not 0 <= self.sequence <= _ID_MASK:
            raise RejectError("schema", f"sequence {self.sequence}")
        return self.sequence


class CryptoTrade(_Print, frozen=True, tag="XT", kw_only=True):
    """A trade of a pair. It has no sequence; its id is unique per exchange."""

    symbol: str = msgspec.field(name="pair")
    name: Any = msgspec.field(name="i", default="")

    @property
    def id(self) -> int:
        """The id if it is an integer, else 63 bits of its blake2b; 0 if there is none."""
        return id_of(self.name)


def id_of(name: object) -> int:
    """An id of the venue, a number or text, as an integer of 63 bits; 0 for none. Raises RejectError."""
    if type(name) is int:
        if 0 <= name <= _ID_MASK:
            return name
        raise RejectError("schema", f"trade id {name}")
    if not isinstance(name, str):
        raise RejectError("schema", "a trade id is text or an integer")
    if name.isascii() and name.isdecimal() and len(name) <= 18 and (name[0] != "0" or name == "0"):
        return int(name)
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little") & (
        _ID_MASK if name else 0
    )


class _BestPrices(_Event, frozen=True, kw_only=True):
    """What quotes of all clusters share."""

    bid: Any = msgspec.field(name="bp", default=0)
    bid_size: Any = msgspec.field(name="bs", default=0)
    ask: Any = msgspec.field(name="ap", default=0)
    ask_size: Any = msgspec.field(name="as", default=0)
    sequence: int = msgspec.field(name="q", default=0)
    t: int

    @property
    def id(self) -> int:
        """The sequence of a stock or option, which rises with holes; 0 for a pair."""
        if not 0 <= self.sequence <= _ID_MASK:
            raise RejectError("schema", f"sequence {self.sequence}")
        return self.sequence


class Quote(_BestPrices, frozen=True, tag="Q", kw_only=True):
    """Best bid and offer of a stock or an option. Sizes are as sent: round lots or shares."""

    symbol: str = msgspec.field(name="sym")


class CryptoQuote(_BestPrices, frozen=True, tag="XQ", kw_only=True):
    """Best bid and offer of a pair."""

    symbol: str = msgspec.field(name="pair")


class ForexQuote(_Event, frozen=True, tag="C", kw_only=True):
    """Best bid and offer of a currency pair, without sizes."""

    symbol: str = msgspec.field(name="p")
    bid: Any = msgspec.field(name="b")
    ask: Any = msgspec.field(name="a")
    t: int


class _Bar(_Event, frozen=True, kw_only=True):
    open: Any = msgspec.field(name="o")
    high: Any = msgspec.field(name="h")
    low: Any = msgspec.field(name="l")
    close: Any = msgspec.field(name="c")
    volume: Any = msgspec.field(name="v")
    vwap: Any = msgspec.field(name="vw", default="")
    start: int = msgspec.field(name="s")
    end: int = msgspec.field(name="e")

    def ohlc(self) -> Ohlc:
        """The bar in the kit's form. Raises RejectError."""
        return Ohlc(
            epoch_ns(self.start),
            epoch_ns(self.end),
            decimal(self.open),
            decimal(self.high),
            decimal(self.low),
            decimal(self.close),
            decimal(self.volume),
            decimal(self.vwap),
        )


class MinuteBar(_Bar, frozen=True, tag="AM", kw_only=True):
    """A bar of a minute."""

    symbol: str = msgspec.field(name="sym")


class SecondBar(MinuteBar, frozen=True, tag="A", kw_only=True):
    """A bar of a second."""


class CryptoMinuteBar(_Bar, frozen=True, tag="XA", kw_only=True):
    """A bar of a minute."""

    symbol: str = msgspec.field(name="pair")


class CryptoSecondBar(CryptoMinuteBar, frozen=True, tag="XAS", kw_only=True):
    """A bar of a second."""


class Limits(_Event, frozen=True, tag="LULD", kw_only=True):
    """The band in which a stock may trade."""

    symbol: str = msgspec.field(name="T")
    high: Any = msgspec.field(name="h")
    low: Any = msgspec.field(name="l")
    t: int


class Level(NamedTuple):
    """A level as sent on the wire."""

    price: str
    size: str


class CryptoBook(_Event, frozen=True, tag="XL2", kw_only=True):
    """The book of a pair at one exchange, whole up to 100 levels per side."""

    symbol: str = msgspec.field(name="pair")
    bids: list[tuple[Any, Any]] = msgspec.field(name="b", default=[])
    asks: list[tuple[Any, Any]] = msgspec.field(name="a", default=[])
    exchange: int = msgspec.field(name="x", default=0)
    t: int

    @property
    def levels(self) -> tuple[list[Level], list[Level]]:
        """Bids and asks. Raises RejectError."""
        bids, asks = ([Level(decimal(price), decimal(size)) for price, size in side] for side in (self.bids, self.asks))
        return bids, asks


class Status(_Event, frozen=True, tag="status", kw_only=True):
    """The venue's message about the connection, the login or subscriptions."""

    status: str
    message: str = ""


class Ignored(msgspec.Struct, frozen=True):
    """An event of a kind that is not recorded."""

    kind: str


class Unread(msgspec.Struct, frozen=True):
    """An event that cannot be decoded, and why."""

    raw: bytes
    error: RejectError


Known = (
    Trade
    | Quote
    | MinuteBar
    | SecondBar
    | Limits
    | CryptoTrade
    | CryptoQuote
    | CryptoMinuteBar
    | CryptoSecondBar
    | CryptoBook
    | ForexQuote
    | Status
)
Event = Known | Ignored | Unread


class _Head(msgspec.Struct, frozen=True):
    ev: str


_EVENTS: Final[msgspec.json.Decoder[list[Known]]] = msgspec.json.Decoder(list[Known], float_hook=str)
_PARTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_PART: Final[msgspec.json.Decoder[Known]] = msgspec.json.Decoder(Known, float_hook=str)
_HEAD: Final = msgspec.json.Decoder(_Head)
_TAGS: Final = frozenset(str(each.__struct_config__.tag) for each in Known.__args__)


def decode(frame: bytes) -> list[Known] | list[Event]:
    """The events of a frame. Raises RejectError if the frame is not an array."""
    try:
        return _EVENTS.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        parts = _PARTS.decode(frame)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    return [_event(bytes(part)) for part in parts]


def _event(raw: bytes) -> Event:
    try:
        kind = _HEAD.decode(raw).ev
        return _PART.decode(raw) if kind in _TAGS else Ignored(kind)
    except msgspec.ValidationError as error:
        return Unread(raw, RejectError("schema", str(error)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unread(raw, RejectError("not json", str(error)))


def decimal(value: object) -> str:
    """A number of an event as text. Raises RejectError."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise RejectError("schema", f"{str(value)[:40]!r} is no number")


def side(price: object, size: object) -> tuple[str, str]:
    """Price and size of a side of a quote; zeros for an absent side, whose price is 0. Raises RejectError."""
    text = decimal(price)
    return (text, decimal(size)) if text.strip("0.") else ("0", "0")


time_ns = epoch_ns
"""Most times are in ms; LULD is in us, and others in ns."""
