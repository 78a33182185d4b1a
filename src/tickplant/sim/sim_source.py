"""What a simulated venue plays: the interface of its two sources, a recording and a synthetic market. No I/O."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from tickplant.sim.outlet import Outlet


def fixed(mantissa: int, digits: int) -> str:
    """`mantissa * 10**-digits` in fixed point."""
    return f"{mantissa // 10**digits}.{mantissa % 10**digits:0{digits}d}" if digits else str(mantissa)


class Traded(msgspec.Struct, frozen=True):
    """An instrument of a synthetic market.

    Prices on the wire are `tick * price_step` printed with `price_digits` decimals; sizes alike.
    """

    symbol: str
    base: str
    quote: str
    first_tick: int  # first price, in ticks
    price_step: int
    price_digits: int
    size_step: int
    size_digits: int
    typical_lots: int  # median size of an order

    @property
    def tick_size(self) -> str:
        """Smallest price change, as text."""
        return fixed(self.price_step, self.price_digits)

    @property
    def lot_size(self) -> str:
        """Smallest size change, as text."""
        return fixed(self.size_step, self.size_digits)


class Listed(msgspec.Struct, frozen=True):
    """An instrument as the venue lists it."""

    symbol: str
    base: str
    quote: str
    price_digits: int
    size_digits: int
    tick_size: str
    lot_size: str
    status: str


class Trade(msgspec.Struct, frozen=True):
    """A past trade, or an aggregate with its first and last trade id."""

    id: int
    price: str
    size: str
    time_ns: int
    buyer_is_maker: bool
    first: int = 0
    last: int = 0
    is_limit: bool = False  # the taker's order was a limit order


class Book(NamedTuple):
    """A book at one moment: price and size as the venue prints them, best level first."""

    update_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class Asker(Protocol):
    """The connection of a REST request."""

    async def until_closed(self) -> None:
        """Return when the client has closed the connection."""
        ...


class Source(Protocol):
    """Something to play."""

    streams: list[str]  # masks and batches use the indices of this list
    listed: dict[str, Listed]

    def prepare(self) -> None:
        """Do slow preparations before anyone waits."""
        ...

    def bind(self, outlet: Outlet) -> None:
        """Send through this outlet, made for the streams of this source."""
        ...

    def find(self, stream: str) -> int | None:
        """Index of the stream for a subscription to this name; None if there is none."""
        ...

    def on_subscriptions(self) -> None:
        """Note that a client subscribed, unsubscribed, came or went."""
        ...

    def refine(self, symbol: str, digits: int) -> bool:
        """Print prices of a symbol with this many more decimals; returns whether this source can."""
        ...

    def set_life(self, symbol: str, *, status: str, trades: bool, listed: bool = True) -> bool:
        """Change a symbol's status, trading or listing. Returns whether this source can."""
        ...

    async def run(self) -> None:
        """Play until it ends or is cancelled."""
        ...

    def report(self) -> dict[str, object]:
        """The progress of the play, as JSON."""
        ...
