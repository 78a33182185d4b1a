"""Books of levels and of orders, beside NautilusTrader's and beside dicts: levels or orders a second of CPU time.

    TICK records, in batches or event by event ──MarketBooks──> BBO records
    the same, as OrderBookDeltas, in batches or event by event ──OrderBook.apply_deltas──> its best when asked

One core, in turns. All start from decoded records: their deltas are made, and our batches cut, before the clock starts.
NautilusTrader's book tells nobody of its best; ours says each change of it meanwhile. The bests after each event must
be equal before anything is timed. Needs the environment of `make bench-peers`.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity
from numpy.typing import NDArray

from bench import books, orders
from bench.codec import RECORDINGS, recorded_ticks
from bench.harness import Result, host
from tickplant.books.market_books import MarketBooks
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side

Records = NDArray[np.void]
Best = tuple[int, int, int, int]

BATCH_RECORDS: Final = 256
RECORDS: Final = 120_000
QUICK_RECORDS: Final = 20_000
OPERATIONS: Final = (Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL)
_NAUTILUS: Final = "NautilusTrader 1.221.0"


def lots_of(ticks: Records) -> Records:
    """The same with prices and sizes as whole ticks and lots, which is what NautilusTrader's integers are made of."""
    ticks = ticks.copy()
    for name in ("price", "size"):
        values = ticks[name]
        ticks[name] = values // max(1, int(np.gcd.reduce(values)))
    return ticks


class Nautilus:
    """Deltas of a stream, and a book that takes them."""

    def __init__(self, ticks: Records, bounds: list[int]) -> None:
        self._id = InstrumentId.from_str("BTCUSDT.BINANCE")
        self._of_orders = bool(np.isin(ticks["kind"], OPERATIONS).any())
        sides = {int(Side.BID): OrderSide.BUY, int(Side.ASK): OrderSide.SELL}
        actions = {
            Kind.ORDER_ADD: BookAction.ADD,
            Kind.ORDER_MODIFY: BookAction.UPDATE,
            Kind.ORDER_CANCEL: BookAction.DELETE,
        }

        def delta(row: Any) -> Any:
            kind, side, price, size, order_id = row
            if kind == Kind.CLEAR:
                return OrderBookDelta.clear(self._id, 0, 0, 0)
            action = actions[kind] if kind != Kind.LEVEL else BookAction.UPDATE if size else BookAction.DELETE
            order = BookOrder(sides[side], Price.from_int(price), Quantity.from_int(size), order_id)
            return OrderBookDelta(self._id, action, order, 0, 0, 0, 0)

        names = ("kind", "side", "price", "size", "order_id")
        made = [delta(row) for row in zip(*(ticks[name].tolist() for name in names), strict=True)]
        self.parts = [
            OrderBookDeltas(self._id, made[begin:end]) for begin, end in zip([0, *bounds], bounds, strict=False)
        ]

    def book(self) -> Any:
        """A new one."""
        return OrderBook(self._id, BookType.L3_MBO if self._of_orders else BookType.L2_MBP)

    def run(self) -> Any:
        """What is timed."""
        book = self.book()
        for part in self.parts:
            book.apply_deltas(part)
        return book

    def bests(self) -> Iterator[Best]:
        """The best after each part."""
        book = self.book()
        for part in self.parts:
            book.apply_deltas(part)
            found: list[int] = []
            # `best_bid_size` is the size of one order: of the level it is what a taker gets at that price.
            for price, taker in ((book.best_bid_price(), OrderSide.SELL), (book.best_ask_price(), OrderSide.BUY)):
                size = 0.0 if price is None else book.get_quantity_for_price(price, taker)
                found += [NO_PRICE if price is None else round(price.as_double()), round(size)]
            yield (found[0], found[1], found[2], found[3])


def parts_of(ticks: Records, bounds: list[int]) -> list[Records]:
    """The batches, cut before the clock starts as their deltas are made before."""
    return [ticks[begin:end] for begin, end in zip([0, *bounds], bounds, strict=False)]


