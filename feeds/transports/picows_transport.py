"""The fast transport, on picows: frames are cut from the read buffer in C, with one Python call per frame.

Compression is not offered: the library has none, and the venues recorded here do not insist on it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

import picows
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

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

# Module globals, since on_ws_frame runs once per frame.
WHOLE: Final = (WSMsgType.TEXT, WSMsgType.BINARY)
FRAGMENT: Final = WSMsgType.CONTINUATION
PING: Final = WSMsgType.PING
CLOSE: Final = WSMsgType.CLOSE

READ_BUFFER_BYTES: Final = 256 << 10
"""Also the largest read: large enough to batch a burst."""


class PicowsTransport(WSListener):
    """One open connection."""

    def __init__(self, listener: Listener, max_message_bytes: int) -> None:
        self.reads = 0
        self._listener = listener
        self._max_message_bytes = max_message_bytes
        self._frames: list[bytes] = []
        self._ts_recv_ns = 0
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._ws: WSTransport | None = None
        self._closing = False  # by us
        self._broken = False

    # -- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._ws = transport
        self._listener.on_open(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Collect one frame; the frames of one read are handed over together, after the last."""
        kind = frame.msg_type
        if kind in WHOLE and frame.fin and not self._fragments:
            if not self._frames:
                self._ts_recv_ns = time.time_ns()
            self._frames.append(frame.get_payload_as_bytes())
        else:
            self._on_rare_frame(transport, kind, frame)
        if frame.last_in_buffer:
            self.reads += 1
            self._deliver()
            # After a violation the library has sent a close frame, but still parses what is no longer the protocol.
            self._broken = transport.is_close_frame_sent and not self._closing

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is closed."""
        self._deliver()
        received = sent = None
        if (goodbyes := transport.close_handshake) is not None:
            if goodbyes.recv is not None and goodbyes.recv_then_sent:
                received = goodbyes.recv.code.value, goodbyes.recv.reason
            if goodbyes.sent is not None:
                sent = goodbyes.sent.code.value, goodbyes.sent.reason
        self._listener.on_closed(self, describe_close(received, sent))

    # -- called by the owner

    def send(self, payload: bytes) -> None:
        """Send one text message; dropped if the connection is already closing."""
        if self._ws is not None and not (self._ws.is_disconnected or self._ws.is_close_frame_sent):
            self._ws.send(WSMsgType.TEXT, payload)

    def ping(self) -> None:
        """Send a ping."""
        if self._ws is not None and not (self._ws.is_disconnected or self._ws.is_close_frame_sent):
            self._ws.send_ping(b"")

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send a close frame, wait up to this long for the answer, then drop the socket."""
        ws = self._ws
        if ws is None:
            return
        self._fail(ws, WSCloseCode.OK, "")
        waiting = asyncio.ensure_future(ws.wait_disconnected())
        done, _ = await asyncio.wait([waiting], timeout=timeout_s)
        if not done:
            ws.disconnect(False)
            await asyncio.wait([waiting], timeout=CLOSE_TIMEOUT_S)
        if waiting.done() and not waiting.cancelled():
            waiting.exception()  # on_closed has already reported it

    # -- inner

    def _deliver(self) -> None:
        if self._frames:
            frames, self._frames = self._frames, []
            if not self._broken:
                self._listener.on_frames(self, frames, self._ts_recv_ns)

    def _fail(self, ws: WSTransport, code: WSCloseCode, reason: str) -> None:
        if not (ws.is_disconnected or ws.is_close_frame_sent):
            self._closing = True
            ws.send_close(code, reason.encode())

    def _on_rare_frame(self, ws: WSTransport, kind: WSMsgType, frame: WSFrame) -> None:
        # Pings are answered here: if the library did, it would withhold the last frame of a read.
        if kind == PING:
            if not ws.is_close_frame_sent:
                ws.send_pong(frame.get_payload_as_bytes())
        elif kind == CLOSE:
            if not ws.is_close_frame_sent:
                ws.send_close(WSCloseCode.OK)
            ws.disconnect()
        elif kind in WHOLE or kind == FRAGMENT:
            self._on_fragment(ws, kind, frame)

    def _on_fragment(self, ws: WSTransport, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind == FRAGMENT) != bool(self._fragments):
            self._fail(ws, WSCloseCode.PROTOCOL_ERROR, "a fragment out of place")
            ws.disconnect()
            return
        self._fragments.append(frame.get_payload_as_bytes())
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self._max_message_bytes:
            self._fail(ws, WSCloseCode.MESSAGE_TOO_BIG, "message too big")
            ws.disconnect()
        elif frame.fin:
            if not self._frames:
                self._ts_recv_ns = time.time_ns()
            self._frames.append(b"".join(self._fragments))
        else:
            return
        self._fragments, self._fragments_bytes = [], 0


async def connect(link: LinkSpec, listener: Listener, *, open_timeout_s: float = OPEN_TIMEOUT_S) -> Transport:
    """See `transport.Connect`. The library cannot compress."""
    url = link.url
    try:
        # The library ends a slow handshake and closes its socket; the time for TCP and TLS must be limited here.
        async with asyncio.timeout(2 * open_timeout_s):
            _, transport = await picows.ws_connect(
                lambda: PicowsTransport(listener, link.max_message_bytes),
                url,
                ssl_context=tls_context(url),
                websocket_handshake_timeout=open_timeout_s,
                enable_auto_pong=False,
                max_frame_size=link.max_message_bytes,
                read_buffer_init_size=READ_BUFFER_BYTES,
                proxy=link.proxy,
                extra_headers=link.headers or None,
                use_aiofastnet=False,  # the same behaviour whether installed or not
            )
    except TimeoutError:
        raise ConnectError(url, f"no answer within {open_timeout_s:g} s") from None
    except picows.WSHandshakeError as error:
        answer = error.response
        if answer is None:
            raise ConnectError(url, str(error) or "the handshake failed") from None
        raise ConnectError(
            url,
            f"refused with HTTP status {int(answer.status)}",
            status=int(answer.status),
            retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
        ) from None
    except (OSError, picows.WSError) as error:
        raise ConnectError(url, str(error) or type(error).__name__) from None
    return cast("PicowsTransport", transport)
