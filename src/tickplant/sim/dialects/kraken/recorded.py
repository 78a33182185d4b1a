"""Recordings of Kraken's WebSocket v2, and the state of what has been played, for clients that come later. No I/O."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from tickplant.errors import FeedError
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Line, RecordedVenue, Snapshot
from tickplant.sim.dialects.kraken.instruments import instrument_frame
from tickplant.sim.dialects.kraken.recorded_book import KeptBook, book_entries
from tickplant.sim.dialects.kraken.rest import TradeDesk
from tickplant.sim.dialects.kraken.session import Desk
from tickplant.sim.dialects.kraken.shapes import DEPTHS, INSTRUMENT, STATUS, TRADES_SHOWN
from tickplant.sim.frames import Batch
from tickplant.sim.sim_source import Listed, Trade, fixed


class _Message(msgspec.Struct):
    channel: str = ""
    type: str = ""
    method: str = ""
    result: Any = None
    data: msgspec.Raw = msgspec.Raw(b"[]")
    Error: str = ""


class _Named(msgspec.Struct):
    symbol: str
    trade_id: int = 0
    checksum: int = 0


class _Trade(msgspec.Struct):
    price: Any
    qty: Any
    side: str
    ord_type: str
    trade_id: int
    timestamp: str


class _Pair(msgspec.Struct):
    symbol: str
    price_precision: int
    qty_precision: int
    base: str = ""
    quote: str = ""
    status: str = "online"


class _Pairs(msgspec.Struct):
    pairs: list[_Pair]


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_NAMED: Final = msgspec.json.Decoder(list[_Named])
_RAW: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TRADE: Final = msgspec.json.Decoder(_Trade, float_hook=str)
_PAIRS: Final = msgspec.json.Decoder(_Pairs)


class KrakenRecording(RecordedVenue, Desk, TradeDesk):
    """First what is recorded, then what has been played; also the desk for subscribers."""

    venue = "kraken"
    stale: Callable[[str], Snapshot | None]

    def __init__(self, *, kept_trades: int) -> None:
        self.stale = lambda symbol: None
        self._streams: list[str] = []  # in the order of their first line
        self._pairs: dict[str, _Pair] = {}
        self._instruments = b""  # the recorded snapshot of the channel
        self._depths: dict[str, int] = {}
        self._books: dict[str, KeptBook] = {}
        self._trades: defaultdict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=kept_trades))
        self._tickers: dict[str, bytes] = {}

    def survey(self, number: int, frame: bytes) -> Line | None:
        """See RecordedVenue; notes pairs, their digits and the depths of their books."""
        line = self.read(frame)
        if line is None:
            return None
        try:
            message = _MESSAGE.decode(frame)
            self._note(message)
        except (msgspec.DecodeError, ValueError):
            return None
        if line.stream and line.stream not in self._streams and not (line.is_greeting and not self._streams):
            self._streams.append(line.stream)
        if message.channel == INSTRUMENT and message.type == "snapshot" and not self._instruments:
            self._instruments = frame
        return line

    def _note(self, message: _Message) -> None:
        if isinstance(message.result, dict) and message.result.get("depth") in DEPTHS:
            self._depths.setdefault(str(message.result.get("symbol")), message.result["depth"])
        elif message.channel == INSTRUMENT:
            for pair in _PAIRS.decode(message.data).pairs:
                self._pairs.setdefault(pair.symbol, pair)
        elif message.channel == "book" and message.type == "snapshot":
            for entry in book_entries(message.data):
                longest = max(len(entry.bids), len(entry.asks))
                self._depths.setdefault(entry.symbol, next((one for one in DEPTHS if one >= longest), DEPTHS[-1]))
                for level in [*entry.bids, *entry.asks][:1]:
                    price_digits, size_digits = (len(str(level[name]).partition(".")[2]) for name in ("price", "qty"))
                    self._pairs.setdefault(entry.symbol, _Pair(entry.symbol, price_digits, size_digits))
        elif message.channel in ("trade", "ticker"):
            for named in _NAMED.decode(message.data):
                # The number of decimals is unknown: eight hold all.
                self._pairs.setdefault(named.symbol, _Pair(named.symbol, 8, 8))

    def listed(self) -> dict[str, Listed]:
        """The pairs of the recorded instrument channel, or else those with data."""
        return {
            symbol: Listed(
                symbol,
                one.base or symbol.partition("/")[0],
                one.quote or symbol.partition("/")[2],
                one.price_precision,
                one.qty_precision,
                fixed(1, one.price_precision),
                fixed(1, one.qty_precision),
                one.status,
            )
            for symbol, one in self._pairs.items()
        }

    def fetched(self) -> dict[int, str]:
        """Nothing: snapshots are frames."""
        return {}

    def read(self, frame: bytes) -> Line | None:
        """A channel's frame; answers and heartbeats are each connection's own, and instruments are pushed."""
        try:
            message = _MESSAGE.decode(frame)
            if message.method or message.Error or message.channel == "heartbeat":
                return Line()
            if message.channel == STATUS:
                return Line(STATUS, is_greeting=True)
            if message.channel == INSTRUMENT:
                return Line(INSTRUMENT if message.type == "update" else "")
            if not message.channel:
                return None
            entries = _NAMED.decode(message.data)
        except msgspec.DecodeError:
            return None
        if not entries:
            return Line()
        last = entries[-1]
        return Line(f"{last.symbol}@{message.channel}", last.trade_id or last.checksum)

    def key(self, stream: str) -> str:
        """The name without trigger and depth, which a recorded frame does not state."""
        symbol, mark, channel = stream.partition("@")
        return symbol + mark + channel.partition("-")[0]

    def book_stream(self, symbol: str) -> str:
        """The book at whatever depth was recorded."""
        return f"{symbol}@book"

    # What has been played.

    def played(self, batch: Batch) -> None:
        """Keep books, the last trades and the last tickers."""
        for message, stream in enumerate(batch.stream.tolist()):
            symbol, _, channel = self._streams[stream].partition("@")
            if channel not in ("book", "trade", "ticker"):
                continue
            decoded = _MESSAGE.decode(batch.payload(message))
            if channel == "book":
                self._keep_book(symbol, decoded)
            elif channel == "trade":
                self._trades[symbol].extend(bytes(raw) for raw in _RAW.decode(decoded.data))
            else:
                self._tickers[symbol] = bytes(decoded.data)

    def _keep_book(self, symbol: str, message: _Message) -> None:
        is_snapshot = message.type == "snapshot"
        if symbol not in self._books:
            pair = self._pairs.get(symbol)
            if pair is None or not is_snapshot:
                return  # a recording that begins in mid-stream has no book
            digits = (pair.price_precision, pair.qty_precision)
            self._books[symbol] = KeptBook(symbol, self._depths[symbol], *digits)
        for entry in book_entries(message.data):
            self._books[symbol].apply(entry, is_snapshot=is_snapshot)

    def start(self, symbol: str, body: bytes) -> None:
        """Never called: nothing is fetched."""
        raise FeedError(f"{symbol}: a snapshot of Kraken comes on the connection")

    # The desk.

    @functools.cached_property
    def _listed(self) -> dict[str, Listed]:
        return self.listed()

    def lists(self, symbol: str) -> bool:
        """Whether the recording contains the pair."""
        return symbol in self._listed

    def offers(self, symbol: str, depth: int) -> bool:
        """True for the recorded depth only."""
        return self._depths.get(symbol, depth) == depth

    def symbols(self) -> list[str]:
        """All pairs."""
        return list(self._listed)

    def trades(self, symbol: str, since_ns: int, limit: int) -> list[Trade]:
        """See TradeDesk; covers the played trades."""
        trades = [
            Trade(
                one.trade_id,
                str(one.price),
                str(one.qty),
                int(np.datetime64(one.timestamp.removesuffix("Z"), "ns").astype(np.int64)),
                one.side == "sell",
                is_limit=one.ord_type == "limit",
            )
            for one in map(_TRADE.decode, self._trades[symbol])
        ]
        return [one for one in trades if one.time_ns > since_ns][:limit] if since_ns else trades[-limit:]

    def snapshot(self, stream: str) -> Text | None:
        """What has been played of a stream; None before that, since its snapshot is recorded."""
        if stream == INSTRUMENT:
            return Text(self._instruments or instrument_frame("snapshot", self._listed.values()), stream)
        symbol, _, channel = self.key(stream).partition("@")
        if channel == "book" and symbol in self._books:
            depth = self._depths[symbol]
            old = self.stale(symbol)
            book = self._books[symbol]
            return Text(book.snapshot(depth) if old is None else old(depth), stream, book.checksum(depth))
        if channel == "trade" and self._trades[symbol]:
            shown = b",".join(list(self._trades[symbol])[-TRADES_SHOWN:])
            return Text(b'{"channel":"trade","type":"snapshot","data":[%b]}' % shown, stream)
        if channel == "ticker" and symbol in self._tickers:
            return Text(b'{"channel":"ticker","type":"snapshot","data":%b}' % self._tickers[symbol], stream)
        return None

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as played so far."""
        return {symbol: book.copy().snapshot for symbol, book in self._books.items()}
