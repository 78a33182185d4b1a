"""A bar of a simulated venue's trades, while it is being made."""

from __future__ import annotations


class TradeBar:
    """Of trades in ticks and lots, from `start_ns` on; `worth` is the sum of tick times lots."""

    def __init__(self, start_ns: int, tick: int) -> None:
        self.start_ns = start_ns
        self.open = self.high = self.low = self.close = tick
        self.lots = self.worth = self.trades = 0

    def add(self, tick: int, lots: int) -> None:
        """Take a trade in."""
        self.high, self.low, self.close = max(self.high, tick), min(self.low, tick), tick
        self.lots += lots
        self.worth += lots * tick
        self.trades += 1
