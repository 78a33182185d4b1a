"""What the conformance suite must know about a venue to test it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
from sim_process import SimProcess

from tickplant.feeds.contract import Event
from tickplant.records.channels import ON_CHANNEL
from tickplant.records.layouts import Flag, Side

Levels = dict[Side, dict[Decimal, Decimal]]
"""Size by side and price."""


class VenueSample(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    venue: str
    symbols: tuple[str, ...]
    further: str  # one more, that the simulated venue trades and nobody follows
    owner: Callable[[bytes], tuple[str, str] | None]  # of a whole frame of market data: symbol and channel
    channels: tuple[str, ...] = ("trade", "quote", "book")  # what the suite has it record
    levels: Callable[[bytes], Levels] | None = None  # of a book as the simulated venue shows it
    fetch_book: Callable[[SimProcess, str], bytes] | None = None  # the same of a symbol, from a process
    depth: int = 0  # levels a side of the book that a feed follows by default
    ws_path: str = ""  # of the simulated venue
    frames: tuple[bytes, ...] = ()  # documented, and not sent by the simulated venue, or seldom
    nothing: frozenset[bytes] = frozenset()  # frames without a stream that are sound, and say nothing
    counted: frozenset[str] = frozenset()  # channels whose ids tell a repeat
    read_from: dict[str, bytes] = {}  # by channel, behind what the numbers that a feed reads stand in a frame
    fresh: Callable[[bytes], bytes] = lambda frame: frame  # as it comes over a connection that has sent others since
    streams_named: dict[str, str] = {}  # by channel, the simulated venue's stream; {lower}: a symbol in small letters
    watched: frozenset[str] = frozenset({"trade", "quote", "book"})  # channels whose silence is known not to be rest
    lossy: str = "*"  # pattern of the simulated venue's streams of which a feed notices what is lost, or goes on right
    in_line: bool = True  # the ids of its trades have no holes
    has_links: bool = True  # else all comes by requests
    has_life: bool = True  # it says how its instruments change
    secrets: dict[str, str] = {}  # the values of a credential that its simulated self takes
    corrupts: bool = False  # a wrong digit of a book shows in its checksum
    polled: bool = True  # instrument data is asked for; else the venue pushes them
    by_name: bool = False  # it says of its instruments what it is asked by name
    acknowledges: bool = True  # it says whether it takes a subscription
    told: Callable[[], Iterator[tuple[int, Event]]] | None = None  # a session of a venue that has no simulated dialect
    stream: bool = False  # a link brings bytes that a read cuts anywhere, not frames

    def stream_of(self, symbol: str, channel: str) -> str:
        """Pattern of the simulated venue's stream for a symbol and channel."""
        return self.streams_named[channel].format(symbol=symbol, lower=symbol.lower())

    @property
    def has_book(self) -> bool:
        """Whether the suite records its books."""
        return "book" in self.channels

    @property
    def aggregate(self) -> int:
        """AGGREGATE if its trades are aggregates, else 0."""
        return 0 if "trade" in self.channels else int(Flag.AGGREGATE)

    @property
    def streams(self) -> set[Flag]:
        """The flags of its channels."""
        return {ON_CHANNEL[channel] for channel in self.channels}

    @property
    def all_streams(self) -> int:
        """These flags as one."""
        return int(sum(self.streams))

    @property
    def untold(self) -> set[Flag]:
        """Streams without ids that would reveal what an interruption has cost."""
        return self.streams - ({Flag.ON_TRADE} if self.in_line else set())


def numbers(frame: bytes) -> Any:
    return json.loads(frame, parse_float=Decimal, parse_int=Decimal)


def sides(bids: Any, asks: Any) -> Levels:
    return {
        side: {Decimal(price): Decimal(size) for price, size in rows}
        for side, rows in ((Side.BID, bids), (Side.ASK, asks))
    }
