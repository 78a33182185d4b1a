"""Tools for the tests of Binance: its adapters on the bench, and messages as the venue sends them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from venue_desk import SECOND, Record, VenueDesk, as_bytes, words

from tickplant.feeds.contract import Request
from tickplant.feeds.venues.binance.adapter import BinanceAdapter
from tickplant.feeds.venues.binance.venue import SPOT, USDM, Rules

__all__ = ["SECOND", "Record", "as_bytes", "words"]


class Desk(VenueDesk):
    """An adapter of spot or futures."""

    def __init__(
        self, symbols: Sequence[str] | None = None, *, futures: bool = False, rules: Rules | None = None, **options: Any
    ) -> None:
        self.rules = rules or (USDM if futures else SPOT)
        own = {name: options.pop(name) for name in ("held_records", "use_shapes") if name in options}
        super().__init__(self.rules.venue, partial(BinanceAdapter, self.rules, **own), symbols, **options)

    def bootstrap(self, digits: int | None = None) -> None:
        """Answer the request for instrument data as the venue does."""
        (request,) = self.start()
        digits = self.scale if digits is None else digits
        names = (self.rules.price_digits, self.rules.size_digits)
        symbols = [{"symbol": symbol} | dict.fromkeys(names, digits) for symbol in self.symbols or ()]
        self.answer(request, 200, json.dumps({"symbols": symbols}).encode(), 0)

    def rest(self, body: str | bytes | dict, *, symbol: str = "BNBBTC", ts: int = 0, status: int = 200, **options):
        request = Request(f"depth {symbol}", "/depth")
        self.answer(request, status, as_bytes(body), ts, **options)
        return self.take()


def wrapped(stream: str, data: dict) -> dict:
    return {"stream": stream, "data": data}


def trade(ident: int, *, symbol: str = "BNBBTC", price: str = "1.5", size: str = "2", time: int | None = None, **more):
    time = 1_700_000_000_000 + ident if time is None else time
    fields = {"e": "trade", "E": time + 1, "s": symbol, "t": ident, "p": price, "q": size, "T": time}
    return fields | {"m": False, "M": True} | more


def agg_trade(ident: int, first: int, *, symbol: str = "BNBBTC", time: int | None = None) -> dict:
    time = 1_700_000_000_000 + ident if time is None else time
    fields = {"e": "aggTrade", "E": time, "s": symbol, "a": ident, "p": "1.5", "q": "2", "f": first, "l": first + 1}
    return fields | {"T": time, "m": True, "M": True}


def quote(ident: int, *, symbol: str = "BNBBTC", bid: str = "1", ask: str = "2") -> dict:
    return {"u": ident, "s": symbol, "b": bid, "B": "3", "a": ask, "A": "4"}


def diff(
    first: int, last: int, bids: Iterable = (), asks: Iterable = (), *, symbol: str = "BNBBTC", previous=None
) -> dict:
    fields = {"e": "depthUpdate", "E": 1_700_000_000_000 + last}
    fields |= {} if previous is None else {"T": 1_700_000_000_000 + last - 1}
    fields |= {"s": symbol, "U": first, "u": last}
    fields |= {} if previous is None else {"pu": previous}
    return fields | {"b": [list(level) for level in bids], "a": [list(level) for level in asks]}


def snapshot(ident: int, bids: Iterable = (), asks: Iterable = ()) -> dict:
    return {
        "lastUpdateId": ident,
        "bids": [list(level) for level in bids],
        "asks": [list(level) for level in asks],
    }
