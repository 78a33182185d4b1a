"""How the peers read a stream: the handler that each calls for a frame, with a callback that keeps its argument.

Only the peers' network is replaced: symbols, and the answer to a request for a book, are passed in. Needs the
environment of `make bench-peers`; `readers` leaves out peers that are not installed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

from bench.peer_frames import Stream

Price = tuple[str, Decimal, Decimal]
"""Side, price, size; the size is 0 if the peer returns none."""


class Reader(Protocol):
    """One peer with one stream, from its first frame on."""

    count: int  # what its callback was called for

    def frames(self, stream: Stream, count: int) -> Sequence[str | bytes]:
        """The first `count` frames of a stream, as its handler takes them."""
        ...

    def read(self, frames: Sequence[Any]) -> None:
        """Pass all these frames to its handler, one by one."""
        ...

    def found(self) -> list[Price]:
        """The argument of the last callback: for a book, the whole book or the last changes."""
        ...

    def close(self) -> None:
        """Let go of the event loop."""
        ...


# cryptofeed.

_FEEDS: Final = {
    "binance": ("Binance", "BTC-USDT", "BTCUSDT"),
    "binance-usdm": ("BinanceFutures", "BTC-USDT-PERP", "BTCUSDT"),
    "kraken": ("Kraken", "BTC-USD", "XBT/USD"),
    "coinbase-advanced": ("Coinbase", "BTC-USD", "BTC-USD"),
}
"""By venue: the class, cryptofeed's symbol, and the venue's symbol."""


class _Answer:
    """Stands in for a connection for requests."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def read(self, address: str) -> str:
        """The same answer to every request."""
        del address
        return self.body.decode()


class CryptofeedReader:
    """Calls `message_handler` of a feed."""

    def __init__(self, stream: Stream, **options: Any) -> None:
        from cryptofeed import exchanges  # noqa: PLC0415 (is only there in the environment of the peers)
        from cryptofeed.defines import L2_BOOK, TICKER, TRADES  # noqa: PLC0415
        from cryptofeed.symbols import Symbols  # noqa: PLC0415

        name, symbol, venue_symbol = _FEEDS[stream.venue]
        feed_class = getattr(exchanges, name)
        Symbols.set(feed_class.id, {symbol: venue_symbol}, {"instrument_type": {}})
        self.count = 0
        self.last: Any = None
        callbacks = dict.fromkeys((L2_BOOK, TICKER, TRADES), self._take)
        channels = [channel for channel in callbacks if channel in feed_class.websocket_channels]
        self._feed = feed_class(symbols=[symbol], channels=channels, callbacks=callbacks, **options)
        self._feed.http_conn = _Answer(stream.snapshot)
        self._loop = asyncio.new_event_loop()
        if stream.snapshot and not stream.asked:
            self.read([(stream.their_snapshot or stream.snapshot).decode()])
            self.count = 0

    async def _take(self, what: Any, ts_recv: float) -> None:
        del ts_recv
        self.count += 1
        self.last = what

    def frames(self, stream: Stream, count: int) -> Sequence[str]:
        """Frames as text, as its WebSocket library returns them."""
        return [frame.decode() for frame in (stream.theirs or stream.frames)(count)]

    def read(self, frames: Sequence[str]) -> None:
        """Pass frames one by one, as its connection does."""
        self._loop.run_until_complete(self._read(frames))

    async def _read(self, frames: Sequence[str]) -> None:
        handle = self._feed.message_handler
        for frame in frames:
            await handle(frame, None, time.time())

    def found(self) -> list[Price]:
        """What was found; a ticker of cryptofeed has no sizes."""
        last = self.last
        if hasattr(last, "book"):
            return [
                (side, price, size)
                for side, levels in (("bid", last.book.bids), ("ask", last.book.asks))
                for price, size in levels.to_dict().items()
            ]
        if hasattr(last, "bid"):
            return [("bid", last.bid, Decimal(0)), ("ask", last.ask, Decimal(0))]
        return [(last.side, last.price, last.amount)]

    def close(self) -> None:
        """Let go of the event loop."""
        self._loop.close()


# NautilusTrader.

_ACCOUNTS: Final = {"binance": "SPOT", "binance-usdm": "USDT_FUTURES"}
"""The account type, for each venue that it parses from Python. It parses other venues in Rust, behind the socket."""


class NautilusReader:
    """Calls `_handle_ws_message` of a data client, as its WebSocket client does for each frame."""

    def __init__(self, stream: Stream) -> None:
        from nautilus_trader.adapters.binance import BinanceAccountType, BinanceDataClientConfig  # noqa: PLC0415
        from nautilus_trader.adapters.binance import BinanceLiveDataClientFactory as Factory  # noqa: PLC0415
        from nautilus_trader.cache.cache import Cache  # noqa: PLC0415
        from nautilus_trader.common.component import LiveClock, MessageBus  # noqa: PLC0415
        from nautilus_trader.model.identifiers import TraderId  # noqa: PLC0415

        self.count = 0
        self.last: Any = None
        self._loop = asyncio.new_event_loop()
        clock = LiveClock()
        bus = MessageBus(trader_id=TraderId("BENCH-1"), clock=clock)
        bus.register(endpoint="DataEngine.process", handler=self._take)
        account = getattr(BinanceAccountType, _ACCOUNTS[stream.venue])
        config = BinanceDataClientConfig(api_key="none", api_secret="none", account_type=account)
        self._client = Factory.create(self._loop, "bench", config, bus, Cache(), clock)

    def _take(self, what: Any) -> None:
        self.count += 1
        self.last = what

    def frames(self, stream: Stream, count: int) -> Sequence[bytes]:
        """The venue's frames."""
        return stream.frames(count)

    def read(self, frames: Sequence[bytes]) -> None:
        """Pass frames one by one."""
        handle = self._client._handle_ws_message
        for frame in frames:
            handle(frame)

    def found(self) -> list[Price]:
        """What was found; for a book only the last changes, since the client keeps no book."""
        last = self.last
        if hasattr(last, "deltas"):
            orders = [delta.order for delta in last.deltas]
            sides = {"BUY": "bid", "SELL": "ask"}
            return [(sides[order.side.name], order.price.as_decimal(), order.size.as_decimal()) for order in orders]
        if hasattr(last, "bid_price"):
            return [
                ("bid", last.bid_price.as_decimal(), last.bid_size.as_decimal()),
                ("ask", last.ask_price.as_decimal(), last.ask_size.as_decimal()),
            ]
        side = {"BUYER": "buy", "SELLER": "sell"}[last.aggressor_side.name]
        return [(side, last.price.as_decimal(), last.size.as_decimal())]

    def close(self) -> None:
        """Let go of the event loop."""
        self._loop.close()


def readers(stream: Stream) -> dict[str, Callable[[Stream], Reader]]:
    """The peers that are installed and read this stream, by name and version."""
    found: dict[str, Callable[[Stream], Reader]] = {}
    if stream.venue in _FEEDS and importlib.util.find_spec("cryptofeed"):
        name = f"cryptofeed {importlib.metadata.version('cryptofeed')}"
        found[name] = CryptofeedReader
        if stream.checksums:
            found[f"{name}, checksum_validation"] = partial(CryptofeedReader, checksum_validation=True)
    if stream.venue in _ACCOUNTS and importlib.util.find_spec("nautilus_trader"):
        found[f"NautilusTrader {importlib.metadata.version('nautilus_trader')}"] = NautilusReader
    return found
