"""What the kernels of books of orders must compute, in plain Python: the definition of the result.

Slow and obvious on purpose, like `plain_books`, whose loop over records it shares. A queue is a dict from order names
to sizes: dicts keep insertion order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.plain_books import DictBook, DictBooks
from tickplant.records.layouts import NO_PRICE, Flag, Kind, OrderFlag, Side, StatusCode

Name = tuple[int, int, int]
"""(id, 0, 0), or (0, side, price) for an order without an id."""

_MOST = 2**63 - 1


class PlainOrderBook(DictBook):
    """One book: queues by side and price. `bids` and `asks` are derived from them at the end of each event."""

    def __init__(self) -> None:
        super().__init__(UNBOUNDED)
        self.queues: dict[int, dict[int, dict[Name, int]]] = {Side.BID: {}, Side.ASK: {}}
        self.where: dict[Name, tuple[int, int]] = {}  # side and price
        self.counts: Counter[str] = Counter()

    def derive(self) -> None:
        """Derive the levels from the queues."""
        self.bids, self.asks = (
            {price: sum(queue.values()) for price, queue in self.queues[side].items()} for side in (Side.BID, Side.ASK)
        )

    def place(self, name: Name, side: int, price: int, size: int) -> bool:
        """Put a new or known order last in the queue at a price. Returns whether its size fits."""
        queue = self.queues[side].get(price, {})
        if sum(queue.values()) - queue.get(name, 0) + size > _MOST:
            self.counts["orders_invalid"] += 1
            return False
        if name in self.where:
            self.remove(name)
        self.queues[side].setdefault(price, {})[name] = size
        self.where[name] = side, price
        return True

    def remove(self, name: Name) -> None:
        """Remove an order."""
        side, price = self.where.pop(name)
        queue = self.queues[side][price]
        del queue[name]
        if not queue:
            del self.queues[side][price]

    def resize(self, name: Name, size: int) -> None:
        """Set the size of an order, keeping its place; remove it if the size is 0."""
        side, price = self.where[name]
        if size > 0:
            self.queues[side][price][name] = size
        else:
            self.remove(name)

    def size_of(self, name: Name) -> int:
        """The size of a known order."""
        side, price = self.where[name]
        return self.queues[side][price][name]

    def clear(self, side: int) -> None:
        """Remove all orders of a side."""
        for name in [name for name, (its, _) in self.where.items() if its == side]:
            self.remove(name)

    def match(self) -> None:
        """Trade the first orders at the best prices against each other until the book is not crossed."""
        bids, asks = self.queues[Side.BID], self.queues[Side.ASK]
        while bids and asks and max(bids) >= min(asks):
            buyer, seller = next(iter(bids[max(bids)])), next(iter(asks[min(asks)]))
            size = min(self.size_of(buyer), self.size_of(seller))
            self.resize(buyer, self.size_of(buyer) - size)
            self.resize(seller, self.size_of(seller) - size)
            self.counts["orders_matched"] += 1

    def orders(self, side: int) -> list[tuple[int, int, int, int, int]]:
        """Rows of id, price, size, orders ahead and size ahead: best price first, each queue in order."""
        rows = []
        for price in sorted(self.queues[side], reverse=side == Side.BID):
            ahead = 0
            for place, (name, size) in enumerate(self.queues[side][price].items()):
                rows.append((name[0], price, size, place, ahead))
                ahead += size
        return rows


class PlainOrderBooks(DictBooks):
    """Books of orders of many instruments, one record at a time."""

    def __init__(self, max_orders: int = 2_000_000, *, matching: bool = False) -> None:
        super().__init__()
        self.max_orders = max_orders
        self.matching = matching
        self.counts: Counter[str] = Counter()
        self.order_books: dict[int, PlainOrderBook] = {}

    @property
    def counters(self) -> Counter[str]:
        """The kernel's counters that are not 0."""
        return sum((book.counts for book in self.order_books.values()), Counter[str]())

    def _changed(self, tick: dict[str, int]) -> Iterable[tuple[int, DictBook]]:
        instrument, kind, flags = tick["instrument"], tick["kind"], tick["flags"]
        book = self.order_books.setdefault(instrument, PlainOrderBook())
        if kind == Kind.GAP or (kind == Kind.STATUS and tick["price"] == StatusCode.DISCONNECTED):
            if flags & Flag.ON_ORDERS:
                book.counts["went_stale"] += book.state != "stale"
                if self._stale(book):
                    yield instrument, book
            return
        order = Kind.ORDER_ADD <= kind <= Kind.ORDER_FILL
        if not order and not (kind in (Kind.CLEAR, Kind.CHECKSUM) and flags & Flag.ON_ORDERS):
            return
        if flags & Flag.PARTIAL:
            return
        if kind == Kind.CLEAR:
            book.clear(Side.BID)
            book.clear(Side.ASK)
            if book.state == "stale":
                book.state = "loading"
        elif book.state == "stale":
            book.counts["orders_ignored"] += order
            return
        elif order:
            self._take(book, tick)
            book.counts["order_records"] += 1
        if flags & Flag.LAST:
            yield from self._end_event(instrument, book)

    def _end_event(self, instrument: int, book: PlainOrderBook) -> Iterator[tuple[int, DictBook]]:
        book.state = "live"
        book.derive()
        if book.best()[4] & Flag.CROSSED:
            book.counts["crossed"] += 1
            if self.matching:
                book.match()
                book.derive()
        if book.best() != book.said:
            book.said = book.best()
            yield instrument, book

    def _take(self, book: PlainOrderBook, tick: dict[str, int]) -> None:
        """Apply one record about an order."""
        kind, side, price, size = tick["kind"], tick["side"], tick["price"], tick["size"]
        sided = side in (Side.BID, Side.ASK)
        name = (tick["order_id"], 0, 0) if tick["order_id"] else (0, side, price)
        if kind in (Kind.ORDER_ADD, Kind.ORDER_MODIFY) and tick["flags"] & OrderFlag.TOP:
            if not sided or (size <= 0 and price != NO_PRICE):
                book.counts["orders_invalid"] += 1
                return
            book.clear(side)
            if price == NO_PRICE:
                return
            kind = Kind.ORDER_ADD
        known = name in book.where
        if kind == Kind.ORDER_FILL:
            book.counts["orders_unknown_fill"] += not known
        elif kind == Kind.ORDER_CANCEL and not known:
            book.counts["orders_unknown_cancel"] += 1
        elif kind == Kind.ORDER_CANCEL:
            if size < 0:
                book.counts["orders_invalid"] += 1
            else:
                book.resize(name, book.size_of(name) - size if size else 0)
        elif kind == Kind.ORDER_MODIFY and known and size == 0:
            book.remove(name)
        elif not sided or price == NO_PRICE or size <= 0:
            book.counts["orders_invalid"] += 1
        elif kind == Kind.ORDER_MODIFY and known and book.where[name] == (side, price) and size <= book.size_of(name):
            book.resize(name, size)
        else:
            self._place(book, name, side, price, size)
            if not known and kind == Kind.ORDER_MODIFY:
                book.counts["orders_unknown_modify"] += 1
            if known and kind == Kind.ORDER_ADD:
                book.counts["orders_added_again"] += 1

    def _place(self, book: PlainOrderBook, name: Name, side: int, price: int, size: int) -> None:
        count = sum(len(other.where) for other in self.order_books.values())
        if name not in book.where and count >= self.max_orders:
            book.counts["orders_refused"] += 1
        else:
            book.place(name, side, price, size)
