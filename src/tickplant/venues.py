"""The catalogue of venues: what the plant knows of each one before importing its code. Data only.

To add a venue, write its folder in feeds/venues (docs/venues.md says how) and add a row to `VENUES`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, cast

import msgspec

from tickplant.errors import FeedError


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    name: str
    factory: str  # `module:name` of a callable that makes a feeds.contract.Adapter of a FeedContext
    kernels: str  # `module:name` of a callable that compiles what the adapter would otherwise compile at first frames
    endpoints: dict[str, str]  # the venue's addresses by name; a configuration may replace "ws" and "rest"
    channels: tuple[str, ...]
    exclusive: tuple[tuple[str, ...], ...] = ()  # channels that carry the same data: at most one of each group
    transport: Literal["websocket", "tcp"] = "websocket"  # of its links: the kind of address that endpoint `ws` is
    numbered: tuple[str, ...] = ()  # channels whose event ids reveal repeats, so that two connections may carry them
    single: str = ""  # why the venue allows only one connection, such as "one login a key"; empty: it allows several
    fixed_symbols: bool = False  # a running feed cannot change its symbols
    depths: tuple[int, ...] = ()  # levels per side that its books or partial books may have, where there is a choice
    depths_of: tuple[str, ...] = ("book", "orders")  # the channels to which `depths` applies
    symbol: str = r"[^\W_][\w-]{0,63}"  # regular expression of a whole symbol
    symbol_hint: str = "1 to 64 letters, digits, _ and -"
    upper_case: bool = True  # symbols have no lower-case letters

    def make_adapter(self, context: Any) -> Any:
        """An Adapter for one feed, made from its FeedContext."""
        return _load(self.factory)(context)

    def warm_up(self) -> None:
        """Compile the venue's kernels, or load them from the cache."""
        _load(self.kernels)()

    def why_single(self, channels: Iterable[str]) -> str:
        """Why two connections cannot both carry these channels; empty if they can."""
        if self.single:
            return f"{self.name} allows one connection at a time: {self.single}"
        if bare := [channel for channel in channels if channel not in self.numbered]:
            return f"{self.name} does not number its {bare[0]} events: nothing would tell what one connection repeats"
        return ""

    def why_not(self, symbol: str) -> str:
        """Why a text is not a symbol of this venue; empty if it is one."""
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
_CHECKED: Final = "tickplant.feeds.kit.checked_books:warm_up"
_DXLINK: Final = "tickplant.feeds.venues.dxlink.adapter"
_DXLINK_CHANNELS: Final = ("trade", "agg_trade", "quote", "venue_bar", "statistic")
_DXLINK_SYMBOL: Final = r"[./$=]{0,2}[A-Z0-9][A-Za-z0-9./:&_#@^$+-]{0,61}"
_DXLINK_HINT: Final = "a symbol of dxFeed, such as AAPL, .SPY261218C700 or /ESZ26:XCME"
_POLYGON: Final = "tickplant.feeds.venues.polygon.adapter"
_POLYGON_ENDPOINTS: Final = {"ws": "wss://socket.massive.com"}  # wss://socket.polygon.io is the same venue
_COINBASE: Final = "tickplant.feeds.venues.coinbase.adapter"
_ADVANCED: Final = "tickplant.feeds.venues.coinbase_advanced.adapter"
_POLYGON_LOGIN: Final = "it takes one login a key and market"
_BINANCE_CHANNELS: Final = ("trade", "agg_trade", "quote", "book", "partial_book", "venue_bar")
_FUTURES_CHANNELS: Final = (*_BINANCE_CHANNELS, "statistic", "liquidation")
_PARTIAL_DEPTHS: Final = (20, 10, 5)
_NUMBERED: Final = ("trade", "agg_trade", "quote", "book")
_DATABENTO: Final = "tickplant.feeds.venues.databento.adapter"

_PRODUCT: Final = r"[A-Z0-9]{1,30}(?:-[A-Z0-9]{1,20}){1,3}"

