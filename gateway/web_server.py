"""uvicorn for a gateway: bounds on connections and slow requests, and an end that does not wait for streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tickplant.errors import ConfigError
from tickplant.gateway.problems import MEDIA_TYPE, Problem
from tickplant.runtime.config import GatewayConfig

BACKLOG: Final = 1024
END_S: Final = 2.0
SEND_BUFFER_BYTES: Final = 1 << 18
"""Kernel buffer per connection: a stalled client would otherwise take megabytes of it, and be noticed late."""


class Connections:
    """Number of connections, in total and by address."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.refused = 0
        self.late = 0  # requests that did not arrive in time, or were too long
        self._by_address: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """The total."""
        return self._by_address.total()

    def enter(self, address: str) -> bool:
        """Count a connection if there is room; returns whether there was."""
        if (
            self._by_address.total() >= self.config.max_connections
            or self._by_address[address] >= self.config.connections_per_address
        ):
            self.refused += 1
            return False
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count a closed connection."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def protocols(connections: Connections) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """The HTTP and WebSocket protocols with these bounds."""
    config = connections.config
    most_bytes = config.header_kib << 10

    class Http(HttpToolsProtocol):
        """Counts connections, and limits the time and size of a request's arrival."""

        address = ""
        timer: asyncio.TimerHandle | None = None
        incoming = 0  # bytes of an incomplete head
        upgraded = False
        head_bytes = 0
        begun = False  # it has had a request

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = str((transport.get_extra_info("peername") or ("local",))[0])
            if not connections.enter(address):
                _refuse(transport, Problem(503, "too many connections: try again later"))
                return
            self.address = address
            self._await_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            if self.address:
                connections.leave(self.address)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self.timer is None and self.begun and self.cycle.response_complete:
                self._await_request()
            self.incoming += len(data)
            super().data_received(data)
            # The parser reports nothing of an incomplete head.
            if self.timer is not None and not self.begun and self.incoming > most_bytes:
                self._too_long()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["state"]["abort"] = self.transport.abort

        def on_url(self, url: bytes) -> None:
            self.head_bytes += len(url)
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self.head_bytes += len(name) + len(value)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            if self.head_bytes > most_bytes:
                self._too_long()
                return
            self.head_bytes = 0
            super().on_headers_complete()
            self.begun = True
            if not self.upgraded and int(dict(self.headers).get(b"content-length", b"0") or 0) == 0:
                self._arrived()

        def on_body(self, body: bytes) -> None:
            if not self.transport.is_closing():
                super().on_body(body)

        def on_message_complete(self) -> None:
            self._arrived()
            if not self.transport.is_closing():
                super().on_message_complete()

        def handle_websocket_upgrade(self) -> None:
            self.upgraded = True
            self._arrived()
            super().handle_websocket_upgrade()
            protocol = self.transport.get_protocol()
            if isinstance(protocol, WebSocket):
                protocol.address, self.address = self.address, ""

        def _await_request(self) -> None:
            self.incoming = 0
            self.timer = self.loop.call_later(config.header_s, self._late)

        def _arrived(self) -> None:
            self.incoming = 0
            if self.timer:
                self.timer.cancel()
                self.timer = None

        def _too_long(self) -> None:
            if not self.transport.is_closing():
                connections.late += 1
                _refuse(self.transport, Problem(431, f"the head of a request has at most {most_bytes:,} bytes"))

        def _late(self) -> None:
            self.timer = None
            connections.late += 1
            self.transport.abort()

    class WebSocket(WebSocketsSansIOProtocol):
        """Releases its connection's place when it ends."""

        address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.app_state = {**self.app_state, "abort": transport.abort}
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.address:
                connections.leave(self.address)
            super().connection_lost(exc)

    return Http, WebSocket


def _refuse(transport: asyncio.Transport, problem: Problem) -> None:
    head = f"HTTP/1.1 {problem.status} Refused\r\ncontent-type: {MEDIA_TYPE}\r\nconnection: close\r\n"
    body = problem.body
    transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    transport.close()


class WebServer(uvicorn.Server):
    """A server whose owner decides when it ends."""

    async def main_loop(self) -> None:
        """Wait for the end; once a second, renew the date of answers."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 10
            await asyncio.sleep(1.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Capture none: the process hears of its end in another way."""
        yield


def listen(config: GatewayConfig, *, key: str) -> socket.socket:
    """A socket at the address of a gateway. Raises ConfigError."""
    host = config.bind.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind((host, config.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{config.bind}:{config.port} cannot be listened on: {error.strerror}; choose another port",
            key=f"gateways.{key}.port",
        ) from None
    listener.setblocking(False)
    return listener


@contextlib.asynccontextmanager
async def serving(
    app: Any, config: GatewayConfig, listener: socket.socket, base: Path, end_streams: Callable[[], None]
) -> AsyncIterator[Connections]:
    """Serve the application on this socket until the block ends. Raises ConfigError for files of TLS."""
    connections = Connections(config)
    http, websocket = protocols(connections)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tls = {}
    if config.tls_certificate:
        tls = {"ssl_certfile": base / config.tls_certificate, "ssl_keyfile": base / config.tls_key}
    settings = uvicorn.Config(
        app,
        http=http,
        ws=websocket,
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(config.idle_s)),
        timeout_graceful_shutdown=max(1, round(END_S)),
        ws_max_size=config.body_kib << 10,
        ws_max_queue=8,
        ws_ping_interval=20.0,
        ws_ping_timeout=config.stalled_s,
        **tls,  # type: ignore[arg-type]  # two paths
    )
    try:
        settings.load()
    except OSError as error:
        raise ConfigError(f"{base / config.tls_certificate} cannot be used: {error}", key="tls_certificate") from None
    server = WebServer(settings)
    running = asyncio.ensure_future(server.serve([listener]))
    try:
        while not server.started:
            if running.done():
                running.result()
            await asyncio.sleep(0.001)
        yield connections
    finally:
        end_streams()
        server.should_exit = True
        for connection in list(server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and getattr(connection, "cycle", None) is None:
                transport.abort()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
