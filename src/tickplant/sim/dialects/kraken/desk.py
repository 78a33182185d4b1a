"""Snapshots of a synthetic market for new subscribers. No I/O."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import msgspec

from tickplant.books.depth_book import DepthBook
from tickplant.sim import order_flow
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.kraken.instruments import instrument_frame
from tickplant.sim.dialects.kraken.printer import KrakenPrinter
from tickplant.sim.dialects.kraken.rest import TradeDesk
from tickplant.sim.dialects.kraken.session import Desk
from tickplant.sim.dialects.kraken.shapes import BOOK, DEPTHS, INSTRUMENT, KINDS, TRADE, TRADES_SHOWN, kind_of
from tickplant.sim.dialects.kraken.window_kernels import is_limit
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Trade

NO_TRADES = b'{"channel":"trade","type":"snapshot","data":[]}'


class MarketDesk(Desk, TradeDesk):
    """The desk of a synthetic market."""

    stale: Callable[[str], Snapshot | None]
    on_request = True

    def __init__(self, market: LiveMarket, printer: KrakenPrinter) -> None:
        """`printer` is the one that prints `market`."""
        self._market = market
        self._printer = printer
        self.stale = lambda symbol: None

    def lists(self, symbol: str) -> bool:
        """Whether the pair exists."""
        return symbol in self._market.listed

    def offers(self, symbol: str, depth: int) -> bool:
        """True: books are available at every depth."""
        return True

    def symbols(self) -> list[str]:
        """All pairs."""
        return list(self._market.listed)

    def trades(self, symbol: str, since_ns: int, limit: int) -> list[Trade]:
        """See TradeDesk."""
        rows = self._market.past(symbol, order_flow.TRADE)
        rows = rows[rows["time"] > since_ns][:limit] if since_ns else rows[-limit:]
        return [msgspec.structs.replace(one, is_limit=is_limit(one.time_ns)) for one in self._market.show(rows)]

    def snapshot(self, stream: str) -> Text:
        """The state that the next update continues; for a book, an old one if a fault wants that."""
        if stream == INSTRUMENT:
            return Text(instrument_frame("snapshot", self._market.listed.values()), stream)
        symbol, _, name = stream.partition("@")
        index = self._market.index[symbol]
        if name.startswith("ohlc"):
            trades = self._market.past(symbol, order_flow.TRADE)
            return Text(self._printer.requested.bars_snapshot(index, trades), stream)
        if name.startswith("level3"):
            book, depth = self._printer.book_now(index), int(name.partition("-")[2])
            return Text(self._printer.requested.orders_snapshot(index, depth, book, time.time_ns()), stream)
        kind = kind_of(stream)
        if kind == TRADE:
            trades = self._market.past(symbol, order_flow.TRADE)[-TRADES_SHOWN:]
            if not len(trades):
                return Text(NO_TRADES, stream)
            return Text(self._printer.trade_snapshot(trades), stream, int(trades["id"][-1]))
        if kind < BOOK:
            return Text(self._printer.ticker_snapshot(index, time.time_ns()), stream)
        old = self.stale(symbol)
        if old is not None:
            return Text(old(DEPTHS[kind - BOOK]), stream)
        return Text(*self._book(index, kind, None, time.time_ns(), stream))

    def _book(self, index: int, kind: int, book: DepthBook | None, time_ns: int, stream: str) -> tuple[bytes, str, int]:
        text, checksum = self._printer.book_snapshot(index * KINDS + kind, book, time_ns)
        return text, stream, checksum

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as of their last updates."""
        return {
            symbol: functools.partial(self._old, index, self._printer.book_now(index), time.time_ns())
            for symbol, index in self._market.index.items()
        }

    def _old(self, index: int, book: DepthBook, time_ns: int, depth: int) -> bytes:
        return self._printer.book_snapshot(index * KINDS + BOOK + DEPTHS.index(depth), book, time_ns)[0]
