"""The ROUTER side of an engine: serves snapshots, missed ranges and the list of topics.

The publisher's thread serves requests between two batches, so a snapshot is exactly the sum of all messages so far.
Requests are defined in `wire`. No client can starve the stream: a turn answers a bounded number of requests, replies
are bounded in bytes, a requester that does not read its replies loses them, and reading from the store is left to
another process (`history_line.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.derive.registry import BY_SCHEMA
from tickplant.engine.history_line import HistoryLine
from tickplant.engine.message_memory import Topic
from tickplant.engine.publisher import Publisher
from tickplant.records.layouts import Flag, Kind, Schema
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.client_sockets import Envelope, answer, open_requests, requests
from tickplant.runtime.config import ClientLimits
from tickplant.wire import (
    GetHistory,
    GetRange,
    GetSnapshot,
    GetTopics,
    Gone,
    OtherVersionError,
    Range,
    Refused,
    Reply,
    Snapshot,
    Topics,
    decode_request,
    encode,
    split_topic,
)

Records = NDArray[np.void]

REQUESTS_PER_TURN: Final = 16
REPLY_BYTES: Final = 1 << 20
"""The reply to a range is cut when it reaches this size."""


class Router:
    """Answers subscribers' requests from what the publisher keeps and from the engine's books. Not thread-safe.

    Args:
        context: the ZeroMQ context.
        address: the address to bind.
        publisher: the publisher of the topics.
        books: by channel, what returns the snapshot of an instrument's book as TICK records; see `Engine.book`.
        history: the line to the history service, for records that the publisher no longer keeps; None: they are gone.
        shared: whether several feeds record a symbol of a venue, so that no seq says where its topics begin.
        guard: learns of requests, and decides whether there is room for a reply.
        limits: limits on what a client may send.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        publisher: Publisher,
        books: Mapping[str, Callable[[int], Records]],
        *,
        history: HistoryLine | None = None,
        shared: Callable[[str, str], bool] = lambda *_: False,
        guard: Guard | None = None,
        limits: ClientLimits = ClientLimits(),
    ) -> None:
        self.served = 0
        self.refused = 0
        self.recalled = 0  # replies that came from the store, with records
        self.unread = 0  # replies that a requester did not take
        self._publisher = publisher
        self._books = books
        self._history = history
        self._shared = shared
        self._guard = guard
        self._limits = limits
        self.socket = open_requests(context, address, limits)

    def serve(self, limit: int = REQUESTS_PER_TURN) -> bool:
        """Answer up to `limit` waiting requests. Returns whether more may be waiting."""
        taken = 0
        for envelope, request in requests(self.socket, self._guard, self._limits, limit):
            taken += 1
            try:
                answer = self._answer(envelope, request)
            except OtherVersionError as error:
                answer = Refused(error.id, str(error)), []
            except ValueError as error:
                answer = Refused(0, str(error)), []
            if answer is not None:
                reply, frames = answer
                self.refused += isinstance(reply, Refused)
                self._send(envelope, [encode(reply), *frames])
        return taken == limit

    def pass_on_history(self) -> None:
        """Pass on replies from the history service."""
        if self._history is None:
            return
        for envelope, frames in self._history.receive():
            self.recalled += len(frames) > 1
            self._send(envelope, frames)

    def close(self, linger_s: float) -> None:
        """Close the socket."""
        self.socket.close(int(linger_s * 1000))

    def _send(self, envelope: Envelope, frames: list[bytes]) -> None:
        self.served += 1
        self.unread += not answer(self.socket, self._guard, envelope, frames)

    def _answer(self, envelope: Envelope, frame: bytes) -> tuple[Reply, list[bytes]] | None:
        """Answer one request; None if the answer comes later."""
        request = decode_request(frame)
        publisher = self._publisher
        if isinstance(request, GetTopics):
            infos = [topic.now() for name, topic in publisher.by_name.items() if name.startswith(request.prefix)]
            return Topics(request.id, publisher.epoch, infos), []
        if isinstance(request, GetHistory):
            if self._history and self._history.ask_history(envelope, request):
                return None
            busy = "too many requests wait for the store: ask again later"
            return Refused(request.id, busy if self._history else "this engine has no store to read"), []
        topic = publisher.by_name.get(request.topic)
        if topic is None and isinstance(request, GetSnapshot):
            topic = self._orders_of(request.topic)
        if topic is None:
            return Refused(request.id, f"{request.topic}: no such topic, or it has had no record yet"), []
        if isinstance(request, GetSnapshot):
            return self._snapshot(request, topic)
        if request.epoch != publisher.epoch:
            return self._gone(request, topic, topic.oldest), []
        if request.first > request.last or request.first < 0 or request.last >= topic.next_seq:
            reason = f"{request.topic}: {request.first} to {request.last} is not a range below {topic.next_seq}"
            return Refused(request.id, reason), []
        if request.first >= topic.oldest:
            return self._range(request, topic)
        if self._history is None:
            return self._gone(request, topic, topic.oldest), []
        interval = topic.past.interval(request.first)
        if interval is None:
            return self._following(request, topic, request.first), []
        otherwise = self._following(request, topic, interval.last)
        if self._history.ask_passage(envelope, request, interval, otherwise):
            return None
        return self._gone(request, topic, topic.oldest), []

    def _following(self, request: GetRange, topic: Topic, until: int) -> Gone:
        """Reply that available records continue after a topic sequence."""
        return self._gone(request, topic, topic.past.following(max(until, request.first + 1), topic.oldest))

    def _gone(self, request: GetRange, topic: Topic, oldest: int) -> Gone:
        """Reply that the range starts before the oldest available record."""
        venue, symbol, _ = split_topic(request.topic)
        begin = ("", -1) if topic.begin is None or self._shared(venue, symbol) else topic.begin
        return Gone(request.id, self._publisher.epoch, request.topic, oldest, topic.next_seq, *begin)

    def _snapshot(self, request: GetSnapshot, topic: Topic) -> tuple[Reply, list[bytes]]:
        info = topic.now()
        channel = split_topic(request.topic)[2]
        if channel in self._books:
            records = self._books[channel](info.instrument)
            stale = bool(records[-1]["kind"] == Kind.GAP)
        else:
            records = topic.last_records(2 if channel == "quote" else 1)
            entry = BY_SCHEMA.get(Schema(info.schema))
            stale = entry is not None and entry.restated and bool(records[-1]["flags"] & Flag.STALE)
        reply = Snapshot(request.id, self._publisher.epoch, info, len(records), stale)
        return reply, [records.tobytes()]

    def _orders_of(self, book: str) -> Topic | None:
        """The topic of the orders from which the requested levels are derived: a book of orders has no other topic."""
        base, _, channel = book.rpartition(".")
        return self._publisher.by_name.get(f"{base}.orders") if channel == "book" else None

    def _range(self, request: GetRange, topic: Topic) -> tuple[Reply, list[bytes]]:
        kept = topic.messages(request.first, request.last, REPLY_BYTES)
        frames = [frame for message in kept for frame in (message.header, message.payload)]
        reply = Range(request.id, self._publisher.epoch, request.topic, kept[0].first, kept[-1].last, len(kept))
        return reply, frames
