"""What the simulated venue says that it sent: its log, read back into messages.

The log's format is told in `src/tickplant/sim/outlet.py`. A message that was sent on two connections, or twice on
one, is one message here, with every place where it stood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

Channel = Literal["trade", "quote", "book"]
CHANNELS: Final[tuple[Channel, ...]] = ("trade", "quote", "book")

WITHHELD: Final = frozenset({"drop", "silent", "stall", "truncate", "reorder"})
"""Marks of lines whose message did not go out, or not readably."""

Levels = list[tuple[str, str]]


class Data(msgspec.Struct):
    """Any event of the streams that a feed subscribes to; names are the venue's."""

    s: str = ""
    e: str = ""
    t: int = 0
    p: str = ""
    q: str = ""
    m: bool = False
    T: int = 0
    u: int = 0
    b: str | Levels = ""
    B: str = ""
    a: str | Levels | int = ""
    A: str = ""


class Event(msgspec.Struct):
    """A frame of a combined connection, the answer to a subscription among them."""

    stream: str = ""
    data: Data | None = None


class Depth(msgspec.Struct):
    """A depth answer."""

    lastUpdateId: int  # noqa: N815  # the venue's name
    bids: Levels
    asks: Levels


class PastTrade(msgspec.Struct):
    """A trade in an answer of REST."""

    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815  # the venue's name


class Place(NamedTuple):
    """Where a message was sent: which connection, which line of the log."""

    connection: int
    line: int


class Sent:
    """One message of the venue, by its id."""

    __slots__ = ("content", "id", "places", "withheld")

    def __init__(self, ident: int, content: tuple[object, ...]) -> None:
        self.id = ident
        self.content = content  # as `contents` of a stored record gives it, in texts
        self.places: list[Place] = []
        self.withheld: list[str] = []  # marks of the faults that took it, where it was not sent as well

    @property
    def was_sent(self) -> bool:
        """Whether it went out readably at least once."""
        return bool(self.places)


Stream = dict[int, Sent]
"""Messages of one symbol and channel by id, in the order of their first mention."""


class VenueLog:
    """All of a log. `streams` by symbol and channel; `snapshots` and `past_trades` are what REST answered."""

    def __init__(self, path: Path) -> None:
        self.streams: dict[tuple[str, Channel], Stream] = {}
        self.snapshots: dict[int, list[Depth]] = {}
        self.past_trades: set[tuple[int, str, str]] = set()
        self.marks: Counter[str] = Counter()  # lines by the mark of their fault
        self.frames = 0  # that went out as they should
        self._event = msgspec.json.Decoder(Event)
        self._depth = msgspec.json.Decoder(Depth)
        self._trades = msgspec.json.Decoder(list[PastTrade])
        with path.open("rb") as file:
            for number, line in enumerate(file):
                _, connection, text = line.rstrip(b"\n").split(b" ", 2)
                if connection == b"0":
                    self._answer(text)
                else:
                    self._frame(int(connection), number, text)

    def sent(self) -> Iterator[tuple[str, Channel, Sent]]:
        """Every message that went out."""
        for (symbol, channel), stream in self.streams.items():
            for message in stream.values():
                if message.was_sent:
                    yield symbol, channel, message

    def _answer(self, text: bytes) -> None:
        if text.startswith(b'{"lastUpdateId"'):
            depth = self._depth.decode(text)
            self.snapshots.setdefault(depth.lastUpdateId, []).append(depth)
        elif text.startswith(b'[{"id"'):
            self.past_trades |= {(trade.id, trade.price, trade.qty) for trade in self._trades.decode(text)}

    def _frame(self, connection: int, line: int, text: bytes) -> None:
        mark = ""
        if text.startswith(b"!"):
            head, _, text = text.partition(b" ")
            mark = head[1:].decode()
            self.marks[mark] += 1
            if mark in ("garbage", "oversize"):
                return
        data = self._event.decode(text).data if text.startswith(b'{"stream"') else None
        if data is None or not data.s:
            return  # an answer, or a notice
        channel, ident, content = _read(data)
        stream = self.streams.setdefault((data.s, channel), {})
        message = stream.get(ident)
        if message is None:
            message = stream[ident] = Sent(ident, content)
        if mark in WITHHELD:
            message.withheld.append(mark)
        else:
            self.frames += 1
            message.places.append(Place(connection, line))


def _read(data: Data) -> tuple[Channel, int, tuple[object, ...]]:
    if data.e == "trade":
        return "trade", data.t, (data.p, data.q, data.m, data.T)
    if data.e == "depthUpdate":
        return "book", data.u, (data.b, data.a)
    return "quote", data.u, (data.b, data.B, data.a, data.A)
