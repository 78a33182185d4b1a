"""Alpha Vantage's answers: time series, and errors with HTTP 200. No I/O.

Facts: the venue's API documentation and answers of its free service. Bars are made from the kept trades of a synthetic
market; a symbol without trades has no bars.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import msgspec

from tickplant.sim import order_flow
from tickplant.sim.conversation import Answer, Get
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.templates import print_price, print_size

PATH: Final = "/query"
REFUSED_KEY: Final = "refused"
"""A key that the simulated venue refuses; all others are accepted."""

COMPACT_BARS: Final = 100
ZONE: Final = ZoneInfo("US/Eastern")
_MINUTES: Final = ("1min", "5min", "15min", "30min", "60min")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Rest:
    """Answers requests, and counts them by key and day."""

    def __init__(self, market: LiveMarket, *, per_day: int) -> None:
        self._market = market
        self._per_day = per_day
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    def answer(self, request: Get) -> Answer:
        """Answer a request; nearly all answers are HTTP 200."""
        url = urlsplit(request.target)
        if url.path != PATH:
            return Answer(404, b"not found")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        return Answer(200, msgspec.json.encode(self._body(query)))

    def _body(self, query: Mapping[str, str]) -> dict[str, object]:
        key, function, symbol = query.get("apikey", ""), query.get("function", ""), query.get("symbol", "")
        if not key or key == REFUSED_KEY:
            return {"Error Message": "the parameter apikey is invalid or missing. Please claim your free API key."}
        if self._is_over(key):
            return {
                "Information": f"We have detected your API key as {key} and our standard API rate limit is "
                f"{self._per_day} requests per day. Please subscribe to any of the premium plans."
            }
        interval = query.get("interval", "")
        is_daily = function == "TIME_SERIES_DAILY"
        if not is_daily and (function != "TIME_SERIES_INTRADAY" or interval not in _MINUTES):
            return {"Error Message": f"This API function ({function}) does not exist."}
        if symbol not in self._market.listed:
            return {"Error Message": f"Invalid API call. Please retry or visit the documentation for {function}."}
        size = query.get("outputsize", "compact")
        rows = self._rows(symbol, None if is_daily else int(interval.removesuffix("min")))
        newest = dict(list(rows.items())[: COMPACT_BARS if size == "compact" else None])
        return _daily(symbol, size, newest) if is_daily else _intraday(symbol, interval, size, newest)

    def _is_over(self, key: str) -> bool:
        now_s, asked = time.time(), self._asked[key]
        while asked and asked[0] <= now_s - 86_400:
            asked.popleft()
        asked.append(now_s)
        return len(asked) > self._per_day

    def _rows(self, symbol: str, minutes: int | None) -> dict[str, dict[str, str]]:
        """Bars by local time, newest first."""
        ticks: dict[datetime, list[tuple[int, int]]] = defaultdict(list)
        for time_ns, tick, lots in self._market.past(symbol, order_flow.TRADE)[["time", "price", "size"]].tolist():
            local = (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(ZONE).replace(second=0, microsecond=0)
            start = local.replace(hour=0, minute=0) if minutes is None else local
            if minutes is not None:
                start = local.replace(minute=local.minute - local.minute % minutes)
            ticks[start].append((tick, lots))
        index, decimals = self._market.index[symbol], self._market.printer.decimals

        def show(name: str, tick: int) -> tuple[str, str]:
            return name, print_price(decimals, index, tick)

        return {
            format(start, "%Y-%m-%d" if minutes is None else "%Y-%m-%d %H:%M:%S"): dict(
                [
                    show("1. open", rows[0][0]),
                    show("2. high", max(tick for tick, _ in rows)),
                    show("3. low", min(tick for tick, _ in rows)),
                    show("4. close", rows[-1][0]),
                    ("5. volume", print_size(decimals, index, sum(lots for _, lots in rows))),
                ]
            )
            for start, rows in sorted(ticks.items(), reverse=True)
        }


def _intraday(symbol: str, interval: str, size: str, rows: dict[str, dict[str, str]]) -> dict[str, object]:
    return {
        "Meta Data": {
            "1. Information": f"Intraday ({interval}) open, high, low, close prices and volume",
            "2. Symbol": symbol,
            "3. Last Refreshed": next(iter(rows), ""),
            "4. Interval": interval,
            "5. Output Size": "Compact" if size == "compact" else "Full size",
            "6. Time Zone": "US/Eastern",
        },
        f"Time Series ({interval})": rows,
    }


def _daily(symbol: str, size: str, rows: dict[str, dict[str, str]]) -> dict[str, object]:
    return {
        "Meta Data": {
            "1. Information": "Daily Prices (open, high, low, close) and Volumes",
            "2. Symbol": symbol,
            "3. Last Refreshed": next(iter(rows), ""),
            "4. Output Size": "Compact" if size == "compact" else "Full size",
            "5. Time Zone": "US/Eastern",
        },
        "Time Series (Daily)": rows,
    }
