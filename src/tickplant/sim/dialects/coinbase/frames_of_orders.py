"""Orders one by one, invented for a market that knows only levels: channel `full`, and all orders over REST. No I/O.

A gain of a level is a new order; a loss is taken from its newest orders. A trade takes from the first order of its
level that is large enough. So the orders of a level always add up to its size at the last update.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.depth_book import DepthBook
from tickplant.sim.order_flow import ASK, BID
from tickplant.sim.templates import print_price, print_size, stamp

_SIDES: Final = ("buy", "sell")


class _Order:
    __slots__ = ("id", "lots")

    def __init__(self, ident: str, lots: int) -> None:
        self.id = ident
        self.lots = lots


class Orders:
    """The orders of one product."""

    def __init__(self, name: str, symbol: int, book: DepthBook, decimals: NDArray[np.int64], sequence: int) -> None:
        """One order at each level of `book`; the first message has the number after `sequence`."""
        self.sequence = sequence
        self._name = name
        self._symbol = symbol
        self._decimals = decimals
        self._made = 0
        self._levels: tuple[dict[int, deque[_Order]], ...] = ({}, {})
        for side, levels in enumerate(book.top(1 << 20)):
            for tick, lots in levels.tolist():
                self._levels[side][tick] = deque([_Order(self._new_id(), lots)])

    def _new_id(self) -> str:
        self._made += 1
        return f"{self._made >> 16 & 0xFFFFFFFF:08x}-{self._made & 0xFFFF:04x}-4000-8000-{self._symbol:012x}"

    def _message(self, kind: str, time_ns: int, **fields: object) -> bytes:
        self.sequence += 1
        told = {"type": kind} | fields | {"sequence": self.sequence, "time": stamp(time_ns)}
        return msgspec.json.encode(told)

    def _price(self, tick: int) -> str:
        return print_price(self._decimals, self._symbol, tick)

    def _size(self, lots: int) -> str:
        return print_size(self._decimals, self._symbol, lots)

    def _open(self, side: int, tick: int, lots: int, time_ns: int) -> Iterator[bytes]:
        order, price = _Order(self._new_id(), lots), self._price(tick)
        self._levels[side].setdefault(tick, deque()).append(order)
        size, name = self._size(lots), self._name
        told = {"order_id": order.id, "order_type": "limit", "size": size, "price": price, "side": _SIDES[side]}
        yield self._message("received", time_ns, **told, product_id=name)
        told = {"side": _SIDES[side], "price": price, "order_id": order.id, "remaining_size": size}
        yield self._message("open", time_ns, **told, product_id=name)

    def _done(self, side: int, tick: int, order: _Order, reason: str, time_ns: int) -> bytes:
        return self._message(
            "done",
            time_ns,
            side=_SIDES[side],
            order_id=order.id,
            reason=reason,
            product_id=self._name,
            price=self._price(tick),
            remaining_size=self._size(order.lots),
        )

    def on_trade(self, row: np.void, time_ns: int) -> Iterator[bytes]:
        """The messages of one trade, a row of order_flow.MESSAGE."""
        side, tick, lots = BID if row["maker"] else ASK, int(row["price"]), int(row["size"])
        orders = self._levels[side].setdefault(tick, deque())
        while orders and orders[0].lots < lots:
            yield self._done(side, tick, orders.popleft(), "canceled", time_ns)
        if not orders:
            yield from self._open(side, tick, lots, time_ns)
        maker, taker = orders[0], self._new_id()
        takes = {"order_id": taker, "side": _SIDES[1 - side], "product_id": self._name}
        yield self._message("received", time_ns, order_type="market", funds="1000", **takes)
        yield self._message(
            "match",
            time_ns,
            trade_id=int(row["id"]),
            maker_order_id=maker.id,
            taker_order_id=taker,
            side=_SIDES[side],
            size=self._size(lots),
            price=self._price(tick),
            product_id=self._name,
        )
        maker.lots -= lots
        if not maker.lots:
            yield self._done(side, tick, orders.popleft(), "filled", time_ns)
        yield self._message("done", time_ns, reason="filled", **takes)

    def on_level(self, side: int, tick: int, lots: int, time_ns: int) -> Iterator[bytes]:
        """The messages that bring a level to its present size."""
        orders = self._levels[side].get(tick, deque())
        excess = sum(order.lots for order in orders) - lots
        if excess < 0:
            yield from self._open(side, tick, -excess, time_ns)
        while excess > 0:
            newest = orders[-1]
            if newest.lots > excess:
                old, newest.lots, excess = newest.lots, newest.lots - excess, 0
                yield self._message(
                    "change",
                    time_ns,
                    reason="modify_order",
                    order_id=newest.id,
                    side=_SIDES[side],
                    price=self._price(tick),
                    old_size=self._size(old),
                    new_size=self._size(newest.lots),
                    product_id=self._name,
                )
            else:
                excess -= newest.lots
                yield self._done(side, tick, orders.pop(), "canceled", time_ns)
        if not lots:
            self._levels[side].pop(tick, None)

    def book(self, now_ns: int) -> bytes:
        """All orders, as a REST answer."""
        sides = {
            name: [
                (self._price(tick), self._size(order.lots), order.id)
                for tick in sorted(self._levels[side], reverse=side == BID)
                for order in self._levels[side][tick]
            ]
            for side, name in enumerate(("bids", "asks"))
        }
        told = {"sequence": self.sequence} | sides | {"auction_mode": False, "time": stamp(now_ns)}
        return msgspec.json.encode(told)
