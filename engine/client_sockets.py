"""The sockets that an engine opens to its clients: addresses, limits, and whose a frame is."""

from __future__ import annotations

import zmq

from tickplant.engine.guard import RECEIVE_BUFFER_BYTES
from tickplant.errors import ConfigError
from tickplant.runtime.config import EngineConfig, is_loopback


def check_exposed(address: str, *, insecure: bool) -> None:
    """Refuse an address that other machines can reach, unless that was asked for. Raises ConfigError."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if address.startswith("tcp://") and not insecure and not is_loopback(host):
        raise ConfigError(
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted"
        )


def bind(socket: zmq.Socket[bytes], address: str) -> None:
    """Bind, or say why not. Raises ConfigError."""
    socket.set(zmq.IPV6, int("[" in address))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        reason = "is already in use; is another plant up?" if error.errno == zmq.EADDRINUSE else error.strerror
        raise ConfigError(f"cannot listen at {address}: {reason}") from None


def restrict(socket: zmq.Socket[bytes], limits: EngineConfig, *, max_frame_bytes: int) -> None:
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
