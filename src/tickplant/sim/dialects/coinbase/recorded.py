"""Recordings of Coinbase Exchange, and the state of what has been played, for clients that come later. No I/O."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np

from tickplant.errors import FeedError
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Line, RecordedVenue, Snapshot
from tickplant.sim.dialects.coinbase.exchange_printer import STATUS, status_frame
from tickplant.sim.dialects.coinbase.exchange_rest import RestDesk
from tickplant.sim.dialects.coinbase.session import Desk
from tickplant.sim.frames import Batch
from tickplant.sim.sim_source import Listed, Trade, fixed


class _Message(msgspec.Struct):
    type: str
    product_id: str = ""
    trade_id: int = 0
    sequence: int = 0
    side: str = ""
    price: str | None = None
    size: str = ""
    time: str = ""
    bids: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []
    changes: list[tuple[str, str, str]] = []


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_STREAMS: Final = {
    "match": "matches",
    "last_match": "matches",
    "ticker": "ticker",
    "snapshot": "level2",
    "l2update": "level2",
    "heartbeat": "heartbeat",
} | dict.fromkeys(("received", "open", "done", "change", "activate"), "full")
_SIDES: Final = ("bids", "asks")


class _Book:
    """Levels as text, by their numbers: one price may appear on the wire in several forms."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[Decimal, tuple[str, str]]] = {side: {} for side in _SIDES}
        self.time = ""

    def apply(self, message: _Message) -> None:
        """Apply a whole book or changes."""
        self.time = message.time or self.time
        if message.type == "snapshot":
            levels = {"bids": message.bids, "asks": message.asks}
            self.sides = {side: {Decimal(level[0]): level for level in levels[side]} for side in _SIDES}
        for side, price, size in message.changes:
            levels_of = self.sides["bids" if side == "buy" else "asks"]
            if Decimal(size):
                levels_of[Decimal(price)] = price, size
            else:
                levels_of.pop(Decimal(price), None)

    def frame(self, symbol: str, depth: int) -> bytes:
        """The snapshot for a client that subscribes now."""
        sides = {
            side: [self.sides[side][price] for price in sorted(self.sides[side], reverse=side == "bids")[:depth]]
            for side in ("asks", "bids")
        }
        told: dict[str, Any] = {"type": "snapshot", "product_id": symbol} | sides
        return msgspec.json.encode(told | ({"time": self.time} if self.time else {}))


class CoinbaseRecording(RecordedVenue, Desk, RestDesk):
    """First what is recorded, then what has been played; also the desk for subscribers."""

    venue = "coinbase"

    def __init__(self, *, kept_trades: int) -> None:
        self._streams: list[str] = []  # in the order of their first line
        self._digits: dict[str, list[int]] = {}  # most decimals of prices and of sizes, by product
        self._books: defaultdict[str, _Book] = defaultdict(_Book)
        self._trades: defaultdict[str, deque[_Message]] = defaultdict(lambda: deque(maxlen=kept_trades))
        self._last: dict[str, bytes] = {}  # newest frame of a stream of trades or tickers

    def survey(self, number: int, frame: bytes) -> Line | None:
        """See RecordedVenue; notes products and their digits."""
        line = self.read(frame)
        if line is None or not line.stream or line.stream == STATUS:
            return line
        if line.stream not in self._streams:
            self._streams.append(line.stream)
        message = _MESSAGE.decode(frame)
        digits = self._digits.setdefault(message.product_id, [0, 0])
        numbers = [*message.bids, *message.asks, *(change[1:] for change in message.changes)]
        for level in [*numbers, (message.price or "", message.size)]:
            for at, text in enumerate(level):
                digits[at] = max(digits[at], len(text.partition(".")[2]))
        return line

    def listed(self) -> dict[str, Listed]:
        """The products with data, and the decimals of those data."""
        return {
            symbol: Listed(
                symbol,
                symbol.partition("-")[0],
                symbol.partition("-")[2],
                price_digits,
                size_digits,
                fixed(1, price_digits),
                fixed(1, size_digits),
                "online",
            )
            for symbol, (price_digits, size_digits) in self._digits.items()
        }

    def fetched(self) -> dict[int, str]:
        """Nothing: snapshots are frames."""
        return {}

    def read(self, frame: bytes) -> Line | None:
        """A message; answers are each connection's own."""
        try:
            message = _MESSAGE.decode(frame)
        except msgspec.DecodeError:
            return None
        if message.type == STATUS:
            return Line(STATUS)
        if message.type not in _STREAMS:
            return Line()
        return Line(f"{message.product_id}@{_STREAMS[message.type]}", message.trade_id or message.sequence)

    def key(self, stream: str) -> str:
        """A stream has one name."""
        return stream

    def book_stream(self, symbol: str) -> str:
        """The changes of price levels."""
        return f"{symbol}@level2"

    # What has been played.

    def played(self, batch: Batch) -> None:
        """Keep books, trades and the last tickers."""
        for message, stream in enumerate(batch.stream.tolist()):
            name = self._streams[stream]
            frame = batch.payload(message)
            if name.endswith("@level2"):
                decoded = _MESSAGE.decode(frame)
                self._books[decoded.product_id].apply(decoded)
            elif name.endswith("@matches"):
                decoded = _MESSAGE.decode(frame)
                self._trades[decoded.product_id].append(decoded)
                self._last[name] = frame.replace(b'"type":"match"', b'"type":"last_match"', 1)
            elif name.endswith("@ticker"):
                self._last[name] = frame

    def start(self, symbol: str, body: bytes) -> None:
        """Never called: nothing is fetched."""
        raise FeedError(f"{symbol}: a snapshot of Coinbase comes on the connection")

    # The desk.

    @functools.cached_property
    def _listed(self) -> dict[str, Listed]:
        return self.listed()

    def lists(self, symbol: str) -> bool:
        """Whether the recording has data of the product."""
        return symbol in self._listed

    def products(self) -> Iterable[Listed]:
        """All products."""
        return self._listed.values()

    def trades(self, symbol: str, before: int | None, limit: int) -> list[Trade]:
        """See RestDesk; covers the played trades."""
        known = {one.trade_id: one for one in self._trades[symbol] if before is None or one.trade_id < before}
        return [
            Trade(
                one.trade_id,
                str(one.price),
                one.size,
                int(np.datetime64(one.time.removesuffix("Z"), "ns").astype(np.int64)),
                one.side == "buy",
            )
            for one in sorted(known.values(), key=lambda one: -one.trade_id)[:limit]
        ]

    def orders(self, symbol: str) -> None:
        """None: the orders before the recording are unknown."""
        return

    def snapshot(self, stream: str) -> Text | None:
        """What has been played of a stream; None before that, since its snapshot is recorded."""
        if stream == STATUS:
            return Text(status_frame(self.products()), stream)
        symbol, _, name = stream.partition("@")
        if name == "level2" and symbol in self._books:
            return Text(self._books[symbol].frame(symbol, 1 << 20), stream)
        last = self._last.get(stream)
        return None if last is None else Text(last, stream)

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as played so far."""
        return {
            symbol: functools.partial(_first_levels, book.frame(symbol, 1 << 20))
            for symbol, book in self._books.items()
        }


def _first_levels(frame: bytes, depth: int) -> bytes:
    book = msgspec.json.decode(frame)
    return msgspec.json.encode(book | {side: book[side][:depth] for side in _SIDES})
