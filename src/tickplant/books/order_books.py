"""Books of orders of many instruments: apply ticks, get best bids and offers, levels, orders and queue positions.

`OrderBooks` owns the memory that the kernels work in. The memory grows on demand by doubling, at 104 bytes per order,
up to `max_orders`.
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
    """An instrument and a kind of record that has named an order which was never added."""

    instrument: int
    kind: Kind


class OrderBooks(BookStates):
    """Books of orders; see `BookStates`.

    Args:
        max_orders: bound on the orders of all books together. Further orders are refused and counted as
            `orders_refused`; their books then deviate from the records, and are not among `whole()`, until the next
            CLEAR.
        matching: whether books that are crossed at the end of an event are resolved, by trading the best orders against
            each other in time priority. Otherwise their BBO has the flag CROSSED.
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
        """Bytes allocated for books and their content."""
        return super().memory_bytes + self._orders.nbytes + self._prices.nbytes + self._table.nbytes

    @property
    def alive(self) -> int:
        """Orders in all books."""
        return int(self._used[ALIVE])

    def news(self) -> list[Unknown]:
        """All causes of operations on unknown orders that books have had, if there is a new one since the last call.

        Earlier causes are included; empty if there is no new one.
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
        """See `BookStates`: for each price, the size of all its orders."""
        if instrument_id >= len(self._books):
            return np.zeros((0, 2), np.int64)
        keys, places = self._runs.entries(instrument_id, side - 1)
        return np.stack([keys if side == Side.BID else -keys, self._prices["size"][places]], axis=1)

    def orders(self, instrument_id: int, side: Side, levels: int | None = None) -> Records:
        """The orders of one side, dtype QUEUED, best price first and each queue in its order.

        Args:
            instrument_id: the book's instrument.
            side: BID or ASK.
            levels: only orders at this many of the best prices; None: all.
        """
        if instrument_id >= len(self._books):
            return np.zeros(0, QUEUED)
        _, places = self._runs.entries(instrument_id, side - 1)
        out = np.zeros(int(self._prices["count"][places[:levels]].sum()), QUEUED)
        runs = self._runs
        copy_orders(runs.sides, runs.values, self._prices, self._orders, instrument_id, side - 1, out)
        return out

    def order_snapshot(self, instrument_id: int) -> Records:
        """The book as in `snapshot`, but as orders: an ORDER_ADD for each, in price-time priority."""
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
        """See `BookStates`; also compiles the kernels that remember places in queues."""
        super().prepare_to_sample()
        self.follow_again(np.zeros(1, FOLLOWER)[0], [0] * FOLLOWED)
        count_ahead(self._prices, self._orders, 0, 0)

    def followed(self, follower: np.void) -> tuple[int, ...]:
        """What to store of a follower: its cycle and instrument, and for bid and ask the key and the orders ahead.

        The cycle is NOTHING if no order is followed. The numbers are valid for `follow_again` with any books that hold
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
        """Restore a follower from what `followed` returned."""
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
        """`fold_kernels.fold_both`, which folds into the given books by level first."""
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
