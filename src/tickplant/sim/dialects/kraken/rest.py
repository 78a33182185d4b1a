"""The part of Kraken's REST API that a feed needs: past trades, time, status. No I/O.

Facts: Kraken's REST documentation. Requests use the present names of pairs, with or without the slash; a result is
keyed by the name requested, or with `assetVersion=1` by `BTC/USD`. The venue's older names, such as XXBTZUSD, are not
supported.
"""

from __future__ import annotations

import time
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from tickplant.sim.conversation import Answer, Get
from tickplant.sim.dialects.kraken.session import KEY, TOKEN
from tickplant.sim.sim_source import Trade
from tickplant.sim.templates import stamp

PREFIX: Final = "/0/public/"
LOGIN: Final = "/0/private/GetWebSocketsToken"
TOKEN_S: Final = 900
MOST_TRADES: Final = 1000
_SECONDS_BELOW: Final = 10**12  # a smaller time is in seconds


class TradeDesk(Protocol):
    """What REST needs from the source."""

    def symbols(self) -> list[str]:
        """All pairs."""
        ...

    def trades(self, symbol: str, since_ns: int, limit: int) -> list[Trade]:
        """Kept trades after a time since the epoch or, if that is 0, the newest; oldest first."""
        ...


def answer(desk: TradeDesk, request: Get) -> Answer:
    """Answer a request. Errors come with status 200, as at the venue."""
    url = urlsplit(request.target)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    endpoint = url.path.removeprefix(PREFIX)
    if url.path == LOGIN:
        return _login(request)
    if endpoint == "Time":
        return _result({"unixtime": int(time.time()), "rfc1123": time.strftime("%a, %d %b %y %H:%M:%S +0000")})
    if endpoint == "SystemStatus":
        return _result({"status": "online", "timestamp": stamp(time.time_ns())[:19] + "Z"})
    if endpoint != "Trades" or not url.path.startswith(PREFIX):
        return _error("EGeneral:Unknown method")
    asked = query.get("pair", "")
    symbol = next((one for one in desk.symbols() if asked in (one, one.replace("/", ""))), None)
    if symbol is None:
        return _error("EQuery:Unknown asset pair")
    since, count = query.get("since", "0"), query.get("count", str(MOST_TRADES))
    if not (since.isdecimal() and count.isdecimal() and 1 <= int(count) <= MOST_TRADES):
        return _error("EGeneral:Invalid arguments")
    since_ns = int(since) * (10**9 if int(since) < _SECONDS_BELOW else 1)
    trades = desk.trades(symbol, since_ns, int(count))
    last = str(trades[-1].time_ns if trades else since_ns)
    key = symbol if query.get("assetVersion") == "1" else asked
    return _result({key: [_row(one) for one in trades], "last": last})


def _login(request: Get) -> Answer:
    # The feed's tests verify the signature.
    headers = {name.lower(): value for name, value in request.headers.items()}
    if request.method != "POST" or headers.get("api-key") != KEY:
        return _error("EAPI:Invalid key")
    if not headers.get("api-sign"):
        return _error("EAPI:Invalid signature")
    return _result({"token": TOKEN, "expires": TOKEN_S})


def _row(one: Trade) -> list[object]:
    seconds = msgspec.Raw(b"%d.%09d" % divmod(one.time_ns, 10**9))
    side, kind = "s" if one.buyer_is_maker else "b", "l" if one.is_limit else "m"
    return [one.price, one.size, seconds, side, kind, "", one.id]


def _result(result: dict[str, object]) -> Answer:
    return Answer(200, msgspec.json.encode({"error": [], "result": result}))


def _error(text: str) -> Answer:
    return Answer(200, msgspec.json.encode({"error": [text]}))
