"""The REST requests to Kraken: past trades, and the token for books of orders."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec

from tickplant.feeds.contract import Request
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.kraken.venue import LOGIN, LOGIN_PATH, PAST_TRADES, TRADES_PATH
from tickplant.records.layouts import Side

ANCHORS: Final = 64
"""Trades per symbol whose time is kept."""

_SECOND_DIGITS: Final = 9


class _Result(msgspec.Struct, frozen=True):
    error: list[str] = []
    result: dict[str, msgspec.Raw] = {}


class _Row(msgspec.Struct, frozen=True, array_like=True):
    price: str
    size: str
    time: msgspec.Raw  # s since the epoch
    side: str  # b or s
    order_type: str
    misc: str
    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


_RESULT: Final = msgspec.json.Decoder(_Result)
_ROWS: Final = msgspec.json.Decoder(list[_Row])


def _result(body: bytes) -> dict[str, msgspec.Raw]:
    # Errors come with HTTP status 200 too.
    try:
        answer = _RESULT.decode(body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    if answer.error:
        raise RejectError("refused", ", ".join(answer.error)[:200])
    return answer.result


class PastTrades:
    """See kit.trade_backfill.TradeHistory. The venue takes times, so times of trades are kept with their ids."""

    page = PAST_TRADES

    def __init__(self) -> None:
        self._anchors: dict[str, deque[tuple[int, int]]] = {}  # by symbol: id and time in ns

    def note(self, symbol: str, ident: int, time_ns: int) -> None:
        """Keep the time of a trade."""
        self._anchors.setdefault(symbol, deque(maxlen=ANCHORS)).append((ident, time_ns))

    @property
    def headers(self) -> dict[str, str]:
        """No headers."""
        return {}

    def share(self, channel: str) -> float:
        """One per request."""
        del channel
        return 1.0

    def path(self, symbol: str, channel: str, first: int | None, count: int) -> str:
        """The path from the newest known trade before the first wanted one; without one, for the newest trades."""
        del channel
        path = f"{TRADES_PATH}?pair={quote(symbol, safe='')}&count={self.page if first is not None else count}"
        before = [time_ns for ident, time_ns in self._anchors.get(symbol, ()) if first is not None and ident < first]
        # The stream's times are truncated to µs, and several trades may share an instant.
        return f"{path}&since={max(before) - 1}" if before else path

    def read(self, body: bytes, symbol: str, channel: str) -> Sequence[VenueTrade]:
        """The rows under the one key that is not `last`. Raises RejectError."""
        del channel
        lists = [raw for name, raw in _result(body).items() if name != "last"]
        if len(lists) != 1:
            raise RejectError("unknown message", f"trades of {len(lists)} pairs")
        try:
            trades = [_trade(symbol, row) for row in _ROWS.decode(lists[0])]
        except msgspec.ValidationError as error:
            raise RejectError("schema", str(error)) from None
        for trade in trades[-1:]:
            self.note(symbol, trade.id, trade.ts_event)
        return trades


def _trade(symbol: str, row: _Row) -> VenueTrade:
    if row.side not in ("b", "s"):
        raise RejectError("schema", f"trade {row.id} with side {row.side[:20]!r}")
    side = Side.BUY if row.side == "b" else Side.SELL
    return VenueTrade(symbol, row.id, _ns(bytes(row.time).decode()), row.price, row.size, side)


def _ns(seconds: str) -> int:
    whole, _, fraction = seconds.partition(".")
    if not (whole.isdecimal() and len(whole) <= 10 and (fraction or "0").isdecimal() and seconds.isascii()):
        raise RejectError("time", f"{seconds[:100]} is not a time in seconds")
    return int(whole + fraction[:_SECOND_DIGITS].ljust(_SECOND_DIGITS, "0"))


# The token.


def has_key(secrets: Mapping[str, str]) -> bool:
    """Whether a token can be requested."""
    return bool(secrets.get("key") and secrets.get("secret"))


def token_request(secrets: Mapping[str, str], now_ns: int, not_before_ns: int) -> Request:
    """A signed request for a token. Raises ValueError if the secret is not base64."""
    nonce = str(now_ns // 1000)
    body = f"nonce={nonce}"
    headers = {
        "API-Key": secrets["key"],
        "API-Sign": signature(secrets["secret"], LOGIN_PATH, nonce, body),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return Request(LOGIN, LOGIN_PATH, not_before_ns, headers, "POST", body.encode(), secret=True)


def signature(secret: str, path: str, nonce: str, body: str) -> str:
    """Signature of a request to a private path; `body` holds the nonce. Raises ValueError for a bad base64 secret."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise ValueError("the secret is not base64") from None
    message = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
    return base64.b64encode(hmac.digest(key, message, "sha512")).decode()


def read_token(body: bytes) -> str:
    """The token of an answer. Raises RejectError."""
    result: dict[str, Any] = _result(body)
    try:
        return msgspec.json.decode(result.get("token", b"null"), type=str)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
