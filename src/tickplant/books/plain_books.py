"""What the kernels must compute, in plain Python: the definition of books and bars.

Slow and obvious on purpose. Property tests require the kernels to agree bit for bit; the benchmark compares with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import BAR, BBO, NO_PRICE, Flag, Kind, Side, StatusCode

Records = NDArray[np.void]

MAX_VOLUME = 2**63 - 1


class DictBook:
    """One book as two dicts, price to size."""

    def __init__(self, max_levels: int) -> None:
        self.max_levels = max_levels
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.state = "stale"
        self.said = (NO_PRICE, 0, NO_PRICE, 0, int(Flag.STALE))  # the last BBO's numbers and flags

    def set_level(self, side: int, price: int, size: int) -> None:
        """Set or remove a level; if there are then too many, drop the worst one."""
        levels = self.bids if side == Side.BID else self.asks
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
        if len(levels) > self.max_levels:
            del levels[min(levels) if side == Side.BID else max(levels)]

    def best(self) -> tuple[int, int, int, int, int]:
        """Numbers and flags of a live book."""
        bid = max(self.bids, default=NO_PRICE)
        ask = min(self.asks, default=NO_PRICE)
        crossed = bool(self.bids and self.asks and bid >= ask)
        return bid, self.bids.get(bid, 0), ask, self.asks.get(ask, 0), int(Flag.CROSSED) if crossed else 0


class DictBooks:
    """Books of many instruments, one record at a time."""

    def __init__(self, max_levels: int = 20_000) -> None:
        self.books: dict[int, DictBook] = {}
        self.max_levels = max_levels

    def apply(self, ticks: Records) -> Records:
        """The BBO records that these TICK records cause."""
        rows: list[tuple[int, ...]] = []
        for row in ticks.tolist():
            tick = dict(zip(ticks.dtype.names or (), row, strict=True))
            for instrument, book in self._changed(tick):
                numbers, flags = book.said[:4], book.said[4]
                rows.append(
                    (tick["ts_event"], tick["ts_recv"], *numbers, tick["seq"], instrument, flags, 0, 0),
                )
        return _records(rows, BBO)

    def _changed(self, tick: dict[str, int]) -> Iterable[tuple[int, DictBook]]:
        instrument, kind, flags = tick["instrument"], tick["kind"], tick["flags"]
        book = self.books.setdefault(instrument, DictBook(self.max_levels))
        if kind == Kind.GAP or (kind == Kind.STATUS and tick["price"] == StatusCode.DISCONNECTED):
            if flags & Flag.ON_BOOK and self._stale(book):
                yield instrument, book
            return
        if kind not in (Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM) or flags & (Flag.PARTIAL | Flag.ON_ORDERS):
            return
        if kind == Kind.CLEAR:
            book.bids.clear()
            book.asks.clear()
            if book.state == "stale":
                book.state = "loading"
        elif book.state == "stale":
            return
        elif kind == Kind.LEVEL and tick["side"] in (1, 2) and tick["size"] >= 0 and tick["price"] != NO_PRICE:
            book.set_level(tick["side"], tick["price"], tick["size"])
        if flags & Flag.LAST:
            book.state = "live"
            best = book.best()
            if best != book.said:
                book.said = best
                yield instrument, book

    def _stale(self, book: DictBook) -> bool:
        """Mark a book stale. Returns whether its flags changed."""
        book.state = "stale"
        news = not book.said[4] & Flag.STALE
        book.said = (*book.said[:4], book.said[4] | Flag.STALE)
        return news


class PlainBars:
    """Bars of many instruments, one record at a time."""

    def __init__(self, intervals_s: tuple[int, ...]) -> None:
        self.intervals_s = intervals_s
        self.open: dict[tuple[int, int], dict[str, int]] = {}
        self.closed_until: dict[tuple[int, int], int] = {}

    def apply(self, ticks: Records) -> Records:
        """The BAR records that these TICK records close."""
        closed: list[tuple[int, ...]] = []
        for row in ticks.tolist():
            tick = dict(zip(ticks.dtype.names or (), row, strict=True))
            if tick["ts_event"] <= 0:
                continue
            for interval_s in self.intervals_s:
                key = tick["instrument"], interval_s
                bar = self.open.get(key)
                if bar and tick["ts_event"] >= bar["ts_event"]:
                    del self.open[key]
                    self.closed_until[key] = bar["ts_event"]
                    bar["ts_recv"], bar["source_seq"] = tick["ts_recv"], tick["seq"]
                    closed.append(tuple(bar[name] for name in BAR.names or ()))
                if tick["kind"] == Kind.TRADE and not tick["flags"] & Flag.BACKFILL:
                    self._add(key, tick)
        return _records(closed, BAR)

    def _add(self, key: tuple[int, int], tick: dict[str, int]) -> None:
        instrument, interval_s = key
        interval_ns = interval_s * 10**9
        bar = self.open.get(key)
        if bar is None:
            start = max(tick["ts_event"] // interval_ns * interval_ns, self.closed_until.get(key, 0))
            bar = self.open[key] = dict.fromkeys(BAR.names or (), 0) | {
                "ts_event": start + interval_ns,
                "ts_open": start,
                "open": tick["price"],
                "high": tick["price"],
                "low": tick["price"],
                "interval_s": interval_s,
                "instrument": instrument,
            }
        if tick["ts_event"] < bar["ts_open"]:
            bar["flags"] |= Flag.LATE
        bar["high"] = max(bar["high"], tick["price"])
        bar["low"] = min(bar["low"], tick["price"])
        bar["close"] = tick["price"]
        bar["trades"] += 1
        for field, counts in (("volume", True), ("buy_volume", tick["side"] == Side.BUY)):
            if counts:
                bar[field] += tick["size"]
                if bar[field] > MAX_VOLUME:
                    bar[field] = MAX_VOLUME
                    bar["flags"] |= Flag.OVERFLOW


def _records(rows: list[tuple[int, ...]], dtype: np.dtype[np.void]) -> Records:
    """Rows as records."""
    records = np.zeros(len(rows), dtype)
    records[:] = rows
    return records


class PlainDepthBook:
    """What a `DepthBook` must do, with dicts: the book of one instrument, cut to a depth at the end of each event."""

    def __init__(self, depth: int | None) -> None:
        self.depth = depth
        self.levels: dict[int, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
        self.live = False
        self.unknown_deletes = 0
        self.levels_ignored = 0

    def snapshot(self, levels: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Replace the book by these levels: side, price, size."""
        for side in self.levels.values():
            side.clear()
        self.live = True
        return self.update(levels)

    def update(self, levels: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Apply one event. Returns a level of size 0 for each level that the cut has removed."""
        for side, price, size in levels:
            if not self.live:
                self.levels_ignored += 1
            elif size:
                self.levels[side][price] = size
            elif self.levels[side].pop(price, None) is None:
                self.unknown_deletes += 1
        bids, asks = self.top(None)
        removed = [(int(Side.BID), price, 0) for price, _ in reversed(bids[self.depth :] if self.depth else [])]
        removed += [(int(Side.ASK), price, 0) for price, _ in reversed(asks[self.depth :] if self.depth else [])]
        for side, price, _ in removed:
            del self.levels[side][price]
        return removed

    def top(self, count: int | None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The best bids and asks, best first; None: all."""
        bids = sorted(self.levels[Side.BID].items(), reverse=True)
        return bids[:count], sorted(self.levels[Side.ASK].items())[:count]
