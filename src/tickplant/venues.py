"""The catalogue of venues: what the plant knows of each before its code is imported. Data only.

To add a venue, write its folder in feeds/venues (docs/venues.md says how) and add a row to `VENUES`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from typing import Any, Final, Literal, cast

import msgspec

from tickplant.errors import FeedError


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    name: str
    factory: str  # `module:name` of a callable that makes a feeds.contract.Adapter of a FeedContext
    kernels: str  # `module:name` of a callable that compiles what the adapter would compile on its first frames
    endpoints: dict[str, str]  # the venue's addresses by name; a configuration may replace "ws" and "rest"
    channels: tuple[str, ...]
    exclusive: tuple[tuple[str, ...], ...] = ()  # channels that carry the same data: at most one of each group
    transport: Literal["websocket", "tcp"] = "websocket"  # what its links are: `ws` of the endpoints is such an address
    depths: tuple[int, ...] = ()  # levels a side of its books, where it offers a choice; the first is the default
    symbol: str = r"[^\W_][\w-]{0,63}"  # regular expression of a whole symbol
    symbol_hint: str = "1 to 64 letters, digits, _ and -"
    upper_case: bool = True  # symbols have no lower-case letters

    def make_adapter(self, context: Any) -> Any:
        """An Adapter for one feed, of a FeedContext."""
        return _load(self.factory)(context)

    def warm_up(self) -> None:
        """Compile the kernels of the venue, or load them from the cache."""
        _load(self.kernels)()

    def why_not(self, symbol: str) -> str:
        """What keeps a text from being a symbol of this venue; empty where nothing does."""
        if not re.fullmatch(self.symbol, symbol):
            return f"{symbol!r} is not a symbol: {self.symbol_hint}"
        if self.upper_case and symbol != symbol.upper():
            return f"{symbol!r} is not a symbol: the venue writes {symbol.upper()!r}"
        return ""


def _load(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), attribute))


_BINANCE: Final = "tickplant.feeds.venues.binance.adapter"
_KRAKEN: Final = "tickplant.feeds.venues.kraken.adapter"
_DATABENTO: Final = "tickplant.feeds.venues.databento.adapter"
_BINANCE_CHANNELS: Final = ("trade", "agg_trade", "quote", "book")

VENUES: Final[dict[str, Venue]] = {
    venue.name: venue
    for venue in (
        Venue(
            name="binance",
            factory=f"{_BINANCE}:spot",
            kernels=f"{_BINANCE}:warm_up",
            endpoints={"ws": "wss://stream.binance.com:9443", "rest": "https://api.binance.com"},
            channels=_BINANCE_CHANNELS,
            exclusive=(("trade", "agg_trade"),),
        ),
        Venue(
            name="binance-usdm",
            factory=f"{_BINANCE}:usdm",
            kernels=f"{_BINANCE}:warm_up",
            endpoints={"ws": "wss://fstream.binance.com", "rest": "https://fapi.binance.com"},
            channels=_BINANCE_CHANNELS,
            exclusive=(("trade", "agg_trade"),),
        ),
        Venue(
            name="kraken",
            factory=f"{_KRAKEN}:KrakenAdapter",
            kernels=f"{_KRAKEN}:warm_up",
            endpoints={"ws": "wss://ws.kraken.com"},
            channels=("trade", "quote", "book"),
            depths=(10, 25, 100, 500, 1000),
            symbol=r"[A-Za-z0-9.]{1,32}/[A-Za-z0-9.]{1,31}",
            symbol_hint="BASE/QUOTE, such as BTC/USD",
            upper_case=False,
        ),
        Venue(
            name="databento",
            factory=f"{_DATABENTO}:DatabentoAdapter",
            kernels=f"{_DATABENTO}:warm_up",
            endpoints={"ws": "tcp://{dataset}.lsg.databento.com:13000"},
            channels=("trade", "quote", "book", "orders", "venue_bar", "statistic"),
            exclusive=(("book", "orders"),),
            transport="tcp",
            symbol=r"[A-Z0-9]{2,8}\.[A-Z0-9]{2,8}/[^\x00-\x1f,|]{1,71}",
            symbol_hint="DATASET/SYMBOL, such as GLBX.MDP3/ESH4, GLBX.MDP3/ES.FUT or GLBX.MDP3/ES.c.0",
            upper_case=False,
        ),
    )
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
    for name in dict.fromkeys(venue.kernels for venue in VENUES.values()):
        _load(name)()
