"""The books of a stream of ticks, by level or of orders, whichever an instrument has.

A feed takes `book` or `orders` of an instrument, not both, so each instrument has one book, with one interface for its
levels, best and state. If there were both kinds at different times, the book in sync counts, else the newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_samples import BookSamples
from tickplant.books.book_states import NOTHING, BookStates
from tickplant.books.fold_kernels import (
    IN_ORDERS,
    OF_LEVELS,
    ONLY_LEVELS,
    ORDERS_SHIFT,
    PLACE,
    PLACE_BITS,
    fold_both_at,
    fold_levels_at,
)
from tickplant.books.level_books import Books
from tickplant.books.order_books import MAX_ORDERS, OrderBooks, Unknown
from tickplant.records.arrays import joined
from tickplant.records.layouts import BBO, Side

Records = NDArray[np.void]

MAX_LEVELS: Final = 20_000
"""Levels per side by default."""


class MarketBooks:
    """Books by level and books of orders. While no tick concerns orders, only the kernel of levels runs.

    Args:
        max_levels: see `Books`.
        max_orders: see `OrderBooks`.
        matching: see `OrderBooks`.
    """

    def __init__(self, max_levels: int = MAX_LEVELS, max_orders: int = MAX_ORDERS, *, matching: bool = False) -> None:
        self.by_level = Books(max_levels)
        self.of_orders = OrderBooks(max_orders, matching=matching)
        self._fold: Callable[[Records], int] = self._fold_first
        self.address = self.by_level.address
        """Address of the words that `kernel` works in."""
        self.orders_too = False  # set from the first record for books of orders on

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name, summed over both kinds."""
        total = self.by_level.counters
        for name, value in self.of_orders.counters.items():
            total[name] = total.get(name, 0) + value
        return total | {"orders": self.of_orders.alive}

    @property
    def stale(self) -> int:
        """Books that once had content and are now out of sync with their venue."""
        return self.by_level.stale + self.of_orders.stale

    @property
    def live(self) -> int:
        """Books in sync with their venue."""
        return self.by_level.live + self.of_orders.live

    @property
    def memory_bytes(self) -> int:
        """Bytes allocated."""
        return self.by_level.memory_bytes + self.of_orders.memory_bytes

    def reserve(self, instrument_id: int) -> None:
        """Make books for every id up to this one."""
        self.by_level.reserve(instrument_id)
        self.of_orders.reserve(instrument_id)

    def apply(self, ticks: Records, samples: BookSamples | None = None) -> Records:
        """Fold TICK records, in stored order, into the books, and take the samples, if any, along the way.

        Returns BBO records as `BookStates.apply` does.
        """
        if samples is not None:
            return self._of_orders_too(ticks, self.by_level.apply(ticks, samples), samples)
        return self.finish(ticks, self._fold(ticks))

    def finish(self, ticks: Records, result: int) -> Records:
        """What `apply` returns, given what `kernel` returned for these ticks."""
        if result == 0:
            return NOTHING
        if 0 < result < ONLY_LEVELS:
            return self.by_level.out[result & PLACE : result >> PLACE_BITS]
        if self.orders_too:
            if result > 0:
                end, begin = result >> ORDERS_SHIFT + PLACE_BITS, result >> ORDERS_SHIFT & PLACE
                of_orders = self.of_orders.out[begin:end]
                return _in_order(self.by_level.said(), of_orders) if result & OF_LEVELS else of_orders
            if result < -IN_ORDERS:
                return _in_order(self.by_level.said(), self.of_orders.finish(ticks, result + IN_ORDERS))
        return self._of_orders_too(ticks, self.by_level.finish(ticks, result))

    def _of_orders_too(self, ticks: Records, by_level: Records, samples: BookSamples | None = None) -> Records:
        """What `apply` returns, after the books by level have taken these ticks and returned `by_level`."""
        if not self.by_level.elsewhere:
            return by_level
        if not self.orders_too:
            self.orders_too = True
            self._fold, self.address = self.of_orders.fold_behind(self.by_level), self.of_orders.address
        if samples is not None:
            samples.take_again()
        return _in_order(by_level, self.of_orders.apply(ticks, samples))

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """The kernel that folds ticks in the words at `address`."""
        return fold_both_at if self.orders_too else fold_levels_at

    def _fold_first(self, ticks: Records) -> int:
        """Compile or load the kernel, which replaces `_fold` from then on: an attribute that Python finds at once."""
        self._fold = self.by_level.fold
        return self._fold(ticks)

    def news(self) -> list[Unknown]:
        """See `OrderBooks.news`."""
        return self.of_orders.news() if self.orders_too else []

    def prepare_to_sample(self) -> None:
        """Compile or load the kernels that take samples."""
        self.by_level.prepare_to_sample()
        self.of_orders.prepare_to_sample()

    def has_orders(self, instrument_id: int) -> bool:
        """Whether an instrument's book is a book of orders."""
        return self._of(instrument_id) is self.of_orders

    def is_stale(self, instrument_id: int) -> bool:
        """Whether the book is out of sync or was never described."""
        return self._of(instrument_id).is_stale(instrument_id)

    def times(self, instrument_id: int) -> tuple[int, int]:
        """`ts_event` and `ts_recv` of the last record applied to the book; 0 if there was none."""
        return self._of(instrument_id).times(instrument_id)

    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """Price and size mantissas of one side, best first: a C-contiguous array of shape (levels, 2)."""
        return self._of(instrument_id).levels(instrument_id, side)

    def snapshot(self, instrument_id: int) -> Records:
        """The levels of a book, as in `BookStates.snapshot`."""
        return self._of(instrument_id).snapshot(instrument_id)

    def own_snapshot(self, instrument_id: int) -> Records:
        """The book as records of its own kind: orders for a book of orders."""
        if self.has_orders(instrument_id):
            return self.of_orders.order_snapshot(instrument_id)
        return self.by_level.snapshot(instrument_id)

    def whole(self) -> Iterator[Records]:
        """Snapshots, as records of their own kind, of the books that are exactly what the records say."""
        yield from (self.by_level.snapshot(id_) for id_ in self.by_level.whole())
        yield from (self.of_orders.order_snapshot(id_) for id_ in self.of_orders.whole())

    def _of(self, instrument_id: int) -> BookStates:
        """The books that hold an instrument's book."""
        levels, orders = self.by_level, self.of_orders
        if not orders.is_described(instrument_id):
            return levels
        if not levels.is_described(instrument_id):
            return orders
        return max((orders, levels), key=lambda books: (not books.is_stale(instrument_id), books.seq(instrument_id)))


def _in_order(by_level: Records, of_orders: Records) -> Records:
    """The BBO records of both, in the order of their causes."""
    if not len(of_orders) or not len(by_level):
        return of_orders if len(of_orders) else by_level
    both = joined([by_level, of_orders], BBO)
    return both.take(np.argsort(both["source_seq"], kind="stable"))
