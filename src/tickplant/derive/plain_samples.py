"""The plain reference of `sampled_books` and `book_values`: one record at a time, books as dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.books.plain_books import DictBook, DictBooks
from tickplant.books.plain_orders import PlainOrderBook, PlainOrderBooks
from tickplant.derive.row_columns import NOT_COUNTED, book_columns
from tickplant.derive.running_series import BookSeries
from tickplant.derive.series import is_wanted
from tickplant.instruments import Instrument
from tickplant.records.layouts import VALUE, Flag, Kind, Side, StatusCode

Records = NDArray[np.void]

BOOK = (Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM, Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL)


FOLLOWED = -1
"""Stands for the id in the key of a followed order."""


class Followed(NamedTuple):
    """A hypothetical order on each side."""

    cycle: int
    instrument: int
    prices: list[int | None]  # of the bid and the ask; None: the side was empty


class PlainSamples:
    """Series over samples of a feed's books. An instrument has a book by level or a book of orders."""

    def __init__(
        self, series: Sequence[BookSeries], instruments: Mapping[int, Instrument], line: Callable[[int], int]
    ) -> None:
        self.series = series
        self.instruments = instruments
        self.line = line
        self.by_level, self.of_orders = DictBooks(), PlainOrderBooks()
        self.inside: dict[int, bool] = {}
        self.latest: dict[int, int] = {}  # by line: receive time of its latest record
        self.last: dict[int, int] = {}  # by line: the instrument of its last record
        self.states: dict[tuple[int, int], NDArray[np.float64]] = {}
        # For each series that follows orders: books of orders that contain the followed ones as orders of size 0.
        self.shadows = {one.place: PlainOrderBooks() for one in series if one.follows}
        self.followed: dict[tuple[int, int], Followed] = {}  # by place and line

    def apply(self, ticks: Records) -> Records:
        """The VALUE records that these ticks produce, `seq` 0."""
        rows = []
        for place, row in enumerate(ticks.tolist()):
            tick = dict(zip(ticks.dtype.names or (), row, strict=True))
            if _is_of_book(tick):
                line = self.line(tick["instrument"])
                since = self.latest.get(line)
                if since is not None:
                    rows += [found for one in self.series for found in self._value(one, line, since, tick)]
                self.latest[line] = max(tick["ts_recv"], since or 0)
                self.last[line] = tick["instrument"]
            self.by_level.apply(ticks[place : place + 1])
            self.of_orders.apply(ticks[place : place + 1])
            for shadow in self.shadows.values():
                shadow.apply(ticks[place : place + 1])
            if tick["kind"] == Kind.CLEAR and tick["flags"] & Flag.ON_ORDERS and _is_of_book(tick):
                self.followed = {key: one for key, one in self.followed.items() if one.instrument != tick["instrument"]}
            if _is_of_book(tick):
                self.inside[tick["instrument"]] = not tick["flags"] & Flag.LAST
        return np.array(rows, VALUE) if rows else np.zeros(0, VALUE)

    def _value(self, one: BookSeries, line: int, since: int, tick: dict[str, Any]) -> list[tuple[Any, ...]]:
        row = self.instruments[self.last[line]]
        instant = (since // one.every_ns + 1) * one.every_ns
        if tick["ts_recv"] < instant or not is_wanted(one.symbols, row.venue, row.symbol):
            return []
        out = np.full((len(one.indicator.outputs), 1), np.nan)
        book = self._book(row.id)
        there = not one.follows or isinstance(book, PlainOrderBook)
        if there and book.state == "live" and not self.inside[row.id]:
            if one.follows:
                bids, asks = self._ahead(one, line, row.id, instant)
            else:
                bids, asks = _levels(book, Side.BID), _levels(book, Side.ASK)
            width = max(1, min(one.depth, max(len(bids), len(asks))))
            units = 10.0**row.price_scale, 10.0**row.size_scale
            inputs = book_columns(bids, asks, one.indicator.inputs, width, *units)[:, None]
            state = self.states.setdefault((one.place, line), one.indicator.start(one.parameters.tolist()))
            one.indicator.kernel(np.ascontiguousarray(inputs), one.parameters, state, out)
        values = [*out[:, 0].tolist(), *[np.nan] * (4 - len(out))]
        return [(instant, tick["ts_recv"], *values, tick["seq"], row.id, one.number, 0, 0)]

    def _ahead(self, one: BookSeries, line: int, id_: int, instant: int) -> list[NDArray[np.int64]]:
        """Price, size and number of the orders ahead of the followed order, for each side."""
        key, cycle = (one.place, line), instant // (one.every_ns * one.follows)
        books = self.shadows[one.place].order_books
        found = self.followed.get(key)
        if found is None or (found.cycle, found.instrument) != (cycle, id_):
            prices = []
            for side, best in ((Side.BID, max), (Side.ASK, min)):
                if found and (name := (FOLLOWED, side, line)) in books[found.instrument].where:
                    books[found.instrument].remove(name)
                real = [price for price, queue in books[id_].queues[side].items() if any(queue.values())]
                prices.append(best(real, default=None))
                if prices[-1] is not None:
                    books[id_].place((FOLLOWED, side, line), side, prices[-1], 0)
            found = self.followed[key] = Followed(cycle, id_, prices)
        sides = []
        for side, price in zip((Side.BID, Side.ASK), found.prices, strict=True):
            queue = books[id_].queues[side].get(price, {}) if price is not None else {}
            names = list(queue)
            ahead = names[: names.index(name)] if (name := (FOLLOWED, side, line)) in queue else []
            count = NOT_COUNTED if price is None else len(ahead)
            sides.append(np.array([[price or 0, sum(queue[name] for name in ahead), count]], np.int64))
        return sides

    def _book(self, id_: int) -> DictBook:
        orders = self.of_orders.order_books.get(id_)
        if orders and (orders.state != "stale" or orders.where):
            orders.derive()
            return orders
        return self.by_level.books[id_]


def _is_of_book(tick: Mapping[str, int]) -> bool:
    if tick["kind"] in BOOK:
        return not tick["flags"] & Flag.PARTIAL
    disconnected = tick["kind"] == Kind.STATUS and tick["price"] == StatusCode.DISCONNECTED
    return bool((tick["kind"] == Kind.GAP or disconnected) and tick["flags"] & (Flag.ON_BOOK | Flag.ON_ORDERS))


def _levels(book: DictBook, side: Side) -> NDArray[np.int64]:
    """Price, size and number of orders of each level, best first."""
    levels = sorted((book.bids if side == Side.BID else book.asks).items(), reverse=side == Side.BID)
    queues = getattr(book, "queues", None)
    counts = [len(queues[side][price]) if queues else NOT_COUNTED for price, _ in levels]
    return np.array([(*level, count) for level, count in zip(levels, counts, strict=True)], np.int64).reshape(-1, 3)
