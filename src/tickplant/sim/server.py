"""The simulated venue as a server: one port for WebSocket and REST, one source behind it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Get, Session
from tickplant.sim.dialect_table import dialect_of, server_of
from tickplant.sim.faults import parse_fault
from tickplant.sim.http_peer import Link
from tickplant.sim.injector import Injector
from tickplant.sim.outlet import Outlet
from tickplant.sim.spec import SimSpec

GOODBYE_S = 0.2  # for clients to take the close frame when the server stops


class Venue:
    """Connects the parts for one spec."""

    def __init__(self, spec: SimSpec) -> None:
        """Prepare, without opening the port. Raises FeedError."""
        self.spec = spec
        self.life_s = spec.life_s
        self.links: set[Link] = set()
        self.dialect = dialect_of(spec)
        self.source = self.dialect.source
        self.outlet = Outlet(self.source.streams, max_buffer_bytes=spec.max_buffer_bytes, log=spec.log)
        self.source.bind(self.outlet)
        self.injector = Injector(spec, self.dialect, self.outlet)
        self.dialect.bind(self.injector.stale_snapshot)
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Number of a new WebSocket connection, from 1."""
        return next(self._numbers)

    def find(self, stream: str) -> int | None:
        """Index of the source's stream of this name."""
        return self.source.find(stream)

    def mask(self, session: Session) -> NDArray[np.bool_]:
        """Which of the source's streams a session is subscribed to."""
        mask = np.zeros(len(self.source.streams), np.bool_)
        for stream in session.names():
            index = self.source.find(stream)
            if index is not None:
                mask[index] = True
        return mask

    def subscriptions_changed(self) -> None:
        """Note that some session's mask has changed."""
        self.source.on_subscriptions()

    async def rest(self, link: Link, request: Get) -> Answer:
        """Answer a REST request; paths below /sim/ belong to the simulation."""
        path = request.target.partition("?")[0]
        if path == "/sim/ledger":
            return Answer(200, msgspec.json.encode(self.ledger()))
        if path.startswith("/sim/") and request.method == "POST":
            return self._posted(path, request.body)
        if request.method == "POST" and not self.dialect.posts:
            return Answer(400, b"this is not an HTTP GET request\n")

        def ask() -> Awaitable[Answer]:
            return self.dialect.rest(request, link)

        return await self.injector.answer(path.rpartition("/")[2], ask)

    def _posted(self, path: str, body: bytes) -> Answer:
        # To /sim/fault, a fault.
        if path != "/sim/fault":
            return Answer(404, msgspec.json.encode({"error": f"there is nothing to post to at {path}"}))
        try:
            armed = self.injector.commit(parse_fault(body))
        except FeedError as error:
            return Answer(400, msgspec.json.encode({"error": str(error)}))
        return Answer(200, msgspec.json.encode(armed.report()))

    def ledger(self) -> dict[str, object]:
        """The content of `GET /sim/ledger`."""
        return {"venue": self.spec.venue, "source": self.source.report()} | self.outlet.report()


async def serve(spec: SimSpec, on_ready: Callable[[str, int], object]) -> None:
    """Run a simulated venue until cancelled; `on_ready(host, port)` is called once it listens. Raises FeedError."""
    venue = Venue(spec)
    log = structlog.get_logger("sim")
    log.info("preparing; the first start on a machine compiles kernels, which takes some seconds")
    venue.source.prepare()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Link(venue), spec.host, spec.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise FeedError(f"simulated venue: cannot listen on {spec.host}:{spec.port}: {reason}") from None
    host, port = server.sockets[0].getsockname()[:2]
    log.info("listening", host=host, port=port, venue=spec.venue, recording=spec.recording)
    faults: asyncio.Task[None] | None = None
    try:
        on_ready(host, port)
        faults = asyncio.create_task(venue.injector.run())
        await venue.source.run()
        await asyncio.Event().wait()  # the source has ended; the server stays
    finally:
        if faults is not None:
            faults.cancel()
        server.close()
        for receiver in list(venue.outlet.receivers.values()):
            venue.outlet.close(receiver, 1001, "the server stops")
        if venue.links:
            await asyncio.wait([asyncio.ensure_future(link.until_closed()) for link in venue.links], timeout=GOODBYE_S)
        for link in list(venue.links):
            link.abort()
        venue.outlet.close_log()


def run(spec: SimSpec, on_ready: Callable[[str, int], object]) -> None:
    """`serve` as the whole work of a process: returns on SIGTERM and SIGINT. Raises FeedError."""
    own = server_of(spec) or serve
    asyncio.run(_until_signal(own(spec, on_ready)))


async def _until_signal(serving: Awaitable[None]) -> None:
    task = asyncio.ensure_future(serving)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
