"""Tools for the tests of Kraken: its adapter on the bench, and messages as the venue sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from venue_desk import VenueDesk

from tickplant.books.checksums import ALGORITHMS, BookChecksum, Digits
from tickplant.feeds.venues.kraken.adapter import KrakenAdapter
from tickplant.instruments import to_mantissa

DIGITS = Digits(8, 8, 1, 8)
Levels = Sequence[tuple[str, str]]


class KrakenDesk(VenueDesk):
    """An adapter of Kraken."""

    def __init__(self, symbols: Sequence[str] | None = None, *, use_shapes: bool = True, **options: Any) -> None:
        super().__init__(
            "kraken", partial(KrakenAdapter, use_shapes=use_shapes), symbols, **{"link": "public"} | options
        )

    def begin(self, *statuses: dict[str, Any]) -> None:
        """Start, open, and answer as the venue does until every stream is acknowledged."""
        self.start()
        self.begun = self.open() + self.feed(pairs(*(statuses or [pair(symbol) for symbol in self.symbols or ()])))
        self.acknowledge()

    def sent(self) -> list[dict[str, Any]]:
        """Requests sent since the last call."""
        self.take()
        sent = [json.loads(action.payload) for action in self.actions if hasattr(action, "payload")]
        self.actions.clear()
        return sent

    def acknowledge(self, ts: int = 0) -> None:
        """Answer what was sent: once for each symbol."""
        for request in self.sent():
            params = request["params"]
            for symbol in params.get("symbol", [None]):
                result = {name: value for name, value in params.items() if name != "symbol"}
                result |= {} if symbol is None else {"symbol": symbol}
                answer = {"method": request["method"], "req_id": request["req_id"], "result": result, "success": True}
                self.feed(answer, ts=ts)


def pair(symbol: str, *, status: str = "online", price: int = 8, size: int = 8) -> dict[str, Any]:
    return {"symbol": symbol, "status": status, "price_precision": price, "qty_precision": size}


def pairs(*those: dict[str, Any], kind: str = "snapshot") -> dict[str, Any]:
    return {"channel": "instrument", "type": kind, "data": {"assets": [], "pairs": [*those]}}


def trade(ident: int, *, symbol: str = "BTC/USD", price: str = "45283.5", side: str = "buy", time_us: int = 0) -> str:
    return (
        f'{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":0.10000000,"ord_type":"market",'
        f'"trade_id":{ident},"timestamp":"2026-09-01T12:00:00.{time_us:06d}Z"}}'
    )


def trades(*those: str, kind: str = "update") -> str:
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(those)}]}}'


def ticker(*, bid: str = "1.5", ask: str = "2.5", symbol: str = "BTC/USD", kind: str = "update") -> str:
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{bid},"bid_qty":1.00000000,'
        f'"ask":{ask},"ask_qty":2.00000000,"last":1.5,"volume":1.0,"vwap":1.0,"low":1.0,"high":2.0,"change":0.1,'
        '"change_pct":0.1,"timestamp":"2026-09-01T12:00:00.000001Z"}]}'
    )


def checksum(bids: Levels, asks: Levels, digits: Digits = DIGITS) -> int:
    """The checksum of a book; levels best first."""
    import numpy as np

    sides = [
        np.array(
            [[to_mantissa(price, digits.price_scale), to_mantissa(size, digits.size_scale)] for price, size in side],
            np.int64,
        ).reshape(-1, 2)
        for side in (bids, asks)
    ]
    number = BookChecksum(ALGORITHMS["kraken"], digits).of_levels(*sides)
    assert number is not None
    return number


def book(bids: Levels, asks: Levels, check: int, *, symbol: str = "BTC/USD", kind: str = "update") -> str:
    sides = [",".join(f'{{"price":{price},"qty":{size}}}' for price, size in side) for side in (bids, asks)]
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{sides[0]}],"asks":[{sides[1]}],'
        f'"checksum":{check},"timestamp":"2026-09-01T12:00:00.000001Z"}}]}}'
    )
