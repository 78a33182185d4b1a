"""The subscriber's side of a plant: `subscribe`, `fetch_book`.

A `Subscription` owns the sockets and the clock; what is missing, what to ask for and what to give is decided, topic
by topic, in `follower`. It needs no thread: everything happens while its user iterates.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec
import numpy as np
import zmq

from tickplant.client.follower import Follower, Message
from tickplant.errors import SubscribeError
from tickplant.records.layouts import DTYPES, Kind, Schema, Side
from tickplant.runtime.config import DEFAULT_PUBLISH, beside
from tickplant.wire import (
    GetRange,
    GetSnapshot,
    GetTopics,
    Reply,
    Request,
    Snapshot,
    Topics,
    decode_reply,
    encode,
    make_topic,
    unpack_header,
)

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 5.0
RANGE_TIMEOUT_S: Final = 15.0
"""An engine that has forgotten what is asked for has it read from the store, and may take ten seconds for that."""

CHECK_IDLE_S: Final = 1.0
CHECK_BUSY_S: Final = 10.0
"""How often the engine is asked how far its topics are, when nothing arrives and when something does: otherwise nobody
would notice that the last message of a topic was lost."""

_MESSAGES_PER_TURN: Final = 256
_FILTER_BYTES: Final = 128
_FILTERS: Final = 500
"""Of one client; the defaults of an engine allow twice as many. See docs/operations.md, "Limits"."""

_REQUESTS_UNDER_WAY: Final = 8
"""More wait here for their turn: an engine keeps few replies for one subscriber, and drops those beyond."""


def subscribe(
    *topics: str,
    address: str = DEFAULT_PUBLISH,
    requests: str = "",
    snapshot: bool = True,
    recover: bool = True,
    timeout: float = CONNECT_TIMEOUT_S,
    high_water_messages: int = 10_000,
) -> Subscription:
    """Attach to a running plant or replay. Use the result in `with`, and iterate over it.

    Args:
        topics: `venue.SYMBOL.channel`; or the beginning of one, up to a dot, which means everything below it, such as
            `binance` or `binance.BTCUSDT`; or with `*` for any text, such as `binance.*.trade`. None: everything.
        address: where the engine publishes.
        requests: where it answers requests; by default beside `address`, at the next port.
        snapshot: begin a book, quote or bbo with its present state (not where its very first record comes live).
        recover: ask for what was missed. Without it, that is reported as lost at once.
        timeout: seconds to wait for the engine's first answer.
        high_water_messages: how many messages may wait here for a user who is slow to iterate. What comes beyond is
            missed, and recovered or reported.

    Raises:
        SubscribeError: no engine answers there.
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


class Book(msgspec.Struct, frozen=True):
    """A book as it is now. Levels are (price, size) mantissas, best first; value = mantissa * 10**-scale."""

    venue: str
    symbol: str
    ts_event: int
    ts_recv: int
    stale: bool
    price_scale: int
    size_scale: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


def fetch_book(
    venue: str, symbol: str, *, address: str = DEFAULT_PUBLISH, requests: str = "", timeout: float = CONNECT_TIMEOUT_S
) -> Book:
    """The book of an instrument as it is now. Raises SubscribeError: no engine answers, or it has no such book."""
    try:
        topic = make_topic(venue, symbol, "book")
    except ValueError as error:
        raise SubscribeError(str(error)) from None
    line = _Line(address, requests or beside(address))
    try:
        reply, frames = line.ask(GetSnapshot(topic), timeout)
    finally:
        line.close()
    if not isinstance(reply, Snapshot):
        raise SubscribeError(f"{line.address}: {getattr(reply, 'reason', reply)}")
    try:
        records = np.frombuffer(frames[0], DTYPES[Schema.TICK])
        first = records[0]
    except (IndexError, ValueError) as error:
        raise SubscribeError(f"{line.address}: it answered with something that is no book: {error}") from None
    levels = {}
    for side in (Side.BID, Side.ASK):
        chosen = records[(records["kind"] == Kind.LEVEL) & (records["side"] == side)]
        levels[side] = list(zip(chosen["price"].tolist(), chosen["size"].tolist(), strict=True))
    return Book(
        venue=venue,
        symbol=symbol,
        ts_event=int(first["ts_event"]),
        ts_recv=int(first["ts_recv"]),
        stale=reply.stale,
        price_scale=reply.info.price_scale,
        size_scale=reply.info.size_scale,
        bids=levels[Side.BID],
        asks=levels[Side.ASK],
    )


