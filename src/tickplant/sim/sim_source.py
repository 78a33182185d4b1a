"""What the simulated venue plays: the interface of the two modes, a recording and a synthetic market. No I/O."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tickplant.sim.outlet import Answer, Outlet


class Listed(msgspec.Struct, frozen=True):
    """An instrument as exchangeInfo describes it."""

    symbol: str
    base: str
    quote: str
    price_digits: int
    size_digits: int
    tick_size: str
    lot_size: str
    status: str = "TRADING"


class Trade(msgspec.Struct, frozen=True):
    """A past trade, or aggregate with the first and last trade id in it."""

    id: int
    price: str
    size: str
    time_ns: int
    buyer_is_maker: bool
    first: int = 0
    last: int = 0


class Asker(Protocol):
    """The connection that a REST request came on."""

    async def until_closed(self) -> None:
        """Return when the client has closed it."""
        ...


class Source(Protocol):
    """Something to play."""

    streams: list[str]  # masks and batches use the indices of this list
    listed: dict[str, Listed]

    def prepare(self) -> None:
        """Do what takes long, before anybody waits."""
        ...

    def bind(self, outlet: Outlet) -> None:
        """Send through this outlet, made for the streams of this source."""
        ...

    def find(self, stream: str) -> int | None:
        """Index of the stream that a subscription to this name receives; None where there is none."""
        ...

    def on_subscriptions(self) -> None:
        """Somebody subscribed, unsubscribed, came or went."""
        ...

    def book(self, symbol: str, limit: int, unit_ns: int) -> bytes | None:
        """Body of a depth answer as it is at this moment; None where there is no book yet."""
        ...

    def refine(self, symbol: str, digits: int) -> bool:
        """Print prices of a symbol with so many more decimals; returns whether this source can."""
        ...

    def set_life(self, symbol: str, *, status: str, listed: bool = True) -> bool:
        """Give a symbol a status, or take it from the list; it trades where the status is TRADING. Whether it can."""
        ...

    async def depth(self, symbol: str, limit: int, unit_ns: int, asker: Asker) -> Answer:
        """The book of a listed symbol; may take its time."""
        ...

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Kept trades from an id on, or the newest; oldest first."""
        ...

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """Kept aggregate trades from an id on, of a time range (both ends inclusive), or the newest; oldest first."""
        ...

    async def run(self) -> None:
        """Play until it ends or is cancelled."""
        ...

    def report(self) -> dict[str, object]:
        """Where the play stands, as JSON shows it."""
        ...
