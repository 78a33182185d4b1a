"""A book of orders as Kraken sends it: queues by price, cut at a depth, with the checksum of the best levels.

Sizes and prices are kept as integers and in the venue's own digits, since its checksum covers that text.
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
    text: str  # digits of price and size, as the checksum uses them


def token(number: str) -> str:
    """A number in the checksum's form: its digits, without leading zeros."""
    return number.replace(".", "").lstrip("0")


class QueuedOrders:
    """One book, by the rules of the records: a modified order that is unknown is a new one."""

    def __init__(self) -> None:
        self._orders: dict[int, Queued] = {}
        # By side and price, the orders of the queue, oldest first: a dict keeps the order of insertion.
        self._queues: dict[Side, dict[int, dict[int, None]]] = {Side.BID: {}, Side.ASK: {}}

    def clear(self) -> None:
        """Remove all orders."""
        self._orders.clear()
        for queues in self._queues.values():
            queues.clear()

    def add(self, ident: int, order: Queued) -> None:
        """Add an order behind all others at its price."""
        self.remove(ident)
        if order.size == 0:
            return
        self._orders[ident] = order
        self._queues[order.side].setdefault(order.price, {})[ident] = None

    def modify(self, ident: int, order: Queued) -> None:
        """Change an order; it keeps its place unless its price changes or its size grows."""
        old = self._orders.get(ident)
        if old is not None and old[:2] == order[:2] and 0 < order.size <= old.size:
            self._orders[ident] = order
        else:
            self.add(ident, order)

    def remove(self, ident: int) -> None:
        """Remove an order."""
        old = self._orders.pop(ident, None)
        if old is not None:
            queues = self._queues[old.side]
            del queues[old.price][ident]
            if not queues[old.price]:
                del queues[old.price]

    def cut(self, depth: int) -> list[tuple[int, Side, int]]:
        """Remove the orders behind the best `depth` levels of each side: id, side and price of each."""
        gone: list[tuple[int, Side, int]] = []
        for side, queues in self._queues.items():
            if len(queues) > depth:
                for price in self._prices(side)[depth:]:
                    gone += [(ident, side, price) for ident in queues[price]]
        for ident, *_ in gone:
            self.remove(ident)
        return gone

    def checksum(self) -> int:
        """Checksum over all orders of the best ten levels: asks, then bids, each level by its queue."""
        texts = [order.text for side in (Side.ASK, Side.BID) for order in self.best(side, CHECKED_LEVELS)]
        return zlib.crc32("".join(texts).encode())

    def best(self, side: Side, levels: int) -> Iterator[Queued]:
        """The orders of the best levels of a side, by price, then by queue."""
        for price in self._prices(side)[:levels]:
            for ident in self._queues[side][price]:
                yield self._orders[ident]

    def _prices(self, side: Side) -> Sequence[int]:
        return sorted(self._queues[side], reverse=side is Side.BID)
