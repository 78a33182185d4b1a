"""One TCP connection to the simulated venue: HTTP requests until one asks for a WebSocket.

The sans-I/O protocol of the `websockets` library handles handshake, masks, fragments and closing; market data bypass
it, since their frames come ready-made and in large numbers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tickplant.sim.conversation import Answer, Close, Get, Refusal, Refused, Reply, Session, Text
from tickplant.sim.dialect import Dialect
from tickplant.sim.outlet import Outlet
from tickplant.sim.post import Post

CLOSE_TIMEOUT_S = 2.0
WRITE_HIGH_BYTES = 256 << 10


class Venue(Protocol):
    """What a connection needs to know about its server."""

    dialect: Dialect
    outlet: Outlet
    life_s: float
    links: set[Link]

    def next_number(self) -> int:
        """Number of a new WebSocket connection, from 1."""
        ...

    def find(self, stream: str) -> int | None:
        """Index of the source's stream of this name."""
        ...

    def mask(self, session: Session) -> NDArray[np.bool_]:
        """Which of the source's streams a session is subscribed to."""
        ...

    def subscriptions_changed(self) -> None:
        """Some session's mask has changed."""
        ...

    async def rest(self, link: Link, request: Get) -> Answer:
        """Answer a REST request."""
        ...


class _NoSession(Session):
    """Session of a connection that is not, or not yet, a WebSocket."""

    def names(self) -> list[str]:
        return []

    def on_text(self, text: bytes) -> list[Reply]:
        return []


