"""Books of orders of many instruments: feed them ticks, get best bids and offers, levels, orders and their places.

`OrderBooks` owns the memory that the kernels work in. It grows on demand, 104 bytes an order, doubling, up to
`max_orders`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.books import fold_kernels as m
from tickplant.books import order_kernels as k
from tickplant.books.book_samples import FOLLOWED, FOLLOWER, NOTHING, BookSamples, sample_orders
from tickplant.books.book_states import BookStates
from tickplant.books.order_queues import ALIVE, NODE, PRICE, QUEUED, USED, copy_orders
from tickplant.books.order_table import ENTRY, refill
from tickplant.books.queue_places import count_ahead, joined_of, queue_at
from tickplant.kernel_methods import method
from tickplant.kernels import direct
from tickplant.records.arrays import grown
from tickplant.records.layouts import Flag, Kind, Side

Records = NDArray[np.void]

MAX_ORDERS: Final = 2_000_000
_FIRST_ORDERS: Final = 64  # a power of two


class Unknown(NamedTuple):
    """Records of this kind have named an order of this instrument that was never added."""

    instrument: int
    kind: Kind


class OrderBooks(BookStates):
    """Books of orders: see `BookStates`.

    Args:
        max_orders: of all books together. Those beyond are refused and counted as `orders_refused`; their books are
            then not what the records say, and not among `whole()`, until the next CLEAR.
        matching: books that are crossed at the end of an event are resolved by trading the best orders against each
            other, first come first. Otherwise their BBO has the flag CROSSED.
    """

    def __init__(self, max_orders: int = MAX_ORDERS, *, matching: bool = False) -> None:
        if max_orders < 1:
            raise ValueError(f"max_orders is {max_orders}: must be at least 1")
        self.max_orders = max_orders
        self.matching = matching
        self._orders = np.zeros(_FIRST_ORDERS, NODE)
        self._prices = np.zeros(_FIRST_ORDERS, PRICE)
        self._table = np.zeros(2 * _FIRST_ORDERS, ENTRY)
        self._used = np.zeros(USED, np.int64)
        self._news = 0
        super().__init__(k.ORDER_TALLY)
        self._words[m.MOST], self._words[m.MATCHING] = max_orders, matching

    @property
    def memory_bytes(self) -> int:
        """Allocated for books and what is in them."""
        return super().memory_bytes + self._orders.nbytes + self._prices.nbytes + self._table.nbytes

    @property
    def alive(self) -> int:
        """Orders in all books."""
        return int(self._used[ALIVE])

    def news(self) -> list[Unknown]:
        """Which causes of operations on unknown orders any book has had, where there is a new one since the last call.

        Those of the past are among them.
        """
        if self._tally[k.NEWS] == self._news:
            return []
        self._news = int(self._tally[k.NEWS])
        unknown = self._books["unknown"]
        return [
            Unknown(instrument, kind)
            for instrument in np.flatnonzero(unknown).tolist()
            for kind in k.UNKNOWN_CAUSES
            if unknown[instrument] >> (kind - Kind.ORDER_MODIFY) & 1
        ]

    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """See `BookStates`: of each price the size of all its orders."""
        if instrument_id >= len(self._books):
            return np.zeros((0, 2), np.int64)
        keys, places = self._runs.entries(instrument_id, side - 1)
        return np.stack([keys if side == Side.BID else -keys, self._prices["size"][places]], axis=1)

    def orders(self, instrument_id: int, side: Side, levels: int | None = None) -> Records:
        """The orders of one side, dtype QUEUED, best price first and each queue in its order.

        Args:
            instrument_id: of the book.
            side: BID or ASK.
            levels: only those at so many of the best prices; None: all.
        """
        if instrument_id >= len(self._books):
            return np.zeros(0, QUEUED)
        _, places = self._runs.entries(instrument_id, side - 1)
        out = np.zeros(int(self._prices["count"][places[:levels]].sum()), QUEUED)
        runs = self._runs
        copy_orders(runs.sides, runs.values, self._prices, self._orders, instrument_id, side - 1, out)
        return out

    def order_snapshot(self, instrument_id: int) -> Records:
        """The book as `snapshot` has it, but as orders: an ORDER_ADD of each, in price-time priority."""
        self.reserve(instrument_id)
        bids, asks = self.orders(instrument_id, Side.BID), self.orders(instrument_id, Side.ASK)
        records = self._framed(instrument_id, len(bids), len(asks), Flag.ON_ORDERS)
        records[0]["flags"] |= Flag.ON_ORDERS
        rows = records[1 : 1 + len(bids) + len(asks)]
        rows["kind"] = Kind.ORDER_ADD
        for field in ("price", "size", "order_id"):
            rows[field] = np.concatenate([bids[field], asks[field]])
        return records

    def prepare_to_sample(self) -> None:
        """See `BookStates`; and those that remember places in queues."""
        super().prepare_to_sample()
        self.follow_again(np.zeros(1, FOLLOWER)[0], [0] * FOLLOWED)
        count_ahead(self._prices, self._orders, 0, 0)

    def followed(self, follower: np.void) -> tuple[int, ...]:
        """What is to be remembered of a follower: its cycle and instrument, of bid and ask the key and orders ahead.

        The cycle is NOTHING where no order is followed. The numbers are good for `follow_again` of any books that hold
        the same orders in the same queues.
        """
        id_ = int(follower["instrument"])
        gone = follower["cycle"] == NOTHING or self.is_stale(id_)
        if gone or follower["cleared"] != self._books[id_]["cleared"]:
            return NOTHING, 0, 0, 0, 0, 0
        found = [int(follower["cycle"]), id_]
        for side, name in enumerate(("bid", "ask")):
            at = self._queue_at(id_, side, int(follower[name]))
            _, count = count_ahead(self._prices, self._orders, at, int(follower[f"{name}_joined"]))
            found += [int(follower[name]), count]
        return tuple(found)

    def follow_again(self, follower: np.void, remembered: Sequence[int]) -> None:
        """Go on with what `followed` has given."""
        cycle, instrument_id, *sides = remembered
        self.reserve(instrument_id)
        follower["cycle"], follower["instrument"] = cycle, instrument_id
        follower["cleared"] = self._books[instrument_id]["cleared"]
        for side, name in enumerate(("bid", "ask")):
            key, count = sides[2 * side : 2 * side + 2]
            at = self._queue_at(instrument_id, side, key)
            follower[name], follower[f"{name}_joined"] = key, joined_of(self._prices, self._orders, at, count)

    def _queue_at(self, instrument_id: int, side: int, key: int) -> int:
        runs = self._runs
        return queue_at(runs.sides, runs.keys, runs.values, instrument_id, side, key)

    @cached_property
    def fold(self) -> Callable[[Records], int]:
        """See `BookStates`."""
        return method(m.fold_orders, self.memory)

    @cached_property
    def fold_and_sample(self) -> Callable[..., int]:
        """See `BookStates`."""
        return direct(sample_orders, 0, 0, *BookSamples().arguments)

    def fold_behind(self, books: BookStates) -> Callable[[Records], int]:
        """`fold_kernels.fold_both`, which folds into these books by level first."""
        self._words[m.BY_LEVEL] = id(books.memory)
        return method(m.fold_both, self.memory)

    def _note_addresses(self) -> None:
        super()._note_addresses()
        words = self._words
        words[m.PRICES], words[m.ORDERS] = self._prices.ctypes.data, self._orders.ctypes.data
        words[m.TABLE], words[m.USED_AT] = self._table.ctypes.data, self._used.ctypes.data
        words[m.NODES], words[m.ENTRIES] = len(self._orders), len(self._table)

    def _make_room(self) -> None:
        """Twice as many orders; a price more than orders is in use for a moment, and the table is half full at most."""
        count = 2 * len(self._orders)
        self._orders = grown(self._orders, count)
        self._prices = grown(self._prices, count)
        table = np.zeros(2 * count, ENTRY)
        refill(self._table, table)
        self._table = table
