"""Drives one adapter on a live venue: passes events in, and passes the results to the ring and the venue.

Knows no venue. Runs in one event loop: per socket read one call of the adapter and one publish, nothing per tick.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import structlog

from tickplant.errors import FeedError
from tickplant.feeds.backoff import Breaker
from tickplant.feeds.capture import Capture
from tickplant.feeds.contract import (
    Adapter,
    Answer,
    Close,
    Closed,
    Effect,
    Fail,
    Followed,
    Frames,
    Hold,
    LinkSpec,
    Open,
    Opened,
    Request,
    Resolver,
    Resubscribe,
    Resumed,
    Resync,
    Second,
    Send,
    Symbols,
)
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.link import SHUTTING_DOWN, Link, LinkCounts
from tickplant.feeds.pipeline import FeedPipeline
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.rest import RestClient
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.transports.transport import Connect
from tickplant.records.channels import ON_CHANNEL
from tickplant.records.layouts import StatusCode
from tickplant.runtime.accounts import Account
from tickplant.runtime.config import FeedConfig
from tickplant.runtime.control import Counters

SECOND_S: Final = 1.0
SETTLE_S: Final = 5.0
"""How long a stopping feed waits for room, so that everything is accounted for."""

_SETTLE_TURN_S: Final = 0.05


class LiveFeed:
    """A venue's links and endpoints, until cancelled. Its own links report to it."""

    def __init__(
        self,
        adapter: Adapter,
        publisher: FeedPublisher,
        rejects: RejectLog,
        *,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
        connect: Connect,
        endpoints: Mapping[str, str],
        config: FeedConfig,
        capture: Capture | None = None,
        last_ids: Mapping[str, LastIds] | None = None,
        former: Sequence[int] = (),
        on_followed: Callable[[Followed], object] = lambda _: None,
    ) -> None:
        """No connections so far.

        Args:
            adapter: of the venue.
            publisher: of the ring.
            rejects: takes the frames that the adapter rejects.
            resolve: gives the instrument of a symbol.
            symbol_of: gives the symbol of an instrument.
            connect: opens a WebSocket.
            endpoints: addresses for requests, by name.
            config: of the feed.
            capture: takes all frames as they come.
            last_ids: the last ids that an earlier process recorded, by symbol.
            former: ids of the instruments that an earlier process may have recorded.
            on_followed: receives the outcome for each symbol that was added or removed.
        """
        self._pipeline = FeedPipeline(adapter, publisher, rejects, resolve, symbol_of)
        self._adapter = adapter
        self._publisher = publisher
        self._symbol_of = symbol_of
        self._connect = connect
        self._endpoints = endpoints
        self._config = config
        self._capture = capture
        self._last_ids = last_ids or {}
        self._former = former
        self._on_followed = on_followed
        self._clients: dict[str, RestClient] = {}  # by endpoint
        self._requests: dict[str, asyncio.Task[None]] = {}  # by key
        self._links: dict[str, Link] = {}
        self._running: dict[str, asyncio.Task[None]] = {}  # tasks of the links
        self._breakers: dict[str, Breaker] = {}  # by URL of links
        self._counts = LinkCounts()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._fatal: BaseException | None = None  # the feed cannot work; or a bug of ours
        self._circuits_opened = 0
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """See Source. Raises FeedError if the adapter finds that the configuration cannot work."""
        try:
            # An earlier process may have been killed, so its books have no recorded end.
            on = sum({ON_CHANNEL[channel] for channel in self._config.channels})
            if self._former:
                self._publish_status(StatusCode.DISCONNECTED, self._former, on)
            now_ns = time.time_ns()
            self._pipeline.deliver(Resumed(self._last_ids), now_ns)
            self._adapter.start(now_ns)
            self._drain()
            if not (self._links or self._requests or self._fatal):
                raise FeedError(f"{self._config.venue}: there is nothing to connect to; check symbols and channels")
            self._attend(self._tick())
            await self._failed.wait()
        finally:
            await self._close()
        if self._fatal is not None:
            raise self._fatal

    def counters(self) -> Counters:
        """See Source."""
        counters = self._pipeline.counters()
        links, counts, clients = self._links.values(), self._counts, self._clients.values()
        counters["venue"] = self._config.venue
        counters["connections"] = len(links)
        counters["connections_open"] = sum(link.is_open for link in links)
        counters["connections_lost"] = counts.lost
        counters["connections_refused"] = counts.refused
        counters["handovers"] = counts.handovers
        counters["rest_requests"] = sum(client.requests for client in clients)
        counters["rest_failed"] = sum(client.failed for client in clients)
        counters["rest_slow"] = sum(client.slow for client in clients)
        counters["circuits_opened"] = self._circuits_opened
        if self._capture is not None:
            counters["captured"] = self._capture.written
            counters["capture_lost"] = self._capture.lost
        return counters

    def accounts(self, feed: str) -> list[Account]:
        """See Source."""
        return self._pipeline.accounts(feed)

    def resync(self, symbol: str) -> None:
        """See Source."""
        self._take(Resync(symbol))

    def change_symbols(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """See Source."""
        self._take(Symbols(tuple(added), tuple(removed)))

    # -- events of the links

    def link_opened(self, name: str) -> None:
        """See link.LinkListener."""
        self._take(Opened(name))

    def link_frames(self, name: str, frames: list[bytes], ts_recv_ns: int) -> None:
        """See link.LinkListener. The hot path: runs once per socket read."""
        self._receive(ts_recv_ns)
        if self._capture is not None:
            self._capture.add(name, frames, ts_recv_ns)
        self._pipeline.deliver(Frames(name, frames), ts_recv_ns)
        self._drain()

    def link_closed(self, name: str, reason: str) -> None:
        """See link.LinkListener."""
        self._take(Closed(name, reason))

    def circuit(self, endpoint: str, *, opened: bool) -> None:
        """See link.LinkListener."""
        self._circuits_opened += opened
        self._log.error("circuit breaker open" if opened else "circuit breaker closed", endpoint=endpoint)
        self._publish_status(StatusCode.CIRCUIT_OPEN if opened else StatusCode.CIRCUIT_CLOSED)

    # -- inner

    def _take(self, event: Opened | Closed | Second | Resync | Symbols | Answer, now_ns: int | None = None) -> None:
        """Handle an event other than frames."""
        now_ns = now_ns or time.time_ns()
        if self._capture is not None:
            self._capture.add_event(event, now_ns)
        self._pipeline.deliver(event, now_ns)
        self._drain()

    def _receive(self, ts_recv_ns: int) -> None:
        """Write an account of everything before this moment, if one is due."""
        if self._pipeline.is_due(ts_recv_ns):
            self._pipeline.write_account()
        self._pipeline.seen(ts_recv_ns)

    def _drain(self) -> None:
        """Publish what the adapter has made, and carry out its effects."""
        ticks, effects = self._pipeline.take()
        self._publisher.publish(ticks)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Request():
                self._request(effect)
            case Open(spec):
                self._open(spec)
            case Hold(name, until_ns, reason):
                self._hold(name, reason, max(0.0, (until_ns - time.time_ns()) / 1e9))
            case Fail(reason):
                self._fail(FeedError(reason))
            case Followed(symbol, problem=problem):
                self._on_followed(effect)
                if problem:  # an event of its own, so that a capture shows when the symbol was given up
                    self._take(Symbols(removed=(symbol,)))
            case Send(name) | Resubscribe(name) | Close(name):
                link = self._links.get(name)
                if link is None:
                    self._log.error("the adapter names an unknown link", link=name)
                elif isinstance(effect, Send):
                    if self._capture is not None and not effect.secret:
                        self._capture.add_event(effect, time.time_ns())
                    link.send(effect.payload)
                elif isinstance(effect, Resubscribe):
                    link.replace(effect.reason, overlap=effect.overlap)
                else:
                    self._end(link, effect.reason)

    def _open(self, spec: LinkSpec) -> None:
        if (known := self._links.get(spec.name)) is not None:
            known.spec = spec
            return
        config = self._config
        link = self._links[spec.name] = Link(
            spec,
            self,
            self._connect,
            breaker=self._breakers.setdefault(spec.url, self._make_breaker()),
            counts=self._counts,
            stall_s=config.stall_s,
            max_age_s=config.handover_s,
            reconnect_cap_s=config.reconnect_cap_s,
        )
        self._running[spec.name] = self._attend(link.run())

    def _end(self, link: Link, reason: str) -> None:
        """Close a link for good."""
        del self._links[link.name]
        running = self._running.pop(link.name)

        async def close() -> None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await link.close(reason)

        self._attend(close())

    def _hold(self, name: str, reason: str, for_s: float) -> None:
        if (link := self._links.get(name)) is not None:
            link.hold(reason, for_s)
        elif name in self._endpoints:
            self._log.error("endpoint on hold", endpoint=name, reason=reason, for_s=round(for_s, 1))
            self._client(name).hold(for_s)
        else:
            self._log.error("the adapter holds an unknown link or endpoint", name=name)

    def _make_breaker(self) -> Breaker:
        """An endpoint that keeps failing rests for half the longest pause between two attempts, then ever longer."""
        cap_s = self._config.reconnect_cap_s
        return Breaker(open_s=cap_s / 2, cap_s=5 * cap_s)

    def _client(self, endpoint: str) -> RestClient:
        client = self._clients.get(endpoint)
        if client is None:
            url = self._endpoints[endpoint]
            client = self._clients[endpoint] = RestClient(
                url, lambda opened: self.circuit(url, opened=opened), breaker=self._make_breaker()
            )
        return client

    def _request(self, request: Request) -> None:
        """Ask in the background; a newer request of the same key replaces an older one."""
        if (older := self._requests.pop(request.key, None)) is not None:
            older.cancel()

        async def ask() -> None:
            client = self._client(request.endpoint)
            answer, now_ns = await client.fetch(request)
            if answer.status != 200:
                reason = "" if request.secret and answer.status else answer.body[:200].decode(errors="replace")
                self._log.warning("REST request failed", url=client.url(request), status=answer.status, reason=reason)
            # The request is finished before the adapter has the answer, so that it can ask again under the same key.
            self._requests.pop(request.key, None)
            self._receive(now_ns)
            self._take(answer, now_ns)

        self._requests[request.key] = self._attend(ask())

    def _attend(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background; an exception ends the feed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._fatal = self._fatal or error
        self._failed.set()

    async def _tick(self) -> None:
        """Check all deadlines once a second."""
        while True:
            await asyncio.sleep(SECOND_S)
            now_ns = time.time_ns()
            self._receive(now_ns)
            self._take(Second(), now_ns)
            self._pipeline.on_second()
            now_s = time.monotonic()
            for link in self._links.values():
                link.watch(now_s)
            if self._publisher.settle():
                for instrument in self._publisher.take_stale_books():
                    self.resync(self._symbol_of(instrument))
            if self._capture is not None:
                self._capture.flush()

    def _publish_status(self, code: StatusCode, instruments: Sequence[int] = (), flags: int = 0) -> None:
        """Publish a STATUS of these instruments, else of the whole feed."""
        self._pipeline.status(code, instruments, flags)
        self._drain()

    async def _close(self) -> None:
        """Close the sockets, publish what is decoded, account for what was dropped, finish the capture."""
        ending = tuple(self._tasks)
        for task in ending:
            task.cancel()
        closing = (link.close(SHUTTING_DOWN) for link in self._links.values())
        await asyncio.gather(*ending, *closing, return_exceptions=True)
        self._pipeline.end()
        self._publisher.publish(self._pipeline.take()[0])
        self._pipeline.seen(time.time_ns())
        turns = SETTLE_S / _SETTLE_TURN_S  # our own turns, since the writer stands still with the machine
        while not (self._publisher.settle(eagerly=True) and self._pipeline.write_account()):
            if (turns := turns - 1) < 0:
                dropped = self._publisher.dropped
                self._log.error("the ring stayed full: the last gap and account are not recorded", dropped=dropped)
                break
            await asyncio.sleep(_SETTLE_TURN_S)
        for client in self._clients.values():
            await client.close()
        if self._capture is not None:
            self._capture.close()
