"""Kraken's channels besides trades, quotes and books of levels: bars (`ohlc`) and books of orders (`level3`). No I/O.

The market knows only levels, so the orders are invented: a gain of a level is a new order, a loss is taken from its
newest orders. An order that shrinks keeps its place. Both channels exist only for pairs with subscribers. Facts:
Kraken's WebSocket v2 documentation; how the venue rounds an average price is unknown.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.depth_book import DepthBook
from tickplant.sim import order_flow
from tickplant.sim.dialect import Events
from tickplant.sim.frames import Batch, batch_of
from tickplant.sim.sim_source import Traded
from tickplant.sim.templates import print_price, print_size, stamp
from tickplant.sim.trade_bar import TradeBar

MINUTE_NS: Final = 60_000_000_000
ORDER_DEPTHS: Final = (10, 100, 1000)
INTERVAL: Final = 1  # minutes of a bar, the only length simulated
CHECKED_LEVELS: Final = 10
BARS_SHOWN: Final = 10
"""Bars in a snapshot; the venue shows those of many hours."""

_NAMES: Final = (f"ohlc-{INTERVAL}", *(f"level3-{depth}" for depth in ORDER_DEPTHS))
_SIDES: Final = (order_flow.BID, order_flow.ASK)

Change = tuple[str, str, int]
"""A change of an order: event, id, lots."""


class Queues:
    """The orders of one pair, by side, tick and id, in queue order."""

    def __init__(self, prefix: str, book: DepthBook) -> None:
        """Two orders at each level of a book, one at a level of a single lot."""
        self._prefix = prefix
        self._made = 0
        self.levels: tuple[dict[int, dict[str, int]], ...] = ({}, {})
        for side, levels in zip(_SIDES, book.top(1 << 20), strict=True):
            for tick, lots in levels.tolist():
                parts = (lots - lots // 2, lots // 2) if lots > 1 else (lots,)
                self.levels[side][tick] = {self._new(): part for part in parts}

    def _new(self) -> str:
        self._made += 1
        return f"O{self._prefix}-{self._made:06X}-SIM"

    def change(self, side: int, tick: int, lots: int) -> list[Change]:
        """The changes that bring a level to its present size."""
        orders = self.levels[side].setdefault(tick, {})
        excess, changes = sum(orders.values()) - lots, list[Change]()
        if excess < 0:
            ident = self._new()
            orders[ident] = -excess
            changes.append(("add", ident, -excess))
        while excess > 0:
            ident, size = next(reversed(orders.items()))
            if size > excess:
                orders[ident] = size - excess
                changes.append(("modify", ident, size - excess))
                break
            changes.append(("delete", ident, size))
            del orders[ident]
            excess -= size
        if not orders:
            del self.levels[side][tick]
        return changes

    def best(self, side: int, depth: int) -> list[int]:
        """The ticks of the best levels of a side."""
        return sorted(self.levels[side], reverse=side == order_flow.BID)[:depth]


class RequestedChannels:
    """The channels of all pairs."""

    def __init__(self, instruments: list[Traded], decimals: NDArray[np.int64], first: int) -> None:
        """`first`: index of the first of these streams among all streams of the venue."""
        self._pairs = [one.symbol for one in instruments]
        self._decimals = decimals
        self._first = first
        self.streams = [f"{pair}@{name}" for pair in self._pairs for name in _NAMES]
        self._bars: dict[int, TradeBar] = {}  # by symbol
        self._queues: dict[int, Queues] = {}  # likewise
        self._shown: dict[int, tuple[list[int], ...]] = {}  # by stream: the ticks that its subscribers have
        self._due: list[tuple[int, bytes]] = []

    def _stream(self, symbol: int, name: str) -> int:
        return self._first + symbol * len(_NAMES) + _NAMES.index(name)

    def forget(self, wanted: NDArray[np.bool_]) -> None:
        """Drop the state of pairs without subscribers."""
        mine = wanted[self._first :].reshape(len(self._pairs), -1)
        for symbol in [one for one in self._bars if not mine[one, 0]]:
            del self._bars[symbol]
        for symbol in [one for one in self._queues if not mine[one, 1:].any()]:
            del self._queues[symbol]
        for stream in [one for one in self._shown if not wanted[one]]:
            del self._shown[stream]

    def batch(self) -> Batch | None:
        """The frames made since the last call."""
        if not self._due:
            return None
        streams, texts = zip(*self._due, strict=True)
        self._due = []
        return batch_of([*texts], [*streams], [0] * len(texts))

    # Bars.

    def on_trades(self, events: Events) -> None:
        """Send a bar with each trade; a minute without trades has no bar."""
        if not self._bars:
            return
        rows = events.rows[(events.rows["kind"] == order_flow.TRADE) & np.isin(events.rows["symbol"], [*self._bars])]
        for symbol, time, tick, lots in rows[["symbol", "time", "price", "size"]].tolist():
            self._add(symbol, events.origin_ns + time, tick, lots)
            text = self._bars_text("update", symbol, [self._bars[symbol]])
            self._due.append((self._stream(symbol, _NAMES[0]), text))

    def _add(self, symbol: int, time_ns: int, tick: int, lots: int) -> None:
        start_ns = time_ns // MINUTE_NS * MINUTE_NS
        if symbol not in self._bars or self._bars[symbol].start_ns != start_ns:
            self._bars[symbol] = TradeBar(start_ns, tick)
        self._bars[symbol].add(tick, lots)

    def bars_snapshot(self, symbol: int, trades: NDArray[np.void]) -> bytes:
        """The last bars, from past trades with times since the epoch; the next trade continues the newest bar."""
        bars: dict[int, TradeBar] = {}
        self._bars.pop(symbol, None)
        for time_ns, tick, lots in trades[["time", "price", "size"]].tolist():
            self._add(symbol, time_ns, tick, lots)
            bars[self._bars[symbol].start_ns] = self._bars[symbol]
        if not bars:
            self._bars[symbol] = TradeBar(0, 0)  # the pair has subscribers
        return self._bars_text("snapshot", symbol, list(bars.values())[-BARS_SHOWN:])

    def _bars_text(self, kind: str, symbol: int, bars: Iterable[TradeBar]) -> bytes:
        def price(tick: int) -> str:
            return print_price(self._decimals, symbol, tick)

        data = ",".join(
            f'{{"symbol":"{self._pairs[symbol]}","open":{price(bar.open)},"high":{price(bar.high)},'
            f'"low":{price(bar.low)},"close":{price(bar.close)},"trades":{bar.trades},'
            f'"volume":{print_size(self._decimals, symbol, bar.lots)},"vwap":{price(bar.worth // bar.lots)},'
            f'"interval_begin":"{_nanoseconds(bar.start_ns)}","interval":{INTERVAL},'
            f'"timestamp":"{stamp(bar.start_ns + INTERVAL * MINUTE_NS)}"}}'
            for bar in bars
        )
        return f'{{"channel":"ohlc","type":"{kind}","data":[{data}]}}'.encode()

    # Orders.

    def on_levels(
        self, symbol: int, changes: Iterable[tuple[int, int, int]], time_ns: int, wanted: NDArray[np.bool_]
    ) -> None:
        """Handle changed levels of a pair: side, tick and lots of each."""
        queues = self._queues.get(symbol)
        if queues is None:
            return
        changed: dict[tuple[int, int], list[Change]] = {}
        for side, tick, lots in changes:
            changed.setdefault((side, tick), []).extend(queues.change(side, tick, lots))
        for depth in ORDER_DEPTHS:
            stream = self._stream(symbol, f"level3-{depth}")
            if not wanted[stream]:
                continue
            before, now = self._shown.get(stream), tuple(queues.best(side, depth) for side in _SIDES)
            self._shown[stream] = now
            if before is None:
                continue  # its snapshot is on its way
            sides = [
                "".join(self._events(queues, symbol, side, (set(before[side]), now[side]), changed, time_ns)).rstrip(
                    ","
                )
                for side in _SIDES
            ]
            if any(sides):
                self._due.append((stream, self._orders_text("update", symbol, queues, sides)))

    def _events(
        self,
        queues: Queues,
        symbol: int,
        side: int,
        window: tuple[set[int], list[int]],
        changed: dict[tuple[int, int], list[Change]],
        time_ns: int,
    ) -> Iterator[str]:
        # Clients cut off by themselves what was pushed out of their depth.
        before, now = window
        gone = [tick for tick in sorted(before - set(now)) if tick not in queues.levels[side]]
        for tick in (*gone, *now):
            if tick in before:
                changes = changed.get((side, tick), [])
            else:
                changes = [("add", ident, lots) for ident, lots in queues.levels[side][tick].items()]
            for event, ident, lots in changes:
                yield self._order(symbol, tick, ident, lots, time_ns, f'"event":"{event}",') + ","

    def _order(self, symbol: int, tick: int, ident: str, lots: int, time_ns: int, event: str = "") -> str:
        price, size = print_price(self._decimals, symbol, tick), print_size(self._decimals, symbol, lots)
        return (
            f'{{{event}"order_id":"{ident}","limit_price":{price},"order_qty":{size},'
            f'"timestamp":"{_nanoseconds(time_ns)}"}}'
        )

    def _orders_text(self, kind: str, symbol: int, queues: Queues, sides: list[str]) -> bytes:
        return (
            f'{{"channel":"level3","type":"{kind}","data":[{{"symbol":"{self._pairs[symbol]}",'
            f'"checksum":{self.checksum(symbol, queues)},"bids":[{sides[0]}],"asks":[{sides[1]}]}}]}}'
        ).encode()

    def checksum(self, symbol: int, queues: Queues) -> int:
        """Checksum over all orders of the best ten levels, asks first."""
        text = "".join(
            print_price(self._decimals, symbol, tick).replace(".", "").lstrip("0")
            + print_size(self._decimals, symbol, lots).replace(".", "").lstrip("0")
            for side in (order_flow.ASK, order_flow.BID)
            for tick in queues.best(side, CHECKED_LEVELS)
            for lots in queues.levels[side][tick].values()
        )
        return zlib.crc32(text.encode())

    def orders_snapshot(self, symbol: int, depth: int, book: DepthBook, time_ns: int) -> bytes:
        """All orders of the best levels; `book` has the present levels."""
        queues = self._queues.get(symbol)
        if queues is None:
            queues = self._queues[symbol] = Queues(f"{symbol:05X}", book)
        now = tuple(queues.best(side, depth) for side in _SIDES)
        self._shown[self._stream(symbol, f"level3-{depth}")] = now
        sides = [
            ",".join(
                self._order(symbol, tick, ident, lots, time_ns)
                for tick in now[side]
                for ident, lots in queues.levels[side][tick].items()
            )
            for side in _SIDES
        ]
        return self._orders_text("snapshot", symbol, queues, sides)


def _nanoseconds(time_ns: int) -> str:
    return f"{stamp(time_ns)[:-1]}{time_ns % 1000:03d}Z"
