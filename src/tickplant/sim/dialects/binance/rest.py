"""The venue's REST endpoints: parameters, weights, answers and errors as Binance words them. No sockets.

Spot is below /api/v3, futures are below /fapi/v1 and /dapi/v1. Facts: Binance's rest-api documentation (general
information, market data endpoints, errors).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from tickplant.sim.conversation import Answer, Get
from tickplant.sim.dialect import Snapshot
from tickplant.sim.dialects.binance.desk import Desk
from tickplant.sim.dialects.binance.families import Family, pair_of
from tickplant.sim.dialects.binance.session import MICROSECOND_NS, MILLISECOND_NS
from tickplant.sim.sim_source import Asker, Listed, Trade

_FUTURES_LIMITS: Final = (5, 10, 20, 50, 100, 500, 1000)


class _Refused(Exception):  # noqa: N818  # an answer, not a failure
    def __init__(self, code: int, text: str, status: int = 400) -> None:
        self.code, self.text, self.status = code, text, status


class Rest:
    """Answers requests from a desk and counts their weight, per client address and minute."""

    stale: Callable[[str], Snapshot | None] = staticmethod(lambda symbol: None)
    """The old snapshot of a symbol, if it is to be shown instead of a fresh one."""

    def __init__(self, desk: Desk, family: Family, *, weight_per_minute: int) -> None:
        self._desk = desk
        self._family = family
        self._futures = family.futures
        self._prefix = family.rest_prefix
        self._weight_per_minute = weight_per_minute
        self._used: dict[str, int] = {}
        self._minute = 0

    async def answer(self, request: Get, asker: Asker) -> Answer:
        """Answer a request."""
        url = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        in_micros = request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"
        unit = MICROSECOND_NS if in_micros else MILLISECOND_NS
        peer = request.peer
        endpoint = url.path.removeprefix(self._prefix)
        if endpoint == url.path or endpoint not in _ENDPOINTS:
            return Answer(404, _error(-1, f"There is nothing at {url.path}"))
        try:
            used = self._charge(peer, endpoint, query)
            answer = await self._route(endpoint, query, unit, asker)
        except _Refused as refused:
            extra = {"Retry-After": str(math.ceil(60 - time.time() % 60))} if refused.status == 429 else {}
            used = self._used.get(peer, 0)
            answer = Answer(refused.status, _error(refused.code, refused.text), extra)
        weighed = answer.headers | {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        return msgspec.structs.replace(answer, headers=weighed)

    def _charge(self, peer: str, endpoint: str, query: Mapping[str, str]) -> int:
        minute = int(time.time() // 60)
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        used = self._used[peer] = self._used.get(peer, 0) + _weight(endpoint, query, futures=self._futures)
        if used > self._weight_per_minute:
            raise _Refused(
                -1003,
                f"Too much request weight used; current limit is {self._weight_per_minute} request weight per "
                "1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.",
                429,
            )
        return used

    async def _route(self, endpoint: str, query: Mapping[str, str], unit_ns: int, asker: Asker) -> Answer:
        if endpoint == "ping":
            return Answer(200, b"{}")
        if endpoint == "time":
            return Answer(200, msgspec.json.encode({"serverTime": time.time_ns() // unit_ns}))
        if endpoint == "exchangeInfo":
            return Answer(200, self._exchange_info(query, unit_ns))
        symbol = query.get("symbol", "")
        if not symbol:
            raise _Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in self._desk.listed:
            raise _Refused(-1121, "Invalid symbol.")
        if endpoint == "depth":
            limit = _integer(query, "limit") or (500 if self._futures else 100)
            if self._futures and limit not in _FUTURES_LIMITS:
                raise _Refused(-4021, f"{limit} is not valid depth limit.")
            if (stale := self.stale(symbol)) is not None:
                return Answer(200, stale(limit))
            return await self._desk.depth(symbol, min(limit, 5000), unit_ns, asker)
        limit = min(_integer(query, "limit") or 500, 1000)
        if endpoint == "aggTrades":
            start, end = _integer(query, "startTime"), _integer(query, "endTime")
            if start is not None and end is not None and start > end:
                raise _Refused(-1127, "startTime is greater than endTime.")
            rows = self._desk.aggregates(symbol, _integer(query, "fromId"), _to_ns(start), _to_ns(end), limit)
            return Answer(200, msgspec.json.encode([self._aggregate(row, unit_ns) for row in rows]))
        from_id = _integer(query, "fromId") if endpoint == "historicalTrades" else None
        rows = self._desk.trades(symbol, from_id, limit)
        return Answer(200, msgspec.json.encode([self._trade(row, unit_ns) for row in rows]))

    def _trade(self, row: Trade, unit_ns: int) -> dict[str, object]:
        worth = format(Decimal(row.price) * Decimal(row.size), "f")
        shown: dict[str, object] = {
            "id": row.id,
            "price": row.price,
            "qty": row.size,
            "quoteQty": worth,
            "time": row.time_ns // unit_ns,
            "isBuyerMaker": row.buyer_is_maker,
        }
        return shown if self._futures else shown | {"isBestMatch": True}

    def _aggregate(self, row: Trade, unit_ns: int) -> dict[str, object]:
        shown: dict[str, object] = {
            "a": row.id,
            "p": row.price,
            "q": row.size,
            "f": row.first,
            "l": row.last,
            "T": row.time_ns // unit_ns,
            "m": row.buyer_is_maker,
        }
        return shown if self._futures else shown | {"M": True}

    def _exchange_info(self, query: Mapping[str, str], unit_ns: int) -> bytes:
        wanted = list(self._desk.listed)
        try:
            if "symbols" in query:
                wanted = msgspec.json.decode(query["symbols"], type=list[str])
            elif "symbol" in query:
                wanted = [query["symbol"]]
        except msgspec.DecodeError:
            raise _Refused(-1100, "Illegal characters found in parameter 'symbols'.") from None
        if any(symbol not in self._desk.listed for symbol in wanted):
            raise _Refused(-1121, "Invalid symbol.")
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return msgspec.json.encode(
            {
                "timezone": "UTC",
                "serverTime": time.time_ns() // unit_ns,
                "rateLimits": [limit | {"limit": self._weight_per_minute}],
                "exchangeFilters": [],
                "symbols": [self._listing(self._desk.listed[symbol]) for symbol in wanted],
            }
        )

    def _listing(self, one: Listed) -> dict[str, object]:
        by_contract = self._family.by_contract
        shown: dict[str, object] = {"symbol": one.symbol, "contractStatus" if by_contract else "status": one.status}
        if self._futures:
            shown |= {"contractSize": 100} if by_contract else {}
            shown |= {
                "pair": pair_of(one.symbol),
                "contractType": "PERPETUAL",
                "baseAsset": one.base,
                "quoteAsset": one.quote,
                "marginAsset": one.base if by_contract else one.quote,
                "pricePrecision": one.price_digits,
                "quantityPrecision": one.size_digits,
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
            }
        else:
            shown |= {
                "baseAsset": one.base,
                "baseAssetPrecision": one.size_digits,
                "quoteAsset": one.quote,
                "quotePrecision": one.price_digits,
                "quoteAssetPrecision": one.price_digits,
                "isSpotTradingAllowed": True,
                "permissions": [],
            }
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": one.tick_size},
            {"filterType": "LOT_SIZE", "stepSize": one.lot_size},
        ]
        return shown | {"orderTypes": ["LIMIT", "MARKET"], "filters": filters}


_ENDPOINTS: Final = ("ping", "time", "exchangeInfo", "depth", "trades", "historicalTrades", "aggTrades")


def _weight(endpoint: str, query: Mapping[str, str], *, futures: bool) -> int:
    if endpoint == "depth":
        text = query.get("limit", "")
        limit = int(text) if text.isdecimal() else (500 if futures else 100)
        steps = ((50, 2), (100, 5), (500, 10)) if futures else ((100, 5), (500, 25), (1000, 50))
        return next((weight for most, weight in steps if limit <= most), 20 if futures else 250)
    spot = {"exchangeInfo": 20, "trades": 25, "historicalTrades": 25, "aggTrades": 4}
    return ({"trades": 5, "historicalTrades": 20, "aggTrades": 20} if futures else spot).get(endpoint, 1)


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isdecimal() and text.isascii() and len(text) <= 18):
        raise _Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def _to_ns(epoch: int | None) -> int | None:
    """Times in a query may be in either unit, recognized by magnitude."""
    if epoch is None:
        return None
    return epoch * (MICROSECOND_NS if epoch >= 10**15 else MILLISECOND_NS)


def _error(code: int, text: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": text})
