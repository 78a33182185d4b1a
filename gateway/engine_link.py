"""A gateway's connection to one engine: one subscriber, however many clients the gateway has.

Runs in the event loop, which watches the descriptors of the two ZeroMQ sockets. A topic is followed once, as long as
any client wants it; missed messages are recovered as `client/follower.py` decides.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog
import zmq

from tickplant.client.follower import Follower
from tickplant.client.request_line import RequestLine, connect
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError
from tickplant.runtime.standstill import Standstill
from tickplant.wire import GetRange, GetSnapshot, GetTopics, Reply, Request, TopicInfo, Topics, unpack_header

ANSWER_S: Final = 5.0
RANGE_S: Final = 10.0  # an engine may read the store for the answer
TURN_MESSAGES: Final = 256
UNDER_WAY: Final = 8  # requests in flight: an engine keeps few replies for one client
CHECK_IDLE_S: Final = 1.0
CHECK_BUSY_S: Final = 10.0
FILTERS: Final = 400  # subscriptions at the engine, which allows 1,000; beyond that, one takes all
HIGH_WATER_MESSAGES: Final = 10_000  # messages that wait here; further ones are recovered

Answered = Callable[[Reply | None, list[bytes]], None]
"""Takes a reply and its frames; None if no reply has come in time."""


class Listener(Protocol):
    """Receives an engine's messages."""

    def wanted(self, topic: str) -> bool:
        """Whether any client wants this topic."""

    def on_topic(self, link: EngineLink, topic: str, position: tuple[int, int]) -> None:
        """A topic is followed from this epoch and topic sequence on; 0 is its first record."""

    def on_message(self, link: EngineLink, message: Message) -> None:
        """The next message of a followed topic."""


class _Asked(NamedTuple):
    """A request in flight."""

    answered: Answered
    until_s: float  # in the time of `EngineLink._now_s`


