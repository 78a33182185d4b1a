"""A venue's answers on its WebSocket: paths, subscriptions, properties, errors. Pure; no I/O, no clock.

Facts: Binance's web-socket-streams documentation. As there, a subscription to an unknown stream is acknowledged and
stays silent; so does one below a path that does not serve its channel (futures `/public`, `/market`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tickplant.sim.conversation import Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.binance.families import FAMILIES

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000

COMBINED: Final = 0
"""Form of a frame with its stream's name; the other one, RAW, is the inner part."""
RAW: Final = 1

_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_SERVED_BELOW: Final = {
    # What the futures paths serve; other paths serve everything.
    "/public": ("depth", "depth5", "depth10", "depth20", "bookTicker"),
    "/market": ("trade", "aggTrade", "kline_1m", "markPrice", "forceOrder"),
}


def channel(stream: str) -> str:
    """`depth` of `btcusdt@depth@100ms`; empty if the name has no channel."""
    return stream.split("@")[1] if "@" in stream else ""


def stream_key(stream: str) -> str:
    """Stream name without its speed: streams of a recording match a subscription at any speed."""
    return "@".join(stream.split("@")[:2])


class Target(msgspec.Struct, frozen=True):
    """The request in the path of a WebSocket."""

    base: str
    combined: bool
    streams: tuple[str, ...]
    unit_ns: int | None  # None: the client did not say


def parse_target(target: str, venue: str) -> Target | None:
    """Read the path and query of a request; None if no WebSocket is served there."""
    url = urlsplit(target)
    query = parse_qs(url.query)
    unit = query.get("timeUnit", [""])[0].upper()
    unit_ns = {"MICROSECOND": MICROSECOND_NS, "MILLISECOND": MILLISECOND_NS}.get(unit)
    for base in sorted(FAMILIES[venue].base_paths, key=len, reverse=True):
        rest = url.path.removeprefix(base)
        if not url.path.startswith(base):
            continue
        if rest.rstrip("/") == "/stream":
            names = query.get("streams", [""])[0]
            return Target(base, True, tuple(name for name in names.split("/") if name), unit_ns)
        if rest == "/ws" or rest.startswith("/ws/"):
            names = unquote(rest.removeprefix("/ws"))
            return Target(base, False, tuple(name for name in names.split("/") if name), unit_ns)
    return None


class Session(BaseSession):
    """One WebSocket connection as the venue sees it: its subscriptions and the form of its frames."""

    def __init__(
        self,
        target: Target,
        max_streams: int,
        refuse: Callable[[], Refused | None] = lambda: None,
        default_unit_ns: int = MILLISECOND_NS,
    ) -> None:
        """`refuse` is called at each request to subscribe: returns the error, or None to carry it out."""
        self.base = target.base
        self.form = COMBINED if target.combined else RAW
        self.variant = target.unit_ns or default_unit_ns
        self.streams: dict[str, None] = dict.fromkeys(target.streams)  # in the order they were subscribed
        self._max_streams = max_streams
        self._refuse = refuse

    def names(self) -> list[str]:
        """The subscriptions that its path serves."""
        return [stream for stream in self.streams if self.serves(stream)]

    def shutdown_notice(self, now_ns: int) -> bytes:
        """The event that comes without a subscription."""
        event = b'{"e":"serverShutdown","E":%d}' % (now_ns // self.variant)
        return event if self.form == RAW else b'{"stream":"!serverShutdown","data":%b}' % event

    def serves(self, stream: str) -> bool:
        """Whether the path of this connection carries the channel of a stream."""
        served = _SERVED_BELOW.get(self.base)
        return served is None or channel(stream) in served

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out one request; there is one answer."""
        return [Text(self.answer(text))]

    def answer(self, text: bytes) -> bytes:
        """Carry out one request; returns the answer."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _error(3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(request, dict):
            return _error(2, "Invalid request: invalid type, expected a request object")
        ident = request.get("id")
        if not _is_id(ident):
            return _error(2, "Invalid request: request ID must be an unsigned integer")
        method = request.get("method")
        if method is None:
            return _error(2, "Invalid request: missing field `method`", ident)
        if method not in _METHODS:
            return _error(
                2, f"Invalid request: unknown variant `{method}`, expected one of {', '.join(_METHODS)}", ident
            )
        params = request.get("params", [])
        if not isinstance(params, list):
            return _error(2, "Invalid request: invalid type for `params`, expected a sequence", ident)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(method, params, ident)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(self.streams), ident)
        if not params:
            return _error(2, "Invalid request: missing field `params`", ident)
        if not all(isinstance(name, str) for name in params):
            return _error(2, "Invalid request: invalid type in `params`, expected a string", ident)
        if method == "SUBSCRIBE":
            return self._subscribe(params, ident)
        for name in params:
            self.streams.pop(name, None)
        return _result(None, ident)

    def _subscribe(self, names: Iterable[str], ident: object) -> bytes:
        if (refusal := self._refuse()) is not None:
            return _error(*refusal, ident)
        wanted = self.streams | dict.fromkeys(names)
        if len(wanted) > self._max_streams:
            return _error(2, f"Invalid request: too many streams, at most {self._max_streams} per connection", ident)
        self.streams = wanted
        return _result(None, ident)

    def _property(self, method: str, params: list[object], ident: object) -> bytes:
        expected = 2 if method == "SET_PROPERTY" else 1
        if len(params) > expected:
            return _error(2, "Invalid request: too many parameters", ident)
        if len(params) < expected or not isinstance(params[0], str):
            return _error(2, "Invalid request: property name must be a string", ident)
        if params[0] != "combined":
            return _error(0, "Unknown property", ident)
        if method == "GET_PROPERTY":
            return _result(self.form == COMBINED, ident)
        if not isinstance(params[1], bool):
            return _error(1, "Invalid value type: expected Boolean", ident)
        self.form = COMBINED if params[1] else RAW
        return _result(None, ident)


def _is_id(ident: object) -> bool:
    if isinstance(ident, str):
        return len(ident) <= 36
    if isinstance(ident, bool):
        return False
    return ident is None or (isinstance(ident, int) and -(2**63) <= ident < 2**63)


def _result(result: object, ident: object) -> bytes:
    return msgspec.json.encode({"result": result, "id": ident})


def _error(code: int, text: str, ident: object = None) -> bytes:
    return msgspec.json.encode({"code": code, "msg": text} | ({} if ident is None else {"id": ident}))
