"""A plain Python program in place of an engine: a book, bars and ten indicators, row by row.

A book is two `SortedDict`s, a bar is a list, and an indicator is an object that takes a row and returns the newest
value, as in streaming libraries for Python. Nothing is stored or published.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from sortedcontainers import SortedDict

Row = tuple[int, int, int, int, int, int, int, int]
Book = tuple[float, float, float, float]

FIELDS: Final = ("kind", "side", "price", "size", "flags", "instrument", "ts_event", "ts_recv")
NAN: Final = math.nan
NO_PRICE: Final = -(2**63)
SECOND_NS: Final = 10**9
TRADE, LEVEL, CLEAR = 1, 2, 3
LAST, BACKFILL = 1, 4


class Mean:
    """Mean of the last values."""

    def __init__(self, period: int) -> None:
        self._period, self._window, self._total = period, deque[float](), 0.0

    def take(self, value: float) -> float:
        """Take the next value; returns NaN up to the first full window."""
        self._window.append(value)
        self._total += value
        if len(self._window) > self._period:
            self._total -= self._window.popleft()
        return self._total / self._period if len(self._window) == self._period else NAN


class Smooth:
    """Exponential mean, started from the mean of the first values."""

    def __init__(self, period: int, alpha: float) -> None:
        self._period, self._alpha, self._seen, self._mean = period, alpha, 0, 0.0

    def take(self, value: float) -> float:
        """Take the next value; returns NaN for the values of the first mean."""
        self._seen += 1
        if self._seen <= self._period:
            self._mean += value / self._period
            return self._mean if self._seen == self._period else NAN
        self._mean += self._alpha * (value - self._mean)
        return self._mean


class Rsi:
    """RSI, with its state from earlier closes."""

    def __init__(self, period: int) -> None:
        self._up, self._down, self._last = Smooth(period, 1 / period), Smooth(period, 1 / period), NAN

    def take(self, close: float) -> float:
        """The next close."""
        change, self._last = close - self._last, close
        if math.isnan(change):
            return NAN
        up, down = self._up.take(max(change, 0.0)), self._down.take(max(-change, 0.0))
        return 100 * up / (up + down) if up + down else NAN


class Macd:
    """MACD, without the signal in its output."""

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        self._fast, self._slow, self._signal = (Smooth(n, 2 / (n + 1)) for n in (fast, slow, signal))

    def take(self, close: float) -> float:
        """Take the next close; returns a value once the signal has one."""
        macd = self._fast.take(close) - self._slow.take(close)
        if math.isnan(macd):
            return NAN
        return NAN if math.isnan(self._signal.take(macd)) else macd


class Atr:
    """Wilder's mean of true ranges."""

    def __init__(self, period: int) -> None:
        self._mean, self._last = Smooth(period, 1 / period), NAN

    def take(self, high: float, low: float, close: float) -> float:
        """The next bar."""
        last, self._last = self._last, close
        return NAN if math.isnan(last) else self._mean.take(max(high, last) - min(low, last))


class Hawkes:
    """Intensity of trades."""

    def __init__(self, base: float, jump: float, decay: float) -> None:
        self._base, self._jump, self._decay, self._excited, self._latest = base, jump, decay, 0.0, -math.inf

    def take(self, time_ns: float) -> float:
        """The time of the next trade."""
        latest = max(self._latest, time_ns)
        self._excited = self._excited * math.exp(self._decay * (self._latest - latest) * 1e-9) + 1.0
        self._latest = latest
        return self._base + self._jump * self._excited


class Flow:
    """Order-flow imbalance."""

    def __init__(self, period: int) -> None:
        self._period, self._window, self._last = period, deque[float](maxlen=period), None

    def take(self, book: Book) -> float:
        """The next best bid and offer."""
        bid, ask, bid_size, ask_size = book
        if math.isnan(bid + ask):
            return NAN
        last, self._last = self._last, book
        if last is None:
            return NAN
        bought = (bid_size if bid >= last[0] else 0.0) - (last[2] if bid <= last[0] else 0.0)
        sold = (ask_size if ask <= last[1] else 0.0) - (last[3] if ask >= last[1] else 0.0)
        self._window.append(bought - sold)
        return sum(self._window) if len(self._window) == self._period else NAN


