"""The reference decoder of OKX: from frames to typed messages. Numbers stay text, as on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from tickplant.feeds.kit.instrument_life import SymbolInfo, decimals
from tickplant.feeds.kit.rejected import RejectError, read_json
from tickplant.feeds.venues.okx.venue import CLOSED, TRADING, UNCHAINED

Signed = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]


class Trade(msgspec.Struct, frozen=True, rename="camel"):
    """Fills of one taker at one price, from one source; `side` is the taker's."""

    trade_id: str  # of the last fill
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: str  # ms
    count: str = "1"  # number of fills; old recordings have a message for each


class Ticker(msgspec.Struct, frozen=True, rename="camel"):
    """Best prices; those of an empty side are empty."""

    ask_px: str
    ask_sz: str
    bid_px: str
    bid_sz: str
    ts: str


class Level(msgspec.Struct, frozen=True, array_like=True):
    """A level; an unused field and the number of its orders follow."""

    price: str
    size: str


class Book(msgspec.Struct, frozen=True, rename="camel"):
    """A whole book, or a change of one."""

    asks: Sequence[Level]
    bids: Sequence[Level]
    ts: str
    checksum: Signed = 0
    prev_seq_id: Signed = UNCHAINED
    seq_id: Signed = UNCHAINED


Row = Trade | Ticker | Book


class Arg(msgspec.Struct, frozen=True, rename="camel"):
    """What a message is about."""

    channel: str
    inst_id: str = ""


class Message(msgspec.Struct, frozen=True):
    """Any message; `data` is read once its channel is known."""

    arg: Arg = Arg("")
    action: str = ""
    event: str = ""
    id: str = ""  # of the request being answered
    code: str = ""
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


class _Instrument(msgspec.Struct, frozen=True, rename="camel"):
    inst_id: str
    state: str
    tick_sz: str = ""
    lot_sz: str = ""


class _Instruments(msgspec.Struct, frozen=True):
    code: str
    data: Sequence[_Instrument]


_MESSAGE: Final = msgspec.json.Decoder(Message)
_INSTRUMENTS: Final = msgspec.json.Decoder(_Instruments)
_ROWS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "trades": msgspec.json.Decoder(list[Trade]),
    "tickers": msgspec.json.Decoder(list[Ticker]),
    "books": msgspec.json.Decoder(list[Book]),
}


def decode(frame: bytes) -> tuple[Message, Sequence[Any]]:
    """The message of a frame, and the trades, tickers or books in it. Raises RejectError."""
    message = Message(event="pong") if frame == b"pong" else read_json(_MESSAGE, frame)
    rows = None if message.event else _ROWS.get(message.arg.channel)
    return message, () if rows is None else read_json(rows, message.data)


def first_fill(last: int, fills: int) -> int:
    """The id of the first fill of a trade, whose fills have consecutive ids; never below 0."""
    return max(last - max(fills, 1) + 1, 0)


def instruments(body: bytes) -> Sequence[SymbolInfo]:
    """The instruments that the venue lists. Raises RejectError."""
    answer = read_json(_INSTRUMENTS, body)
    if answer.code != "0":
        raise RejectError("unknown message", f"code {answer.code[:64]}")
    return [
        SymbolInfo(
            one.inst_id,
            one.state,
            one.state == TRADING,
            one.state == CLOSED,
            *((decimals(step),) for step in (one.tick_sz, one.lot_sz)),
        )
        for one in answer.data
    ]