VENUES: Final[dict[str, Venue]] = {
    venue.name: venue
    for venue in (
        Venue(
            name="binance",
            factory=f"{_BINANCE}:spot",
            kernels=f"{_BINANCE}:warm_up",
            endpoints={"ws": "wss://stream.binance.com:9443", "rest": "https://api.binance.com"},
            channels=_BINANCE_CHANNELS,
            numbered=_NUMBERED,
            exclusive=(("trade", "agg_trade"),),
            depths=_PARTIAL_DEPTHS,
            depths_of=("partial_book",),
        ),
        Venue(
            name="binance-usdm",
            factory=f"{_BINANCE}:usdm",
            kernels=f"{_BINANCE}:warm_up",
            endpoints={"ws": "wss://fstream.binance.com", "rest": "https://fapi.binance.com"},
            channels=_FUTURES_CHANNELS,
            numbered=_NUMBERED,
            exclusive=(("trade", "agg_trade"),),
            depths=_PARTIAL_DEPTHS,
            depths_of=("partial_book",),
        ),
        Venue(
            name="binance-coinm",
            factory=f"{_BINANCE}:coinm",
            kernels=f"{_BINANCE}:warm_up",
            endpoints={"ws": "wss://dstream.binance.com", "rest": "https://dapi.binance.com"},
            channels=_FUTURES_CHANNELS,
            numbered=_NUMBERED,
            exclusive=(("trade", "agg_trade"),),
            depths=_PARTIAL_DEPTHS,
            depths_of=("partial_book",),
        ),
        Venue(
            name="kraken",
            factory=f"{_KRAKEN}:KrakenAdapter",
            kernels=_CHECKED,
            numbered=("trade",),
            endpoints={
                "ws": "wss://ws.kraken.com",
                "ws_orders": "wss://ws-l3.kraken.com",
                "rest": "https://api.kraken.com",
            },
            channels=("trade", "quote", "book", "orders", "venue_bar"),
            exclusive=(("book", "orders"),),
            depths=(10, 25, 100, 500, 1000),
            symbol=r"[A-Za-z0-9.]{1,32}/[A-Za-z0-9.]{1,31}",
            symbol_hint="BASE/QUOTE, such as BTC/USD",
            upper_case=False,
        ),
        Venue(
            name="dxlink",
            factory=f"{_DXLINK}:dxlink",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints={"ws": "wss://demo.dxfeed.com/dxlink-ws"},
            channels=_DXLINK_CHANNELS,
            exclusive=(("trade", "agg_trade"),),
            symbol=_DXLINK_SYMBOL,
            symbol_hint=_DXLINK_HINT,
            upper_case=False,
        ),
        Venue(
            name="tastytrade",
            factory=f"{_DXLINK}:tastytrade",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints={"ws": "wss://tasty-openapi-ws.dxfeed.com/realtime", "rest": "https://api.tastyworks.com"},
            channels=_DXLINK_CHANNELS,
            exclusive=(("trade", "agg_trade"),),
            symbol=_DXLINK_SYMBOL,
            symbol_hint=_DXLINK_HINT,
            upper_case=False,
        ),
        Venue(
            name="polygon",
            single=_POLYGON_LOGIN,
            factory=f"{_POLYGON}:stocks",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints=_POLYGON_ENDPOINTS,
            channels=("trade", "quote", "venue_bar", "statistic"),
            symbol=r"[A-Za-z0-9][A-Za-z0-9./-]{0,19}",
            symbol_hint="a ticker, such as MSFT or BRK.B",
            upper_case=False,  # BACpA is a preferred share
        ),
        Venue(
            name="polygon-options",
            single=_POLYGON_LOGIN,
            factory=f"{_POLYGON}:options",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints=_POLYGON_ENDPOINTS,
            channels=("trade", "quote", "venue_bar"),
            symbol=r"O:[A-Z0-9]{1,6}\d{6}[CP]\d{8}",
            symbol_hint="a contract, such as O:SPY261218C00700000",
        ),
        Venue(
            name="polygon-crypto",
            single=_POLYGON_LOGIN,
            factory=f"{_POLYGON}:crypto",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints=_POLYGON_ENDPOINTS,
            channels=("trade", "quote", "venue_bar", "partial_book"),
            symbol=r"[A-Z0-9]{1,20}-[A-Z0-9]{1,10}",
            symbol_hint="BASE-QUOTE, such as BTC-USD",
        ),
        Venue(
            name="coinbase",
            factory=f"{_COINBASE}:CoinbaseAdapter",
            kernels=f"{_COINBASE}:warm_up",
            endpoints={"ws": "wss://ws-feed.exchange.coinbase.com", "rest": "https://api.exchange.coinbase.com"},
            channels=("trade", "quote", "book", "orders"),
            numbered=("trade", "quote"),
            exclusive=(("book", "orders"),),
            symbol=_PRODUCT,
            symbol_hint="BASE-QUOTE, such as BTC-USD",
        ),
        Venue(
            name="coinbase-advanced",
            factory=f"{_ADVANCED}:AdvancedAdapter",
            kernels=f"{_ADVANCED}:warm_up",
            endpoints={"ws": "wss://advanced-trade-ws.coinbase.com"},
            channels=("trade", "quote", "book"),
            symbol=_PRODUCT,
            symbol_hint="BASE-QUOTE, such as BTC-USD",
        ),
        Venue(
            name="okx",
            factory="tickplant.feeds.venues.okx.adapter:OkxAdapter",
            kernels=_CHECKED,
            endpoints={"ws": "wss://ws.okx.com:8443", "rest": "https://www.okx.com"},
            channels=("agg_trade", "quote", "book"),
            symbol=r"[A-Z0-9]{1,30}-[A-Z0-9]{1,20}",
            symbol_hint="BASE-QUOTE, such as BTC-USDT",
        ),
        Venue(
            name="alpha-vantage",
            factory="tickplant.feeds.venues.alpha_vantage.adapter:AlphaVantageAdapter",
            kernels="tickplant.feeds.kit.shape_kernels:warm_up",
            endpoints={"rest": "https://www.alphavantage.co"},
            single="it has no connections, but requests",
            channels=("venue_bar",),
            symbol=r"[A-Z0-9][A-Z0-9.-]{0,23}",
            symbol_hint="a ticker, such as IBM or TSCO.LON",
        ),
        Venue(
            name="databento",
            fixed_symbols=True,
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
    """The venue of that name. Raises FeedError for an unknown name."""
    if name not in VENUES:
        near = difflib.get_close_matches(name, VENUES, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(VENUES)}"
        raise FeedError(f"unknown venue {name}; {hint}")
    return VENUES[name]


def warm_up() -> None:
    """Compile the kernels of every venue, or load them from the cache."""
    for name in dict.fromkeys(venue.kernels for venue in VENUES.values()):
        _load(name)()
