"""Coinbase Advanced Trade's answers on its WebSocket: subscriptions, errors, the count of messages. No I/O.

Facts: the documentation of the market data channels, and frames of 2026. The texts of errors for products and channels
are not verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from tickplant.sim.conversation import Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.coinbase_advanced.advanced_printer import COUNT, NAMES, STATUS, frame_of
from tickplant.sim.templates import stamp

HEARTBEATS: Final = "heartbeats"
MOST_BOOKS: Final = 30
TOO_MANY: Final = "too many L2 streams requested in a single session"
FAILURE: Final = "failure to subscribe"


class Desk(Protocol):
    """What a session needs from its source."""

    def lists(self, symbol: str) -> bool:
        """Whether the product exists."""
        ...

    def snapshot(self, stream: str) -> Text:
        """The first frame for a new subscriber."""
        ...

    def status(self, symbols: list[str]) -> Text:
        """The instrument data of these products, as far as they are listed; of all products if none is named."""
        ...


class Session(BaseSession):
    """One connection."""

    def __init__(self, desk: Desk, refuse: Callable[[], Refused | None]) -> None:
        """`refuse` is called at each request to subscribe."""
        self._desk = desk
        self._refuse = refuse
        self._channels: dict[str, dict[str, None]] = {}  # products by channel
        self._count = -1
        self._beats = 0
        self.own = self._numbered

    def _numbered(self, text: bytes) -> bytes:
        if COUNT not in text:
            return text  # errors have none
        self._count += 1
        return text.replace(COUNT, b'"sequence_num":%d' % self._count, 1)

    def names(self) -> list[str]:
        """Its subscriptions."""
        names = [f"{symbol}@{channel}" for channel in NAMES for symbol in self._channels.get(channel, ())]
        return [*names, STATUS] if STATUS in self._channels else names

    def heartbeat(self) -> bytes | None:
        """The heartbeat, if the connection is subscribed to it."""
        if HEARTBEATS not in self._channels:
            return None
        self._beats += 1
        now = stamp(time.time_ns())
        told = f"{now[:10]} {now[11:-1]} +0000 UTC m=+{self._beats}.1"
        return frame_of(HEARTBEATS, now, {"current_time": told, "heartbeat_counter": self._beats})

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request: returns all subscriptions of the connection and first messages; or an error."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [_error(FAILURE)]
        if not isinstance(request, dict) or request.get("type") not in ("subscribe", "unsubscribe"):
            return [_error(FAILURE)]
        channel, symbols = request.get("channel"), request.get("product_ids", [])
        if channel not in (*NAMES, STATUS, HEARTBEATS) or not isinstance(symbols, list):
            return [_error(FAILURE)]
        if request["type"] == "unsubscribe":
            for symbol in symbols or [*self._channels.get(channel, ())]:
                self._channels.get(channel, {}).pop(symbol, None)
            if not self._channels.get(channel):
                self._channels.pop(channel, None)
            return [self._state()]
        return self._subscribe(channel, symbols)

    def _subscribe(self, channel: str, symbols: list[Any]) -> list[Reply]:
        if self._refuse() is not None:
            return [_error(FAILURE)]
        known = self._channels.get(channel, {})
        if channel in NAMES:
            if not symbols or not all(isinstance(symbol, str) and self._desk.lists(symbol) for symbol in symbols):
                return [_error(FAILURE)]
            if channel == "level2" and len(known | dict.fromkeys(symbols)) > MOST_BOOKS:
                return [_error(TOO_MANY)]
        new = [symbol for symbol in symbols if symbol not in known]
        self._channels[channel] = known | dict.fromkeys(symbols or [channel])
        if channel == STATUS:
            return [self._state(), self._desk.status(symbols)]
        pushed = [self._desk.snapshot(f"{symbol}@{channel}") for symbol in new if channel in NAMES]
        return [self._state(), *pushed]

    def _state(self) -> Text:
        state = {channel: [*symbols] for channel, symbols in self._channels.items()}
        return Text(frame_of("subscriptions", stamp(time.time_ns()), {"subscriptions": state}))


def _error(message: str) -> Text:
    return Text(msgspec.json.encode({"type": "error", "message": message}))
