"""The dialogue of a simulated venue and a client: requests, answers, the session of a connection. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer. `close` tells the client to close the connection; `cut` ends the connection without an answer."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    close: bool = False
    cut: bool = False


class Get(NamedTuple):
    """A REST request, by default a GET."""

    target: str  # path and query
    headers: Mapping[str, str]
    peer: str  # address of the client
    method: str = "GET"
    body: bytes = b""


class Refusal(NamedTuple):
    """An HTTP status that answers a handshake instead of 101."""

    status: int
    text: str


class Text(NamedTuple):
    """A frame for one connection. With `stream` it belongs to that stream: counted there, and open to its faults."""

    text: bytes
    stream: str = ""
    id: int = 0


class Close(NamedTuple):
    """Ends a connection with a close frame."""

    code: int
    reason: str


Reply = Text | Close


class Refused(NamedTuple):
    """The error for a request that a fault refuses."""

    code: int
    text: str


class Session(Protocol):
    """One WebSocket connection, as the venue sees it.

    It holds all that a venue keeps of a connection, including a login and its outcome: `names` is empty until the login
    has succeeded.
    """

    form: int = 0
    """The form of frames that it takes: an index into `Batch.forms`."""

    variant: int = 0
    """The rendering of the market that it takes, if the printer makes several."""

    own: Callable[[bytes], bytes] | None = None
    """Makes this connection's text of a shared frame, called once per frame in sending order: to add a counter, say."""

    say: Callable[[list[Reply]], None] | None = None
    """Sends something out of turn, such as the end caused by a login elsewhere; the server sets it."""

    def names(self) -> Iterable[str]:
        """The streams that it is subscribed to; names that the source does not know deliver nothing."""
        ...

    def greetings(self) -> list[Reply]:
        """The frames to send when the connection has opened."""
        return []

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request; returns the answers, in order, and what is pushed right after them."""
        ...

    def on_flood(self) -> list[Reply]:
        """The reply to a client that has sent too many messages."""
        return [Close(1008, "Too many requests")]

    def heartbeat(self) -> bytes | None:
        """The text to send every `Dialect.heartbeat_s`; None for nothing."""
        return None

    def shutdown_notice(self, now_ns: int) -> bytes | None:
        """The announcement that the venue will close the connection; None if the venue sends none."""
        return None
