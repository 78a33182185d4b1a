"""Coinbase Exchange's answers on its WebSocket feed: subscriptions, errors, signatures. No I/O.

Facts: the documentation of the feed, and recordings of 2021. The texts of errors are not verified.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from tickplant.sim.conversation import Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.coinbase.exchange_printer import STATUS

KEY: Final = "simulated-key"
PASSPHRASE: Final = "simulated-passphrase"  # noqa: S105  # of nobody
SECRET: Final = base64.b64encode(b"the secret of the simulated venue").decode()
"""The one account of the simulated venue."""

STREAMS: Final = {
    "matches": "matches",
    "ticker": "ticker",
    "ticker_batch": "ticker",
    "ticker_1000": "ticker",
    "level2": "level2",
    "level2_batch": "level2",
    "level2_50": "level2",
    "full": "full",
    "heartbeat": "heartbeat",
}
"""The source's stream for each channel."""

SIGNED: Final = frozenset({"level2", "level3", "full", "user"})
VALID_S: Final = 30
_SIGNED_PATH: Final = "/users/self/verify"
_UNSIGNED: Final = (
    "level2, level3, and full channels now require authentication. https://docs.cdp.coinbase.com/exchange"
)


class Desk(Protocol):
    """What a session needs from its source."""

    def lists(self, symbol: str) -> bool:
        """Whether the product exists."""
        ...

    def snapshot(self, stream: str) -> Text | None:
        """The first frame for a new subscriber; None if the stream brings it itself."""
        ...


def is_signed(fields: Sequence[object], path: str) -> str:
    """What is wrong with a request's key, passphrase, timestamp or signature; empty if nothing is."""
    key, passphrase, timestamp, signature = fields
    if key != KEY or passphrase != PASSPHRASE:
        return "invalid api key"
    try:
        age_s = abs(time.time_ns() / 1e9 - float(str(timestamp)))
        given = base64.b64decode(str(signature), validate=True)
    except (ValueError, binascii.Error):
        return "invalid timestamp"
    if not age_s <= VALID_S:
        return "request timestamp expired"
    digest = hmac.digest(base64.b64decode(SECRET), f"{timestamp}GET{path}".encode(), hashlib.sha256)
    return "" if hmac.compare_digest(given, digest) else "invalid signature"


class Session(BaseSession):
    """One connection."""

    def __init__(self, desk: Desk, max_streams: int, refuse: Callable[[], Refused | None]) -> None:
        """`refuse` is called at each request to subscribe."""
        self._desk = desk
        self._max_streams = max_streams
        self._refuse = refuse
        self._channels: dict[str, dict[str, None]] = {}  # products by channel, as named by the client

    def names(self) -> list[str]:
        """Its subscriptions."""
        names = {
            f"{symbol}@{STREAMS[channel]}": None
            for channel, symbols in self._channels.items()
            if channel != STATUS
            for symbol in symbols
        }
        return [*names, STATUS] if STATUS in self._channels else [*names]

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request: returns all subscriptions of the connection and first messages; or an error."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [_error("Malformed JSON", "")]
        if not isinstance(request, dict) or request.get("type") not in ("subscribe", "unsubscribe"):
            return [_error("Type has to be either subscribe or unsubscribe", "")]
        wanted = _wanted(request)
        if wanted is None:
            return [_error("Failed to subscribe", "channels is malformed")]
        if request["type"] == "unsubscribe":
            for channel, symbols in wanted.items():
                for symbol in symbols or tuple(self._channels.get(channel, ())):
                    self._channels.get(channel, {}).pop(symbol, None)
                if not self._channels.get(channel):
                    self._channels.pop(channel, None)
            return [self._state()]
        if (refusal := self._refuse()) is not None:
            return [_error(refusal.text, "please try again")]
        if wrong := self._what_is_wrong(request, wanted):
            return [_error(*wrong)]
        before = {*self.names()}
        for channel, symbols in wanted.items():
            self._channels.setdefault(channel, {}).update(dict.fromkeys(symbols))
        pushed = [self._desk.snapshot(stream) for stream in self.names() if stream not in before]
        return [self._state(), *(snapshot for snapshot in pushed if snapshot is not None)]

    def _what_is_wrong(self, request: Mapping[str, Any], wanted: Mapping[str, list[str]]) -> tuple[str, str] | None:
        if unknown := [channel for channel in wanted if channel not in STREAMS and channel != STATUS]:
            return "Failed to subscribe", f"{unknown[0]} is not a valid channel"
        if unknown := [one for symbols in wanted.values() for one in symbols if not self._desk.lists(one)]:
            return "Failed to subscribe", f"{unknown[0]} is not a valid product"
        if sum(map(len, wanted.values())) + len(self.names()) > self._max_streams:
            return "Failed to subscribe", "too many subscriptions"
        fields = [request.get(name) for name in ("key", "passphrase", "timestamp", "signature")]
        if any(fields):
            wrong = is_signed(fields, _SIGNED_PATH)
            return ("Authentication Failed", wrong) if wrong else None
        return ("Failed to subscribe", _UNSIGNED) if SIGNED & wanted.keys() else None

    def _state(self) -> Text:
        channels = [{"name": name, "product_ids": [*symbols]} for name, symbols in self._channels.items()]
        return Text(msgspec.json.encode({"type": "subscriptions", "channels": channels}))


def _wanted(request: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Products by channel; None if the request is invalid."""
    common, channels = request.get("product_ids", []), request.get("channels", [])
    wanted: dict[str, list[str]] = {}
    for channel in channels if isinstance(channels, list) else ():
        name, symbols = (
            (channel.get("name"), channel.get("product_ids", common))
            if isinstance(channel, dict)
            else (
                channel,
                common,
            )
        )
        if not isinstance(name, str) or not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            return None
        wanted.setdefault(name, []).extend(symbols)
    return wanted or None


def _error(message: str, reason: str) -> Text:
    return Text(msgspec.json.encode({"type": "error", "message": message} | ({"reason": reason} if reason else {})))
