"""The reference book of the tests: the rules of docs/design.md §2, record by record, in the plainest form.

It shares nothing with the project's folds, and takes records in any form: ticks, a desk's `Record`s, or rows of an
independent reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side, StatusCode

FIELDS = ["kind", "side", "price", "size", "flags", "venue_seq", "ts_event", "ts_recv"]


class FoldedBook:
    """The book of one symbol; without a symbol, of all records given."""

    def __init__(self, symbol: str | None = None) -> None:
        self.symbol = symbol
        self.levels: dict[Side, dict[Any, Any]] = {Side.BID: {}, Side.ASK: {}}
        self.changed: dict[tuple[Side, Any], int] = {}  # update id of the last change at a price
        self.live = False
        self.book_id = 0  # update id of the last whole event
        self.times = (0, 0)  # of the last record that the book took in
        self._loading = False

    def apply(self, records: Iterable[Any]) -> None:
        """Take objects with the fields of ticks, and `symbol`."""
        for record in records:
            if record.symbol == self.symbol:
                self.take(*(getattr(record, name) for name in FIELDS))

    def apply_ticks(self, ticks: np.ndarray) -> None:
        """Take TICK records of one instrument."""
        for row in ticks[FIELDS].tolist():
            self.take(*row)

    def apply_event(self, rows: Iterable[tuple]) -> None:
        """Take one atomic event of `recordings.independent`: rows whose kind and side are words."""
        rows = list(rows)
        for number, (kind, side, price, size, _, ts_recv, venue_seq) in enumerate(rows):
            flags = Flag.LAST if number == len(rows) - 1 else 0
            self.take(Kind[kind.upper()], Side[(side or "none").upper()], price, size, flags, venue_seq, 0, ts_recv)

    def take(
        self, kind: int, side: int, price: Any, size: Any, flags: int, venue_seq: int, ts_event: int, ts_recv: int
    ) -> None:
        """One record."""
        if kind == Kind.GAP or (kind == Kind.STATUS and price == StatusCode.DISCONNECTED):
            if flags & Flag.ON_BOOK:
                self.live = self._loading = False
            return
        if kind not in (Kind.CLEAR, Kind.LEVEL, Kind.CHECKSUM) or flags & (Flag.PARTIAL | Flag.ON_ORDERS):
            return
        if kind == Kind.CLEAR:
            self.levels = {Side.BID: {}, Side.ASK: {}}
            self._loading = not self.live
        elif not (self.live or self._loading):
            return
        elif kind == Kind.LEVEL and side in self.levels and size >= 0 and price != NO_PRICE:
            self.changed[Side(side), price] = venue_seq
            self.levels[Side(side)][price] = size
            if not size:
                del self.levels[Side(side)][price]
        self.times = (ts_event, ts_recv)
        if flags & Flag.LAST:
            self.live, self._loading = True, False
            self.book_id = venue_seq

    def side(self, side: Side) -> list[tuple[Any, Any]]:
        """Levels, best first."""
        return sorted(self.levels[side].items(), reverse=side == Side.BID)

    @property
    def best_bid(self) -> tuple[Any, Any] | None:
        price = max(self.levels[Side.BID], default=None)
        return None if price is None else (price, self.levels[Side.BID][price])

    @property
    def best_ask(self) -> tuple[Any, Any] | None:
        price = min(self.levels[Side.ASK], default=None)
        return None if price is None else (price, self.levels[Side.ASK][price])
