"""Bars of the simulated venue, made from the synthetic market's trades, and the price bands of its stocks. No I/O."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.templates import print_price, print_size
from tickplant.sim.trade_bar import TradeBar

SECOND_NS: Final = 1_000_000_000
MS: Final = 1_000_000
BAND: Final = 10  # width of the band: the price divided by this, up and down


class Bars:
    """Bars of one length for all symbols. A bar is printed when a trade after its end comes."""

    def __init__(self, interval_ns: int, decimals: NDArray[np.int64]) -> None:
        self._interval_ns = interval_ns
        self._decimals = decimals
        self._open: dict[int, TradeBar] = {}  # by symbol

    def add(self, symbol: int, time_ns: int, tick: int, lots: int) -> dict[str, object] | None:
        """Add a trade; returns the numbers of the bar that it ends, if any."""
        start_ns = time_ns - time_ns % self._interval_ns
        bar, ended = self._open.get(symbol), None
        if bar is None or bar.start_ns != start_ns:
            ended = None if bar is None else self._numbers(symbol, bar)
            bar = self._open[symbol] = TradeBar(start_ns, tick)
        bar.add(tick, lots)
        return ended

    def _numbers(self, symbol: int, bar: TradeBar) -> dict[str, object]:
        prices = {name: getattr(bar, name) for name in ("open", "high", "low", "close")}
        prices["vwap"] = bar.worth // bar.lots
        return {
            **{name: print_price(self._decimals, symbol, tick) for name, tick in prices.items()},
            "volume": print_size(self._decimals, symbol, bar.lots),
            "trades": bar.lots // bar.trades,
            "start": bar.start_ns // MS,
            "end": (bar.start_ns + self._interval_ns) // MS,
        }


def band(decimals: NDArray[np.int64], symbol: int, name: str, tick: int, time_ns: int) -> bytes:
    """The event of a band around a price; its time is in microseconds."""
    high, low = (print_price(decimals, symbol, tick + way * tick // BAND) for way in (1, -1))
    return (
        f'[{{"ev":"LULD","T":"{name}","h":{high},"l":{low},"i":[17],"z":3,"t":{time_ns // 1000},"q":{tick}}}]'.encode()
    )
