"""Clients of one stream of a gateway, all in this process. Each checks that nothing is missing, and notes ages.

A client that is cut off reconnects with its cursor, as a browser does.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Final

import numpy as np

EVENT: Final = re.compile(rb'"seq":(\d+),"count":(\d+),"published":"([^"Z]+)Z"')
CURSOR: Final = re.compile(rb"^id: (\S+)", re.MULTILINE)
RETRY_S: Final = 1.0  # as the stream tells a browser


class Crowd:
    """Many clients of one topic."""

    def __init__(self, port: int, topic: str) -> None:
        self.clients: list[Client] = []
        self.ages_ms: list[float] = []
        self.holes = 0
        self.gaps = 0
        self.resumed = 0
        self.ended = False
        self._port = port
        self._topic = topic

    async def join(self, count: int, *, reading: bool = True) -> None:
        """Connect more clients; those that do not read are not in `clients`."""
        for _ in range(count):
            client = Client(self, self._topic, returns=reading)
            await client.connect(self._port)
            if reading:
                self.clients.append(client)
            else:
                client.transport.pause_reading()

    def reached(self, seq: int) -> bool:
        """Whether all clients have everything before `seq`."""
        return all(client.expected >= seq for client in self.clients)

    def p99_ms(self) -> float:
        """The age of events, from the engine's publication to the client."""
        return float(np.percentile(self.ages_ms, 99))

    def end(self) -> None:
        """Close all connections."""
        self.ended = True
        for client in self.clients:
            client.transport.abort()


class Client(asyncio.Protocol):
    """One client."""

    transport: Any

    def __init__(self, crowd: Crowd, topic: str, *, returns: bool) -> None:
        self.expected = -1
        self._crowd = crowd
        self._topic = topic
        self._returns = returns
        self._cursor = b""
        self._rest = b""
        self._port = 0

    async def connect(self, port: int) -> None:
        """Connect. Raises OSError."""
        self._port = port
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.transport = transport
        self._rest = b""
        head = f"GET /api/v1/stream?topics={self._topic} HTTP/1.1\r\nhost: localhost\r\n".encode()
        transport.write(head + (b"last-event-id: " + self._cursor + b"\r\n" if self._cursor else b"") + b"\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Reconnect, unless the test has ended."""
        if self._returns and not self._crowd.ended:
            self._later()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(RETRY_S, lambda: asyncio.ensure_future(self._again()))

    async def _again(self) -> None:
        if self._crowd.ended:
            return
        try:
            await self.connect(self._port)
        except OSError:
            self._later()
        else:
            self._crowd.resumed += 1

    def data_received(self, data: bytes) -> None:
        """Take received data."""
        now_ns = time.time_ns()
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if cursor := CURSOR.search(event):
                self._cursor = cursor[1]
            if found := EVENT.search(event):
                seq, count = int(found[1]), int(found[2])
                self._crowd.holes += self.expected not in (-1, seq)
                self.expected = seq + count
                published_ns = int(np.datetime64(found[3].decode(), "ns").astype(np.int64))
                self._crowd.ages_ms.append((now_ns - published_ns) / 1e6)
            else:
                self._crowd.gaps += b"event: gap" in event
