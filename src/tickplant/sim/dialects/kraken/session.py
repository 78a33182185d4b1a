"""Kraken's answers on its WebSocket v2: subscriptions, pings, errors. No I/O.

Facts: Kraken's WebSocket v2 documentation. The keys of answers come in alphabetical order, as recorded. The texts of
errors other than those for pairs, depths and the rate of messages are not verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from tickplant.sim.conversation import Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.kraken.requested_channels import INTERVAL, ORDER_DEPTHS
from tickplant.sim.dialects.kraken.shapes import DEPTHS, INSTRUMENT, STATUS, TRIGGERS
from tickplant.sim.templates import stamp

HEARTBEAT: Final = b'{"channel":"heartbeat"}'
EXCEEDED: Final = b'{"Error":"Exceeded msg rate"}'

CHANNELS: Final = {"trade": False, "ticker": True, "book": True, INSTRUMENT: True, "ohlc": True, "level3": True}
"""Whether a snapshot comes unless the client says otherwise."""

ON_REQUEST: Final = ("ohlc", "level3")
KEY: Final = "a-key-that-is-good"
TOKEN: Final = "a-token-that-is-good"  # noqa: S105  # of the simulated venue


class Desk(Protocol):
    """What a session needs from its source."""

    on_request: bool = False
    """Whether the source has bars and books of orders."""

    def lists(self, symbol: str) -> bool:
        """Whether the pair exists."""
        ...

    def offers(self, symbol: str, depth: int) -> bool:
        """Whether a listed pair's book is available at this depth."""
        ...

    def snapshot(self, stream: str) -> Text | None:
        """The first frame for a new subscriber; None if the stream brings it itself."""
        ...


class Session(BaseSession):
    """One connection: greeted with a status, beats once a second while it is subscribed to anything."""

    def __init__(self, desk: Desk, number: int, max_streams: int, refuse: Callable[[], Refused | None]) -> None:
        """`number` is the venue's id of the connection, a u64; `refuse` is called at each request to subscribe."""
        self._desk = desk
        self._number = number
        self._max_streams = max_streams
        self._refuse = refuse
        self._streams: dict[tuple[str, str], str] = {}  # by channel and symbol: at one depth, for one trigger

    def names(self) -> list[str]:
        """Its subscriptions, and the status, which needs no subscription."""
        return [*self._streams.values(), STATUS]

    def greetings(self) -> list[Reply]:
        """The status."""
        return [Text(self._status("online"))]

    def on_flood(self) -> list[Reply]:
        """An error; the connection stays."""
        return [Text(EXCEEDED)]

    def heartbeat(self) -> bytes | None:
        """A heartbeat, but not before the first subscription."""
        return HEARTBEAT if self._streams else None

    def shutdown_notice(self, now_ns: int) -> bytes:
        """Another status."""
        return self._status("maintenance")

    def _status(self, system: str) -> bytes:
        return (
            b'{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"%b","api_version":"v2",'
            b'"connection_id":%d}]}' % (system.encode(), self._number)
        )

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request: an acknowledgement or an error for each symbol, then the snapshots."""
        time_in = stamp(time.time_ns())

        def answer(**fields: object) -> Text:
            told = {name: value for name, value in fields.items() if value is not None}
            told |= {"time_in": time_in, "time_out": stamp(time.time_ns())}
            return Text(msgspec.json.encode(dict(sorted(told.items()))))

        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return [answer(error="Malformed request", success=False)]
        method, req_id, params = request["method"], request.get("req_id"), request.get("params")
        if req_id is not None and (type(req_id) is not int or req_id < 0):
            return [answer(error="Malformed request", success=False)]
        if method == "ping":
            return [answer(method="pong", req_id=req_id)]

        def error(why: str, symbol: str | None = None) -> Text:
            return answer(error=why, method=method, req_id=req_id, success=False, symbol=symbol)

        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            return [error("Unsupported method" if isinstance(params, dict) else "Malformed request")]
        channel = params.get("channel")
        if channel not in CHANNELS or (channel in ON_REQUEST and not self._desk.on_request):
            return [error("Unsupported channel")]
        symbols = [""] if channel == INSTRUMENT else params.get("symbol")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
            return [error("Malformed request")]
        refused = self._refuse() if method == "subscribe" else None
        acknowledged: list[Reply] = []
        pushed: list[Reply] = []
        for symbol in symbols:
            wrong = refused.text if refused else self._change(method, channel, symbol, params)
            if wrong:
                acknowledged.append(error(wrong, symbol or None))
                continue
            result = self._result(method, channel, symbol, params)
            acknowledged.append(answer(method=method, req_id=req_id, result=result, success=True))
            if result.get("snapshot"):
                snapshot = self._desk.snapshot(self._streams[channel, symbol])
                pushed += [] if snapshot is None else [snapshot]
        return acknowledged + pushed

    def _change(self, method: str, channel: str, symbol: str, params: Mapping[str, object]) -> str:
        """Subscribe to or unsubscribe from a channel of a symbol; returns what is wrong."""
        depth, trigger = params.get("depth", DEPTHS[0]), params.get("event_trigger", "trades")
        if symbol and method == "subscribe" and not self._desk.lists(symbol):
            return f"Currency pair not supported {symbol}"
        if channel == "book" and (depth not in DEPTHS or not self._desk.offers(symbol, DEPTHS[DEPTHS.index(depth)])):
            return "Subscription depth not supported"
        if channel == "ticker" and trigger not in TRIGGERS:
            return "Event trigger not supported"
        if channel == "level3" and depth not in ORDER_DEPTHS:
            return "Subscription depth not supported"
        if channel == "level3" and params.get("token") != TOKEN:
            return "Token not found"
        if channel == "ohlc" and params.get("interval") != INTERVAL:
            return "Subscription ohlc interval not supported"
        told = {"book": depth, "level3": depth, "ticker": trigger, "ohlc": INTERVAL}
        suffix = f"-{told[channel]}" if channel in told else ""
        stream = f"{symbol}@{channel}{suffix}" if symbol else channel
        if method == "unsubscribe":
            if self._streams.get((channel, symbol)) != stream:
                return "Subscription not found"
            del self._streams[channel, symbol]
        elif (channel, symbol) in self._streams:
            return "Already subscribed"
        elif len(self._streams) >= self._max_streams:
            return "Too many subscriptions"
        else:
            self._streams[channel, symbol] = stream
        return ""

    @staticmethod
    def _result(method: str, channel: str, symbol: str, params: Mapping[str, object]) -> dict[str, object]:
        result: dict[str, object] = {"channel": channel}
        if channel == "ohlc":
            result["interval"] = params.get("interval")
        if channel in ("book", "level3"):
            result["depth"] = params.get("depth", DEPTHS[0])
        if channel == "ticker":
            result["event_trigger"] = params.get("event_trigger", "trades")
        if method == "subscribe":
            result["snapshot"] = params.get("snapshot", CHANNELS[channel]) is True
        return result | ({"symbol": symbol} if symbol else {})
