"""A client's TCP connection, and what the kernel says about the bytes that the client has sent and received."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from typing import Final

_TCP_INFO_BYTES: Final = 136
_BYTES_ACKED: Final = struct.Struct("<Q")  # at 120 in struct tcp_info: bytes that the peer has acknowledged
_ACKED_AT: Final = 120
_RECEIVED_AT: Final = 128


class Client:
    """One TCP connection, through a descriptor of our own. Bytes count from the start of the connection."""

    __slots__ = (
        "blocked_at",
        "excess",
        "handed",
        "link",
        "moved_s",
        "pending",
        "port",
        "served",
        "since_s",
        "taken",
        "topics",
    )

    def __init__(self, link: socket.socket, port: int) -> None:
        self.link = link
        self.port = port
        self.since_s = self.moved_s = time.monotonic()
        self.served = 0  # bytes of processed messages
        self.excess = 0  # of these, bytes of a predecessor with the same descriptor
        self.pending = 0  # received but not served at the last check
        self.handed = 0  # bytes of replies handed to libzmq
        self.taken = 0  # bytes that the peer had acknowledged at the last check
        self.blocked_at: int | None = None  # bytes published when the client's kernel queue was first seen full
        self.topics: set[bytes] = set()

    def unserved(self) -> int:
        """Bytes that libzmq has read from the client but not delivered to the engine in a message."""
        served = self.served
        info = self.link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        brought = int(_BYTES_ACKED.unpack_from(info, _RECEIVED_AT)[0]) - self._queued(termios.FIONREAD)
        self.excess = max(self.excess, served - brought)
        return brought - (served - self.excess)

    def owed(self) -> int:
        """Bytes of replies that libzmq still holds for the client."""
        info = self.link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        taken = int(_BYTES_ACKED.unpack_from(info, _ACKED_AT)[0])
        owed = max(0, self.handed - taken - self.unsent())
        if taken != self.taken or not owed:
            self.taken, self.moved_s = taken, time.monotonic()
        return owed

    def unsent(self) -> int:
        """Bytes in the kernel that the peer has not acknowledged."""
        return self._queued(termios.TIOCOUTQ)

    def _queued(self, request: int) -> int:
        return int.from_bytes(fcntl.ioctl(self.link, request, b"\0\0\0\0"), "little")
