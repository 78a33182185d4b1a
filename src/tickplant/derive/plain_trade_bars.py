"""The plain reference of `trade_bar_kernels`: one instrument, one trade at a time, in exact numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TRADE_BAR, UNKNOWN_BAR, BarFlag, Flag, Kind, Side, TradeFlag

Records = NDArray[np.void]

MAX_VOLUME: Final = 2**63 - 1
REMEMBERED: Final = 32
DAY_NS: Final = 86_400 * 10**9


class PlainTradeBars:
    """Bars of one instrument by one rule, of `size` units each; the unit of time is ns.

    `sessions`: open and close of each session, ns, for the rule `session`.
    """

    def __init__(self, rule: str, size: float, sessions: Sequence[tuple[int, int]] = ()) -> None:
        self.rule = rule
        self.size = size
        self.sessions = sessions
        self.interval: tuple[int, int, bool] | None = None  # the open bar's start and end, and whether between sessions
        self.gap_behind = False
        self.trades: list[dict[str, Any]] = []  # of the open bar
        self.incomplete = False
        self.ends: list[int] = []
        self.latest = 0

    def apply(self, ticks: Records) -> Records:
        """The TRADE_BAR records that these ticks produce, with `vwap` in units of the stored prices."""
        made: list[dict[str, Any]] = []
        for row in ticks.tolist():
            tick = dict(zip(ticks.dtype.names or (), row, strict=True))
            if tick["kind"] == Kind.GAP:
                if tick["flags"] & Flag.ON_TRADE:
                    self.incomplete = self.gap_behind = True
            elif tick["kind"] == Kind.TRADE:
                tick["time"] = tick["ts_event"] if tick["ts_event"] > 0 else tick["ts_recv"]
                if bar := self._trade(tick):
                    made.append(bar | {name: tick[name] for name in ("ts_recv", "instrument")})
                    made[-1]["source_seq"] = tick["seq"]
        records = np.zeros(len(made), TRADE_BAR)
        for record, bar in zip(records, made, strict=True):
            for name, value in bar.items():
                record[name] = value
        return records

    def _trade(self, tick: dict[str, Any]) -> dict[str, Any] | None:
        later = tick["flags"] & (Flag.BACKFILL | TradeFlag.CANCELLED)
        if later or tick["flags"] & TradeFlag.CORRECTION:
            named = {"flags": later | BarFlag.CORRECTION, "number": self._bar_of(tick["time"])}
            return self._bar([tick]) | named | {"vwap": tick["price"]}
        self.latest = max(self.latest, tick["time"])
        if self.rule in ("time", "session"):
            return self._in_time(tick)
        self.trades.append(tick)
        if self._measure() < self.size:
            return None
        return self._closed() | {"ts_event": self.latest}

    def _closed(self) -> dict[str, Any]:
        bar = self._bar(self.trades) | {"number": len(self.ends)}
        if self.incomplete:
            bar["flags"] |= BarFlag.INCOMPLETE
        self.trades, self.incomplete = [], False
        self.ends.append(self.latest)
        return bar

    def _in_time(self, tick: dict[str, Any]) -> dict[str, Any] | None:
        bar = None
        interval = self._interval(self.latest)
        if self.trades and self.interval and interval != self.interval:
            since, until, outside = self.interval
            late = any(trade["time"] < since for trade in self.trades)
            bar = self._closed() | {"ts_open": since, "ts_event": until}
            bar["flags"] |= BarFlag.OUTSIDE * outside | Flag.LATE * late
            self.ends[-1] = until - 1
            self.incomplete = self.gap_behind
        self.interval, self.gap_behind = interval, False
        self.trades.append(tick)
        return bar

    def _interval(self, time: int) -> tuple[int, int, bool]:
        length = DAY_NS if self.rule == "session" else int(self.size)
        since = time // length * length
        until = since + length
        if self.rule == "time":
            return since, until, False
        for begin, end in self.sessions:
            if begin <= time < end:
                return begin, end, False
        before = [end for _, end in self.sessions if end <= time]
        behind = [begin for begin, _ in self.sessions if begin > time]
        if before and behind:
            return max(before), min(behind), True
        return max([since, *before]), min([until, *behind]), True

    def _measure(self) -> float:
        volume = {side: min(MAX_VOLUME, sum(t["size"] for t in self.trades if t["side"] == side)) for side in Side}
        whole = {
            "tick": len(self.trades),
            "volume": min(MAX_VOLUME, sum(t["size"] for t in self.trades)),
            "dollar": sum(abs(t["price"]) * t["size"] for t in self.trades),
            "imbalance": abs(volume[Side.BUY] - volume[Side.SELL]),
        }
        return float(whole[self.rule])

    def _bar(self, trades: list[dict[str, Any]]) -> dict[str, Any]:
        prices, sizes = [t["price"] for t in trades], [t["size"] for t in trades]
        volume = sum(sizes)
        bar = {
            "ts_event": trades[-1]["time"],
            "ts_open": trades[0]["time"],
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": min(volume, MAX_VOLUME),
            "buy_volume": min(sum(t["size"] for t in trades if t["side"] == Side.BUY), MAX_VOLUME),
            "sell_volume": min(sum(t["size"] for t in trades if t["side"] == Side.SELL), MAX_VOLUME),
            "vwap": np.nan,
            "first_id": trades[0]["venue_seq"],
            "last_id": trades[-1]["venue_seq"],
            "trades": len(trades),
            "flags": Flag.OVERFLOW if volume > MAX_VOLUME else 0,
        }
        if 0 < volume <= MAX_VOLUME:
            bar["vwap"] = sum(price * size for price, size in zip(prices, sizes, strict=True)) / volume
        return bar

    def _bar_of(self, time: int) -> int:
        for number, end in enumerate(self.ends):
            if time <= end and number >= len(self.ends) - REMEMBERED:
                forgotten = len(self.ends) > REMEMBERED and number == len(self.ends) - REMEMBERED
                return UNKNOWN_BAR if forgotten else number
        return len(self.ends)