class _Symbol:
    """The state of one symbol."""

    def __init__(self) -> None:
        self.sides: dict[int, SortedDict[int, int]] = {1: SortedDict(), 2: SortedDict()}
        self.described = False
        self.best: tuple[int, int, int, int] | None = None
        self.bars: dict[int, list[int]] = {}  # by length: end, open, high, low, close, volume, bought, trades
        self.closed: dict[int, int] = {}  # by length: when the last bar ended
        self.closes: list[Callable[[float], float]] = [
            Mean(20).take, Smooth(20, 2 / 21).take, Rsi(14).take, Macd(12, 26, 9).take
        ]  # fmt: skip
        self.atr = Atr(14)
        self.hawkes = [Hawkes(0.1, 0.5, 1.0), Hawkes(0.2, 0.4, 2.0)]
        self.flow = Flow(100)


class Rival:
    """Takes rows, and keeps its results: bests, bars, and the first output of each series."""

    def __init__(self, unit: float, bar_s: tuple[int, ...]) -> None:
        self.bests: list[tuple[int, int, int, int]] = []
        self.bars: list[tuple[int, ...]] = []
        self.values: list[list[float]] = [[] for _ in range(10)]
        self._unit, self._bar_s = unit, bar_s
        self._symbols: dict[int, _Symbol] = {}

    def take(self, rows: list[Row]) -> None:
        """The next rows, of FIELDS."""
        for row in rows:
            self._take(*row)

    def _take(self, kind: int, side: int, price: int, size: int, flags: int, id_: int, event: int, recv: int) -> None:
        symbol = self._symbols.get(id_) or self._symbols.setdefault(id_, _Symbol())
        if event > 0:
            for length in self._bar_s:
                if (bar := symbol.bars.get(length)) and event >= bar[0]:
                    del symbol.bars[length]
                    self._close(symbol, length, bar)
        if kind == TRADE:
            if not flags & BACKFILL:
                self._trade(symbol, side, price, size, event, recv)
        elif kind in (LEVEL, CLEAR):
            self._change(symbol, kind, side, price, size)
            if flags & LAST and symbol.described:
                self._say(symbol)

    def _trade(self, symbol: _Symbol, side: int, price: int, size: int, event: int, recv: int) -> None:
        for length in self._bar_s:
            bar = symbol.bars.get(length)
            if bar is None:
                start = max(event // (length * SECOND_NS) * length * SECOND_NS, symbol.closed.get(length, 0))
                bar = symbol.bars[length] = [start + length * SECOND_NS, price, price, price, price, 0, 0, 0]
            bar[2], bar[3], bar[4] = max(bar[2], price), min(bar[3], price), price
            bar[5] += size
            bar[6] += size if side == 1 else 0
            bar[7] += 1
        for place, hawkes in enumerate(symbol.hawkes, 5):
            self.values[place].append(hawkes.take(float(event or recv)))

    def _close(self, symbol: _Symbol, length: int, bar: list[int]) -> None:
        symbol.closed[length] = bar[0]
        self.bars.append((length, *bar))
        if length == 1:
            high, low, close = bar[2] / self._unit, bar[3] / self._unit, bar[4] / self._unit
            for place, take in enumerate(symbol.closes):
                self.values[place].append(take(close))
            self.values[4].append(symbol.atr.take(high, low, close))

    def _change(self, symbol: _Symbol, kind: int, side: int, price: int, size: int) -> None:
        if kind == CLEAR:
            symbol.described = True
            symbol.sides[1].clear()
            symbol.sides[2].clear()
        elif not symbol.described:
            return
        elif size:
            symbol.sides[side][price] = size
        else:
            symbol.sides[side].pop(price, None)

    def _say(self, symbol: _Symbol) -> None:
        bids, asks = symbol.sides[1], symbol.sides[2]
        bid, bid_size = bids.peekitem(-1) if bids else (NO_PRICE, 0)
        ask, ask_size = asks.peekitem(0) if asks else (NO_PRICE, 0)
        best = bid, bid_size, ask, ask_size
        if best == symbol.best:
            return
        symbol.best = best
        self.bests.append(best)
        unit = self._unit
        there = NAN if NO_PRICE in (bid, ask) else 1.0
        book = there * bid / unit, there * ask / unit, bid_size / unit, ask_size / unit
        spread, total = book[1] - book[0], book[2] + book[3]
        self.values[7].append(spread)
        self.values[8].append(book[0] + spread * book[2] / total if total else NAN)
        self.values[9].append(symbol.flow.take(book))
