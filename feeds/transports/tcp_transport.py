"""A plain TCP connection, for venues with a protocol of their own: each read is one frame, cut anywhere."""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast
from urllib.parse import urlsplit

from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.transports.transport import (
    CLOSE_TIMEOUT_S,
    OPEN_TIMEOUT_S,
    ConnectError,
    Listener,
    Transport,
    describe_close,
)

SCHEME: Final = "tcp://"
READ_BUFFER_BYTES: Final = 1 << 20
"""Also the largest read: 20 ms of 50 MB/s."""


class TcpTransport(asyncio.BufferedProtocol):
    """One open connection. See `transport.Transport`."""

    def __init__(self, listener: Listener) -> None:
        self.reads = 0
        self._listener = listener
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()
        self._closing = False  # by us
        self._ended = False  # by the venue

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport = cast("asyncio.Transport", transport)
        self._listener.on_open(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on one read from the socket."""
        ts_recv_ns = time.time_ns()
        self.reads += 1
        if not self._closing:
            self._listener.on_frames(self, [bytes(self._buffer[:nbytes])], ts_recv_ns)

    def eof_received(self) -> bool:
        """The venue sends nothing more: close the connection."""
        self._ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._closed.set()
        reason = "closed by the venue" if self._ended else describe_close(None, None, str(exc) if exc else "")
        self._listener.on_closed(self, "closed here" if self._closing else reason)

    # -- called by the owner

    def send(self, payload: bytes) -> None:
        """Send these bytes; dropped if the connection is already closing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(payload)

    def ping(self) -> None:
        """Does nothing: plain TCP has no pings."""

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send the rest, wait up to this long for that, then drop the socket."""
        if self._transport is None:
            return
        self._closing = True
        self._transport.close()
        try:
            await asyncio.wait_for(self._closed.wait(), timeout_s)
        except TimeoutError:
            self._transport.abort()
            await self._closed.wait()


async def connect(link: LinkSpec, listener: Listener, *, open_timeout_s: float = OPEN_TIMEOUT_S) -> Transport:
    """See `transport.Connect`; for addresses `tcp://host:port`."""
    url = urlsplit(link.url)
    if not url.hostname or not url.port:
        raise ConnectError(link.url, "an address needs host and port")
    try:
        async with asyncio.timeout(open_timeout_s):
            _, protocol = await asyncio.get_running_loop().create_connection(
                lambda: TcpTransport(listener), url.hostname, url.port
            )
    except TimeoutError:
        raise ConnectError(link.url, f"no answer within {open_timeout_s:g} s") from None
    except OSError as error:
        raise ConnectError(link.url, str(error) or type(error).__name__) from None
    return protocol
