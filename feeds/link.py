"""The life of one link: open with backoff, pace what is sent, watch for silence, hand over before the venue cuts it.

Knows nothing of ticks. During a hand-over two transports are open under one name; frames of both are passed on, and
the adapter removes the duplicates.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import Any, Final, Protocol

import msgspec
import structlog

from tickplant.feeds.backoff import Backoff, Breaker, admitted
from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.transports.transport import CLOSE_TIMEOUT_S, Connect, ConnectError, Transport

OVERLAP_S: Final = 3.0
"""How long a new transport delivers before the old one is closed; at most the time that silence is tolerated."""

JITTER_SHARE: Final = 0.01
"""Hand-overs of many connections are spread over this share of their age."""

SHUTTING_DOWN: Final = "shutting down"


class LinkListener(Protocol):
    """Receives the events of a link."""

    def link_opened(self, name: str) -> None:
        """A transport is up: send the subscriptions now. A second one under the same name is a hand-over."""
        ...

    def link_frames(self, name: str, frames: list[bytes], ts_recv_ns: int) -> None:
        """The frames of one read."""
        ...

    def link_closed(self, name: str, reason: str) -> None:
        """A transport is gone; called once for each `link_opened`."""
        ...

    def circuit(self, endpoint: str, *, opened: bool) -> None:
        """An endpoint is being left alone, or works again."""
        ...


class LinkCounts(msgspec.Struct):
    """Counts over all links of a feed, including those closed for good, so that no count ever falls."""

    lost: int = 0
    refused: int = 0  # attempts that did not open
    handovers: int = 0  # transports that opened while the old one was still up


class Link:
    """One connection that an adapter asked for. Drive it with `run()` as a task and `watch()` about once a second.

    `max_age_s` is the configured age of a hand-over; the link's own age applies if it is None.
    """

    def __init__(
        self,
        spec: LinkSpec,
        listener: LinkListener,
        connect: Connect,
        *,
        breaker: Breaker,
        counts: LinkCounts,
        stall_s: float = 30.0,
        max_age_s: float | None = None,
        reconnect_cap_s: float = 60.0,
    ) -> None:
        self.spec = spec  # of the next socket; may be replaced
        self.name = spec.name
        self.opened = 0
        self._counts = counts
        self._listener = listener
        self._connect = connect
        self._breaker = breaker
        self._stall_s = stall_s
        self._overlap_s = min(OVERLAP_S, stall_s)
        self._max_age_s = max_age_s
        self._age_share = 1 - random.uniform(0, JITTER_SHARE)
        self._backoff = Backoff(cap_s=reconnect_cap_s)
        self._current: Transport | None = None
        self._previous: Transport | None = None  # still delivering until the current one has proved itself
        self._wanted = asyncio.Event()  # the task must open a transport
        self._pause = False  # … but not at once: the last one was lost
        self._held_until_s = 0.0
        self._replacing = False  # a hand-over has begun, and its transport is not up yet
        self._why = ""  # why this side closes the current transport
        self._outbox: deque[bytes] = deque()
        self._next_send_s = 0.0
        self._send_timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # Of the current transport, in seconds of the monotonic clock:
        self._opened_s = 0.0
        self._alive_s = 0.0
        self._first_data_s: float | None = None
        self._seen_reads = 0
        self._pinged = False
        self._log: Any = structlog.get_logger().bind(connection=spec.name)

    @property
    def is_open(self) -> bool:
        """Whether frames can arrive."""
        return self._current is not None

    async def run(self) -> None:
        """Keep the connection open until cancelled."""
        while True:
            if self._pause:
                self._pause = False
                await asyncio.sleep(self._backoff.failed())
            if await self._open() is self._current:
                # Requests made meanwhile, such as a replacement for the old transport that broke, are thereby met.
                self._wanted.clear()
                self._pause = False
            await self._wanted.wait()
            self._wanted.clear()

    def send(self, payload: bytes) -> None:
        """Send a text message once the venue's pace allows it; dropped if the connection is lost first."""
        self._outbox.append(payload)
        if self._send_timer is None:
            self._pump()

    def hold(self, reason: str, for_s: float) -> None:
        """Close what is open, and open nothing for this long."""
        self._held_until_s = time.monotonic() + for_s
        self._log.error("link on hold", reason=reason, for_s=round(for_s, 1))
        self.replace(reason, overlap=False)

    def replace(self, reason: str, *, overlap: bool, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Open another transport. With `overlap`, if the link allows it, the present one continues meanwhile."""
        overlap = overlap and self.spec.overlap
        if self._current is None or self._why or (overlap and self._replacing):
            return  # already being done
        self._log.warning("replacing the connection", reason=reason, overlap=overlap)
        if overlap:
            self._replacing = True
            self._wanted.set()
        else:
            self._why = reason
            self._close(self._current, timeout_s=timeout_s)

    def watch(self, now_s: float) -> None:
        """Check the transport: silence, age, the end of a hand-over. `now_s` is `time.monotonic()`."""
        current = self._current
        if current is None or self._why:
            return
        if current.reads != self._seen_reads:
            self._seen_reads, self._alive_s, self._pinged = current.reads, now_s, False
            if self._first_data_s is not None:
                self._backoff.flowing(now_s)
        quiet_s = now_s - self._alive_s
        if quiet_s > self._stall_s:
            self.replace(f"silent for {quiet_s:.0f} s", overlap=False, timeout_s=0.0)  # nobody answers a close frame
        elif quiet_s > self._stall_s / 2 and not self._pinged and self.spec.pings:
            # A venue with no data to send still answers a ping.
            self._pinged = True
            current.ping()
        elif self._previous is not None:
            if self._first_data_s is not None and now_s - self._first_data_s > self._overlap_s:
                self._close(self._previous)
        elif (max_age_s := self._max_age()) is not None and now_s - self._opened_s > max_age_s:
            self.replace(f"in use for {max_age_s:.0f} s", overlap=True)

    async def close(self, reason: str) -> None:
        """Close what is open, and report it. Cancel `run` first."""
        self._why = reason
        if self._send_timer is not None:
            self._send_timer.cancel()
        for transport in (self._previous, self._current):
            if transport is not None:
                self._close(transport)
        if self._closing:
            await asyncio.wait(self._closing)

    # -- called by the transports

    def on_open(self, transport: Transport) -> None:
        """Make a transport that is up the current one."""
        if self._previous is not None:
            self._close(self._previous)
        self._previous, self._current = self._current, transport
        self._why = ""
        self._replacing = False
        self.opened += 1
        self._opened_s = self._alive_s = time.monotonic()
        self._first_data_s, self._seen_reads, self._pinged = None, 0, False
        self._outbox.clear()
        self._counts.handovers += self._previous is not None
        self._log.info("connected", handover=self._previous is not None)
        self._listener.link_opened(self.name)

    def on_frames(self, transport: Transport, frames: list[bytes], ts_recv_ns: int) -> None:
        """Pass on the frames of one read."""
        if self._first_data_s is None and transport is self._current:
            self._first_data_s = time.monotonic()
        self._listener.link_frames(self.name, frames, ts_recv_ns)

    def on_closed(self, transport: Transport, reason: str) -> None:
        """Handle a transport that is gone. The other transport of a hand-over, if any, stays in use."""
        if transport is self._previous:
            self._previous = None
            self._log.info("old connection closed", reason=reason)
        elif transport is self._current:
            reason, self._why = self._why or reason, ""
            self._current, self._previous = self._previous, None
            self._outbox.clear()
            self._counts.lost += 1
            self._replacing = False
            self._pause = True
            self._wanted.set()
            say = self._log.info if reason == SHUTTING_DOWN else self._log.warning
            say("connection lost", reason=reason, fell_back=self._current is not None)
            if self._current is not None:
                self._opened_s = self._alive_s = time.monotonic()
                self._seen_reads = self._current.reads
        self._listener.link_closed(self.name, reason)

    # -- inner

    async def _open(self) -> Transport:
        """Try until a transport is up; it may already be gone when this returns."""
        while True:
            if (held_s := self._held_until_s - time.monotonic()) > 0:
                await asyncio.sleep(held_s)
                continue
            await admitted(self._breaker)
            url = self.spec.url
            try:
                transport = await self._connect(self.spec, self)
            except ConnectError as error:
                self._counts.refused += 1
                if self._breaker.failed(time.monotonic()):
                    self._listener.circuit(url, opened=True)
                pause_s = self._backoff.failed(at_least_s=error.retry_after_s or 0.0)
                self._log.warning("cannot connect", reason=str(error), again_in_s=round(pause_s, 1))
                await asyncio.sleep(pause_s)
            except asyncio.CancelledError:
                self._breaker.abandoned()
                raise
            else:
                if self._breaker.succeeded():
                    self._listener.circuit(url, opened=False)
                return transport

    def _max_age(self) -> float | None:
        age_s = self.spec.max_age_s if self._max_age_s is None else self._max_age_s
        return None if age_s is None else age_s * self._age_share * self.spec.age_share

    def _close(self, transport: Transport, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        task = asyncio.get_running_loop().create_task(transport.close(timeout_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _pump(self) -> None:
        self._send_timer = None
        loop = asyncio.get_running_loop()
        while self._outbox and self._current is not None:
            now_s = loop.time()
            if now_s < self._next_send_s:
                self._send_timer = loop.call_at(self._next_send_s, self._pump)
                return
            self._next_send_s = now_s + self.spec.send_interval_s
            self._current.send(self._outbox.popleft())
