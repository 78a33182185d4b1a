"""Books, trades and instruments of a synthetic market for OKX. No I/O."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from tickplant.sim import order_flow
from tickplant.sim.conversation import Text
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.okx.okx_printer import DEPTH, OkxPrinter, instruments_body
from tickplant.sim.dialects.okx.okx_session import Desk
from tickplant.sim.live_market import LiveMarket


class MarketDesk(Desk):
    """The desk of a synthetic market."""

    stale: Callable[[str], Snapshot | None]

    def __init__(self, market: LiveMarket, printer: OkxPrinter) -> None:
        """`printer` is the one that prints `market`."""
        self._market = market
        self._printer = printer
        self.stale = lambda symbol: None

    def lists(self, symbol: str) -> bool:
        """Whether the pair exists."""
        return symbol in self._market.listed

    def instruments(self) -> bytes:
        """The instrument data of all pairs."""
        return instruments_body(self._market.listed.values())

    def snapshot(self, stream: str) -> Text | None:
        """The newest trade, the last ticker, the book that the next change continues, or an old one."""
        symbol, _, name = stream.partition("@")
        index, now_ns = self._market.index[symbol], time.time_ns()
        if name == "trades":
            trades = self._market.past(symbol, order_flow.AGGREGATE)[-1:]
            return Text(self._printer.trade_snapshot(trades), stream, int(trades["last"][-1])) if len(trades) else None
        if name == "tickers":
            return Text(self._printer.ticker_snapshot(index, now_ns), stream)
        old, number = self.stale(symbol), self._printer.number(index)
        book = self._printer.book_now(index)
        text = self._printer.numbered_snapshot(index, book, now_ns, number) if old is None else old(DEPTH)
        return Text(text, stream, number)

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as of their last changes."""
        printer = self._printer
        return {
            symbol: functools.partial(
                printer.numbered_snapshot, index, printer.book_now(index), time.time_ns(), printer.number(index)
            )
            for symbol, index in self._market.index.items()
        }
