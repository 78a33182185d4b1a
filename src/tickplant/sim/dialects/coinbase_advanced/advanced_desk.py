"""Books, trades and products of a synthetic market for Coinbase Advanced Trade. No I/O."""

from __future__ import annotations

import functools
import time
from typing import Final

from tickplant.books.depth_book import DepthBook
from tickplant.sim import order_flow
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.coinbase_advanced.advanced_printer import (
    STATUS,
    AdvancedPrinter,
    frame_of,
    status_frame,
)
from tickplant.sim.dialects.coinbase_advanced.advanced_session import Desk
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.templates import stamp

TRADES_SHOWN: Final = 50


class MarketDesk(Desk):
    """The desk of a synthetic market."""

    def __init__(self, market: LiveMarket, printer: AdvancedPrinter) -> None:
        """`printer` is the one that prints `market`."""
        self._market = market
        self._printer = printer

    def lists(self, symbol: str) -> bool:
        """Whether the product exists."""
        return symbol in self._market.listed

    def status(self, symbols: list[str]) -> Text:
        """See Desk."""
        listed = [one for name, one in self._market.listed.items() if not symbols or name in symbols]
        return Text(status_frame("snapshot", listed, stamp(time.time_ns())), STATUS)

    def snapshot(self, stream: str) -> Text:
        """The newest trades, the last ticker, or the book that the next update continues."""
        symbol, _, name = stream.partition("@")
        index, now_ns = self._market.index[symbol], time.time_ns()
        if name == "market_trades":
            trades = self._market.past(symbol, order_flow.TRADE)[-TRADES_SHOWN:][::-1]
            if not len(trades):
                return Text(frame_of(name, stamp(now_ns), {"type": "snapshot", "trades": []}), stream)
            return Text(self._printer.trade_snapshot(trades), stream, int(trades["id"][0]))
        if name == "ticker":
            return Text(self._printer.ticker_snapshot(index, now_ns), stream)
        return Text(self._printer.book_snapshot(index, None, now_ns), stream)

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as they were at their last updates."""
        return {
            symbol: functools.partial(self._old, index, self._printer.book_now(index), time.time_ns())
            for symbol, index in self._market.index.items()
        }

    def _old(self, index: int, book: DepthBook, time_ns: int, depth: int) -> bytes:
        return self._printer.book_snapshot(index, book, time_ns, depth)
