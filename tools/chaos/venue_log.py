"""What the simulated venue reports as sent: its log, read back into messages.

`src/tickplant/sim/outlet.py` describes the log's format. A message sent on two connections, or twice on one, is one
message here, with each of its places.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

Channel = Literal["trade", "quote", "book"]
CHANNELS: Final[tuple[Channel, ...]] = ("trade", "quote", "book")

WITHHELD: Final = frozenset({"drop", "silent", "stall", "truncate", "reorder"})
"""Marks of lines whose message was not sent, or not readably."""

BUCKET_IDS: Final = 1 << 18

Levels = list[tuple[str, str]]


D = TypeVar("D")


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


class Head(msgspec.Struct):
    """The part of an event that a message is filed by."""

    s: str = ""
    e: str = ""
    t: int = 0
    u: int = 0


class Event(msgspec.Struct, Generic[D]):
    """A frame of a combined connection, including answers to subscriptions."""

    data: D | None = None


class Depth(msgspec.Struct):
    """A depth answer."""

    lastUpdateId: int  # noqa: N815  # the venue's name
    bids: Levels
    asks: Levels


class PastTrade(msgspec.Struct):
    """A trade in a REST answer."""

    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815  # the venue's name


_EVENT: Final = msgspec.json.Decoder(Event[Data])
_HEAD: Final = msgspec.json.Decoder(Event[Head])
_DEPTH: Final = msgspec.json.Decoder(Depth)
_TRADES: Final = msgspec.json.Decoder(list[PastTrade])


class Place(NamedTuple):
    """Where a message was sent: connection and line of the log."""

    connection: int
    line: int


class Sent:
    """One message of the venue, by its id."""

    __slots__ = ("content", "id", "places", "withheld")

    def __init__(self, ident: int, content: tuple[object, ...]) -> None:
        self.id = ident
        self.content = content  # as `contents` of a stored record gives it, as text
        self.places: list[Place] = []
        self.withheld: list[str] = []  # marks of the faults that took it, where it was not sent

    @property
    def was_sent(self) -> bool:
        """Whether it was sent readably at least once."""
        return bool(self.places)


class Stream:
    """Messages of one symbol and channel, a bucket of ids at a time: a long run does not fit into memory.

    Attributes:
        late: ids that the venue sent after a higher one of this stream, on any connection.
    """

    def __init__(self, log: VenueLog) -> None:
        self.late: set[int] = set()
        self._log = log
        self._highest = 0
        self._lines: dict[int, tuple[array[int], array[int]]] = {}  # by bucket, number and offset of its lines

    @property
    def buckets(self) -> list[int]:
        """Buckets with a message; see `bucket_of`."""
        return list(self._lines)

    def load(self, bucket: int) -> dict[int, Sent]:
        """Messages by id, in the order of their first mention."""
        found: dict[int, Sent] = {}
        for number, offset in zip(*self._lines.get(bucket, ((), ())), strict=True):
            connection, mark, text = self._log.line(offset)
            data = _EVENT.decode(text).data
            assert data is not None
            _, ident, content = _read(data)
            message = found.get(ident)
            if message is None:
                message = found[ident] = Sent(ident, content)
            if mark in WITHHELD:
                message.withheld.append(mark)
            else:
                message.places.append(Place(connection, number))
        return found

    def note(self, ident: int, number: int, offset: int, mark: str) -> None:
        """Note a line with this message."""
        numbers, offsets = self._lines.setdefault(bucket_of(ident), (array("Q"), array("Q")))
        numbers.append(number)
        offsets.append(offset)
        if mark in WITHHELD:
            return
        if ident < self._highest:
            self.late.add(ident)
        self._highest = max(self._highest, ident)


class VenueLog:
    """A whole log. `streams` by symbol and channel; `snapshots` and `past_trades` are REST answers."""

    def __init__(self, path: Path) -> None:
        self.streams: dict[tuple[str, Channel], Stream] = {}
        self.past_trades: dict[int, set[tuple[str, str]]] = {}  # price and size by id
        self._snapshots: dict[int, list[int]] = {}  # offsets by id
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            offset = 0
            for number, line in enumerate(file):
                self._note(number, offset, line)
                offset += len(line)

    def line(self, offset: int) -> tuple[int, str, bytes]:
        """Connection, mark of a fault, and text of the line at this offset."""
        return _parts(self._text[offset : self._text.find(b"\n", offset)])

    def snapshots(self, ident: int) -> Iterator[Depth]:
        """The REST answers with this id."""
        for offset in self._snapshots.get(ident, ()):
            yield _DEPTH.decode(self.line(offset)[2])

    def _note(self, number: int, offset: int, line: bytes) -> None:
        connection, mark, text = _parts(line.rstrip(b"\n"))
        if not connection:
            if text.startswith(b'{"lastUpdateId"'):
                self._snapshots.setdefault(_DEPTH.decode(text).lastUpdateId, []).append(offset)
            elif text.startswith(b'[{"id"'):
                for trade in _TRADES.decode(text):
                    self.past_trades.setdefault(trade.id, set()).add((trade.price, trade.qty))
        elif mark not in ("garbage", "oversize") and text.startswith(b'{"stream"'):
            data = _HEAD.decode(text).data
            if data is not None and data.s:  # no answer, and no notice
                channel = _channel(data.e)
                stream = self.streams.get((data.s, channel))
                if stream is None:
                    stream = self.streams[data.s, channel] = Stream(self)
                stream.note(data.t if channel == "trade" else data.u, number, offset, mark)


def bucket_of(ident: int) -> int:
    """Messages are looked at a bucket of ids at a time."""
    return ident // BUCKET_IDS


def _parts(line: bytes) -> tuple[int, str, bytes]:
    _, connection, text = line.split(b" ", 2)
    if not text.startswith(b"!"):
        return int(connection), "", text
    mark, _, text = text.partition(b" ")
    return int(connection), mark[1:].decode(), text


def _channel(event: str) -> Channel:
    return "trade" if event == "trade" else "book" if event == "depthUpdate" else "quote"


def _read(data: Data) -> tuple[Channel, int, tuple[object, ...]]:
    match channel := _channel(data.e):
        case "trade":
            return channel, data.t, (data.p, data.q, data.m, data.T)
        case "book":
            return channel, data.u, (data.b, data.a)
    return channel, data.u, (data.b, data.B, data.a, data.A)
