"""The answers of dxLink's server: terms, tokens, channels, subscriptions. No I/O.

Facts: dxFeed's dxLink protocol 0.1. That an ERROR and the end of the channel refuse a subscription is not verified.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from tickplant.sim.conversation import Close, Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.dxlink.words import CHANNELS, FIELDS

SECOND_NS: Final = 1_000_000_000
TIMEOUT_S: Final = 60
KEEPALIVE: Final = b'{"type":"KEEPALIVE","channel":0}'
_NUMBER: Final = re.compile(rb'\A\{"type":"FEED_DATA","channel":\d+,"data":\["(\w+)"')


class Desk(Protocol):
    """What a session needs from its source."""

    needs_token: bool

    def takes(self, token: str) -> bool:
        """Whether a token is valid."""
        ...

    def newest(self, symbol: str) -> Text | None:
        """The first frame for a new subscriber of quotes."""
        ...


def frame(type_: str, channel: int, **members: object) -> Text:
    """A message of the server."""
    return Text(msgspec.json.encode({"type": type_, "channel": channel} | members))


class Session(BaseSession):
    """One connection."""

    def __init__(self, desk: Desk, max_streams: int, refuse: Callable[[], Refused | None]) -> None:
        """`refuse` is called at each request to subscribe."""
        self._desk = desk
        self._max_streams = max_streams
        self._refuse = refuse
        self._authorized = False
        self._channels: dict[int, set[str]] = {}  # open ones, and the types whose fields have been sent
        self._streams: dict[str, int] = {}  # subscriptions and their channels
        self._numbers: dict[bytes, int] = {}  # channel by type, if the client has chosen another one than the printer
        self._heard_ns = time.time_ns()

    def names(self) -> list[str]:
        """Its subscriptions."""
        return list(self._streams)

    def heartbeat(self) -> bytes | None:
        """A sign of life; for a silent client, an error, and no more data."""
        if time.time_ns() - self._heard_ns <= TIMEOUT_S * SECOND_NS:
            return KEEPALIVE
        self._streams.clear()
        self._channels.clear()
        return frame("ERROR", 0, error="TIMEOUT", message="no keepalive received").text

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request."""
        self._heard_ns = time.time_ns()
        try:
            message = msgspec.json.decode(text)
            type_, channel = message["type"], message["channel"]
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
            return [frame("ERROR", 0, error="INVALID_MESSAGE", message="not a message of this protocol")]
        match type_:
            case "SETUP":
                terms = {"keepaliveTimeout": TIMEOUT_S, "acceptKeepaliveTimeout": TIMEOUT_S}
                self._authorized = not self._desk.needs_token
                return [frame("SETUP", 0, version="1.0-sim", **terms), self._auth_state()]
            case "AUTH":
                self._authorized = self._desk.takes(str(message.get("token")))
                end: list[Reply] = [] if self._authorized else [Close(1008, "unauthorized")]
                return [self._auth_state(), *end]
            case "KEEPALIVE":
                return []
            case _ if not self._authorized:
                return [frame("ERROR", channel, error="UNAUTHORIZED", message="a token is wanted")]
            case "CHANNEL_REQUEST":
                self._channels[channel] = set()
                parameters = {"contract": "AUTO", "subFormat": "LIST"} | (message.get("parameters") or {})
                return [frame("CHANNEL_OPENED", channel, service="FEED", parameters=parameters)]
            case "CHANNEL_CANCEL":
                return [self._close(channel)]
            case "FEED_SETUP" if channel in self._channels:
                return [frame("FEED_CONFIG", channel, dataFormat="COMPACT", aggregationPeriod=0)]
            case "FEED_SUBSCRIPTION" if channel in self._channels:
                return self._subscribe(channel, message)
            case _:
                return [frame("ERROR", channel, error="BAD_ACTION", message=f"no {type_} here")]

    def _auth_state(self) -> Text:
        return frame("AUTH_STATE", 0, state="AUTHORIZED" if self._authorized else "UNAUTHORIZED")

    def _close(self, channel: int) -> Text:
        self._channels.pop(channel, None)
        self._streams = {name: number for name, number in self._streams.items() if number != channel}
        return frame("CHANNEL_CLOSED", channel)

    def _subscribe(self, channel: int, message: Mapping[str, Any]) -> list[Reply]:
        entries = [entry for entry in message.get("add") or () if entry.get("type") in FIELDS]
        refused = self._refuse() if entries else None
        if refused is None and len(self._streams) + len(entries) > self._max_streams:
            refused = Refused(0, "too many subscriptions")
        if refused is not None:
            return [frame("ERROR", channel, error="BAD_ACTION", message=refused.text), self._close(channel)]
        if message.get("reset"):
            self._streams = {name: number for name, number in self._streams.items() if number != channel}
        for entry in message.get("remove") or ():
            self._streams.pop(f"{entry.get('symbol')}@{entry.get('type')}", None)
        replies: list[Reply] = []
        for entry in entries:
            kind, symbol = str(entry["type"]), str(entry.get("symbol"))
            self._streams[f"{symbol}@{kind}"] = channel
            if channel != CHANNELS[kind]:
                self._numbers[kind.encode()] = channel
                self.own = self._renumbered
            if kind not in self._channels[channel]:
                self._channels[channel].add(kind)
                fields = {kind: FIELDS[kind]}
                config = {"dataFormat": "COMPACT", "aggregationPeriod": 0, "eventFields": fields}
                replies.append(frame("FEED_CONFIG", channel, **config))
            newest = self._desk.newest(symbol) if kind == "Quote" else None
            if newest is not None:
                replies.append(newest._replace(text=self.own(newest.text)) if self.own else newest)
        return replies

    def _renumbered(self, text: bytes) -> bytes:
        head = _NUMBER.match(text)
        number = None if head is None else self._numbers.get(head[1])
        if head is None or number is None:
            return text
        return b'{"type":"FEED_DATA","channel":%d,"data":["%b"' % (number, head[1]) + text[head.end() :]
