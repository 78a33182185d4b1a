"""An adapter connected to its simulated venue in this process, without sockets, and without a clock but `now_ns`.

Frames, faults and snapshots are those of the real simulator. A session of a few seconds, faults included, takes a
fraction of that time, and a seed reproduces it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import numpy as np
from checked_adapter import Checked, Table
from venue_sample import Levels, VenueSample

from tickplant.feeds.contract import (
    Answer,
    Close,
    Closed,
    Ended,
    Event,
    Fail,
    Followed,
    Frames,
    LinkSpec,
    Open,
    Opened,
    Output,
    Request,
    Resubscribe,
    Resumed,
    Second,
    Send,
    Symbols,
)
from tickplant.feeds.last_ids import LastIds
from tickplant.sim.conversation import Close as SimClose
from tickplant.sim.conversation import Get, Refusal, Refused, Reply, Session, Text
from tickplant.sim.faults import parse_fault
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.server import Venue
from tickplant.sim.spec import SimSpec

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
BEGIN_NS: Final = 1_788_264_000 * SECOND  # 2026-09-01T12:00:00Z
RECONNECT_NS: Final = 60 * MS
OVERLAP_NS: Final = 300 * MS


class Happened(NamedTuple):
    """One line of a session."""

    now_ns: int
    what: Event | Send


class Socket:
    """One WebSocket on the venue's side: a `Receiver` of the simulator's outlet."""

    def __init__(self, venue: Venue, link: str, path: str) -> None:
        self.link = link
        self.path = path
        self.number = venue.next_number()
        self.is_open = True
        self.inbox: list[bytes] = []
        self.queued_bytes = 0
        self._venue = venue
        session = venue.dialect.accept(path, {}, self._refusal)
        assert not isinstance(session, Refusal), session
        self.session: Session = session
        session.say = self.say
        self.end = ""  # why the venue closes it
        self.mask = venue.mask(session)
        venue.outlet.opened(self)  # type: ignore[arg-type]  # nothing here waits
        self.say(session.greetings())

    def take(self, text: bytes) -> None:
        """Take a message of the client."""
        self.say(self.session.on_text(text))
        self.mask = self._venue.mask(self.session)
        self._venue.outlet.subscribed()

    def say(self, replies: list[Reply]) -> None:
        for reply in replies:
            if isinstance(reply, SimClose):
                self.end = reply.reason
                return
            stream = self._venue.find(reply.stream) if isinstance(reply, Text) and reply.stream else None
            if stream is not None:
                self._venue.outlet.push(self, reply.text, stream, reply.id)  # type: ignore[arg-type]
            else:
                self._venue.outlet.reply(self, reply.text)  # type: ignore[arg-type]

    def close(self) -> None:
        self.is_open = False
        self._venue.outlet.closed(self)  # type: ignore[arg-type]

    def send_frames(self, data: bytes) -> None:
        self.inbox += payloads(data)

    def send_text(self, text: bytes) -> None:
        self.inbox.append(text)

    def _refusal(self) -> Refused | None:
        fault = self._venue.outlet.faults.take_refused_subscription(self.number, time.time_ns())
        return None if fault is None else Refused(fault.code or 0, fault.text or "")


def payloads(data: bytes) -> Iterator[bytes]:
    """The payloads of whole, unmasked frames."""
    at = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        yield data[at : at + size]
        at += size


class VenueSession:
    """A context manager, inside which the simulator's clock is `now_ns`."""

    def __init__(
        self,
        sample: VenueSample,
        *,
        seed: int = 1,
        messages_per_s: float = 400.0,
        last: Mapping[str, LastIds] | None = None,
        table: Table | None = None,
        venue: Venue | None = None,
        now_ns: int = BEGIN_NS,
        **options: Any,
    ) -> None:
        """`venue` continues where an earlier session ended; `last` gives the last ids that that session recorded."""
        self.sample = sample
        self.now_ns = now_ns
        self._clock = mock.patch.object(time, "time_ns", self._now)
        self._spec = SimSpec(
            venue=sample.venue,
            symbols=sample.symbols,
            seed=seed,
            messages_per_s=messages_per_s,
            depth_levels=40,
        )
        self._last = last
        self.feed = Checked(sample, table=table, **options)
        self.happened: list[Happened] = []
        self.sockets: list[Socket] = []
        self.links: dict[str, LinkSpec] = {}
        self.answered = 0
        self.followed: list[Followed] = []
        self._opening: list[tuple[int, str]] = []
        self._closing: list[tuple[int, Socket]] = []
        self._requests: dict[str, Request] = {}
        self._second = now_ns + SECOND
        self.venue = venue

    def __enter__(self) -> VenueSession:
        self._clock.start()
        if self.venue is None:
            self.venue = Venue(self._spec)
        source = self.venue.source
        assert isinstance(source, LiveMarket)
        self.source = source
        if self._last is not None:
            self.event(Resumed(self._last))
        self._carry_out(self.feed.start(self.now_ns))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock.stop()

    def _now(self) -> int:
        return self.now_ns

    # What the caller has happen.

    def run(self, seconds: float, *, step_ms: int = 10) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 1000 / step_ms)):
            self.now_ns += step_ms * MS
            self._step()

    def run_until(self, condition: Any, *, seconds: float = 60.0) -> None:
        """Let time pass until a condition holds."""
        for _ in range(round(seconds * 20)):
            if condition():
                return
            self.run(0.05)
        raise AssertionError("it never came to be")

    def fault(self, fault: str, **options: Any) -> None:
        """Have the venue commit a fault."""
        assert self.venue is not None
        self.venue.injector.commit(parse_fault(json.dumps({"fault": fault} | options).encode()))

    def disconnect(self, *, again: bool = True) -> None:
        """Break all sockets; data on its way is lost."""
        for socket in list(self.sockets):
            self._lose(socket, "cut")
            if again:
                self._opening.append((self.now_ns + RECONNECT_NS, socket.link))

    def replace(self, *, overlap: bool) -> None:
        """Give each link another socket, before the old one closes if the link allows that."""
        for name in self.links:
            self._replace(name, overlap=overlap)

    def end(self) -> np.ndarray:
        """End the session; returns all records."""
        self.event(Ended())
        return self.feed.records

    # The market.

    def end_market(self) -> None:
        """Let the market fall silent before long."""
        self.source.market._limit = self.source.market.messages + 200

    @property
    def is_silent(self) -> bool:
        """Whether the market has ended and all of it has been sent."""
        market = self.source.market
        return market.messages >= market._limit and self.source._is_flushed()

    def book(self, symbol: str) -> Levels:
        """The venue's own book, as deep as a feed follows it."""
        assert self.venue is not None
        assert self.sample.levels is not None
        return self.sample.levels(self.venue.dialect.snapshots()[symbol](self.sample.depth))

    # Inner.

    def event(self, event: Event) -> Output:
        self.happened.append(Happened(self.now_ns, event))
        output = self.feed.on(event, self.now_ns)
        self._carry_out(output)
        return output

    def _step(self) -> None:
        assert self.venue is not None
        for at_ns, link in [due for due in self._opening if due[0] <= self.now_ns]:
            self._opening.remove((at_ns, link))
            self._open(link)
        self.source.step(self.now_ns - self.source._origin_ns)
        for key, request in list(self._requests.items()):
            if request.not_before_ns <= self.now_ns and self._requests.pop(key, None) is not None:
                target = Get(request.path, request.headers, "", request.method, request.body)
                answer = at_once(self.venue.dialect.rest(target, None))  # type: ignore[arg-type]
                self.answered += 1
                self.event(Answer(request, answer.status, answer.body))
        for at_ns, socket in [due for due in self._closing if due[0] <= self.now_ns]:
            self._closing.remove((at_ns, socket))
            if socket in self.sockets:
                self._deliver(socket)
                self._lose(socket, "handed over")
        if self.now_ns >= self._second:
            self._second += SECOND
            for socket in self.sockets:
                if (text := socket.session.heartbeat()) is not None:
                    self.venue.outlet.reply(socket, text)  # type: ignore[arg-type]
            self.event(Second())
        for socket in list(self.sockets):
            self._deliver(socket)
            if socket.end and socket in self.sockets:
                self._lose(socket, socket.end)
                self._opening.append((self.now_ns + RECONNECT_NS, socket.link))

    def _deliver(self, socket: Socket) -> None:
        if socket.inbox:
            frames, socket.inbox = socket.inbox, []
            self.event(Frames(socket.link, frames))

    def _open(self, name: str) -> None:
        assert self.venue is not None
        url = urlsplit(self.links[name].url)
        path = url.path + (f"?{url.query}" if url.query else "")
        self.sockets.append(Socket(self.venue, name, path))
        self.event(Opened(name))

    def _lose(self, socket: Socket, reason: str) -> None:
        self.sockets.remove(socket)
        socket.close()
        self.event(Closed(socket.link, reason))

    def _replace(self, name: str, *, overlap: bool) -> None:
        old = [socket for socket in self.sockets if socket.link == name]
        if overlap and self.links[name].overlap:
            self._opening.append((self.now_ns, name))
            self._closing += [(self.now_ns + OVERLAP_NS, socket) for socket in old]
            return
        for socket in old:
            self._lose(socket, "replaced")
            self._opening.append((self.now_ns + RECONNECT_NS, name))

    def _carry_out(self, output: Output) -> None:
        for effect in output.effects:
            match effect:
                case Open(spec):
                    if spec.name not in self.links:
                        self._opening.append((self.now_ns, spec.name))
                    self.links[spec.name] = spec
                case Send(link, payload):
                    self.happened.append(Happened(self.now_ns, effect))
                    newest = [socket for socket in self.sockets if socket.link == link][-1]
                    newest.take(payload)
                case Request():
                    self._requests[effect.key] = effect
                case Resubscribe(link, _, overlap):
                    self._replace(link, overlap=overlap)
                case Close(link, reason):
                    for socket in [socket for socket in self.sockets if socket.link == link]:
                        self._lose(socket, reason)
                case Followed(symbol, problem=problem):
                    self.followed.append(effect)
                    if problem:
                        self.event(Symbols(removed=(symbol,)))
                case Fail(reason):
                    raise AssertionError(reason)


def short_session(sample: VenueSample) -> list[Happened]:
    """The events of little more than a second: the venue's market, and the start of another connection."""
    if sample.told is not None:
        return [Happened(BEGIN_NS + ms * MS, event) for ms, event in sample.told()]
    with VenueSession(sample, messages_per_s=150.0) as session:
        session.run(1.2, step_ms=25)
        session.disconnect()
        session.run(0.2, step_ms=25)
    return session.happened


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")
