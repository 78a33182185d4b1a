"""The tests' own book of orders, in the plainest form, and a reader of DBN files of orders.

The book shares nothing with the project's books. Each side is one list of orders, in the order in which they came to
their price, and every search starts at its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, OrderFlag, Side, StatusCode

MBO = np.dtype(
    [
        *(("words", "u1"), ("rtype", "u1"), ("publisher", "<u2"), ("instrument", "<u4"), ("ts_event", "<u8")),
        *(("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel", "u1")),
        *(("action", "S1"), ("side", "S1"), ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")),
    ]
)
UNDEF_PRICE = 2**63 - 1
KINDS = {b"A": Kind.ORDER_ADD, b"M": Kind.ORDER_MODIFY, b"C": Kind.ORDER_CANCEL, b"F": Kind.ORDER_FILL}
KINDS |= {b"R": Kind.CLEAR, b"T": Kind.TRADE, b"N": Kind.STATUS}  # a STATUS that says nothing
SIDES = {b"A": Side.ASK, b"B": Side.BID, b"N": Side.NONE}
FLAGS = {128: Flag.LAST, 64: OrderFlag.TOP, 32: Flag.SNAPSHOT}


def read_mbo(path: Path) -> np.ndarray:
    """The records of a DBN file that holds nothing but mbo."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    assert data[:3] == b"DBN"
    start = 8 + int.from_bytes(data[4:8], "little")
    records = np.frombuffer(data[start : start + (len(data) - start) // MBO.itemsize * MBO.itemsize], MBO)
    assert (records["words"] == 14).all()
    assert (records["rtype"] == 0xA0).all()
    return records


def as_ticks(records: np.ndarray) -> np.ndarray:
    """TICK records of one instrument, id 1, with a CLEAR before them: neither file begins with one."""
    ticks = np.zeros(1 + len(records), TICK)
    rows = ticks[1:]
    rows["kind"] = [KINDS[action] for action in records["action"].tolist()]
    rows["side"] = [SIDES[side] for side in records["side"].tolist()]
    for bit, flag in FLAGS.items():
        rows["flags"][records["flags"] & bit != 0] |= np.uint16(flag)
    rows["price"] = np.where(records["price"] == UNDEF_PRICE, NO_PRICE, records["price"])
    for name in ("size", "order_id", "ts_event", "ts_recv"):
        rows[name] = records[name]
    rows["venue_seq"] = records["sequence"]
    ticks["kind"][0], ticks["ts_recv"][0], ticks["flags"][0] = Kind.CLEAR, rows["ts_recv"][0], OrderFlag.DOUBTFUL
    ticks["flags"][ticks["kind"] == Kind.CLEAR] |= np.uint16(Flag.ON_ORDERS)
    ticks["instrument"] = 1
    ticks["seq"] = np.arange(len(ticks))
    return ticks


class ListedOrders:
    """The book of one instrument, from the records of a DBN file."""

    def __init__(self) -> None:
        self.sides: dict[bytes, list[list[int]]] = {b"A": [], b"B": []}  # id, price, size in order of time
        self.unknown = {b"M": 0, b"C": 0, b"F": 0}

    def take(self, record: np.void) -> None:
        """One record."""
        action, order_id, side = record["action"], int(record["order_id"]), record["side"]
        price, size = int(record["price"]), int(record["size"])
        assert not record["flags"] & 64, "a top of the book: not in these files"
        if action == b"R":
            self.sides = {b"A": [], b"B": []}
        if action not in (b"A", b"M", b"C", b"F"):
            return
        found = [order for orders in self.sides.values() for order in orders if order[0] == order_id]
        if action != b"A" and not found:
            self.unknown[action] += 1
        if action == b"A" or (action == b"M" and not found):
            assert not found, "an order is added twice: not in these files"
            self.sides[side].append([order_id, price, size])
        elif action == b"M" and (found[0] not in self.sides[side] or price != found[0][1] or size > found[0][2]):
            self._remove(found[0])
            self.sides[side].append([order_id, price, size])
        elif action == b"M":
            found[0][2] = size
        elif action == b"C" and found:
            found[0][2] -= size
            if found[0][2] <= 0 or size == 0:
                self._remove(found[0])

    def _remove(self, order: list[int]) -> None:
        for orders in self.sides.values():
            orders[:] = [other for other in orders if other is not order]

    def orders(self, side: Side) -> list[tuple[int, int, int]]:
        """Id, price and size, in price-time priority."""
        own = self.sides[b"B" if side == Side.BID else b"A"]
        return [tuple(order) for order in sorted(own, key=lambda order: -order[1] if side == Side.BID else order[1])]

    def crossed(self) -> bool:
        bids, asks = self.orders(Side.BID), self.orders(Side.ASK)
        return bool(bids and asks and bids[0][1] >= asks[0][1])


class FoldedOrders:
    """The book of orders of one symbol, by the records' own rules in the plainest form; tops of books are left out."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[Side, int, int]] = {}  # side, price, size; the first at its price first
        self.live = False
        self.unknown = 0
        self._loading = False

    def apply(self, records: Iterable[Any]) -> FoldedOrders:
        """Ticks, or records of a desk."""
        for record in records:
            self._take(*(int(record[name]) for name in ("kind", "side", "price", "size", "order_id", "flags")))
        return self

    def _take(self, kind: int, side: int, price: int, size: int, order: int, flags: int) -> None:
        lost = kind == Kind.GAP or (kind == Kind.STATUS and price == StatusCode.DISCONNECTED)
        if lost and flags & Flag.ON_ORDERS:
            self.live = False
        elif kind == Kind.CLEAR and flags & Flag.ON_ORDERS:
            self.orders, self._loading = {}, True
        elif kind == Kind.ORDER_ADD:
            self.orders.pop(order, None)
            self.orders[order] = Side(side), price, size
        elif kind == Kind.ORDER_MODIFY:
            self._change(order, (Side(side), price, size))
        elif kind == Kind.ORDER_CANCEL:
            left = self.orders[order][2] - size if size and order in self.orders else 0
            self._change(order, (*self.orders[order][:2], left) if left else None)
        if flags & Flag.LAST and self._loading:
            self.live, self._loading = True, False

    def _change(self, order: int, now: tuple[Side, int, int] | None) -> None:
        before = self.orders.get(order)
        self.unknown += before is None and self.live
        if before is not None and (now is None or now[:2] != before[:2] or now[2] > before[2]):
            del self.orders[order]
        if now is not None and now[2]:
            self.orders[order] = now
        elif now is not None:
            self.orders.pop(order, None)

    def queue(self, side: Side) -> list[tuple[int, int, int]]:
        """Id, price and size, in price-time priority."""
        own = [(order, price, size) for order, (its, price, size) in self.orders.items() if its == side]
        return sorted(own, key=lambda order: -order[1] if side == Side.BID else order[1])

    def levels(self, price_scale: int, size_scale: int) -> dict[Side, dict[Decimal, Decimal]]:
        """Size by side and price."""
        sides: dict[Side, dict[Decimal, Decimal]] = {Side.BID: {}, Side.ASK: {}}
        for side, price, size in self.orders.values():
            at = Decimal(price).scaleb(-price_scale)
            sides[side][at] = sides[side].get(at, Decimal(0)) + Decimal(size).scaleb(-size_scale)
        return sides