class Pattern:
    """What a user wants: as a prefix, which ZeroMQ filters by at the publisher, and as an exact test."""

    def __init__(self, text: str) -> None:
        self.prefix = text.partition("*")[0].encode()
        parts = "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text))
        self._expression = re.compile(rf"{parts}(\..*)?", re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether the user wants this topic."""
        return self._expression.fullmatch(topic) is not None


def filters(patterns: Sequence[Pattern]) -> list[bytes]:
    """What ZeroMQ filters by: the fewest prefixes that let all wanted topics through, within what any engine allows.

    A filter may let more through than is wanted; the patterns sort that out. So long prefixes are cut, and where there
    are too many of them they are shortened to `venue.`, and if those are too many still, to nothing.
    """
    found = {pattern.prefix[:_FILTER_BYTES] for pattern in patterns}
    for shortened in (found, {prefix[: prefix.find(b".") + 1] for prefix in found}, {b""}):
        kept: list[bytes] = []
        for prefix in sorted(shortened):  # what another one begins with comes before it
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        if len(kept) <= _FILTERS:
            return kept
    raise AssertionError("one filter is never too many")


class Subscription:
    """An iterator over `Message`s; made by `subscribe`. Not for use by several threads.

    Iteration never ends by itself: a plant that goes away may come back, and is then followed again.
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
        self.lost_records = 0  # known to be lost
        self.recovered_records = 0
        self._patterns = [Pattern(text) for text in topics]
        self._snapshot = snapshot
        self._recover = recover
        self._followers: dict[str, Follower | None] = {}  # None: a topic that ZeroMQ lets through and nobody wants
        self._names: dict[bytes, Follower | None] = {}
        self._ready: deque[Message] = deque()
        self._asked: dict[int, tuple[Follower, float]] = {}  # by request id: who asked, and until when it waits
        self._to_ask: dict[Follower, None] = {}  # those whose turn to ask has not come, in order
        self._last_id = 0
        self._check_id = 0
        self._listed = False  # a topic that the first list does not hold begins after it, and is wanted from 0 on
        self._line = _Line(address, requests)
        try:
            self._socket = self._line.context.socket(zmq.SUB)
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.RCVHWM, high_water_messages)
            for prefix in filters(self._patterns):
                self._socket.subscribe(prefix)
            _connect(self._socket, address)
            self._poller = zmq.Poller()
            self._poller.register(self._socket, zmq.POLLIN)
            self._poller.register(self._line.socket, zmq.POLLIN)
            reply, _ = self._line.ask(GetTopics(prefix=self._common_prefix()), timeout_s)
            if not isinstance(reply, Topics):
                raise SubscribeError(f"{requests}: asked for its topics, it answered {reply}")
            self._on_topics(reply)
            self._listed = True
        except BaseException:
            self.close()
            raise
        self._checked_s = self._heard_s = time.monotonic()

    def existing(self, wanted: str) -> list[str]:
        """Topics that the engine has by now, as far as this subscription has heard, that a topic or pattern means."""
        pattern = Pattern(wanted)
        return sorted(topic for topic in self._followers if pattern.matches(topic))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._line.socket.closed

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None where there is none within `timeout_s`. Raises SubscribeError: not such a stream."""
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
        """Wait for something to happen, and deal with it."""
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
                timeout_s = RANGE_TIMEOUT_S if isinstance(request, GetRange) else ANSWER_TIMEOUT_S
                self._asked[request.id] = first, time.monotonic() + timeout_s
                self._line.send(request)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _common_prefix(self) -> str:
        """What all wanted topics begin with."""
        first, *others = (pattern.prefix.decode() for pattern in self._patterns)
        while not all(other.startswith(first) for other in others):
            first = first[:-1]
        return first


class _Line:
    """A line for requests to an engine."""

    def __init__(self, publish: str, address: str) -> None:
        self.publish = publish  # for errors: what the user gave
        self.address = address
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        try:
            _connect(self.socket, address)
        except SubscribeError:
            self.close()
            raise

    def send(self, request: Request) -> None:
        """Queue a request. Dropped where nobody has taken any for long: whoever sent it has a deadline."""
        try:
            self.socket.send(encode(request), zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self) -> tuple[Reply, list[bytes]] | None:
        """A reply and its raw frames, if one has arrived. Raises ValueError."""
        try:
            head, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return decode_reply(head), frames

    def ask(self, request: Request, timeout_s: float) -> tuple[Reply, list[bytes]]:
        """Send and wait. Raises SubscribeError."""
        self.send(request)
        try:
            answer = self.receive() if self.socket.poll(max(1, int(timeout_s * 1000))) else None
        except ValueError as error:
            raise SubscribeError(f"{self.address}: {error}") from None
        if answer is None:
            raise SubscribeError(
                f"{self.publish}: no engine answers within {timeout_s:g} s (requests go to {self.address}); start the "
                "plant with `tickplant up`, or give the `publish` address of its configuration"
            )
        return answer

    def close(self) -> None:
        """Let go."""
        self.socket.close()
        self.context.term()


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    socket.set(zmq.IPV6, int("[" in address))
    try:
        _ = urlsplit(address).port  # ZeroMQ would wait for an address that is half an IPv6 one
        socket.connect(address)
    except (zmq.ZMQError, ValueError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SubscribeError(f"{address!r} is not an address such as {DEFAULT_PUBLISH}: {why}") from None
