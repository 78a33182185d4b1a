"""The subscriber's side of a plant: `subscribe`.

A `Subscription` owns the sockets and the clock; `follower` decides for each topic what is missing, what to request and
what to give. It needs no thread: everything happens while the user iterates.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from types import TracebackType
from typing import Final, Self

import msgspec
import zmq

from tickplant.client.follower import Follower
from tickplant.client.request_line import CONNECT_TIMEOUT_S, RequestLine, connect
from tickplant.client.topic_message import Message
from tickplant.client.topic_patterns import Pattern, filters, nearest
from tickplant.errors import SubscribeError
from tickplant.printable import printable
from tickplant.runtime.config import DEFAULT_PUBLISH, beside
from tickplant.wire import GetSnapshot, GetTopics, Reply, Topics, unpack_header

ANSWER_TIMEOUT_S: Final = 5.0
RANGE_TIMEOUT_S: Final = 10.0
"""Longer, since records that an engine no longer keeps are read from the store."""

CHECK_IDLE_S: Final = 1.0
CHECK_BUSY_S: Final = 10.0
"""How often the engine is asked how far its topics are, when nothing arrives and when something does: otherwise the
loss of a topic's last message would go unnoticed."""

ABSENT_S: Final = 10.0
"""A topic that the engine does not have after this time is logged: it may be mistyped, or not exist yet."""

_log: Final = logging.getLogger("tickplant")

_MESSAGES_PER_TURN: Final = 256

_REQUESTS_UNDER_WAY: Final = 8
"""Further requests wait their turn here: an engine keeps few replies for one subscriber, and drops the rest."""


def subscribe(
    *topics: str,
    address: str = DEFAULT_PUBLISH,
    requests: str = "",
    snapshot: bool = True,
    recover: bool = True,
    timeout: float = CONNECT_TIMEOUT_S,
    high_water_messages: int = 10_000,
) -> Subscription:
    """Attach to a running plant or replay. Use the result in a `with` statement, and iterate over it.

    The stream begins before this function returns: everything that the engine publishes from then on is delivered or
    reported as lost, even if the engine hears of the subscription later.

    Args:
        topics: `venue.SYMBOL.channel`; or a prefix up to a dot, which includes everything below, such as `binance` or
            `binance.BTCUSDT`; or a pattern with `*` for any text, such as `binance.*.trade`. Without topics:
            everything. Topics need not exist yet, see `Subscription`.
        address: the engine's PUB address.
        requests: the engine's address for requests; by default the port after that of `address`.
        snapshot: begin each book, quote and bbo with its current state (unless its very first record arrives live).
        recover: fetch missed records. Otherwise they are reported as lost at once.
        timeout: seconds to wait for the engine's first answer.
        high_water_messages: how many messages may queue up if you iterate slowly. Further messages are missed, then
            recovered or reported as lost.

    Raises:
        SubscribeError: no engine answers at the address.
    """
    return Subscription(
        topics or ("*",),
        address=address,
        requests=requests or beside(address),
        snapshot=snapshot,
        recover=recover,
        timeout_s=timeout,
        high_water_messages=high_water_messages,
    )


