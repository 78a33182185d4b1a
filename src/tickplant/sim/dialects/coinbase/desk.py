"""Books, trades and products of a synthetic market for Coinbase Exchange. No I/O."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

from tickplant.books.depth_book import DepthBook
from tickplant.sim import order_flow
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.coinbase.exchange_printer import STATUS, ExchangePrinter, status_frame
from tickplant.sim.dialects.coinbase.exchange_rest import RestDesk
from tickplant.sim.dialects.coinbase.session import Desk
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Listed, Trade


class MarketDesk(Desk, RestDesk):
    """The desk of a synthetic market."""

    def __init__(self, market: LiveMarket, printer: ExchangePrinter) -> None:
        """`printer` is the one that prints `market`."""
        self._market = market
        self._printer = printer

    def lists(self, symbol: str) -> bool:
        """Whether the product exists."""
        return symbol in self._market.listed

    def products(self) -> Iterable[Listed]:
        """All products."""
        return self._market.listed.values()

    def trades(self, symbol: str, before: int | None, limit: int) -> list[Trade]:
        """See RestDesk."""
        rows = self._market.past(symbol, order_flow.TRADE)
        rows = rows if before is None else rows[rows["id"] < before]
        return self._market.show(rows[-limit:][::-1])

    def orders(self, symbol: str) -> bytes:
        """See RestDesk."""
        return self._printer.orders(self._market.index[symbol]).book(time.time_ns())

    def snapshot(self, stream: str) -> Text | None:
        """The newest trade, the last ticker, the book that the next update continues, or all products."""
        if stream == STATUS:
            return Text(status_frame(self.products()), stream)
        symbol, _, name = stream.partition("@")
        index, now_ns = self._market.index[symbol], time.time_ns()
        if name == "matches":
            trades = self._market.past(symbol, order_flow.TRADE)[-1:]
            return Text(self._printer.trade_snapshot(trades), stream, int(trades["id"][-1])) if len(trades) else None
        if name == "ticker":
            return Text(self._printer.ticker_snapshot(index, now_ns), stream)
        if name == "level2":
            return Text(self._printer.book_snapshot(index, None, now_ns), stream)
        if name == "full":
            self._printer.orders(index)
        return None

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as they were at their last updates."""
        return {
            symbol: functools.partial(self._old, index, self._printer.book_now(index), time.time_ns())
            for symbol, index in self._market.index.items()
        }

    def _old(self, index: int, book: DepthBook, time_ns: int, depth: int) -> bytes:
        return self._printer.book_snapshot(index, book, time_ns, depth)
