"""The compatible transport, on websockets: compression and every kind of proxy, at several times the cost.

The library's queue and its `recv` are bypassed: frames are taken where its connection class sees them, so that the
frames of one read arrive together and with the time of that read.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_connection
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State

from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.transports.transport import (
    CLOSE_TIMEOUT_S,
    OPEN_TIMEOUT_S,
    ConnectError,
    Listener,
    Transport,
    describe_close,
    retry_after_s,
    tls_context,
)

CONT: Final = Opcode.CONT
TEXT: Final = Opcode.TEXT
BINARY: Final = Opcode.BINARY
CLOSE: Final = Opcode.CLOSE


class WebsocketsTransport(ClientConnection):
    """One open connection. Only the methods below are used, not the other public ones of the library's class."""

    def __init__(self, listener: Listener, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.reads = 0
        self._listener = listener
        self._opened = False
        self._frames: list[bytes] = []
        self._fragments: list[bytes] = []
        self._whole_frames = False
        self._ending: asyncio.TimerHandle | None = None

    # -- called by the library

    def data_received(self, data: bytes) -> None:
        """Handle one read from the socket."""
        ts_recv_ns = time.time_ns()
        self._whole_frames = False
        super().data_received(data)
        self.reads += self._whole_frames
        if self._frames:
            frames, self._frames = self._frames, []
            self._listener.on_frames(self, frames, ts_recv_ns)
        if self._ending is None and self._opened and self.protocol.state is not State.OPEN:
            # We sent a close frame, or the protocol failed. RFC 6455 has the server close first; wait a bounded time.
            self._ending = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def process_event(self, event: Any) -> None:
        """Handle the handshake's answer, then one frame at a time, checked by the library."""
        if isinstance(event, Response):
            super().process_event(event)
            if self.protocol.handshake_exc is None:  # the state may already be CLOSED, from the same read
                self._opened = True
                self._listener.on_open(self)
            return
        self._whole_frames = True
        self._on_frame(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        super().connection_lost(exc)
        if self._ending is not None:
            self._ending.cancel()
        if self._opened:
            self._opened = False
            protocol = self.protocol
            received = (protocol.close_rcvd.code, protocol.close_rcvd.reason) if protocol.close_rcvd else None
            sent = (protocol.close_sent.code, protocol.close_sent.reason) if protocol.close_sent else None
            if received and sent and not protocol.close_rcvd_then_sent:
                received = None  # the peer only answered our close frame
            self._listener.on_closed(self, describe_close(received, sent, str(exc) if exc else ""))

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY or opcode is CONT:
            if frame.fin and not self._fragments:
                self._frames.append(bytes(frame.data))
                return
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._frames.append(b"".join(self._fragments))
                self._fragments = []
        elif opcode is CLOSE:
            self.transport.close()  # the answer is written
        else:
            super().process_event(frame)

    # -- called by the owner

    def send(self, payload: bytes) -> None:  # type: ignore[override]  # a Transport, not the library's coroutine
        """Send one text message; dropped if the connection is already closing."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_text(payload)
            self.send_data()

    def ping(self) -> None:  # type: ignore[override]  # likewise
        """Send a ping."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:  # type: ignore[override]  # likewise
        """Send a close frame, wait up to this long for the answer, then drop the socket."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(1000)
            self.send_data()
        done, _ = await asyncio.wait([self.connection_lost_waiter], timeout=timeout_s)
        if not done:
            self.transport.abort()
            await asyncio.wait([self.connection_lost_waiter], timeout=CLOSE_TIMEOUT_S)


async def connect(link: LinkSpec, listener: Listener, *, open_timeout_s: float = OPEN_TIMEOUT_S) -> Transport:
    """See `transport.Connect`."""
    url = link.url
    # Typed as a class, called as a factory.
    factory = cast("type[ClientConnection]", functools.partial(WebsocketsTransport, listener))
    try:
        connection = await open_connection(
            url,
            create_connection=factory,
            ssl=tls_context(url),
            compression="deflate" if link.compression else None,
            proxy=link.proxy,
            additional_headers=link.headers or None,
            open_timeout=open_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,  # the owner decides when to ping, the same way for both libraries
            max_size=link.max_message_bytes,
        )
        return cast("WebsocketsTransport", connection)
    except TimeoutError:
        raise ConnectError(url, f"no answer within {open_timeout_s:g} s") from None
    except InvalidStatus as error:
        answer = error.response
        raise ConnectError(
            url,
            f"refused with HTTP status {answer.status_code}",
            status=answer.status_code,
            retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
        ) from None
    except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
        raise ConnectError(url, str(error) or type(error).__name__) from None