def ours(parts: list[Records]) -> list[Records]:
    """What is timed of us."""
    taken = MarketBooks()
    return [taken.apply(part) for part in parts]


def check(name: str, ticks: Records, events: list[int]) -> None:
    """Raises AssertionError where the two have other bests."""
    changes: list[Best] = []
    for best in Nautilus(ticks, events).bests():
        if not changes or best != changes[-1]:
            changes.append(best)
    said = np.concatenate(ours(parts_of(ticks, events)))
    mine: list[Best] = said[["bid_price", "bid_size", "ask_price", "ask_size"]].tolist()
    assert len(mine) > 10
    assert mine == changes, f"{name}: NautilusTrader has other bests"


def measure(
    name: str, unit: str, ticks: Records, rival: Callable[[], object], label: str, repeats: int
) -> list[Result]:
    """One stream in batches and event by event."""
    count = int(np.isin(ticks["kind"], (Kind.LEVEL, *OPERATIONS)).sum())
    events = (1 + np.flatnonzero(ticks["flags"] & Flag.LAST)).tolist()
    check(name, ticks, events)
    batches = [*range(BATCH_RECORDS, len(ticks), BATCH_RECORDS), len(ticks)]
    works: dict[str, Callable[[], object]] = {label: rival}
    for way, bounds in ((f"batches of {BATCH_RECORDS}", batches), ("event by event", events)):
        works[f"ours, {way}"] = partial(ours, parts_of(ticks, bounds))
        works[way] = Nautilus(ticks, bounds).run
    times: dict[str, list[float]] = {who: [] for who in works}
    for _ in range(repeats + 1):  # the first is to warm up
        for who, work in works.items():
            started_s = time.process_time()
            work()
            times[who].append(time.process_time() - started_s)
    ns = {who: 1e9 * statistics.median(taken[1:]) / count for who, taken in times.items()}
    results = []
    for way in (f"batches of {BATCH_RECORDS}", "event by event"):
        value = ns[f"ours, {way}"]
        for who, other in ((f"{_NAUTILUS}, {way}", ns[way]), (label, ns[label])):
            results.append(
                Result(
                    name=f"{name}, {way}",
                    value=value,
                    unit=f"ns/{unit}",
                    compared_with=f"{who} ({other:,.0f})",
                    ratio=other / value,
                    host=host(),
                )
            )
    return results


def run(repeats: int, quick: bool) -> list[Result]:
    """Levels, then orders. Raises AssertionError where a best differs."""
    count = QUICK_RECORDS if quick else RECORDS
    streams = {f"synthetic, {depth:,} levels a side": books.synthetic(depth, count) for depth in books.DEPTHS}
    for label, (venue, file) in RECORDINGS.items():
        with contextlib.suppress(FileNotFoundError):
            ticks = recorded_ticks(venue, file)
            ticks = ticks[np.isin(ticks["kind"], (Kind.LEVEL, Kind.CLEAR))]
            streams[f"{label} recording"] = lots_of(ticks[ticks["seq"] >= ticks["seq"][ticks["kind"] == Kind.CLEAR][0]])
    results = []
    for name, stream in streams.items():
        ticks = stream[: 1 + int(np.flatnonzero(stream["flags"][: 2 * count] & Flag.LAST)[-1])]
        rival = partial(books.rival_bests, books.rows_of(ticks))
        results += measure(f"books: {name}", "level", ticks, rival, "sortedcontainers.SortedDict", repeats)
    for alive in orders.ORDERS:
        ticks = orders.synthetic(alive, count)
        ticks = ticks[: 1 + int(np.flatnonzero(ticks["flags"] & Flag.LAST)[-1])]
        chosen = ticks[np.isin(ticks["kind"], OPERATIONS)]
        rows = list(zip(*(chosen[field].tolist() for field in orders.FIELDS), strict=True))
        label = "dict and sortedcontainers.SortedDict"
        name = f"books of orders: synthetic, {alive:,} in the book"
        results += measure(name, "order", ticks, partial(orders.rival_run, rows), label, repeats)
    return results
