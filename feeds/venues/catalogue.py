"""The one place where a venue's name is looked up: its adapter, its addresses, its channels.

To add a venue, write its adapter and add a line to `VENUES`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from tickplant.errors import FeedError
from tickplant.feeds.contract import Adapter, Resolver
from tickplant.feeds.venues import binance
from tickplant.feeds.venues.binance import rules
from tickplant.instruments import Instrument


class AdapterFactory(Protocol):
    """How the runner makes an adapter. `symbols=None` records every symbol that occurs, as for a recording."""

    def __call__(
        self,
        symbols: Sequence[str] | None,
        channels: Sequence[str],
        resolve: Resolver,
        *,
        ws_url: str = "",
        silent_s: float = 60.0,
        rejects_kept: int = 100,
        instrument_poll_s: float = 3600.0,
        known: Callable[[str], Instrument | None] = lambda _: None,
    ) -> Adapter:
        """An adapter for one feed."""
        ...


class Venue(msgspec.Struct, frozen=True):
    """What the runner and the command line need to know of a venue."""

    make_adapter: AdapterFactory
    warm_up: Callable[[], None]  # compiles what the adapter would compile on its first frames
    ws_url: str
    rest_url: str
    channels: tuple[str, ...]


_CHANNELS: Final = ("trade", "agg_trade", "quote", "book")

VENUES: Final[dict[str, Venue]] = {
    "binance": Venue(binance.spot, binance.warm_up, rules.SPOT.ws_url, rules.SPOT.rest_url, _CHANNELS),
    "binance-usdm": Venue(binance.usdm, binance.warm_up, rules.USDM.ws_url, rules.USDM.rest_url, _CHANNELS),
}


def find_venue(name: str) -> Venue:
    """The venue of that name. Raises FeedError where there is none."""
    if name not in VENUES:
        near = difflib.get_close_matches(name, VENUES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VENUES)}"
        raise FeedError(f"there is no venue {name}; {hint}")
    return VENUES[name]


def warm_up() -> None:
    """Compile the kernels of every venue, or load them from the cache."""
    for function in {venue.warm_up: None for venue in VENUES.values()}:
        function()
