"""Sockets for clients: addresses, limits, the connection of a frame, what clients send, and answers to them.

Engines have such sockets, and so do relays of conflated topics.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import zmq

from tickplant.errors import ConfigError
from tickplant.runtime.client_guard import RECEIVE_BUFFER_BYTES, REQUEST_FRAMES, Guard
from tickplant.runtime.config import ClientLimits, is_loopback

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ZmqSocket = zmq.Socket[bytes]

_HANDSHAKE_BYTES: Final = 1024  # the longest other frame that a client needs: its identity and properties
_QUEUED_SUBSCRIPTIONS: Final = 1000
_QUEUED_REQUESTS: Final = 32  # per requester; more wait in the requester's own socket
_QUEUED_REPLIES: Final = 16


class Envelope(NamedTuple):
    """The recipient of an answer."""

    route: list[bytes]  # frames before the answer
    fd: int  # descriptor of the connection, for the guard


def check_exposed(address: str, *, insecure: bool) -> None:
    """Refuse an address that other machines can reach, unless `insecure`. Raises ConfigError."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if address.startswith("tcp://") and not insecure and not is_loopback(host):
        raise ConfigError(
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted"
        )


def open_stream(
    context: ZmqContext, address: str, limits: ClientLimits, *, high_water_messages: int, lossless: bool = False
) -> ZmqSocket:
    """A socket to publish on: a PUB that reports subscriptions, and that can be `lossless`. Raises ConfigError."""
    socket = context.socket(zmq.XPUB)
    socket.set(zmq.SNDHWM, high_water_messages)
    socket.set(zmq.RCVHWM, _QUEUED_SUBSCRIPTIONS)
    socket.set(zmq.XPUB_NODROP, int(lossless))
    socket.set(zmq.XPUB_VERBOSER, 1)  # report each client's subscriptions, so that they can be counted
    _restrict(socket, limits, max_frame_bytes=_HANDSHAKE_BYTES + limits.max_topic_bytes)
    _bind(socket, address)
    return socket


def open_requests(context: ZmqContext, address: str, limits: ClientLimits) -> ZmqSocket:
    """A socket that receives requests. Raises ConfigError."""
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.RCVHWM, _QUEUED_REQUESTS)
    socket.set(zmq.SNDHWM, _QUEUED_REPLIES)
    _restrict(socket, limits, max_frame_bytes=limits.request_kib << 10)
    _bind(socket, address)
    return socket


def _bind(socket: ZmqSocket, address: str) -> None:
    """Bind; on failure, close the socket and raise ConfigError with the reason."""
    socket.set(zmq.IPV6, int("[" in address))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        reason = "is already in use; is another plant up?" if error.errno == zmq.EADDRINUSE else error.strerror
        raise ConfigError(f"cannot listen at {address}: {reason}") from None


def _restrict(socket: ZmqSocket, limits: ClientLimits, *, max_frame_bytes: int) -> None:
    """Set the limits that libzmq itself can enforce, before the socket is bound."""
    socket.set(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.set(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
    socket.set(zmq.HANDSHAKE_IVL, int(limits.handshake_s * 1000))
    socket.set(zmq.TCP_KEEPALIVE, 1)  # so that a vanished host does not keep its connection
    socket.set(zmq.TCP_KEEPALIVE_IDLE, 60)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.set(zmq.TCP_KEEPALIVE_CNT, 6)


def descriptor(frame: zmq.Frame) -> int:
    """The connection that delivered a frame, as libzmq's descriptor; -1 if there is none."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def subscriptions(socket: ZmqSocket, guard: Guard | None, limit: int) -> Iterator[bool]:
    """For each new or ended subscription, whether it is new; up to a limit. The guard counts them."""
    for _ in range(limit):
        try:
            frame = socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        message = frame.bytes
        on = message[:1] == b"\x01"
        if guard and (fd := descriptor(frame)) >= 0:  # else: the subscription of a client that is gone
            guard.served(fd, (len(message),))
            if on or message[:1] == b"\0":
                guard.subscribed(fd, message[1:], on=on)
        yield on


def requests(
    socket: ZmqSocket, guard: Guard | None, limits: ClientLimits, limit: int
) -> Iterator[tuple[Envelope, bytes]]:
    """The waiting requests, up to a limit. The guard disconnects a client whose request is too large."""
    for _ in range(limit):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        *route, request = (part.bytes for part in parts)
        envelope = Envelope(route, descriptor(parts[-1]) if guard else -1)
        if guard:
            sizes = [len(part) for part in parts[1:]]  # the first part, the identity, is added by our socket
            guard.served(envelope.fd, sizes)
            if len(sizes) > REQUEST_FRAMES or sum(sizes) > limits.request_kib << 10:
                guard.cut_off(envelope.fd, "request too large")
                continue
        yield envelope, request


def answer(socket: ZmqSocket, guard: Guard | None, envelope: Envelope, frames: list[bytes]) -> bool:
    """Send an answer. Returns whether there was room for it, and a client to receive it."""
    sizes = [len(frame) for frame in frames]
    if guard and not guard.may_reply(envelope.fd, sizes):
        return False
    try:
        socket.send_multipart([*envelope.route, *frames], zmq.NOBLOCK)
    except zmq.ZMQError:  # the queue is full (EAGAIN) or the client gone (EHOSTUNREACH)
        if guard:
            guard.not_sent(envelope.fd, sizes)
        return False
    return True
