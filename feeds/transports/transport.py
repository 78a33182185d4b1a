"""One WebSocket to a venue, independent of the library: the interface and its limits.

Knows no venue, file or ring. The `connect` functions of all transports have the same signature, `Connect`. A transport
takes the time of each read, collects the whole messages in it, and hands them over in one call.
"""

from __future__ import annotations

import ssl
from typing import Final, Protocol

from tickplant.errors import FeedError
from tickplant.feeds.contract import LinkSpec

OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a peer may take to answer a close frame before the socket is dropped."""


class ConnectError(FeedError):
    """A WebSocket could not be opened. `status` is the HTTP status if the venue answered with one, else 0."""

    def __init__(self, url: str, reason: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.status = status
        self.retry_after_s = retry_after_s


class Transport(Protocol):
    """An open WebSocket. Not thread-safe: used from the event loop that opened it."""

    reads: int
    """Socket reads that brought at least one whole frame of any kind: a sign of life."""

    def send(self, payload: bytes) -> None:
        """Send one text message; dropped if the connection is already closing."""
        ...

    def ping(self) -> None:
        """Send a ping, so that a healthy but quiet peer shows a sign of life."""
        ...

    async def close(self, timeout_s: float = ...) -> None:
        """Send a close frame, wait up to this long for the answer, then drop the socket. Calls `on_closed` first."""
        ...


class Listener(Protocol):
    """The callbacks of a transport, called from the event loop. None may raise or block for long."""

    def on_open(self, transport: Transport) -> None:
        """The handshake is done; called before any frame."""
        ...

    def on_frames(self, transport: Transport, frames: list[bytes], ts_recv_ns: int) -> None:
        """Whole messages, text or binary, that one read completed, in order, with the wall clock of that read."""
        ...

    def on_closed(self, transport: Transport, reason: str) -> None:
        """The connection is gone; called exactly once for each `on_open`, whichever side closed it."""
        ...


class Connect(Protocol):
    """Opens a WebSocket; `wss://` verifies the certificate against the system's authorities. Raises ConnectError.

    Environment variables that name proxies are ignored.
    """

    async def __call__(self, link: LinkSpec, listener: Listener, *, open_timeout_s: float = ...) -> Transport:
        """See the class."""
        ...


def tls_context(url: str) -> ssl.SSLContext | None:
    """The system's trust for `wss://`, None for `ws://`."""
    return ssl.create_default_context() if url.startswith("wss://") else None


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header; None if absent, or if it is a date, which no venue here sends."""
    return float(value) if value is not None and value.strip().isdigit() else None


def describe_close(received: tuple[int, str] | None, sent: tuple[int, str] | None, error: str = "") -> str:
    """Why a connection ended, in a few words, from the first close frame of either side as (code, reason)."""
    if received is not None:
        code, reason = received
        return f"closed by the venue: {code} {reason}".rstrip()
    if sent is not None:
        code, reason = sent
        return f"closed here: {code} {reason}".rstrip()
    return f"lost: {error}" if error else "lost without a close frame"
