"""A book of orders as Kraken sends it: queues by price, cut to a depth, and the checksum of the best levels.

Sizes and prices stand as integers and as the venue has printed them, since its checksum is over that text.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tickplant.records.layouts import Side

CHECKED_LEVELS: Final = 10


class Queued(NamedTuple):
    """A resting order."""

    side: Side
    price: int
    size: int
    text: str  # digits of price and size, as the checksum takes them


def token(number: str) -> str:
    """A number as the checksum takes it: its digits, without zeros in front."""
    return number.replace(".", "").lstrip("0")


class QueuedOrders:
    """One book, by the rules of the records: a modified order that is not known is a new one."""

    def __init__(self) -> None:
        self._orders: dict[int, Queued] = {}
        # By side and price, the orders of the queue, the oldest first: a dict keeps the order of insertion.
        self._queues: dict[Side, dict[int, dict[int, None]]] = {Side.BID: {}, Side.ASK: {}}

    def clear(self) -> None:
        """No order is left."""
        self._orders.clear()
        for queues in self._queues.values():
            queues.clear()

    def add(self, ident: int, order: Queued) -> None:
        """A new order, behind all others at its price."""
        self.remove(ident)
        if order.size == 0:
            return
        self._orders[ident] = order
        self._queues[order.side].setdefault(order.price, {})[ident] = None

    def modify(self, ident: int, order: Queued) -> None:
        """An order as it is now; it keeps its place unless its price has moved or its size has grown."""
        old = self._orders.get(ident)
        if old is not None and old[:2] == order[:2] and 0 < order.size <= old.size:
            self._orders[ident] = order
        else:
            self.add(ident, order)

    def remove(self, ident: int) -> None:
        """An order is gone."""
        old = self._orders.pop(ident, None)
        if old is not None:
            queues = self._queues[old.side]
            del queues[old.price][ident]
            if not queues[old.price]:
                del queues[old.price]

    def cut(self, depth: int) -> list[tuple[int, Side, int]]:
        """Take out the orders behind the best `depth` levels of each side: id, side and price of each."""
        gone: list[tuple[int, Side, int]] = []
        for side, queues in self._queues.items():
            if len(queues) > depth:
                for price in self._prices(side)[depth:]:
                    gone += [(ident, side, price) for ident in queues[price]]
        for ident, *_ in gone:
            self.remove(ident)
        return gone

    def checksum(self) -> int:
        """Of all orders of the best ten levels: asks, then bids, each level by its queue."""
        texts = [order.text for side in (Side.ASK, Side.BID) for order in self.best(side, CHECKED_LEVELS)]
        return zlib.crc32("".join(texts).encode())

    def best(self, side: Side, levels: int) -> Iterator[Queued]:
        """The orders of the best levels of a side, by price, then by queue."""
        for price in self._prices(side)[:levels]:
            for ident in self._queues[side][price]:
                yield self._orders[ident]

    def _prices(self, side: Side) -> Sequence[int]:
        return sorted(self._queues[side], reverse=side is Side.BID)
