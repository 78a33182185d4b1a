"""What Binance's REST serves: books and past trades. Of a synthetic market here; of a recording in `recorded`."""

from __future__ import annotations

import functools
import time
from typing import Protocol

import msgspec

from tickplant.sim.conversation import Answer
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.binance.families import Family, pair_of
from tickplant.sim.dialects.binance.session import MILLISECOND_NS
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Asker, Book, Listed, Trade

SNAPSHOT_LEVELS = 5000


class Desk(Protocol):
    """Books and trades of one source."""

    @property
    def listed(self) -> dict[str, Listed]:
        """Instruments by symbol."""
        ...

    async def depth(self, symbol: str, limit: int, unit_ns: int, asker: Asker) -> Answer:
        """The book of a listed symbol; may take time."""
        ...

    def snapshots(self) -> dict[str, Snapshot]:
        """The present books by symbol, where there is one."""
        ...

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Kept trades from an id on, or the newest; oldest first."""
        ...

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """Kept aggregate trades from an id on, of a time range (both ends inclusive), or the newest; oldest first."""
        ...


class MarketDesk(Desk):
    """The desk of a synthetic market."""

    def __init__(self, market: LiveMarket, family: Family) -> None:
        self._market = market
        self._family = family

    @property
    def listed(self) -> dict[str, Listed]:
        """Instruments by symbol."""
        return self._market.listed

    async def depth(self, symbol: str, limit: int, unit_ns: int, asker: Asker) -> Answer:
        """The present book."""
        return Answer(200, self._body(symbol, self._market.book(symbol, limit), time.time_ns() // unit_ns, limit))

    def snapshots(self) -> dict[str, Snapshot]:
        """The present books."""
        now = time.time_ns() // MILLISECOND_NS
        return {
            symbol: functools.partial(self._body, symbol, self._market.book(symbol, SNAPSHOT_LEVELS), now)
            for symbol in self.listed
        }

    def _body(self, symbol: str, book: Book, now: int, limit: int) -> bytes:
        more: dict[str, object] = {"E": now, "T": now} if self._family.futures else {}
        more |= {"symbol": symbol, "pair": pair_of(symbol)} if self._family.by_contract else {}
        sides = {"bids": book.bids[:limit], "asks": book.asks[:limit]}
        return msgspec.json.encode({"lastUpdateId": book.update_id} | more | sides)

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Kept trades from an id on, or the newest; oldest first."""
        return self._market.trades(symbol, from_id, limit)

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """See Desk. The last millisecond counts as a whole, as in the times of the answer."""
        end_ns = None if end_ns is None else end_ns + MILLISECOND_NS
        return self._market.aggregates(symbol, from_id, start_ns, end_ns, limit)
