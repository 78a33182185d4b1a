"""The ROUTER side of an engine: snapshots, missed ranges and the list of topics.

Served by the publisher's thread between two batches, so a snapshot is exactly what the messages so far add up to. The
requests are in `wire`. Nobody can starve the stream: a turn answers a bounded number of requests, a reply is
bounded in bytes, a requester who does not read its replies loses them, and what must be read from the store is left
to another process (`history_requests.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.derive.registry import BY_SCHEMA
from tickplant.engine.guard import REQUEST_FRAMES, Guard
from tickplant.engine.history_requests import REPLY_BYTES, Envelope, Parked, Recalls
from tickplant.engine.listening import bind, descriptor, restrict
from tickplant.engine.publisher import Publisher, Topic
from tickplant.errors import ConfigError
from tickplant.records.layouts import DTYPES, Flag, Kind, Schema
from tickplant.runtime.config import EngineConfig
from tickplant.wire import (
    MESSAGE_RECORDS,
    GetRange,
    GetSnapshot,
    GetTopics,
    Gone,
    Range,
    Refused,
    Reply,
    Snapshot,
    Topics,
    decode_request,
    encode,
    pack_header,
    split_topic,
)

Records = NDArray[np.void]

REQUESTS_PER_TURN: Final = 16
_QUEUED_REQUESTS: Final = 32  # of one requester; more wait in its own socket
_QUEUED_REPLIES: Final = 16


class Router:
    """Answers subscribers' requests from what the publisher keeps and from the engine's books. Not thread-safe.

    Args:
        context: of ZeroMQ.
        address: to bind.
        publisher: whose topics these are.
        books: by channel, what gives the snapshot of an instrument's book, TICK records; see `Engine.book`.
        recalls: who has the store read for ranges that the publisher has forgotten; without it they are gone.
        guard: is told of requests, and decides whether there is room for a reply.
        limits: on what a client may send.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        publisher: Publisher,
        books: Mapping[str, Callable[[int], Records]],
        *,
        recalls: Recalls | None = None,
        guard: Guard | None = None,
        limits: EngineConfig = EngineConfig(),  # noqa: B008  # frozen
    ) -> None:
        self.served = 0
        self.refused = 0
        self.recalled = 0  # ranges that came from the store
        self.unread = 0  # replies that a requester did not take
        self._publisher = publisher
        self._books = books
        self._recalls = recalls
        self._guard = guard
        self._request_bytes = limits.request_kib << 10
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        restrict(self.socket, limits, max_frame_bytes=self._request_bytes)
        self.socket.set(zmq.RCVHWM, _QUEUED_REQUESTS)
        self.socket.set(zmq.SNDHWM, _QUEUED_REPLIES)
        try:
            bind(self.socket, address)
        except ConfigError:
            self.socket.close(0)
            raise

    def serve(self, limit: int = REQUESTS_PER_TURN) -> bool:
        """Answer up to `limit` waiting requests. Returns whether more may be waiting."""
        for _ in range(limit):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            *route, request = (part.bytes for part in parts)
            envelope = Envelope(route, descriptor(parts[-1]) if self._guard else -1)
            if self._guard:
                sizes = [len(part) for part in parts[1:]]  # the first one, who it is, is ours
                self._guard.served(envelope.fd, sizes)
                if len(sizes) > REQUEST_FRAMES or sum(sizes) > self._request_bytes:
                    self._guard.cut_off(envelope.fd, "request too large")
                    continue
            try:
                answer = self._answer(envelope, request)
            except ValueError as error:
                answer = Refused(0, str(error)), []
            if answer is not None:
                self._send(envelope, *answer)
        return True

    def serve_recalled(self) -> None:
        """Pass on what has come from the store."""
        if self._recalls is None:
            return
        for parked, payload in self._recalls.receive():
            if payload:
                self._send(parked.envelope, *self._recalled(parked, payload))
                self.recalled += 1
            else:
                self._send(parked.envelope, self._gone(parked.request, parked.topic, parked.interval.last), [])

    def give_up_overdue(self) -> None:
        """Answer the requests for which the store has not been read in time. Call it about every second."""
        if self._recalls is None:
            return
        for parked in self._recalls.overdue():
            topic = parked.topic
            # All that is forgotten: another attempt at the next part of it would keep its subscriber as long again.
            self._send(parked.envelope, self._gone(parked.request, topic, topic.oldest), [])

    def close(self, linger_s: float) -> None:
        """Let go of the socket."""
        self.socket.close(int(linger_s * 1000))

    def _send(self, envelope: Envelope, reply: Reply, frames: list[bytes]) -> None:
        self.refused += isinstance(reply, Refused)
        self.served += 1
        message = [*envelope.route, encode(reply), *frames]
        if self._guard and not self._guard.may_reply(envelope.fd, map(len, message[1:])):
            self.unread += 1
            return
        try:
            self.socket.send_multipart(message, zmq.NOBLOCK)
        except zmq.ZMQError:  # full, or gone: EAGAIN, EHOSTUNREACH
            self.unread += 1

    def _answer(self, envelope: Envelope, frame: bytes) -> tuple[Reply, list[bytes]] | None:
        """None where the answer comes later."""
        request = decode_request(frame)
        publisher = self._publisher
        if isinstance(request, GetTopics):
            infos = [topic.now() for name, topic in publisher.by_name.items() if name.startswith(request.prefix)]
            return Topics(request.id, publisher.epoch, infos), []
        topic = publisher.by_name.get(request.topic)
        if topic is None and isinstance(request, GetSnapshot):
            topic = self._orders_of(request.topic)
        if topic is None:
            return Refused(request.id, f"{request.topic}: no such topic, or it has had no record yet"), []
        if isinstance(request, GetSnapshot):
            return self._snapshot(request, topic)
        if request.epoch != publisher.epoch:
            return Gone(request.id, publisher.epoch, request.topic, topic.oldest, topic.next_seq), []
        if request.first > request.last or request.first < 0 or request.last >= topic.next_seq:
            reason = f"{request.topic}: {request.first} to {request.last} is not a range below {topic.next_seq}"
            return Refused(request.id, reason), []
        if request.first >= topic.oldest:
            return self._range(request, topic)
        interval = topic.past.interval(request.first) if self._recalls else None
        if self._recalls and interval and self._recalls.park(envelope, request, topic, interval):
            return None
        return self._gone(request, topic, request.first if self._recalls and not interval else topic.oldest), []

    def _gone(self, request: GetRange, topic: Topic, until: int) -> Gone:
        """Reply that the range starts before the oldest available record."""
        oldest = topic.past.following(max(until, request.first + 1), topic.oldest)
        return Gone(request.id, self._publisher.epoch, request.topic, oldest, topic.next_seq)

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
        """The topic of the orders that the levels asked for are derived from: a book of orders has no other topic."""
        base, _, channel = book.rpartition(".")
        return self._publisher.by_name.get(f"{base}.orders") if channel == "book" else None

    def _range(self, request: GetRange, topic: Topic) -> tuple[Reply, list[bytes]]:
        # Messages hold at least one record, so the one with `first` is at most that many places from either end.
        skip = max(0, len(topic.kept) - (topic.next_seq - request.first))
        frames: list[bytes] = []
        size = 0
        first = last = request.first
        for kept in islice(topic.kept, skip, None):
            if kept.last < request.first:
                continue
            if kept.first > request.last or size >= REPLY_BYTES:
                break
            if not frames:
                first = kept.first
            frames += (kept.header, kept.payload)
            size += len(kept.payload)
            last = kept.last
        return Range(request.id, self._publisher.epoch, request.topic, first, last, len(frames) // 2), frames

    def _recalled(self, parked: Parked, payload: bytes) -> tuple[Reply, list[bytes]]:
        """Records from the store as messages; they begin with the first one that was asked for."""
        request, info = parked.request, parked.interval.source.info
        epoch = self._publisher.epoch
        record_bytes = DTYPES[Schema(info.schema)].itemsize
        records = len(payload) // record_bytes
        frames: list[bytes] = []
        for start in range(0, records, MESSAGE_RECORDS):
            count = min(MESSAGE_RECORDS, records - start)
            scales = info.price_scale, info.size_scale
            first = request.first + start
            frames += (
                pack_header(info.schema, record_bytes, count, epoch, first, 0, info.instrument, *scales),
                payload[start * record_bytes : (start + count) * record_bytes],
            )
        last = request.first + records - 1
        return Range(request.id, epoch, request.topic, request.first, last, len(frames) // 2), frames
