"""OKX's answers on its public WebSocket: subscriptions, errors, pongs. No I/O.

Facts: the documentation of API v5, and a recording of 2022. Each argument of a request is answered separately.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from tickplant.sim.conversation import Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession
from tickplant.sim.dialects.okx.okx_printer import NAMES

ILLEGAL: Final = 60012
NO_SUCH_CHANNEL: Final = 60018


class Desk(Protocol):
    """What a session needs from its source."""

    def lists(self, symbol: str) -> bool:
        """Whether the pair exists."""
        ...

    def snapshot(self, stream: str) -> Text | None:
        """The first frame for a new subscriber."""
        ...


class Session(BaseSession):
    """One connection."""

    def __init__(self, desk: Desk, refuse: Callable[[], Refused | None]) -> None:
        """`refuse` is called at each request to subscribe."""
        self._desk = desk
        self._refuse = refuse
        self._streams: dict[str, None] = {}

    def names(self) -> list[str]:
        """Its subscriptions."""
        return [*self._streams]

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request."""
        if text == b"ping":
            return [Text(b"pong")]
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = None
        if not isinstance(request, dict) or request.get("op") not in ("subscribe", "unsubscribe"):
            return [_error("", ILLEGAL, "Illegal request")]
        ident, args = str(request.get("id", "")), request.get("args")
        if not isinstance(args, list):
            return [_error(ident, ILLEGAL, "Illegal request")]
        if request["op"] == "subscribe" and (refused := self._refuse()) is not None:
            return [_error(ident, refused.code, refused.text)]
        replies: list[Reply] = []
        for arg in args:
            replies += self._carry_out(request["op"], ident, arg)
        return replies

    def _carry_out(self, op: str, ident: str, arg: Any) -> list[Reply]:
        channel, symbol = (arg.get("channel"), arg.get("instId")) if isinstance(arg, dict) else ("", "")
        if channel not in NAMES or not isinstance(symbol, str) or not self._desk.lists(symbol):
            return [_error(ident, NO_SUCH_CHANNEL, f"Wrong URL or channel:{channel},instId:{symbol} doesn't exist.")]
        stream = f"{symbol}@{channel}"
        done = {"event": op, "arg": {"channel": channel, "instId": symbol}, "connId": "a4d3ae55"}
        replies: list[Reply] = [Text(msgspec.json.encode({"id": ident} | done if ident else done))]
        if op == "unsubscribe":
            self._streams.pop(stream, None)
            return replies
        self._streams[stream] = None
        pushed = self._desk.snapshot(stream)
        return replies if pushed is None else [*replies, pushed]


def _error(ident: str, code: int, message: str) -> Text:
    told = {"event": "error", "code": str(code), "msg": message, "connId": "a4d3ae55"}
    return Text(msgspec.json.encode({"id": ident} | told if ident else told))
