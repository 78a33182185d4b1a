"""The ROUTER side of an engine: snapshots, missed ranges and the list of topics. Imports shm and shared modules.

Served by the publisher's thread between two batches, so a snapshot is exactly what the messages so far add up to. The
requests are in `wire.py`. Nobody can starve the stream: a turn answers a bounded number of requests, a reply is bounded
in bytes, and a requester who does not read its replies loses them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.engine.publisher import Publisher, Topic, bind
from tickplant.errors import ConfigError
from tickplant.shm.records import Flag, Schema
from tickplant.shm.wire import (
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
    split_topic,
)

Records = NDArray[np.void]

REQUESTS_PER_TURN: Final = 16
REPLY_BYTES: Final = 1 << 20
"""A range is cut after the message with which it reaches this size."""

_REQUEST_BYTES: Final = 1 << 16
_QUEUED_REQUESTS: Final = 64  # of one requester; more wait in its own socket
_QUEUED_REPLIES: Final = 16


class Router:
    """Answers subscribers' requests from what the publisher keeps and from the engine's books. Not thread-safe.

    Args:
        context: of ZeroMQ.
        address: to bind.
        publisher: whose topics these are.
        book: gives the snapshot of an instrument's book, TICK records; see `Books.snapshot`.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        publisher: Publisher,
        book: Callable[[int], Records],
    ) -> None:
        self.served = 0
        self.refused = 0
        self.unread = 0  # replies that a requester did not take
        self._publisher = publisher
        self._book = book
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.MAXMSGSIZE, _REQUEST_BYTES)
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
                *envelope, request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            try:
                reply, frames = self._answer(request)
            except ValueError as error:
                reply, frames = Refused(0, str(error)), []
            self.refused += isinstance(reply, Refused)
            self.served += 1
            try:
                self.socket.send_multipart([*envelope, encode(reply), *frames], zmq.NOBLOCK)
            except zmq.ZMQError:  # full, or gone: EAGAIN, EHOSTUNREACH
                self.unread += 1
        return True

    def close(self, linger_s: float) -> None:
        """Let go of the socket."""
        self.socket.close(int(linger_s * 1000))

    def _answer(self, frame: bytes) -> tuple[Reply, list[bytes]]:
        request = decode_request(frame)
        publisher = self._publisher
        if isinstance(request, GetTopics):
            infos = [topic.now() for name, topic in publisher.by_name.items() if name.startswith(request.prefix)]
            return Topics(request.id, publisher.epoch, infos), []
        topic = publisher.by_name.get(request.topic)
        if topic is None:
            return Refused(request.id, f"{request.topic}: no such topic, or it has had no record yet"), []
        if isinstance(request, GetSnapshot):
            return self._snapshot(request, topic)
        return self._range(request, topic)

    def _snapshot(self, request: GetSnapshot, topic: Topic) -> tuple[Reply, list[bytes]]:
        info = topic.now()
        channel = split_topic(request.topic)[2]
        if channel == "book":
            records = self._book(info.instrument)
            stale = bool(records[-1]["flags"] & Flag.ON_BOOK)
        else:
            records = topic.last_records(2 if channel == "quote" else 1)
            stale = info.schema == Schema.BBO and bool(records[-1]["flags"] & Flag.STALE)
        reply = Snapshot(request.id, self._publisher.epoch, info, len(records), stale)
        return reply, [records.tobytes()]

    def _range(self, request: GetRange, topic: Topic) -> tuple[Reply, list[bytes]]:
        epoch = self._publisher.epoch
        oldest = topic.kept[0].first if topic.kept else topic.next_seq
        if request.epoch != epoch or request.first < oldest:
            return Gone(request.id, epoch, request.topic, oldest, topic.next_seq), []
        if request.first > request.last or request.last >= topic.next_seq:
            reason = f"{request.topic}: {request.first} to {request.last} is not a range below {topic.next_seq}"
            return Refused(request.id, reason), []
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
        return Range(request.id, epoch, request.topic, first, last, len(frames) // 2), frames
