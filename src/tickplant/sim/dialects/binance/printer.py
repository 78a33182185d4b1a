"""The synthetic market as Binance prints it. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.dialect import Events, Printer
from tickplant.sim.dialects.binance.families import FAMILIES, pair_of
from tickplant.sim.dialects.binance.instruments import contract, traded
from tickplant.sim.dialects.binance.requested_streams import RequestedStreams
from tickplant.sim.dialects.binance.session import MICROSECOND_NS, MILLISECOND_NS
from tickplant.sim.frames import Batch
from tickplant.sim.market import Market
from tickplant.sim.order_flow import AGGREGATE, DEPTH, MESSAGE, TICKER, TRADE
from tickplant.sim.sim_source import Listed, Traded
from tickplant.sim.templates import (
    ASKS,
    BIDS,
    NUMBER,
    PRICE,
    SENT,
    SIZE,
    TIME,
    Renderer,
    Shape,
    Style,
    Templates,
    decimals_of,
    templates,
)

STYLE: Final = Style(
    MESSAGE,
    {
        "sent": SENT,
        "time": TIME,
        "price": PRICE,
        "ask": PRICE,
        "size": SIZE,
        "ask_size": SIZE,
        "bids": BIDS,
        "asks": ASKS,
    }
    | dict.fromkeys(("id", "first", "last"), NUMBER),
    ('["', '","', '"]'),
)
_SPOT: Final = {
    TRADE: '{"e":"trade","E":<sent>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<size>","T":<time>,'
    '"m":<maker?false|true>,"M":true}',
    AGGREGATE: '{"e":"aggTrade","E":<sent>,"s":"<symbol>","a":<id>,"p":"<price>","q":"<size>","f":<first>,"l":<last>,'
    '"T":<time>,"m":<maker?false|true>,"M":true}',
    TICKER: '{"u":<id>,"s":"<symbol>","b":"<price>","B":"<size>","a":"<ask>","A":"<ask_size>"}',
    DEPTH: '{"e":"depthUpdate","E":<sent>,"s":"<symbol>","U":<first>,"u":<id>,"b":[<bids>],"a":[<asks>]}',
}
_FUTURES: Final = {
    TRADE: '{"e":"trade","E":<sent>,"T":<time>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<size>","X":"MARKET",'
    '"m":<maker?false|true>}',
    AGGREGATE: '{"e":"aggTrade","E":<sent>,"a":<id>,"s":"<symbol>","p":"<price>","q":"<size>","f":<first>,"l":<last>,'
    '"T":<time>,"m":<maker?false|true>}',
    TICKER: '{"e":"bookTicker","u":<id>,"s":"<symbol>","b":"<price>","B":"<size>","a":"<ask>","A":"<ask_size>",'
    '"T":<time>,"E":<sent>}',
    DEPTH: '{"e":"depthUpdate","E":<sent>,"T":<time>,"s":"<symbol>","U":<first>,"u":<id>,"pu":<last>,'
    '"b":[<bids>],"a":[<asks>]}',
}
# COIN-M also names the pair, and its quotes begin with their id.
_COINM: Final = {
    TRADE: _FUTURES[TRADE],
    AGGREGATE: _FUTURES[AGGREGATE],
    TICKER: '{"u":<id>,"e":"bookTicker","s":"<symbol>","ps":"<pair>","b":"<price>","B":"<size>","a":"<ask>",'
    '"A":"<ask_size>","T":<time>,"E":<sent>}',
    DEPTH: _FUTURES[DEPTH].replace('"s":"<symbol>"', '"s":"<symbol>","ps":"<pair>"'),
}
SPEEDS: Final = {venue: family.speeds for venue, family in FAMILIES.items()}


def stream_names(venue: str, symbol: str) -> list[str]:
    """Streams of an instrument, in the order of the market's kinds."""
    names = ["trade", "aggTrade", "bookTicker", *(f"depth{suffix}" for suffix, _ in SPEEDS[venue])]
    return [f"{symbol.lower()}@{name}" for name in names]


def binance_templates(venue: str, instruments: list[Traded]) -> Templates:
    """Templates of all streams of all instruments, as this venue writes them, in combined and raw form."""
    family = FAMILIES[venue]
    texts = _COINM if family.by_contract else _FUTURES if family.futures else _SPOT

    def shapes(one: Traded) -> list[Shape]:
        own = {kind: text.replace("<pair>", pair_of(one.symbol)) for kind, text in texts.items()}
        names = stream_names(venue, one.symbol)
        return [Shape(own[min(kind, DEPTH)], f'{{"stream":"{name}","data":') for kind, name in enumerate(names)]

    return templates(STYLE, shapes, instruments)


class BinancePrinter(Printer):
    """Each row of the market is one message; a variant is a unit of time, in ns. Other streams are made on request."""

    def __init__(self, venue: str, symbols: tuple[str, ...]) -> None:
        family = FAMILIES[venue]
        known = contract if family.by_contract else functools.partial(traded, futures=family.futures)
        self.instruments = [known(symbol) for symbol in symbols]
        own = [name for symbol in symbols for name in stream_names(venue, symbol)]
        self.intervals_ns = [interval_ms * MILLISECOND_NS for _, interval_ms in SPEEDS[venue]]
        self.id_step = 40 if family.futures else 1
        self.decimals = decimals_of(self.instruments)
        self._requested = RequestedStreams(family, self.instruments, self.decimals, len(own))
        self.streams = own + self._requested.streams
        self._own = len(own)
        made = binance_templates(venue, self.instruments)
        self._kinds = made.kinds
        self._renderers = {unit: Renderer(made, self.decimals) for unit in (MILLISECOND_NS, MICROSECOND_NS)}

    def begin(self, market: Market) -> None:
        """The streams on request need the books."""
        self._requested.begin(market)

    def prepare(self) -> None:
        """Does nothing: `render` calls all kernels."""

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The market's own streams come first."""
        needed = wanted[: self._own].copy()
        self._requested.add_needs(wanted, needed.reshape(-1, self._kinds))
        return needed

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """The wanted rows, for each unit of time."""
        rows = events.rows[wanted[events.rows["symbol"] * self._kinds + events.rows["kind"]]]
        due = self._requested.due(events, wanted)
        for unit_ns in variants & self._renderers.keys() if due else ():
            yield unit_ns, self._requested.batch(due, unit_ns)
        for unit_ns in variants & self._renderers.keys() if rows.shape[0] else ():
            yield (
                unit_ns,
                self._renderers[unit_ns].batch(
                    rows, events.levels, sent_ns=events.sent_ns, origin_ns=events.origin_ns, unit_ns=unit_ns
                ),
            )

    def changed(self, one: Listed) -> Batch | None:
        """None: clients ask for exchangeInfo."""
        return None
