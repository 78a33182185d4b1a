"""How a book of orders follows Kraken's level3: like kit.checked_book for levels, order by order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tickplant.books.checksums import pack_decimals
from tickplant.feeds.kit.book_tracker import Output, Snapshot
from tickplant.feeds.kit.level_rows import packed_word
from tickplant.feeds.kit.numbers import decimals, price, size
from tickplant.feeds.kit.order_ids import order_word
from tickplant.feeds.kit.unnumbered_book import UnnumberedBook, event_of
from tickplant.feeds.venues.kraken.messages import Order, OrderBook
from tickplant.feeds.venues.kraken.queued_orders import Queued, QueuedOrders, token
from tickplant.instruments import Instrument
from tickplant.records.batch import ORDER_ID, WORDS, Rows
from tickplant.records.layouts import Flag, Kind, Side

UNEVEN: Final = pack_decimals(0xFF, 0xFF)
"""Decimals of a CHECKSUM whose numbers were not printed uniformly: integers alone do not give its text."""

_KIND: Final = {"add": Kind.ORDER_ADD, "modify": Kind.ORDER_MODIFY, "delete": Kind.ORDER_CANCEL}


class OrderEvent:
    """A book event in integers: a row per order, the CHECKSUM last; a snapshot begins with a CLEAR."""

    def __init__(self, instrument: Instrument, book: OrderBook, ts_recv: int) -> None:
        """Raises RejectError."""
        self.snapshot = book.snapshot
        self.checksum = book.checksum
        self.orders: list[tuple[str, int, Queued]] = []  # event, id, order
        self.decimals: set[tuple[int, int]] = set()  # of prices and sizes, as printed
        flags = Flag.SNAPSHOT if book.snapshot else Flag(0)
        times = [order.time for order in (*book.bids, *book.asks)]
        self.time = max(times, default=0)
        rows = []
        for side, orders in ((Side.BID, book.bids), (Side.ASK, book.asks)):
            for order in orders:
                ident, queued = order_word(order.id), self._read(instrument, order, side)
                self.orders.append((order.event, ident, queued))
                # A cancel of size 0 removes the whole order.
                amount = 0 if order.event == "delete" else queued.size
                word = packed_word(instrument, _KIND[order.event], side, flags)
                rows.append((order.time, ts_recv, queued.price, amount, 0, ident, word, 0))
        bound = self.time, ts_recv, 0
        if book.snapshot:
            rows.insert(0, (*bound, 0, 0, 0, packed_word(instrument, Kind.CLEAR, flags=flags | Flag.ON_ORDERS), 0))
        last = packed_word(instrument, Kind.CHECKSUM, flags=flags | Flag.ON_ORDERS | Flag.LAST)
        self._rows: Rows = np.array([*rows, (*bound, book.checksum, 0, 0, last, 0)], np.int64)
        self._instrument = instrument

    def _read(self, instrument: Instrument, order: Order, side: Side) -> Queued:
        self.decimals.add((decimals(order.price), decimals(order.size)))
        mantissas = price(order.price, instrument.price_scale), size(order.size, instrument.size_scale)
        return Queued(side, *mantissas, token(order.price) + token(order.size))

    def rows(self, cut: Sequence[tuple[int, Side, int]], wire_decimals: int) -> Rows:
        """All rows; the orders that were cut off stand before the checksum, as cancelled."""
        self._rows[-1, ORDER_ID] = wire_decimals
        if not cut:
            return self._rows
        flags, bound = Flag.SNAPSHOT if self.snapshot else 0, self._rows[-1, :2].tolist()
        gone = [
            (*bound, level, 0, 0, ident, packed_word(self._instrument, Kind.ORDER_CANCEL, side, flags), 0)
            for ident, side, level in cut
        ]
        return np.concatenate([self._rows[:-1], np.array(gone, np.int64).reshape(-1, WORDS), self._rows[-1:]])


class CheckedOrders(UnnumberedBook):
    """State of one book."""

    def __init__(self) -> None:
        super().__init__()
        self._orders = QueuedOrders()
        self._decimals: set[tuple[int, int]] = set()

    def on_event(self, event: OrderEvent, depth: int) -> list[Output]:
        """Take in a snapshot or a change of a book with this many levels per side."""
        if event.snapshot:
            self._forget()
            self._decimals.clear()
            outputs = self._begin()
        elif not self.live:
            return self._passed_by(event.rows((), self._wire_decimals(event)))
        else:
            outputs = []
        for what, ident, order in event.orders:
            if what == "add":
                self._orders.add(ident, order)
            elif what == "modify":
                self._orders.modify(ident, order)
            else:
                self._orders.remove(ident)
        cut, wire_decimals = self._orders.cut(depth), self._wire_decimals(event)
        if self._orders.checksum() != event.checksum:
            return [*outputs, *self._disagreed(event.rows((), wire_decimals), snapshot=event.snapshot)]
        self.agreed += 1
        rows = event.rows(cut, wire_decimals)
        return [*outputs, Snapshot(0, rows) if event.snapshot else event_of(rows)]

    def _wire_decimals(self, event: OrderEvent) -> int:
        self._decimals |= event.decimals
        if len(self._decimals) > 1:
            return UNEVEN
        return pack_decimals(*next(iter(self._decimals), (0, 0)))

    def _forget(self) -> None:
        self._orders.clear()
