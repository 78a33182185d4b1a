"""Books of orders, compared with a book of dicts: order records per second, with the best after each event.

    TICK records in batches of BATCH_RECORDS ──MarketBooks──> BBO records
    the same, as tuples of Python ints       ──dict, SortedDict──> (bid, size, ask, size) at each change

One core. Both start from decoded records; the rival is spared the conversion to Python objects. Bests, and the final
orders in price-time priority, must be equal before anything is timed. Streams: a CME future, if the file is available,
and synthetic ones with ORDERS in the book, where half of the records add an order and the others end or move one.
"""

from __future__ import annotations

import contextlib
from functools import partial
from itertools import starmap
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedDict

from bench.books import Best, rate
from bench.codec import DATA
from bench.harness import Result, main, median_of
from tickplant.books.market_books import MarketBooks
from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, Side

Records = NDArray[np.void]
Row = tuple[int, int, int, int, int, int]
Queued = tuple[int, int, int]

BATCH_RECORDS: Final = 1024
ORDERS: Final = (1_000, 100_000)
SYNTHETIC_RECORDS: Final = 400_000
QUICK_RECORDS: Final = 20_000
FIELDS: Final = ("kind", "side", "price", "size", "order_id", "flags")
FILE: Final = DATA / "dbn" / "CLX5_mbo.dbn"
MBO: Final = np.dtype(
    {
        "names": ["order_id", "price", "size", "flags", "action", "side"],
        "formats": ["<u8", "<i8", "<u4", "u1", "S1", "S1"],
        "offsets": [16, 24, 32, 36, 38, 39],
        "itemsize": 56,
    }
)


def synthetic(alive: int, count: int, seed: int = 1) -> Records:
    """About `alive` orders, most near the top, then `count` records; four fifths of them end an event."""
    random = np.random.default_rng(seed)
    ticks = np.zeros(1 + alive + count, TICK)
    ticks["kind"], ticks["instrument"] = Kind.ORDER_ADD, 1
    ticks["side"] = random.integers(1, 3, len(ticks))
    away = np.minimum(random.geometric(0.03, len(ticks)), 500)
    ticks["price"] = 10**6 + np.where(ticks["side"] == Side.BID, -away, away)
    ticks["size"] = random.integers(1, 100, len(ticks))
    ticks["order_id"] = 10**12 + np.arange(len(ticks))
    known = list(range(1, alive + 1))
    changes = (random.random(len(ticks)) < 0.5).tolist()
    moves = (random.random(len(ticks)) < 0.25).tolist()
    chances = random.random(len(ticks)).tolist()
    for place in range(1 + alive, len(ticks)):
        if not changes[place]:
            known.append(place)
            continue
        number = int(chances[place] * len(known))
        older = known[number]
        ticks["order_id"][place], ticks["side"][place] = ticks["order_id"][older], ticks["side"][older]
        distance = abs(int(ticks["price"][place]) - 10**6)
        ticks["price"][place] = 10**6 + (-distance if ticks["side"][place] == Side.BID else distance)
        ticks["kind"][place] = Kind.ORDER_MODIFY if moves[place] else Kind.ORDER_CANCEL
        if not moves[place]:
            ticks["size"][place] = 0
            known[number] = known[-1]
            known.pop()
    ticks["flags"][1 + alive :][random.random(count) < 0.8] = Flag.LAST
    ticks["kind"][0], ticks["flags"][0], ticks["side"][0] = Kind.CLEAR, Flag.ON_ORDERS, Side.NONE
    ticks["seq"] = np.arange(len(ticks))
    return ticks


def recorded() -> Records:
    """The file, which starts in the middle of a session, as ticks. Raises FileNotFoundError."""
    data = FILE.read_bytes()
    rows = np.frombuffer(data, MBO, offset=8 + int.from_bytes(data[4:8], "little"))
    ticks = np.zeros(1 + len(rows), TICK)
    kinds = {b"A": Kind.ORDER_ADD, b"M": Kind.ORDER_MODIFY, b"C": Kind.ORDER_CANCEL, b"F": Kind.ORDER_FILL}
    sides = {b"A": Side.ASK, b"B": Side.BID}
    ticks["kind"][1:] = [kinds.get(action, Kind.TRADE) for action in rows["action"].tolist()]
    ticks["side"][1:] = [sides.get(side, Side.NONE) for side in rows["side"].tolist()]
    for name in ("price", "size", "order_id"):
        ticks[name][1:] = rows[name]
    ticks["flags"][1:] = np.where(rows["flags"] & 128, int(Flag.LAST), 0)
    ticks["kind"][0], ticks["flags"][0] = Kind.CLEAR, Flag.ON_ORDERS
    ticks["instrument"], ticks["seq"] = 1, np.arange(len(ticks))
    return ticks


