"""An unfinished bar of a simulated venue's trades."""

from __future__ import annotations


class TradeBar:
    """Covers trades in ticks and lots from `start_ns` on; `worth` is the sum of tick times lots."""

    def __init__(self, start_ns: int, tick: int) -> None:
        self.start_ns = start_ns
        self.open = self.high = self.low = self.close = tick
        self.lots = self.worth = self.trades = 0

    def add(self, tick: int, lots: int) -> None:
        """Add a trade."""
        self.high, self.low, self.close = max(self.high, tick), min(self.low, tick), tick
        self.lots += lots
        self.worth += lots * tick
        self.trades += 1
