"""The sockets that are opened to clients: addresses, limits, whose a frame is, what clients send, answers to them.

An engine has such sockets, and a relay of conflated topics.
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

_HANDSHAKE_BYTES: Final = 1024  # the longest frame that a client needs besides: its identity and properties
_QUEUED_SUBSCRIPTIONS: Final = 1000
_QUEUED_REQUESTS: Final = 32  # of one requester; more wait in its own socket
_QUEUED_REPLIES: Final = 16


class Envelope(NamedTuple):
    """Whom an answer goes to."""

    route: list[bytes]  # frames before the answer
    fd: int  # of its connection, for the guard


def check_exposed(address: str, *, insecure: bool) -> None:
    """Refuse an address that other machines can reach, unless that was asked for. Raises ConfigError."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if address.startswith("tcp://") and not insecure and not is_loopback(host):
        raise ConfigError(
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted"
        )


def open_stream(
    context: ZmqContext, address: str, limits: ClientLimits, *, high_water_messages: int, lossless: bool = False
) -> ZmqSocket:
    """A socket to publish at: a PUB that tells of subscriptions, and that can be asked to wait. Raises ConfigError."""
    socket = context.socket(zmq.XPUB)
    socket.set(zmq.SNDHWM, high_water_messages)
    socket.set(zmq.RCVHWM, _QUEUED_SUBSCRIPTIONS)
    socket.set(zmq.XPUB_NODROP, int(lossless))
    socket.set(zmq.XPUB_VERBOSER, 1)  # each client's own, so that they can be counted
    _restrict(socket, limits, max_frame_bytes=_HANDSHAKE_BYTES + limits.max_topic_bytes)
    _bind(socket, address)
    return socket


def open_requests(context: ZmqContext, address: str, limits: ClientLimits) -> ZmqSocket:
    """A socket that requests come to. Raises ConfigError."""
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.RCVHWM, _QUEUED_REQUESTS)
    socket.set(zmq.SNDHWM, _QUEUED_REPLIES)
    _restrict(socket, limits, max_frame_bytes=limits.request_kib << 10)
    _bind(socket, address)
    return socket


def _bind(socket: ZmqSocket, address: str) -> None:
    """Bind, or say why not, and close. Raises ConfigError."""
    socket.set(zmq.IPV6, int("[" in address))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        reason = "is already in use; is another plant up?" if error.errno == zmq.EADDRINUSE else error.strerror
        raise ConfigError(f"cannot listen at {address}: {reason}") from None


def _restrict(socket: ZmqSocket, limits: ClientLimits, *, max_frame_bytes: int) -> None:
    """What libzmq itself can keep clients from, before a socket is bound."""
    socket.set(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.set(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
    socket.set(zmq.HANDSHAKE_IVL, int(limits.handshake_s * 1000))
    socket.set(zmq.TCP_KEEPALIVE, 1)  # a host that has vanished does not keep its place
    socket.set(zmq.TCP_KEEPALIVE_IDLE, 60)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.set(zmq.TCP_KEEPALIVE_CNT, 6)


def descriptor(frame: zmq.Frame) -> int:
    """The connection that a received frame came over, as libzmq's descriptor; -1 where it came over none."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def subscriptions(socket: ZmqSocket, guard: Guard | None, limit: int) -> Iterator[bool]:
    """Of each subscription that has come or gone, whether it has come; up to a limit. A guard counts them."""
    for _ in range(limit):
        try:
            frame = socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        message = frame.bytes
        on = message[:1] == b"\x01"
        if guard and (fd := descriptor(frame)) >= 0:  # else: what a client that is gone had subscribed to
            guard.served(fd, (len(message),))
            if on or message[:1] == b"\0":
                guard.subscribed(fd, message[1:], on=on)
        yield on


def requests(
    socket: ZmqSocket, guard: Guard | None, limits: ClientLimits, limit: int
) -> Iterator[tuple[Envelope, bytes]]:
    """The requests that wait, up to a limit. A client whose request is too large is cut off by the guard."""
    for _ in range(limit):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        *route, request = (part.bytes for part in parts)
        envelope = Envelope(route, descriptor(parts[-1]) if guard else -1)
        if guard:
            sizes = [len(part) for part in parts[1:]]  # the first one, who it is, is ours
            guard.served(envelope.fd, sizes)
            if len(sizes) > REQUEST_FRAMES or sum(sizes) > limits.request_kib << 10:
                guard.cut_off(envelope.fd, "request too large")
                continue
        yield envelope, request


def answer(socket: ZmqSocket, guard: Guard | None, envelope: Envelope, frames: list[bytes]) -> bool:
    """Answer; whether there was room for that, and somebody to take it."""
    sizes = [len(frame) for frame in frames]
    if guard and not guard.may_reply(envelope.fd, sizes):
        return False
    try:
        socket.send_multipart([*envelope.route, *frames], zmq.NOBLOCK)
    except zmq.ZMQError:  # full, or gone: EAGAIN, EHOSTUNREACH
        if guard:
            guard.not_sent(envelope.fd, sizes)
        return False
    return True
