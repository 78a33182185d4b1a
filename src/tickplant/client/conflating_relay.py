"""A process beside a plant that publishes the latest of an engine's topics, at most every so many milliseconds.

Many slow readers cost the engine what one subscriber costs, and what is left out never travels to them.
"""

from __future__ import annotations

import time
from typing import Final

import zmq

from tickplant.client.conflated_topics import ConflatedTopics
from tickplant.client.subscription import Subscription, subscribe
from tickplant.errors import SubscribeError
from tickplant.runtime.config import DEFAULT_PUBLISH, beside

LOOK_S: Final = 0.25
"""The longest wait between two looks, see `Subscription.descriptors`."""

_MESSAGES_PER_TURN: Final = 1000
_REQUESTS_PER_TURN: Final = 16
_QUEUED: Final = 32  # requests and replies of one client
_FRAME_BYTES: Final = 64 << 10  # that a client may send


class ConflatingRelay:
    """Follows topics and publishes them conflated; for `with`.

    Args:
        topics: as for `subscribe`.
        source: where the engine publishes.
        address: where to publish; requests are answered beside it, at the next port.
        every_ms: a topic is published at most once in so many milliseconds.

    Raises SubscribeError where no engine answers, or where an address cannot be opened.
    """

    def __init__(self, *topics: str, source: str = DEFAULT_PUBLISH, address: str, every_ms: int) -> None:
        self.topics = ConflatedTopics(time.time_ns() // 1000)
        self._every_s = every_ms / 1000
        self._flushed_s = 0.0
        self._messages: Subscription = subscribe(*topics, address=source)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._stream = self._open(zmq.PUB, address)
            self._requests = self._open(zmq.ROUTER, beside(address))
        except SubscribeError:
            self.close()
            raise
        self._poller = zmq.Poller()
        for source_fd in (*self._messages.descriptors(), self._requests):
            self._poller.register(source_fd, zmq.POLLIN)

    def __enter__(self) -> ConflatingRelay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the sockets."""
        self._messages.close()
        self._context.destroy(0)

    def run(self) -> None:
        """Publish what comes; never ends."""
        while True:
            self._turn()

    def _open(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IPV6, int("[" in address))
        socket.set(zmq.MAXMSGSIZE, _FRAME_BYTES)
        if kind == zmq.ROUTER:
            socket.set(zmq.RCVHWM, _QUEUED)
            socket.set(zmq.SNDHWM, _QUEUED)
            socket.set(zmq.ROUTER_MANDATORY, 1)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise SubscribeError(f"{address}: cannot be opened: {error.strerror}") from None
        return socket

    def _turn(self) -> None:
        left_s = self._flushed_s + self._every_s - time.monotonic() if self.topics.waiting else LOOK_S
        if left_s > 0 and not self._messages.pending():
            self._poller.poll(max(1, int(min(LOOK_S, left_s) * 1000)))
        for _ in range(_MESSAGES_PER_TURN):
            message = self._messages.receive(0.0)
            if message is None:
                break
            self.topics.add(message)
        self._serve()
        now_s = time.monotonic()
        if self.topics.waiting and now_s - self._flushed_s >= self._every_s:
            self._flushed_s = now_s
            for frames in self.topics.flush(time.time_ns()):
                self._stream.send_multipart(frames)

    def _serve(self) -> None:
        for _ in range(_REQUESTS_PER_TURN):
            try:
                *route, request = self._requests.recv_multipart(zmq.NOBLOCK)
                self._requests.send_multipart([*route, *self.topics.answer(request)], zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:  # whoever asked has gone
                continue