class Subscription:
    """An iterator over `Message`s; made by `subscribe`. Not for use by several threads.

    Iteration never ends: if the plant goes away, the subscription reconnects when the plant is back.

    The subscription waits for topics that the engine does not have yet. After 10 s it warns once about each of them,
    with similar topics, through the logger `tickplant`; not if the engine has no topics at all, or `warns_of_absent` is
    false.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        *,
        address: str,
        requests: str,
        snapshot: bool,
        recover: bool,
        timeout_s: float,
        high_water_messages: int,
    ) -> None:
        self.address = address
        self.lost_records = 0  # known lost records
        self.recovered_records = 0
        self.warns_of_absent = True
        self._topics = topics
        self._patterns = [Pattern(text) for text in topics]
        self._snapshot = snapshot
        self._recover = recover
        self._followers: dict[str, Follower | None] = {}  # None: a topic that passes ZeroMQ's filter but is not wanted
        self._names: dict[bytes, Follower | None] = {}
        self._ready: deque[Message] = deque()
        self._asked: dict[int, tuple[Follower, float]] = {}  # by request id: who asked, and the deadline
        self._to_ask: dict[Follower, None] = {}  # followers waiting for their turn to ask, in order
        self._last_id = 0
        self._check_id = 0
        self._names_id = 0
        self._listed = False  # a topic missing from the first list begins later, and is wanted from sequence 0 on
        self._line = RequestLine(address, requests)
        try:
            self._socket = self._line.context.socket(zmq.SUB)
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.RCVHWM, high_water_messages)
            for prefix in filters(self._patterns):
                self._socket.subscribe(prefix)
            connect(self._socket, address)
            self._poller = zmq.Poller()
            self._poller.register(self._socket, zmq.POLLIN)
            self._poller.register(self._line.socket, zmq.POLLIN)
            reply, _ = self._line.ask(GetTopics(prefix=self._common_prefix()), timeout_s)
            if not isinstance(reply, Topics):
                raise SubscribeError(f"{requests}: unexpected answer to a request for topics: {reply}")
            self._on_topics(reply)
            self._listed = True
        except BaseException:
            self.close()
            raise
        self._checked_s = self._heard_s = time.monotonic()
        self._names_due_s = self._checked_s + ABSENT_S

    def existing(self, wanted: str) -> list[str]:
        """The known topics of the engine that match a topic or pattern."""
        pattern = Pattern(wanted)
        return sorted(topic for topic in self._followers if pattern.matches(topic))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._line.socket.closed

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none arrives within `timeout_s`. Raises SubscribeError: not a tickplant stream."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            left_s = CHECK_IDLE_S if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            self._turn(min(left_s, CHECK_IDLE_S / 4))
            if left_s == 0.0 and not self._ready:
                return None
        message = self._ready.popleft()
        if message.kind == "recovered":
            self.recovered_records += len(message.records)
        elif message.kind == "lost":
            self.lost_records += max(0, message.lost)
        return message

    def descriptors(self) -> tuple[int, ...]:
        """For event loops: descriptors that become readable when a message may have come. Then call `receive(0.0)`.

        They are edge-triggered, and may miss an event: check `pending` before waiting, and wait at most a quarter of a
        second, since the subscription has deadlines of its own.
        """
        return self._socket.fileno(), self._line.socket.fileno()

    def pending(self) -> bool:
        """Whether messages have arrived that `receive` has not processed."""
        return bool(self._ready) or bool(self._poller.poll(0))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = None if self.closed else self.receive()
        if message is None:
            raise StopIteration
        return message

    def close(self) -> None:
        """Detach. Idempotent."""
        if not self.closed:
            if hasattr(self, "_socket"):
                self._socket.close()
            self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _turn(self, timeout_s: float) -> None:
        """Wait for something to happen, and handle it."""
        self._poller.poll(max(0, int(timeout_s * 1000)))
        try:
            self._read_stream()
            while (answer := self._line.receive()) is not None:
                self._on_reply(*answer)
        except ValueError as error:
            raise SubscribeError(f"{self.address}: {error}") from None
        now_s = time.monotonic()
        for request_id, (follower, until_s) in list(self._asked.items()):
            if now_s > until_s:
                del self._asked[request_id]
                self._ready += follower.on_timeout()
                self._pass_on_request(follower)
        quiet = now_s - self._heard_s > CHECK_IDLE_S
        if now_s - self._checked_s > (CHECK_IDLE_S if quiet else CHECK_BUSY_S):
            self._checked_s = now_s
            self._check_id = self._next_id()
            self._line.send(GetTopics(self._check_id, self._common_prefix()))
        if now_s > self._names_due_s:
            self._names_due_s = math.inf
            if self.warns_of_absent and not all(map(self.existing, self._topics)):
                self._names_due_s = now_s + ABSENT_S  # the request may be lost, and the engine may have nothing yet
                self._names_id = self._next_id()
                self._line.send(GetTopics(self._names_id))

    def _read_stream(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            try:
                name, header, payload = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard_s = time.monotonic()
            if name in self._names:
                follower = self._names[name]
            else:
                follower = self._names[name] = self._follower(name.decode())
            if follower is not None:
                self._ready += follower.on_message(unpack_header(header), payload)
                self._pass_on_request(follower)

    def _on_reply(self, reply: Reply, frames: list[bytes]) -> None:
        if isinstance(reply, Topics):
            if reply.id == self._check_id:
                self._on_topics(reply)
            elif reply.id == self._names_id and reply.topics:
                self._names_due_s = math.inf
                self._warn_of_absent([info.topic for info in reply.topics])
            return
        follower, _ = self._asked.pop(reply.id, (None, 0.0))
        if follower is not None:
            self._ready += follower.on_reply(reply, frames)
            self._pass_on_request(follower)

    def _on_topics(self, reply: Topics) -> None:
        for info in reply.topics:
            follower = self._follower(info.topic)
            if follower is not None:
                self._ready += follower.on_progress(reply.epoch, info)
                self._pass_on_request(follower)

    def _warn_of_absent(self, names: list[str]) -> None:
        """Log each wanted topic that the engine does not have."""
        for wanted, pattern in zip(self._topics, self._patterns, strict=True):
            if not any(map(pattern.matches, names)):
                alike = f"the nearest: {', '.join(near)}" if (near := nearest(wanted, names)) else "none is like it"
                text = printable(f"{wanted}: the engine at {self.address} has no such topic; {alike}")
                _log.warning("%s; waiting for its first record", text)

    def _follower(self, topic: str) -> Follower | None:
        if topic not in self._followers:
            wanted = any(pattern.matches(topic) for pattern in self._patterns)
            self._followers[topic] = (
                Follower(topic, snapshot=self._snapshot, recover=self._recover, from_start=self._listed)
                if wanted
                else None
            )
        return self._followers[topic]

    def _pass_on_request(self, follower: Follower) -> None:
        self._to_ask[follower] = None
        while self._to_ask and len(self._asked) < _REQUESTS_UNDER_WAY:
            first = next(iter(self._to_ask))
            del self._to_ask[first]
            request = first.take_request()
            if request is not None:
                request = msgspec.structs.replace(request, id=self._next_id())
                timeout_s = ANSWER_TIMEOUT_S if isinstance(request, GetSnapshot) else RANGE_TIMEOUT_S
                self._asked[request.id] = first, time.monotonic() + timeout_s
                self._line.send(request)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _common_prefix(self) -> str:
        """The common prefix of all wanted topics."""
        first, *others = (pattern.prefix.decode() for pattern in self._patterns)
        while not all(other.startswith(first) for other in others):
            first = first[:-1]
        return first
