"""Fetches the book of an instrument once: `fetch_book`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.client.request_line import CONNECT_TIMEOUT_S, RequestLine
from tickplant.errors import SubscribeError
from tickplant.instruments import format_decimal
from tickplant.records.layouts import DTYPES, Kind, Schema, Side
from tickplant.runtime.config import DEFAULT_PUBLISH, beside
from tickplant.times import format_time
from tickplant.wire import GetSnapshot, Snapshot, make_topic, split_topic


class QueuedOrder(NamedTuple):
    """An order and its place in the queue. Prices and sizes are mantissas."""

    order_id: int  # 0 if unknown
    price: int
    size: int
    orders_ahead: int  # at the same price
    size_ahead: int


class Book(msgspec.Struct, frozen=True):
    """The current book. Levels are (price, size) mantissas, best first; value = mantissa * 10**-scale."""

    venue: str
    symbol: str
    ts_event: int
    ts_recv: int
    stale: bool
    price_scale: int
    size_scale: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    bid_orders: list[QueuedOrder] | None = None  # in price-time priority; None if not requested
    ask_orders: list[QueuedOrder] | None = None

    def shown(self, depth: int | None = None) -> dict[str, Any]:
        """The book in human-readable form: decimal text, RFC 3339 times. `depth` limits the prices of each side."""
        times = {name: format_time(at) if (at := getattr(self, name)) else None for name in ("ts_event", "ts_recv")}
        sides = {"bids": self.bids, "asks": self.asks}
        levels = {name: [self._texts(*level) for level in side[:depth]] for name, side in sides.items()}
        queues = {"bid_orders": self.bid_orders, "ask_orders": self.ask_orders}
        orders = {name: list(self._queue(queue, depth)) for name, queue in queues.items() if queue is not None}
        return {"venue": self.venue, "symbol": self.symbol, **times, "stale": self.stale, **levels, **orders}

    def _texts(self, price: int, size: int) -> tuple[str, str]:
        return format_decimal(price, self.price_scale), format_decimal(size, self.size_scale)

    def _queue(self, orders: list[QueuedOrder], depth: int | None) -> Iterator[dict[str, str | int]]:
        """The orders at the best `depth` prices. Ids are text, since JSON readers truncate long numbers."""
        levels = 0
        for order in orders:
            levels += not order.orders_ahead
            if depth and levels > depth:
                return
            price, size = self._texts(order.price, order.size)
            yield {
                "order_id": str(order.order_id),
                "price": price,
                "size": size,
                "orders_ahead": order.orders_ahead,
                "size_ahead": format_decimal(order.size_ahead, self.size_scale),
            }


def fetch_book(
    venue: str,
    symbol: str,
    *,
    address: str = DEFAULT_PUBLISH,
    requests: str = "",
    timeout: float = CONNECT_TIMEOUT_S,
    orders: bool = False,
) -> Book:
    """The current book of an instrument: its levels, and with `orders` each order as well.

    Raises SubscribeError if no engine answers, or if the engine has no such book.
    """
    try:
        topic = make_topic(venue, symbol, "orders" if orders else "book")
    except ValueError as error:
        raise SubscribeError(str(error)) from None
    line = RequestLine(address, requests or beside(address))
    try:
        reply, frames = line.ask(GetSnapshot(topic), timeout)
    finally:
        line.close()
    if not isinstance(reply, Snapshot):
        raise SubscribeError(f"{line.address}: {getattr(reply, 'reason', reply)}")
    try:
        return book_of(reply, frames, orders=orders)
    except (IndexError, ValueError) as error:
        raise SubscribeError(f"{line.address}: its answer is not a book: {error}") from None


def book_of(reply: Snapshot, frames: list[bytes], *, orders: bool = False) -> Book:
    """The book in an engine's reply; with `orders` also its orders, which needs a topic of orders.

    Raises IndexError, ValueError for a reply that is not a book.
    """
    venue, symbol, _ = split_topic(reply.info.topic)
    records = np.frombuffer(frames[0], DTYPES[Schema.TICK])
    first = records[0]
    levels: dict[Side, list[tuple[int, int]]] = {}
    queues: dict[Side, list[QueuedOrder]] = {}
    for side in (Side.BID, Side.ASK):
        chosen = records[(records["side"] == side) & np.isin(records["kind"], (Kind.LEVEL, Kind.ORDER_ADD))]
        if orders:
            queues[side] = _queue(chosen)
            levels[side] = _levels(queues[side])
        else:
            levels[side] = list(zip(chosen["price"].tolist(), chosen["size"].tolist(), strict=True))
    return Book(
        venue=venue,
        symbol=symbol,
        ts_event=int(first["ts_event"]),
        ts_recv=int(first["ts_recv"]),
        stale=reply.stale,
        price_scale=reply.info.price_scale,
        size_scale=reply.info.size_scale,
        bids=levels[Side.BID],
        asks=levels[Side.ASK],
        bid_orders=queues.get(Side.BID),
        ask_orders=queues.get(Side.ASK),
    )


def _queue(orders: NDArray[np.void]) -> list[QueuedOrder]:
    """The queue places of orders, which come in price-time priority."""
    placed: list[QueuedOrder] = []
    for order_id, price, size in orders[["order_id", "price", "size"]].tolist():
        before = placed[-1] if placed and placed[-1].price == price else None
        ahead = (before.orders_ahead + 1, before.size_ahead + before.size) if before else (0, 0)
        placed.append(QueuedOrder(order_id, price, size, *ahead))
    return placed


def _levels(orders: list[QueuedOrder]) -> list[tuple[int, int]]:
    """Price and size of the levels that these orders form: the last order at a price has all others ahead."""
    sizes = {order.price: order.size_ahead + order.size for order in orders}
    return list(sizes.items())