class EngineLink:
    """One engine. Use it within the loop's thread; `close` it."""

    def __init__(self, publish: str, requests: str, listener: Listener) -> None:
        self.publish = publish
        self.epoch = -1  # as last heard
        self.infos: dict[str, TopicInfo] = {}  # all topics, as last listed
        self.followers: dict[str, Follower | None] = {}  # None: no client wants the topic
        self.messages = 0
        self.recovered_records = 0
        self.lost_records = 0
        self.unreadable = 0  # messages and replies of another version
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._log = structlog.get_logger()
        self._names: dict[bytes, Follower | None] = {}
        self._filters: Counter[bytes] = Counter()
        self._taken: set[bytes] = set()  # filters set at the engine
        self._queue: deque[tuple[Request, Answered, Callable[[], None]]] = deque()
        self._asked: dict[int, _Asked] = {}
        self._last_id = 0
        self._heard_s = self._checked_s = 0.0
        self._standstill = Standstill(2 * CHECK_IDLE_S)
        self._stood_s = 0.0  # total standstill, which does not count as waiting
        self._draining = False
        self._line = RequestLine(publish, requests)
        self._socket = self._line.context.socket(zmq.SUB)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, HIGH_WATER_MESSAGES)
        connect(self._socket, publish)
        self._fds = [int(socket.get(zmq.FD)) for socket in (self._socket, self._line.socket)]
        for fd in self._fds:
            self._loop.add_reader(fd, self._drain)
        self._timer = self._loop.call_later(CHECK_IDLE_S, self._tick)

    def close(self) -> None:
        """Close the sockets."""
        self._timer.cancel()
        for fd in self._fds:
            self._loop.remove_reader(fd)
        self._socket.close(0)
        self._line.close()

    # ------------------------------------------------------------------------------------------------ requests

    def request(self, request: Request, answered: Answered, on_sent: Callable[[], None] = lambda: None) -> None:
        """Send a request when its turn comes; `on_sent` is called then."""
        self._queue.append((request, answered, on_sent))
        self._send_next()

    async def ask(self, request: Request) -> tuple[Reply, list[bytes]]:
        """The reply. Raises SubscribeError if none comes."""
        future: asyncio.Future[tuple[Reply, list[bytes]]] = self._loop.create_future()

        def answered(reply: Reply | None, frames: list[bytes]) -> None:
            if future.done():
                return
            if reply is None:
                future.set_exception(SubscribeError(f"the engine at {self.publish} does not answer"))
            else:
                future.set_result((reply, frames))

        self.request(request, answered)
        return await future

    async def list_topics(self) -> None:
        """Update `infos` and the followers. Raises SubscribeError."""
        reply, _ = await self.ask(GetTopics())
        if isinstance(reply, Topics):
            self._on_topics(reply)

    def _now_s(self) -> float:
        """The time by which requests are judged: it excludes standstills of this process."""
        self._stood_s += self._standstill.look()
        return time.monotonic() - self._stood_s

    def _send_next(self) -> None:
        while self._queue and len(self._asked) < UNDER_WAY:
            request, answered, on_sent = self._queue.popleft()
            self._last_id += 1
            limit_s = RANGE_S if isinstance(request, GetRange) else ANSWER_S
            self._asked[self._last_id] = _Asked(answered, self._now_s() + limit_s)
            on_sent()
            self._line.send(msgspec.structs.replace(request, id=self._last_id))
        self._soon()  # sending may have consumed an edge of the descriptor

    # ------------------------------------------------------------------------------------------------ topics

    def want(self, prefixes: list[bytes]) -> None:
        """Have the engine send topics with these prefixes; calls are counted."""
        self._filters.update(prefixes)
        self._subscribe()

    def want_no_more(self, prefixes: list[bytes]) -> None:
        """Undo `want`, and forget the topics that no client wants any more."""
        self._filters -= Counter(prefixes)
        self._subscribe()
        for name, follower in list(self.followers.items()):
            if follower is None or not self._listener.wanted(name):
                del self.followers[name]
                self._names.pop(name.encode(), None)

    def _subscribe(self) -> None:
        wanted = {b""} if len(self._filters) > FILTERS else set(self._filters)
        for prefix in wanted - self._taken:
            self._socket.subscribe(prefix)
        for prefix in self._taken - wanted:
            self._socket.unsubscribe(prefix)
        self._taken = wanted
        self._soon()

    def _follower(self, topic: str, epoch: int, next_seq: int, *, begins: bool) -> Follower | None:
        if topic not in self.followers and self._listener.wanted(topic):
            # A gap and a snapshot tell a client of another life: its cursor counts within one life.
            follower = Follower(topic, snapshot=False, recover=True, from_start=begins, across_lives=False)
            self.followers[topic] = self._names[topic.encode()] = follower
            self._listener.on_topic(self, topic, (epoch, 0 if begins else next_seq))
        return self.followers.setdefault(topic, None)

    def _on_topics(self, reply: Topics) -> None:
        known = self.infos if reply.epoch == self.epoch else None
        self.epoch = reply.epoch
        self.infos = {info.topic: info for info in reply.topics}
        for info in reply.topics:
            begins = known is not None and info.topic not in known
            follower = self._follower(info.topic, reply.epoch, info.next_seq, begins=begins)
            if follower is not None:
                self._give(follower, follower.on_progress(reply.epoch, info))

    def _give(self, follower: Follower, messages: list[Message]) -> None:
        if self.followers.get(follower.topic) is not follower:
            return  # no client wanted the topic any more when the answer came, or it is followed anew
        for message in messages:
            if message.kind == "recovered":
                self.recovered_records += len(message.records)
            elif message.kind == "lost":
                self.lost_records += max(0, message.lost)
            self._listener.on_message(self, message)
        self.pass_on(follower, self._give)

    def pass_on(self, follower: Follower, give: Callable[[Follower, list[Message]], None]) -> None:
        """Send a follower's request; `give` receives the messages from its answer."""
        request = follower.take_request()
        if request is None:
            return

        def answered(reply: Reply | None, frames: list[bytes]) -> None:
            give(follower, follower.on_timeout() if reply is None else follower.on_reply(reply, frames))

        self.request(request, answered)

    def snapshot(self, topic: str, answered: Answered, on_sent: Callable[[], None]) -> None:
        """Ask for the state of a topic, as of a moment after `on_sent`."""
        self.request(GetSnapshot(topic), answered, on_sent)

    # ------------------------------------------------------------------------------------------------ turns

    def _soon(self) -> None:
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Take what has arrived: a bounded number of messages, so that other work of the loop has its turn."""
        self._draining = False
        if self._socket.closed:
            return
        more = True
        try:
            more = self._read_stream()
            while (answer := self._line.receive()) is not None:
                reply, frames = answer
                asked = self._asked.pop(reply.id, None)
                if asked is not None:
                    asked.answered(reply, frames)
                    self._send_next()
        except ValueError as error:
            more = True
            self.unreadable += 1
            if self.unreadable == 1:
                what = "an engine sent something that is not a message of this version"
                self._log.error(what, engine=self.publish, error=str(error))
        finally:
            if more:
                self._soon()

    def _read_stream(self) -> bool:
        """Read messages; returns whether more may have arrived."""
        receive, names = self._socket.recv_multipart, self._names
        for _ in range(TURN_MESSAGES):
            try:
                name, header, payload = receive(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self.messages += 1
            self._heard_s = self._loop.time()
            head = unpack_header(header)
            follower = names.get(name)
            if follower is None:
                # After the first list, a topic that is not in the list begins with this message.
                topic = name.decode()
                begins = self.epoch == head.epoch and topic not in self.infos
                follower = self._follower(topic, head.epoch, head.first_seq, begins=begins)
            if follower is not None:
                self._give(follower, follower.on_message(head, payload))
        return True

    def _tick(self) -> None:
        """Give up overdue requests, and check periodically whether anything was missed."""
        self._timer = self._loop.call_later(CHECK_IDLE_S, self._tick)
        now_s = self._now_s()
        for number, asked in list(self._asked.items()):
            if now_s > asked.until_s:
                del self._asked[number]
                asked.answered(None, [])
        self._send_next()
        now_s = self._loop.time()
        idle = now_s - self._heard_s > CHECK_IDLE_S
        if self._taken and now_s - self._checked_s > (CHECK_IDLE_S / 2 if idle else CHECK_BUSY_S):
            self._checked_s = now_s
            self.request(GetTopics(), lambda reply, _: self._on_topics(reply) if isinstance(reply, Topics) else None)
