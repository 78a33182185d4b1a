"""What a simulated venue and a client say to each other: requests, answers, the session of a connection. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer. With `close` the client is told to close the connection; with `cut` it gets nothing but that."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    close: bool = False
    cut: bool = False


class Get(NamedTuple):
    """A REST request, a GET unless it says otherwise."""

    target: str  # path and query
    headers: Mapping[str, str]
    peer: str  # address of the client
    method: str = "GET"
    body: bytes = b""


class Refusal(NamedTuple):
    """A handshake that is answered with an HTTP status instead of 101."""

    status: int
    text: str


class Text(NamedTuple):
    """A frame for one connection. With `stream`, it is that stream's: counted as such, and faults may hit it."""

    text: bytes
    stream: str = ""
    id: int = 0


class Close(NamedTuple):
    """The end of a connection, with a close frame."""

    code: int
    reason: str


Reply = Text | Close


class Refused(NamedTuple):
    """The error to a request that a fault refuses."""

    code: int
    text: str


class Session(Protocol):
    """One WebSocket connection, as the venue sees it.

    All that a venue keeps of a connection stands here, a login and its outcome too: until it succeeded, `names` is
    empty.
    """

    form: int = 0
    """Which form of a frame it takes: an index into `Batch.forms`."""

    variant: int = 0
    """Which rendering of the market it takes, where the printer makes several."""

    own: Callable[[bytes], bytes] | None = None
    """Makes this connection's text of a shared frame, called once for each in sending order: a counter, for example."""

    say: Callable[[list[Reply]], None] | None = None
    """Sends something out of turn, such as the end that a login elsewhere brings; the server sets it."""

    def names(self) -> Iterable[str]:
        """The streams that it is subscribed to; names that the source does not know deliver nothing."""
        ...

    def greetings(self) -> list[Reply]:
        """What is sent when the connection has opened."""
        return []

    def on_text(self, text: bytes) -> list[Reply]:
        """Carry out a request; returns the answers, in order, and what is pushed right after them."""
        ...

    def on_flood(self) -> list[Reply]:
        """What is said to a client that has sent more than it may."""
        return [Close(1008, "Too many requests")]

    def heartbeat(self) -> bytes | None:
        """What is sent every `Dialect.heartbeat_s`; None for nothing."""
        return None

    def shutdown_notice(self, now_ns: int) -> bytes | None:
        """What announces that the venue will close the connection; None where it does not."""
        return None
