"""What a simulated venue plays: the interface of the two sources, a recording and a synthetic market. No I/O."""

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
    first_tick: int  # where the price starts, in ticks
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
    """A past trade, or aggregate with the first and last trade id in it."""

    id: int
    price: str
    size: str
    time_ns: int
    buyer_is_maker: bool
    first: int = 0
    last: int = 0
    is_limit: bool = False  # the order that took was a limit order


class Book(NamedTuple):
    """A book at one moment: price and size as the venue prints them, best level first."""

    update_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


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

    def refine(self, symbol: str, digits: int) -> bool:
        """Print prices of a symbol with so many more decimals; returns whether this source can."""
        ...

    def set_life(self, symbol: str, *, status: str, trades: bool, listed: bool = True) -> bool:
        """Give a symbol a status, have it trade or not, or take it from the list. Returns whether this source can."""
        ...

    async def run(self) -> None:
        """Play until it ends or is cancelled."""
        ...

    def report(self) -> dict[str, object]:
        """Where the play stands, as JSON shows it."""
        ...
