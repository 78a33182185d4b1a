"""A subscriber's requests to an engine, and their replies."""

from __future__ import annotations

import errno
from typing import Final
from urllib.parse import urlsplit

import zmq

from tickplant.errors import SubscribeError
from tickplant.runtime.config import DEFAULT_PUBLISH, beside
from tickplant.wire import GetTopics, Reply, Request, Topics, decode_reply, encode

CONNECT_TIMEOUT_S: Final = 10.0


class RequestLine:
    """A connection for requests to an engine."""

    def __init__(self, publish: str, address: str) -> None:
        self.publish = publish  # the address that the user gave, for errors
        self.address = address
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        try:
            connect(self.socket, address, given=publish if address == beside(publish) else address)
        except SubscribeError:
            self.close()
            raise

    def send(self, request: Request) -> None:
        """Queue a request. It is dropped if the queue is full, since the sender has a deadline."""
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
        """Send a request, and wait for the reply. Raises SubscribeError."""
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

    def topics(self, prefix: str, timeout_s: float) -> list[str]:
        """The engine's current topics that begin with `prefix`. Raises SubscribeError."""
        reply, _ = self.ask(GetTopics(prefix=prefix), timeout_s)
        if not isinstance(reply, Topics):
            raise SubscribeError(f"{self.address}: unexpected answer to a request for topics: {reply}")
        return sorted(info.topic for info in reply.topics)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        self.context.term()


def connect(socket: zmq.Socket[bytes], address: str, *, given: str = "") -> None:
    """Connect a socket to an address. Raises SubscribeError, which names the address that the user has `given`."""
    socket.set(zmq.IPV6, int("[" in address))
    try:
        _ = urlsplit(address).port  # raises for half an IPv6 address, on which ZeroMQ would wait
        socket.connect(address)
    except (zmq.ZMQError, ValueError, TypeError) as error:
        why = f": {error.strerror}" if isinstance(error, zmq.ZMQError) and error.errno != errno.EINVAL else ""
        raise SubscribeError(f"{(given or address)!r} is not an address such as {DEFAULT_PUBLISH}{why}") from None
