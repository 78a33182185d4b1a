"""The line to the history service, for questions that only the store can answer.

The engine must not wait for the store, and remembers no question: each is sent with the route of its answer
(`src/tickplant/store/history_service.py`), and answers are passed on. If a question is lost because the service was
killed, the subscriber asks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import zmq

from tickplant.engine.retention import Interval
from tickplant.runtime.client_sockets import Envelope
from tickplant.runtime.control import HISTORY_HEAD, Passage
from tickplant.wire import GetHistory, GetRange, Gone, encode

QUESTIONS: Final = 1024  # of all subscribers together, that may wait until the service takes them
_ANSWERS: Final = 8
REMIND_S: Final = 10.0
"""If nothing is answered for this long after a question, its subscriber has given up or asks again."""


class HistoryLine:
    """Not thread-safe. Connected only while questions are asked: libzmq never stops looking for a service that is down.

    Args:
        context: the ZeroMQ context.
        address: address of the history service, which need not run yet.
        want: has the service started unless it runs.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, want: Callable[[], None]) -> None:
        self._want = want
        self._address = address
        self._connected = False
        self._used_s = float("-inf")  # when something was asked or answered
        self._asked_s = float("-inf")  # when the last question was asked; -inf: an answer has come since
        self._wanted_s = float("-inf")
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.set(zmq.SNDHWM, QUESTIONS)
        self.socket.set(zmq.RCVHWM, _ANSWERS)
        self.socket.set(zmq.RECONNECT_IVL, 20)
        self.socket.set(zmq.LINGER, 0)

    def ask_passage(self, envelope: Envelope, request: GetRange, interval: Interval, otherwise: Gone) -> bool:
        """Ask for a range whose first record lies in this interval. Returns whether there is room for the question."""
        info = interval.source.info
        return self._ask(
            envelope,
            Passage(
                id=request.id,
                topic=request.topic,
                epoch=request.epoch,
                first=request.first,
                count=min(request.last, interval.last) - request.first + 1,
                producer=interval.source.producer,
                schema=info.schema,
                instrument=info.instrument,
                price_scale=info.price_scale,
                size_scale=info.size_scale,
                first_seq=interval.first_seq,
                last_seq=interval.last_seq,
                records=interval.last - interval.first + 1,
                skip=request.first - interval.first,
                otherwise=encode(otherwise),
            ),
        )

    def ask_history(self, envelope: Envelope, request: GetHistory) -> bool:
        """Ask for what the store has of a topic. Returns whether there is room for the question."""
        return self._ask(envelope, request)

    def receive(self) -> Iterator[tuple[Envelope, list[bytes]]]:
        """Answers: the recipient and the frames of each."""
        for _ in range(_ANSWERS):
            try:
                head, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._asked_s, self._used_s = float("-inf"), time.monotonic()
            fd, _, count = HISTORY_HEAD.unpack(head)
            yield Envelope(frames[:count], fd), frames[count:]

    def remind(self) -> None:
        """Keep the service wanted while an answer is awaited; disconnect later. Call this about every second."""
        now_s = time.monotonic()
        if now_s - self._asked_s < REMIND_S:
            self._want()
        elif self._connected and now_s - self._used_s > REMIND_S:
            self.socket.disconnect(self._address)
            self._connected = False

    def close(self) -> None:
        """Close the socket."""
        self.socket.close(0)

    def _ask(self, envelope: Envelope, question: Passage | GetHistory) -> bool:
        self._used_s = now_s = time.monotonic()
        if not self._connected:
            self.socket.connect(self._address)
            self._connected = True
        head = HISTORY_HEAD.pack(envelope.fd, now_s, len(envelope.route))
        try:
            self.socket.send_multipart([head, *envelope.route, msgspec.msgpack.encode(question)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            if now_s - max(self._wanted_s, self._asked_s) > 1.0:
                self._wanted_s = now_s
                self._want()
        self._asked_s = now_s
        return True
