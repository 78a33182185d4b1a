"""Binance's streams besides trades, quotes and diffs: partial books, bars, mark prices, forced orders. No I/O.

The market has no events of these kinds: they are made from its trades and books, and only for listeners. So a bar
begins with the first trade that a listener could receive. Bars come every two seconds while there are trades, and once
more at the end of their minute; mark prices come once a second, forced orders at most once a second, as documented.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import format_decimal
from tickplant.sim import order_flow
from tickplant.sim.dialect import Events
from tickplant.sim.dialects.binance.families import Family, pair_of
from tickplant.sim.frames import Batch
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Traded
from tickplant.sim.templates import print_price, print_size
from tickplant.sim.trade_bar import TradeBar

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
FUNDING_NS: Final = 8 * 3600 * SECOND_NS
BAR_PAUSE_NS: Final = 2 * SECOND_NS
FORCED_ONE_OF: Final = 8
"""One aggregate out of this many counts as the order of a liquidation."""

DEPTHS: Final = (5, 10, 20)
BAR: Final = "kline_1m"
MARK: Final = "markPrice@1s"
FORCED: Final = "forceOrder"


class Due(NamedTuple):
    """A message that is due."""

    stream: int
    id: int
    text: Callable[[int], str]  # at a unit of time, in ns


class _Bar(TradeBar):
    """Adds the ids of its trades, and what buyers took."""

    def __init__(self, start_ns: int, trade: int, tick: int) -> None:
        super().__init__(start_ns, tick)
        self.first = self.last = trade
        self.bought = self.bought_worth = 0
        self.news = False

    def take(self, trade: int, tick: int, lots: int, maker: int) -> None:
        """Add a trade, with its id and whether the buyer was the maker."""
        self.add(tick, lots)
        self.last, self.news = trade, True
        self.bought += 0 if maker else lots
        self.bought_worth += 0 if maker else lots * tick


class RequestedStreams:
    """The streams of all instruments."""

    def __init__(self, family: Family, instruments: list[Traded], decimals: NDArray[np.int64], first: int) -> None:
        """`first`: index of the first of these streams among all streams of the venue."""
        self._family = family
        self._names = [one.symbol for one in instruments]
        self._decimals = decimals
        self._first = first
        kinds = [*(f"depth{depth}@100ms" for depth in DEPTHS), BAR, *((MARK, FORCED) if family.futures else ())]
        self._kinds = {kind: number for number, kind in enumerate(kinds)}
        self.streams = [f"{name.lower()}@{kind}" for name in self._names for kind in kinds]
        self._market: Market | None = None
        self._bars: dict[int, _Bar] = {}
        self._sent_ns: dict[int, int] = {}  # by stream: time of the newest message

    def begin(self, market: Market) -> None:
        """Begin with a market that has opened."""
        self._market = market

    def add_needs(self, wanted: NDArray[np.bool_], needed: NDArray[np.bool_]) -> None:
        """Mark the rows of the market, [symbols, its kinds], that these streams are made from."""
        mine = wanted[self._first :].reshape(len(self._names), -1)
        needed[mine[:, : len(DEPTHS)].any(1), order_flow.DEPTH] = True

    def due(self, events: Events, wanted: NDArray[np.bool_]) -> list[Due]:
        """The messages that are due after these events."""
        mine = wanted[self._first :]
        if not mine.any():
            self._bars.clear()
            return []
        due: list[Due] = []
        for symbol, here in enumerate(mine.reshape(len(self._names), -1)):
            rows = events.rows[events.rows["symbol"] == symbol]
            if rows.shape[0] and here.any():
                streams = {kind: self._stream(symbol, kind) for kind, number in self._kinds.items() if here[number]}
                due += self._due_of(symbol, rows, events, streams)
        return due

    def _stream(self, symbol: int, kind: str) -> int:
        return self._first + symbol * len(self._kinds) + self._kinds[kind]

    def _due_of(self, symbol: int, rows: NDArray[np.void], events: Events, streams: dict[str, int]) -> Iterator[Due]:
        if BAR in streams:
            yield from self._bars_due(symbol, streams[BAR], rows[rows["kind"] == order_flow.TRADE], events)
        if FORCED in streams:
            yield from self._forced_due(symbol, streams[FORCED], rows, events)
        if MARK in streams and self._is_time(streams[MARK], events.sent_ns // SECOND_NS * SECOND_NS, SECOND_NS):
            yield Due(streams[MARK], 0, functools.partial(self._mark, symbol, events.sent_ns))
        diffs = rows[rows["kind"] == order_flow.DEPTH]
        for depth in DEPTHS if diffs.shape[0] else ():
            if (stream := streams.get(f"depth{depth}@100ms")) is not None:
                yield self._partial_due(symbol, stream, depth, diffs[-1], events)

    def _is_time(self, stream: int, now_ns: int, pause_ns: int) -> bool:
        if now_ns - self._sent_ns.get(stream, 0) < pause_ns:
            return False
        self._sent_ns[stream] = now_ns
        return True

    # Partial books.

    def _partial_due(self, symbol: int, stream: int, depth: int, diff: np.void, events: Events) -> Due:
        assert self._market is not None
        ident = self._market.update_id(symbol)
        bids, asks = (
            ",".join(
                f'["{print_price(self._decimals, symbol, tick)}","{print_size(self._decimals, symbol, lots)}"]'
                for tick, lots in self._market.book(symbol, side, depth)
            )
            for side in (order_flow.BID, order_flow.ASK)
        )
        if not self._family.futures:
            text = f'{{"lastUpdateId":{ident},"bids":[{bids}],"asks":[{asks}]}}'
            return Due(stream, ident, lambda _: text)
        name, time_ns = self._names[symbol], events.origin_ns + int(diff["time"])
        pair = f',"ps":"{pair_of(name)}"' if self._family.by_contract else ""
        first, last = int(diff["first"]), int(diff["last"])
        return Due(
            stream,
            ident,
            lambda unit: (
                f'{{"e":"depthUpdate","E":{events.sent_ns // unit},"T":{time_ns // unit},"s":"{name}"{pair},'
                f'"U":{first},"u":{ident},"pu":{last},"b":[{bids}],"a":[{asks}]}}'
            ),
        )

    # Bars.

    def _bars_due(self, symbol: int, stream: int, trades: NDArray[np.void], events: Events) -> Iterator[Due]:
        bar = self._bars.get(symbol)
        for ident, time, tick, lots, maker in trades[["id", "time", "price", "size", "maker"]].tolist():
            start_ns = (events.origin_ns + time) // MINUTE_NS * MINUTE_NS
            if bar is None or bar.start_ns != start_ns:
                if bar is not None:
                    yield Due(stream, 0, self._bar(symbol, bar, events.sent_ns, closed=True))
                bar = self._bars[symbol] = _Bar(start_ns, ident, tick)
            bar.take(ident, tick, lots, maker)
        if bar is not None and bar.news and self._is_time(stream, events.sent_ns, BAR_PAUSE_NS):
            bar.news = False
            yield Due(stream, 0, self._bar(symbol, bar, events.sent_ns, closed=False))

    def _bar(self, symbol: int, bar: _Bar, sent_ns: int, *, closed: bool) -> Callable[[int], str]:
        price_step, price_digits, size_step, size_digits = self._decimals[symbol].tolist()

        def worth(ticks_lots: int) -> str:
            return format_decimal(ticks_lots * price_step * size_step, price_digits + size_digits)

        prices = [print_price(self._decimals, symbol, tick) for tick in (bar.open, bar.close, bar.high, bar.low)]
        volume, bought = (print_size(self._decimals, symbol, lots) for lots in (bar.lots, bar.bought))
        name, start_ns, trades = self._names[symbol], bar.start_ns, f'"f":{bar.first},"L":{bar.last}'
        rest = (
            '"o":"{}","c":"{}","h":"{}","l":"{}",'.format(*prices)
            + f'"v":"{volume}","n":{bar.trades},"x":{"true" if closed else "false"},"q":"{worth(bar.worth)}",'
            f'"V":"{bought}","Q":"{worth(bar.bought_worth)}","B":"0"'
        )
        return lambda unit: (
            f'{{"e":"kline","E":{sent_ns // unit},"s":"{name}","k":{{"t":{start_ns // unit},'
            f'"T":{(start_ns + MINUTE_NS) // unit - 1},"s":"{name}","i":"1m",{trades},{rest}}}}}'
        )

    # Futures.

    def _mark(self, symbol: int, sent_ns: int, unit: int) -> str:
        assert self._market is not None
        state, (price_step, digits) = self._market.state, self._decimals[symbol, :2].tolist()
        twice = int(state.best[symbol].sum()) * price_step
        # Halfway between the best prices, with more digits than the venue prints.
        mark, index, settlement = (format_decimal((5 * twice + part) * 10**6, digits + 7) for part in (0, 3, 1))
        rate = format_decimal(int(1e4 * state.pressure[symbol]), 8)
        funding_ns = (sent_ns // FUNDING_NS + 1) * FUNDING_NS
        return (
            f'{{"e":"markPriceUpdate","E":{sent_ns // unit},"s":"{self._names[symbol]}","p":"{mark}","i":"{index}",'
            f'"P":"{settlement}","r":"{rate}","T":{funding_ns // unit}}}'
        )

    def _forced_due(self, symbol: int, stream: int, rows: NDArray[np.void], events: Events) -> Iterator[Due]:
        orders = rows[(rows["kind"] == order_flow.AGGREGATE) & (rows["id"] % FORCED_ONE_OF == 0)]
        for row in orders[-1:]:
            if self._is_time(stream, events.sent_ns, SECOND_NS):
                yield Due(stream, int(row["id"]), self._forced(symbol, row, events))

    def _forced(self, symbol: int, row: np.void, events: Events) -> Callable[[int], str]:
        name, time_ns = self._names[symbol], events.origin_ns + int(row["time"])
        pair = f'"ps":"{pair_of(name)}",' if self._family.by_contract else ""
        price = print_price(self._decimals, symbol, int(row["price"]))
        amount = print_size(self._decimals, symbol, int(row["size"]))
        side = "SELL" if row["maker"] else "BUY"
        return lambda unit: (
            f'{{"e":"forceOrder","E":{events.sent_ns // unit},"o":{{"s":"{name}",{pair}"S":"{side}","o":"LIMIT",'
            f'"f":"IOC","q":"{amount}","p":"{price}","ap":"{price}","X":"FILLED","l":"{amount}","z":"{amount}",'
            f'"T":{time_ns // unit}}}}}'
        )

    def batch(self, due: list[Due], unit_ns: int) -> Batch:
        """These messages at a unit of time, with and without the stream's name."""
        heads = [f'{{"stream":"{self.streams[each.stream - self._first]}","data":'.encode() for each in due]
        texts = [head + each.text(unit_ns).encode() + b"}" for head, each in zip(heads, due, strict=True)]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        inner = starts + np.array([len(head) for head in heads], np.int64)
        stream = np.array([each.stream for each in due], np.int64)
        ident = np.array([each.id for each in due], np.int64)
        return Batch(np.frombuffer(b"".join(texts), np.uint8), ((starts, ends), (inner, ends - 1)), stream, ident)
