"""The part of Coinbase Exchange's REST API that a feed needs: products, past trades, all orders. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tickplant.sim.conversation import Answer, Get
from tickplant.sim.dialects.coinbase.instruments import product
from tickplant.sim.dialects.coinbase.session import is_signed
from tickplant.sim.sim_source import Listed, Trade
from tickplant.sim.templates import stamp

MOST_TRADES: Final = 1000
_PATH: Final = re.compile(r"/products/([^/]+)/(trades|book)")


class RestDesk(Protocol):
    """What REST needs from the source."""

    def products(self) -> Iterable[Listed]:
        """All products."""
        ...

    def trades(self, symbol: str, before: int | None, limit: int) -> list[Trade]:
        """The newest kept trades, or the newest with a lower id; newest first."""
        ...

    def orders(self, symbol: str) -> bytes | None:
        """The body with all orders of a product; None if they are unknown."""
        ...


def answer(desk: RestDesk, request: Get) -> Answer:
    """Answer a request."""
    url = urlsplit(request.target)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if url.path == "/time":
        now_ns = time.time_ns()
        return Answer(200, msgspec.json.encode({"iso": stamp(now_ns), "epoch": now_ns / 1e9}))
    if url.path == "/products":
        return Answer(200, msgspec.json.encode([product(one) for one in desk.products()]))
    found = _PATH.fullmatch(url.path)
    if found is None:
        return _error(404, "NotFound")
    symbol = unquote(found[1])
    if symbol not in {one.symbol for one in desk.products()}:
        return _error(404, "NotFound")
    if found[2] == "trades":
        limit, after = query.get("limit", "1000"), query.get("after")
        if not (limit.isdecimal() and 1 <= int(limit) <= MOST_TRADES and (after is None or after.isdecimal())):
            return _error(400, "Invalid limit or cursor")
        trades = desk.trades(symbol, None if after is None else int(after), int(limit))
        return Answer(200, msgspec.json.encode([_trade(one) for one in trades]))
    if query.get("level") != "3":
        return _error(400, "only level 3 is simulated")
    names = ("CB-ACCESS-KEY", "CB-ACCESS-PASSPHRASE", "CB-ACCESS-TIMESTAMP", "CB-ACCESS-SIGN")
    if wrong := is_signed([request.headers.get(name) for name in names], request.target):
        return _error(401, wrong)
    body = desk.orders(symbol)
    return _error(503, "no orders are recorded") if body is None else Answer(200, body)


def _trade(one: Trade) -> dict[str, object]:
    side = "buy" if one.buyer_is_maker else "sell"
    return {"trade_id": one.id, "side": side, "size": one.size, "price": one.price, "time": stamp(one.time_ns)}


def _error(status: int, message: str) -> Answer:
    return Answer(status, msgspec.json.encode({"message": message}))