class Link(asyncio.Protocol):
    """A connection; a `Receiver` and a `Sender` to the outlet. Its number is 0 until it is a WebSocket."""

    def __init__(self, venue: Venue) -> None:
        self.number = 0
        self.path = ""
        self.session: Session = _NoSession()
        self.mask = np.zeros(len(venue.outlet.streams), np.bool_)
        self.peer = ""
        self._closed = asyncio.Event()
        self._writable = asyncio.Event()  # cleared while the client is behind
        self._writable.set()
        self._venue = venue
        self._protocol = ServerProtocol()
        self._text = bytearray()  # fragments of a message
        self._request_times: deque[float] = deque()
        self._pings: dict[bytes, asyncio.TimerHandle | asyncio.Future[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._answering: asyncio.Task[None] | None = None
        self._post: Post | None = None

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._venue.links.add(self)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client."""
        if not self.number and (self._post is not None or data.startswith(Post.BEGINS)):
            self._on_post(data)
            return
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._on_request(event)
            elif isinstance(event, Frame):
                self._on_frame(event)
        data_to_send = protocol.data_to_send()
        if protocol.handshake_exc is not None and data_to_send == [b""]:  # given up without an answer
            self._venue.outlet.answer(self, "", Answer(400, b"this is not an HTTP GET request\n", close=True))
        self._write(data_to_send)

    def _on_post(self, data: bytes) -> None:
        self._post = self._post or Post()
        posted = self._post.feed(data)
        if posted is not None and self._answering is None:
            request = Get(posted.path, posted.headers, self.peer, "POST", posted.body)
            self._answering = asyncio.get_running_loop().create_task(self._answer(request, keep=False))

    def eof_received(self) -> bool:
        """The client will send no more."""
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after a lost connection."""
        self._venue.links.discard(self)
        self._closed.set()
        self._writable.set()
        for timer in self._timers.values():
            timer.cancel()
        for waiting in self._pings.values():
            waiting.cancel()
        if self._answering is not None:
            self._answering.cancel()
        if self.number:
            self._venue.outlet.closed(self)
            self._venue.subscriptions_changed()

    def pause_writing(self) -> None:
        """The client is behind."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    # Requests

    def _on_request(self, request: Request) -> None:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            get = Get(request.path, request.headers, self.peer)
            keep = request.headers.get("Connection", "").lower() != "close"
            self._answering = asyncio.get_running_loop().create_task(self._answer(get, keep=keep))
            return
        session = self._venue.dialect.accept(request.path, request.headers, self._refusal)
        refused = self._venue.outlet.faults.take_refused_connection(time.time_ns())
        if refused is not None:
            refusal = self._protocol.reject(HTTPStatus(refused.status), "not now\n")
            if refused.retry_after_s is not None:
                refusal.headers["Retry-After"] = str(refused.retry_after_s)
            self._protocol.send_response(refusal)
        elif isinstance(session, Refusal):
            self._protocol.send_response(self._protocol.reject(HTTPStatus(session.status), session.text + "\n"))
        else:
            self._protocol.send_response(self._protocol.accept(request))
            self._flush()
            if self._protocol.state is OPEN:
                self._open(request.path, session)

    async def _answer(self, request: Get, *, keep: bool) -> None:
        path = request.target.partition("?")[0]
        try:
            answer = await self._venue.rest(self, request)
        except Exception:
            # A failure of ours must not leave the client waiting.
            structlog.get_logger("sim").exception("a REST request failed", path=path)
            answer = Answer(500, self._venue.dialect.rest_refusal(500))
        if request.method == "POST":
            answer = msgspec.structs.replace(answer, close=True)
        self._venue.outlet.answer(self, path, answer)
        if answer.close:  # the client closes once it has read the answer
            self._timer("close", CLOSE_TIMEOUT_S, self._transport.close)
        elif keep:
            self._protocol = ServerProtocol()
        else:
            self._transport.close()

    def _open(self, path: str, session: Session) -> None:
        venue = self._venue
        self.session = session
        session.say = self._say
        self.path = path
        self.number = venue.next_number()
        self._timer("life", venue.life_s, lambda: venue.outlet.close(self, 1001, "the connection is too old"))
        if venue.dialect.limits.ping_interval_s is not None:
            self._timer("ping", venue.dialect.limits.ping_interval_s, self._ping)
        if venue.dialect.heartbeat_s is not None:
            self._timer("heartbeat", venue.dialect.heartbeat_s, self._heartbeat)
        venue.outlet.opened(self)
        self._say(session.greetings())
        self._resubscribe()

    def _refusal(self) -> Refused | None:
        fault = self._venue.outlet.faults.take_refused_subscription(self.number, time.time_ns())
        return None if fault is None else Refused(fault.code or 0, fault.text or "")

    def _say(self, replies: list[Reply]) -> None:
        outlet = self._venue.outlet
        for reply in replies:
            stream = self._venue.find(reply.stream) if isinstance(reply, Text) and reply.stream else None
            if isinstance(reply, Close):
                outlet.close(self, reply.code, reply.reason)
            elif stream is not None:
                outlet.push(self, reply.text, stream, reply.id)
            else:
                outlet.reply(self, reply.text)

    def _resubscribe(self) -> None:
        self.mask = self._venue.mask(self.session)
        self._venue.outlet.subscribed()
        self._venue.subscriptions_changed()

    # Frames of the client

    def _on_frame(self, frame: Frame) -> None:
        if not self.number:
            return
        if frame.opcode is Opcode.PONG and bytes(frame.data) in self._pings:
            waiting = self._pings.pop(bytes(frame.data))
            if isinstance(waiting, asyncio.Future):
                waiting.set_result(None)
            else:
                waiting.cancel()
            return
        if frame.opcode is Opcode.CLOSE:
            return  # the protocol has answered it
        if not self._is_allowed():
            self._text.clear()
            self._say(self.session.on_flood())
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text += frame.data
            if frame.fin:
                text = bytes(self._text)
                self._text.clear()
                self._venue.outlet.entries[self.number].requests += 1
                self._say(self.session.on_text(text))
                self._resubscribe()

    def _is_allowed(self) -> bool:
        """Whether one more message is within the limit; unsolicited pongs count, as on the venue."""
        now = time.monotonic()
        times = self._request_times
        while times and times[0] <= now - 1.0:
            times.popleft()
        times.append(now)
        return len(times) <= self._venue.dialect.limits.client_messages_per_s

    # Pings and heartbeats

    def _ping(self) -> None:
        payload = str(time.time_ns() // 1_000_000).encode()
        loop = asyncio.get_running_loop()
        limits = self._venue.dialect.limits
        self._pings[payload] = loop.call_later(limits.pong_timeout_s, self._no_pong)
        self._venue.outlet.ping(self, payload)
        self._timer("ping", limits.ping_interval_s or limits.pong_timeout_s, self._ping)

    def _heartbeat(self) -> None:
        text = self.session.heartbeat()
        if text is not None:
            self._venue.outlet.reply(self, text)
        self._timer("heartbeat", self._venue.dialect.heartbeat_s or 1.0, self._heartbeat)

    def _no_pong(self) -> None:
        self._venue.outlet.close(self, 1008, "Pong timeout")

    async def until_writable(self) -> None:
        """Return when the client is not far behind, or gone."""
        await self._writable.wait()

    async def until_closed(self) -> None:
        """Return when the connection is gone."""
        await self._closed.wait()

    async def barrier(self) -> None:
        """Return when the client has read everything sent so far, or is gone."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        payload = f"barrier {time.monotonic_ns()}".encode()
        self._pings[payload] = done
        self._venue.outlet.ping(self, payload)
        await asyncio.wait([done])

    def _timer(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, action)

    # The outlet sends

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent: no closing handshake has begun."""
        return self._protocol.state is OPEN and not self._transport.is_closing()

    def send_frames(self, data: bytes) -> None:
        """Queue whole frames."""
        self._transport.write(data)

    def send_text(self, text: bytes) -> None:
        """Queue one text frame."""
        self._protocol.send_text(text)
        self._flush()

    def send_ping(self, payload: bytes) -> None:
        """Queue a ping."""
        self._protocol.send_ping(payload)
        self._flush()

    def send_close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; a client that does not take part is disconnected."""
        self._protocol.send_close(code, reason)
        self._flush()
        self._timer("close", CLOSE_TIMEOUT_S, self._transport.abort)

    def send_answer(self, answer: Answer) -> None:
        """Queue an HTTP answer."""
        if answer.cut:
            self._transport.abort()
            return
        head = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            "Content-Type: application/json;charset=UTF-8",
            f"Content-Length: {len(answer.body)}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
            f"Connection: {'close' if answer.close else 'keep-alive'}",
        ]
        self._transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + answer.body)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    @property
    def queued_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        self._write(self._protocol.data_to_send())

    def _write(self, pieces: list[bytes]) -> None:
        """Send the protocol's output, unless a fault has made this connection mute."""
        if self.number and self._venue.outlet.is_mute(self):
            return
        for data in pieces:
            if data:
                self._transport.write(data)
            else:  # the protocol is done with this connection
                self._transport.close()
