"""Polygon's answers on its WebSockets: greeting, login, subscriptions. No I/O.

Facts: the venue's WebSocket documentation. A topic of an unknown symbol is acknowledged and stays silent. Which of two
connections with one key the venue closes is not verified: here the second login displaces the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from tickplant.sim.conversation import Close, Refused, Reply, Text
from tickplant.sim.conversation import Session as BaseSession

REFUSED_KEY: Final = "refused"
"""A key that the simulated venue refuses; all others are accepted."""


def status(*pairs: tuple[str, str]) -> Text:
    """One frame of status events, each a word and a message."""
    return Text(msgspec.json.encode([{"ev": "status", "status": word, "message": text} for word, text in pairs]))


class Session(BaseSession):
    """One connection to one cluster."""

    def __init__(
        self,
        logins: dict[str, Session],
        offered: Callable[[str], list[str]],
        max_streams: int,
        refuse: Callable[[], Refused | None],
    ) -> None:
        """`logins` of this cluster by key; `offered` gives the streams of a topic, none for an unknown kind."""
        self._logins = logins
        self._offered = offered
        self._max_streams = max_streams
        self._refuse = refuse
        self._key = ""
        self._topics: dict[str, list[str]] = {}

    def names(self) -> list[str]:
        """Its subscriptions: none before the login, and none once another login has taken its place."""
        if not self._key or self._logins.get(self._key) is not self:
            return []
        return [stream for streams in self._topics.values() for stream in streams]

    def greetings(self) -> list[Reply]:
        """The venue sends the first message."""
        return [status(("connected", "Connected Successfully"))]

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request."""
        try:
            request = msgspec.json.decode(text, type=dict[str, str])
            action, params = request["action"], request["params"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            return [status(("error", "invalid request"))]
        if action == "auth":
            return self._log_in(params)
        if action not in ("subscribe", "unsubscribe"):
            return [status(("error", f"unknown action {action}"))]
        if not self._key:
            return [status(("auth_required", "not authenticated"))]
        return [status(*[self._change(action, topic.strip()) for topic in params.split(",")])]

    def _log_in(self, key: str) -> list[Reply]:
        if not key or key == REFUSED_KEY:
            return [status(("auth_failed", "authentication failed")), Close(1008, "authentication failed")]
        before = self._logins.get(key)
        self._key = key
        self._logins[key] = self
        if before is not None and before is not self and before.say is not None:
            before.say([status(("force_disconnect", "another connection has logged in")), Close(1008, "replaced")])
        return [status(("auth_success", "authenticated"))]

    def _change(self, action: str, topic: str) -> tuple[str, str]:
        if action == "unsubscribe":
            self._topics.pop(topic, None)
            return "success", f"unsubscribed to: {topic}"
        if (refused := self._refuse()) is not None:
            return "error", f"{refused.text} {topic}"
        streams = self._offered(topic)
        if not streams:
            return "error", f"there is no topic {topic}"
        if len(self._topics) >= self._max_streams:
            return "error", f"too many topics: {topic}"
        self._topics[topic] = streams
        return "success", f"subscribed to: {topic}"