def kernel_books(ticks: Records) -> tuple[list[Best], list[Queued]]:
    """Each change of the best, and the final orders, by the engine's books."""
    books = MarketBooks()
    parts = [books.apply(ticks[i : i + BATCH_RECORDS]) for i in range(0, len(ticks), BATCH_RECORDS)]
    bests = [best for part in parts for best in part[["bid_price", "bid_size", "ask_price", "ask_size"]].tolist()]
    queues = [books.of_orders.orders(1, side)[["order_id", "price", "size"]] for side in (Side.BID, Side.ASK)]
    return bests, [order for queue in queues for order in queue.tolist()]


def kernel_run(ticks: Records) -> None:
    """The timed work of the kernels; the book of levels sees every record as well."""
    books = MarketBooks()
    for i in range(0, len(ticks), BATCH_RECORDS):
        books.apply(ticks[i : i + BATCH_RECORDS])


class Rival:
    """A dict of orders, and a SortedDict of prices per side, with the size and a dict of orders at each price."""

    def __init__(self) -> None:
        self.where: dict[int, tuple[int, int]] = {}
        self.sides: dict[int, SortedDict[int, dict[int, int]]] = {1: SortedDict(), 2: SortedDict()}
        self.sizes: dict[tuple[int, int], int] = {}
        self.bests: list[Best] = []

    def take(self, kind: int, side: int, price: int, size: int, order_id: int, flags: int) -> None:
        """Take one record."""
        known = self.where.get(order_id)
        if kind == 7:
            if known:
                old = self.sides[known[0]][known[1]][order_id]
                self.resize(order_id, known, old, old - size if size else 0)
        elif kind != 8:
            if known:
                old = self.sides[known[0]][known[1]][order_id]
                if kind == 6 and known == (side, price) and size <= old:
                    self.resize(order_id, known, old, size)
                    known = side, price
                else:
                    self.resize(order_id, known, old, 0)
                    known = None
            if not known:
                self.where[order_id] = place = side, price
                self.sides[side].setdefault(price, {})[order_id] = size
                self.sizes[place] = self.sizes.get(place, 0) + size
        if flags & 1:
            bid = self.sides[1].peekitem(-1)[0] if self.sides[1] else NO_PRICE
            ask = self.sides[2].peekitem(0)[0] if self.sides[2] else NO_PRICE
            best = bid, self.sizes.get((1, bid), 0), ask, self.sizes.get((2, ask), 0)
            if not self.bests or best != self.bests[-1]:
                self.bests.append(best)

    def resize(self, order_id: int, place: tuple[int, int], old: int, size: int) -> None:
        """Change the size of an order, which keeps its place; size 0 removes it."""
        queue = self.sides[place[0]][place[1]]
        if size > 0:
            queue[order_id] = size
            self.sizes[place] += size - old
            return
        del queue[order_id], self.where[order_id]
        if queue:
            self.sizes[place] -= old
        else:
            del self.sides[place[0]][place[1]], self.sizes[place]

    def orders(self) -> list[Queued]:
        """The orders in price-time priority, bids first."""
        bids, asks = self.sides[1], self.sides[2]
        found = [(order_id, price, size) for price in reversed(bids) for order_id, size in bids[price].items()]
        return found + [(order_id, price, size) for price in asks for order_id, size in asks[price].items()]


def rival_run(rows: list[Row]) -> Rival:
    """Apply all records to a book of dicts."""
    rival = Rival()
    for _ in starmap(rival.take, rows):
        pass
    return rival


def measure(name: str, ticks: Records, repeats: int) -> Result:
    """Measure one stream. Raises AssertionError if the two disagree."""
    chosen = ticks[(ticks["kind"] >= Kind.ORDER_ADD) & (ticks["kind"] <= Kind.ORDER_FILL)]
    rows: list[Row] = list(zip(*(chosen[field].tolist() for field in FIELDS), strict=True))
    bests, orders = kernel_books(ticks)
    rival = rival_run(rows)
    assert len(bests) > 10
    assert bests == rival.bests, f"{name}: the two do not say the same"
    assert orders == rival.orders(), f"{name}: the orders differ"
    ours = median_of(repeats, partial(rate, len(rows), partial(kernel_run, ticks)))
    theirs = median_of(repeats, partial(rate, len(rows), partial(rival_run, rows)))
    return Result(
        name=f"books of orders: records a CPU second, {name}",
        value=ours,
        unit="orders/s",
        compared_with="dict and sortedcontainers.SortedDict",
        ratio=ours / theirs,
    )


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure all streams. Raises AssertionError if a best or an order differs."""
    count = QUICK_RECORDS if quick else SYNTHETIC_RECORDS
    sizes = ORDERS[:1] if quick else ORDERS
    results = [measure(f"synthetic, {alive:,} in the book", synthetic(alive, count), repeats) for alive in sizes]
    with contextlib.suppress(FileNotFoundError):
        results.append(measure("a future of CME", recorded(), repeats))
    return results


if __name__ == "__main__":
    main(run)
