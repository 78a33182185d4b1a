"""A process next to a plant that publishes the latest state of an engine's topics at a limited rate.

Many slow readers then cost the engine as much as one subscriber, and skipped updates never travel to them. What clients
may cost the relay is bounded as for an engine.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import zmq

from tickplant.client.conflated_topics import ConflatedTopics
from tickplant.client.subscription import Subscription, subscribe
from tickplant.errors import ConfigError, SubscribeError
from tickplant.runtime.child_loop import BEAT_S
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.client_sockets import answer, open_requests, open_stream, requests, subscriptions
from tickplant.runtime.config import DEFAULT_PUBLISH, ClientLimits, beside

LOOK_S: Final = 0.25
"""The longest wait for descriptors, see `Subscription.descriptors`."""

_MESSAGES_PER_TURN: Final = 1000
_REQUESTS_PER_TURN: Final = 16
_SUBSCRIPTIONS_PER_TURN: Final = 1000
_LIMITS: Final = ClientLimits()

_log: Final = logging.getLogger("tickplant")


class ConflatingRelay:
    """Follows topics and publishes them conflated; for `with`.

    Args:
        topics: as for `subscribe`.
        source: the engine's PUB address.
        address: where to publish; requests are answered at the next port.
        every_ms: each topic is published at most once in this many milliseconds.
        limits: what clients may cost over TCP, as for an engine. A client that exceeds a limit is disconnected.

    Raises SubscribeError if no engine answers, or if an address cannot be opened.
    """

    def __init__(
        self,
        *topics: str,
        source: str = DEFAULT_PUBLISH,
        address: str,
        every_ms: int,
        limits: ClientLimits = _LIMITS,
    ) -> None:
        self.topics = ConflatedTopics(time.time_ns() // 1000)
        tcp = address.startswith("tcp://")
        self._guard = Guard(limits, lambda: self._published_bytes, on_cut=_say_cut) if tcp else None
        self._limits = limits
        self._every_s = every_ms / 1000
        self._flushed_s = self._swept_s = 0.0
        self._published_bytes = 0
        self._messages: Subscription = subscribe(*topics, address=source)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            most = limits.high_water_messages
            self._stream = open_stream(self._context, address, limits, high_water_messages=most)
            self._requests = open_requests(self._context, beside(address), limits)
        except ConfigError as error:
            self.close()
            raise SubscribeError(str(error)) from None
        self._poller = zmq.Poller()
        for source_fd in (*self._messages.descriptors(), self._stream, self._requests):
            self._poller.register(source_fd, zmq.POLLIN)
        if self._guard:
            self._guard.watch(self._context, self._stream, subscribers=True)
            self._guard.watch(self._context, self._requests)
            self._poller.register(self._guard.fileno(), zmq.POLLIN)

    def __enter__(self) -> ConflatingRelay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        if self._guard:
            self._guard.close()
        self._messages.close()
        self._context.destroy(0)

    def run(self) -> None:
        """Publish what arrives; never returns."""
        while True:
            self._turn()

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
        if self._guard and now_s - self._swept_s >= BEAT_S:
            self._swept_s = now_s
            self._guard.sweep()
        if self.topics.waiting and now_s - self._flushed_s >= self._every_s:
            self._flushed_s = now_s
            for frames in self.topics.flush(time.time_ns()):
                self._stream.send_multipart(frames)
                self._published_bytes += sum(map(len, frames))

    def _serve(self) -> None:
        if self._guard:
            self._guard.attend()
        for _ in subscriptions(self._stream, self._guard, _SUBSCRIPTIONS_PER_TURN):
            pass  # ZeroMQ handles them, and the guard counts them
        for envelope, request in requests(self._requests, self._guard, self._limits, _REQUESTS_PER_TURN):
            answer(self._requests, self._guard, envelope, self.topics.answer(request))


def _say_cut(reason: str, number: int, total: int) -> None:
    _log.warning("clients cut off, %s: %d, in total %d", reason, number, total)
