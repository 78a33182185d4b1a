"""Recovery requests that only the store can answer.

The engine must not wait for the store. So a request is parked here, while the stream goes on,
until a recall process (`src/tickplant/store/recall.py`) has read what it asks for. The supervisor starts that process
when it is asked to, and it ends when it is idle: whichever announces itself is given all that is parked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
import zmq

from tickplant.engine.listening import bind
from tickplant.engine.publisher import Topic
from tickplant.engine.retention import Interval
from tickplant.errors import ConfigError
from tickplant.records.layouts import DTYPES, Schema
from tickplant.runtime.control import RECALL_READY, Passage
from tickplant.wire import GetRange, split_topic

REPLY_BYTES: Final = 1 << 20
"""A range is cut when it reaches this size."""

PARKED: Final = 1024  # requests, of all subscribers together
PATIENCE_S: Final = 10.0
"""How long a request is parked. The first one waits until the process has been started."""

_QUEUED_ANSWERS: Final = 8


class Envelope(NamedTuple):
    """Whom an answer goes to."""

    route: list[bytes]  # frames before the answer
    fd: int  # of its connection, for the guard


class Parked(NamedTuple):
    """A request that waits for the store."""

    envelope: Envelope
    request: GetRange
    topic: Topic
    interval: Interval
    passage: bytes
    since_s: float


class Recalls:
    """What is parked, and the line to the recall process. Not thread-safe.

    Args:
        context: of ZeroMQ.
        address: to bind, for the recall process.
        engine: name of the engine, producer of the derived records.
        ask: asks for a recall process, unless there is one.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, engine: str, *, ask: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._ask = ask
        self._reader = b""  # identity of the process; empty: none is known
        self._parked: dict[int, Parked] = {}  # by id of the passage, oldest first
        self._last_id = 0
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.RCVHWM, _QUEUED_ANSWERS)
        self.socket.set(zmq.SNDHWM, PARKED)
        try:
            bind(self.socket, address)
        except ConfigError:
            self.socket.close(0)
            raise

    def park(self, envelope: Envelope, request: GetRange, topic: Topic, interval: Interval) -> bool:
        """Have the store read for a request whose first record lies in this interval. Returns whether there is room."""
        if len(self._parked) >= PARKED:
            return False
        self._last_id += 1
        passage = msgspec.msgpack.encode(self._passage(self._last_id, request, interval))
        parked = Parked(envelope, request, topic, interval, passage, time.monotonic())
        self._parked[self._last_id] = parked
        self._send(parked)
        if not self._reader:
            self._ask()
        return True

    def receive(self) -> Iterator[tuple[Parked, bytes]]:
        """The requests that are answered, with their records; without, where the store does not have them."""
        for _ in range(_QUEUED_ANSWERS):
            try:
                reader, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if frames == [RECALL_READY]:
                self._greet(reader)
                continue
            number, payload = frames
            parked = self._parked.pop(int.from_bytes(number, "little"), None)
            if parked is not None:
                yield parked, payload

    def overdue(self) -> list[Parked]:
        """Requests that have waited long enough; they are parked no more. For the others a process is asked for."""
        limit_s = time.monotonic() - PATIENCE_S
        late = [number for number, parked in self._parked.items() if parked.since_s < limit_s]
        given_up = [self._parked.pop(number) for number in late]
        if self._parked:
            self._ask()
        return given_up

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close(0)

    def _greet(self, reader: bytes) -> None:
        """A recall process is there. What its predecessor was asked and did not answer is asked of it."""
        if reader != self._reader:
            self._reader = reader
            for parked in self._parked.values():
                self._send(parked)

    def _send(self, parked: Parked) -> None:
        if not self._reader:
            return
        try:
            self.socket.send_multipart([self._reader, parked.passage], zmq.NOBLOCK)
        except zmq.ZMQError:  # it has ended: EHOSTUNREACH; or its queue is full: EAGAIN
            self._reader = b""

    def _passage(self, number: int, request: GetRange, interval: Interval) -> Passage:
        info = interval.source.info
        schema = Schema(info.schema)
        return Passage(
            id=number,
            producer=interval.source.origin.feed if schema is Schema.TICK else self._engine,
            schema=info.schema,
            instrument=info.instrument,
            channel=split_topic(info.topic)[2],
            first_seq=interval.first_seq,
            last_seq=interval.last_seq,
            records=interval.last - interval.first + 1,
            skip=request.first - interval.first,
            count=min(min(request.last, interval.last) - request.first + 1, REPLY_BYTES // DTYPES[schema].itemsize),
        )
