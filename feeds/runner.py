"""Drives one adapter on a live venue: what arrives goes in, what it makes of it goes to the ring and to the venue.

Knows no venue. One event loop; per read from a socket one call into the adapter and one publish, nothing per tick.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from tickplant.errors import FeedError
from tickplant.feeds.backoff import Breaker
from tickplant.feeds.capture import Capture, as_recorded
from tickplant.feeds.contract import ON_CHANNEL, Adapter, Connection, Resolver, RestRequest, RestResponse, Send
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.link import Link
from tickplant.feeds.pipeline import Pump
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.rest import RestClient
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.transports.transport import Connect
from tickplant.records.layouts import StatusCode
from tickplant.runtime.accounts import Account
from tickplant.runtime.config import FeedConfig
from tickplant.runtime.control import Counters

TICK_S: Final = 1.0
SETTLE_S: Final = 5.0
"""How long a stopping feed waits for room, so that all is accounted for."""


class LiveFeed:
    """A venue's sockets and REST address, until cancelled. Reports to itself as the owner of its links."""

    def __init__(
        self,
        adapter: Adapter,
        publisher: FeedPublisher,
        rejects: RejectLog,
        *,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
        connect: Connect,
        rest_url: str,
        config: FeedConfig,
        capture: Capture | None = None,
        last_ids: Mapping[str, LastIds] | None = None,
        former: Sequence[int] = (),
    ) -> None:
        """Nothing happens yet.

        Args:
            adapter: of the venue.
            publisher: of the ring.
            rejects: takes the frames that the adapter rejects.
            resolve: gives the instrument of a symbol.
            symbol_of: gives the symbol of an instrument.
            connect: opens a WebSocket.
            rest_url: base address.
            config: of the feed.
            capture: takes all frames as they come.
            last_ids: what an earlier process recorded last, by symbol.
            former: ids of the instruments that an earlier process may have recorded.
        """
        self._pump = Pump(adapter, publisher, rejects, resolve, symbol_of)
        self._adapter = adapter
        self._publisher = publisher
        self._symbol_of = symbol_of
        self._connect = connect
        self._config = config
        self._capture = capture
        self._last_ids = last_ids or {}
        self._former = former
        self._rest = RestClient(
            rest_url, lambda opened: self.circuit(rest_url, opened=opened), breaker=self._make_breaker()
        )
        self._requests: dict[str, asyncio.Task[None]] = {}
        self._answered = asyncio.Event()
        self._fatal: BaseException | None = None  # the adapter says that this cannot work; or a bug of ours
        self._tasks: list[asyncio.Task[None]] = []
        self._links: dict[str, Link] = {}
        self._circuits_opened = 0
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """See Source. Raises FeedError where the adapter finds that the configuration cannot work."""
        try:
            # An earlier process may have been killed, so that what it saw of the books has had no end.
            on = sum({ON_CHANNEL[channel] for channel in self._config.channels})
            if self._former:
                self._publish_status(StatusCode.DISCONNECTED, self._former, on)
            connections = await self._bootstrap()
            self._adapter.resume(self._last_ids, time.time_ns())
            self._open_links(connections)
            self._tasks = [asyncio.create_task(link.run()) for link in self._links.values()]
            self._tasks.append(asyncio.create_task(self._tick()))
            await asyncio.gather(*self._tasks)
        finally:
            await self._close()

    def counters(self) -> Counters:
        """See Source."""
        counters = self._pump.counters()
        links = self._links.values()
        counters["connections"] = len(links)
        counters["connections_open"] = sum(link.is_open for link in links)
        counters["connections_lost"] = sum(link.lost for link in links)
        counters["connections_refused"] = sum(link.refused for link in links)
        counters["handovers"] = sum(link.handovers for link in links)
        counters["rest_requests"] = self._rest.requests
        counters["rest_failed"] = self._rest.failed
        counters["rest_slow"] = self._rest.slow
        counters["circuits_opened"] = self._circuits_opened
        if self._capture is not None:
            counters["captured"] = self._capture.written
            counters["capture_lost"] = self._capture.lost
        return counters

    def accounts(self, feed: str) -> list[Account]:
        """See Source."""
        return self._pump.accounts(feed)

    def resync(self, symbol: str) -> None:
        """See Source."""
        self._adapter.resync(symbol, time.time_ns())
        self._drain()

    # -- the owner of the links

    def link_opened(self, name: str) -> None:
        """See link.Owner."""
        now_ns = time.time_ns()
        try:
            self._adapter.on_open(name, now_ns)
        except Exception:
            self._pump.failed((), now_ns)
        self._drain()

    def link_frames(self, name: str, frames: list[bytes], ts_recv_ns: int) -> None:
        """See link.Owner. The hot path: once for each read from a socket."""
        self._receive(ts_recv_ns)
        if self._capture is not None:
            self._capture.add(frames, ts_recv_ns)
        try:
            self._adapter.on_frames(name, frames, ts_recv_ns)
        except Exception:
            self._pump.failed(frames, ts_recv_ns)
        self._drain()

    def link_closed(self, name: str, reason: str) -> None:
        """See link.Owner."""
        now_ns = time.time_ns()
        try:
            self._adapter.on_close(name, now_ns, reason)
        except Exception:
            self._pump.failed((), now_ns)
        self._drain()

    def circuit(self, endpoint: str, *, opened: bool) -> None:
        """See link.Owner."""
        self._circuits_opened += opened
        self._log.error("endpoint left alone for a while" if opened else "endpoint works again", endpoint=endpoint)
        self._publish_status(StatusCode.CIRCUIT_OPEN if opened else StatusCode.CIRCUIT_CLOSED)

    # -- inner

    def _drain(self) -> None:
        """Carry out what the adapter wants after a call."""
        adapter = self._adapter
        self._publisher.publish(self._pump.take_ticks())
        for request in adapter.take_requests():
            self._request(request)
        for action in adapter.take_actions():
            link = self._links.get(action.connection)
            if link is None:
                self._log.error("the adapter names an unknown connection", connection=action.connection)
            elif isinstance(action, Send):
                link.send(action.payload)
            else:
                link.replace(action.reason, overlap=action.overlap)
        self._pump.take_rejects()

    def _receive(self, ts_recv_ns: int) -> None:
        """Account for all before this moment, where that is due."""
        if self._pump.is_due(ts_recv_ns):
            self._pump.write_account()
        self._pump.seen(ts_recv_ns)

    async def _bootstrap(self) -> Sequence[Connection]:
        """Ask what the adapter must know before connecting; it asks again itself where an answer does not do."""
        for request in self._adapter.bootstrap():
            self._request(request)
        while not (connections := self._adapter.connections()):
            if not self._requests:
                raise FeedError(f"{self._config.venue}: there is nothing to connect to; check symbols and channels")
            self._answered.clear()
            await self._answered.wait()
            self._raise_fatal()
        return connections

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _open_links(self, connections: Sequence[Connection]) -> None:
        config = self._config
        breakers: dict[str, Breaker] = {}
        self._links = {
            connection.name: Link(
                connection,
                self,
                self._connect,
                breaker=breakers.setdefault(connection.url, self._make_breaker()),
                stall_s=config.stall_s,
                handover_s=config.handover_s,
                reconnect_cap_s=config.reconnect_cap_s,
            )
            for connection in connections
        }

    def _make_breaker(self) -> Breaker:
        """An endpoint that keeps failing rests for half the longest pause between two attempts, then ever longer."""
        cap_s = self._config.reconnect_cap_s
        return Breaker(open_s=cap_s / 2, cap_s=5 * cap_s)

    def _request(self, request: RestRequest) -> None:
        """Ask in the background; a newer request of the same key takes the place of an older one."""
        if (older := self._requests.get(request.key)) is not None:
            older.cancel()

        async def ask() -> None:
            response = await self._rest.fetch(request)
            if response.status != 200:
                reason = response.body[:200].decode(errors="replace")
                url = self._rest.url(request)
                self._log.warning("REST request failed", url=url, status=response.status, reason=reason)
            elif self._capture is not None:
                self._capture.add([as_recorded(response)], response.ts_recv_ns)
            self._take_answer(response)

        task = self._requests[request.key] = asyncio.get_running_loop().create_task(ask())
        task.add_done_callback(lambda done: self._request_done(request.key, done))

    def _request_done(self, key: str, task: asyncio.Task[None]) -> None:
        if self._requests.get(key) is task:
            del self._requests[key]
        if not task.cancelled():
            self._fatal = self._fatal or task.exception()
            self._answered.set()

    def _take_answer(self, response: RestResponse) -> None:
        # The request is done before the adapter is told, so that it can ask again under the same key.
        self._requests.pop(response.request.key, None)
        self._receive(response.ts_recv_ns)
        try:
            self._adapter.on_rest(response)
        except FeedError as error:
            self._fatal = error
        except Exception:
            self._pump.failed((response.body,), response.ts_recv_ns)
        self._drain()

    async def _tick(self) -> None:
        """Once a second: the deadlines of everybody."""
        while True:
            await asyncio.sleep(TICK_S)
            self._raise_fatal()
            now_ns = time.time_ns()
            self._receive(now_ns)
            try:
                self._adapter.on_timer(now_ns)
            except Exception:
                self._pump.failed((), now_ns)
            self._drain()
            self._pump.tick()
            now_s = time.monotonic()
            for link in self._links.values():
                link.watch(now_s)
            if self._publisher.settle():
                for instrument in self._publisher.take_stale_books():
                    self.resync(self._symbol_of(instrument))
            if self._capture is not None:
                self._capture.flush()

    def _publish_status(self, code: StatusCode, instruments: Sequence[int] = (), flags: int = 0) -> None:
        """Of these instruments, else of the whole feed."""
        self._pump.status(code, instruments, flags)
        self._publisher.publish(self._pump.take_ticks())

    async def _close(self) -> None:
        """Close the sockets, publish what is decoded, account for what was dropped, finish the capture."""
        ending = [*self._tasks, *self._requests.values()]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, *(link.close() for link in self._links.values()), return_exceptions=True)
        self._pump.release()
        self._publisher.publish(self._pump.take_ticks())
        self._pump.seen(time.time_ns())
        deadline_s = time.monotonic() + SETTLE_S
        while not (self._publisher.settle(eagerly=True) and self._pump.write_account()):
            if time.monotonic() > deadline_s:
                dropped = self._publisher.dropped
                self._log.error("the ring stayed full: the last gap and account are not recorded", dropped=dropped)
                break
            await asyncio.sleep(0.05)
        await self._rest.close()
        if self._capture is not None:
            self._capture.close()
