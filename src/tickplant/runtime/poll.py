"""The one way in which an engine or a writer sleeps: epoll over descriptors and ZeroMQ sockets. Imports only pyzmq."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import zmq
from zmq import zmq_poll

ASK_S: Final = 0.01
"""Time between two queries of a patient socket. Frequent sends need not be followed by a query each."""

PATIENCE_S: Final = 0.05
"""No sleep is cut short for this long to query a patient socket: with frequent sends, the next sleep ends soon."""

Handler = Callable[[], object]
ZmqSocket = zmq.Socket[bytes]


class Poll:
    """Descriptors and sockets, and the handlers called when one of them is readable. Not thread-safe.

    The descriptor of a ZeroMQ socket says only that libzmq has commands for it. Every send and receive executes these
    commands, and the descriptor then stays silent although a message may be waiting. So `wait` queries sockets for
    their events before it sleeps: no message that arrived earlier is slept over, whatever its user did meanwhile. All
    are queried with one call, which costs a third of separate calls. A socket that was not used since its last query
    need not be queried: its descriptor still reports. See `add_socket`.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}  # of plain descriptors
        self._sockets: dict[object, Handler] = {}
        self._asked: list[tuple[ZmqSocket, int]] = []  # sockets, and the events to query
        self._often: list[tuple[ZmqSocket, int]] = []  # those queried before every sleep
        self._patient: list[tuple[ZmqSocket, int]] = []  # those queried before a sleep if ASK_S has passed
        self._asked_s = 0.0  # time of the last query of the patient sockets
        self._used = True  # whether another socket may have been used

    def add(self, fd: int, handler: Handler = lambda: None) -> None:
        """Watch a descriptor: `wait` calls `handler` as long as it is readable."""
        self._epoll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def add_socket(self, socket: ZmqSocket, handler: Handler, *, seldom: bool = False, patient: bool = False) -> None:
        """Watch a ZeroMQ socket: `wait` calls `handler` as long as it has messages.

        Args:
            socket: the socket.
            handler: called without arguments.
            seldom: between two calls of `wait`, only handlers of sockets send or receive on it without calling `used`.
            patient: a message that arrived just before a send or receive may wait for PATIENCE_S.
        """
        self._epoll.register(int(socket.get(zmq.FD)), select.EPOLLIN)
        self._asked.append((socket, int(zmq.POLLIN)))
        if patient:
            self._patient.append(self._asked[-1])
        elif not seldom:
            self._often.append(self._asked[-1])
        self._sockets[socket] = handler
        self._used = True

    def used(self) -> None:
        """Note a send or receive on seldom used sockets."""
        self._used = True

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor given to `add`; it may be closed by now."""
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        del self._handlers[fd]

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something is readable, `timeout_s` at most, call the handlers, and return whether any was called.

        May end early without a call: libzmq wakes sockets for purposes of its own.
        """
        # Few calls, since code that runs after milliseconds of sleep must first be loaded into the caches.
        asked = self._often
        if self._patient or self._used:
            now_s = time.monotonic()
            if self._used or now_s >= self._asked_s + ASK_S:
                asked = self._asked if self._used else self._often + self._patient
                self._used, self._asked_s = False, now_s
            else:
                timeout_s = min(timeout_s, self._asked_s + PATIENCE_S - now_s)
        ready = zmq_poll(asked, 0) if asked else []
        handled = False
        for fd, _ in self._epoll.poll(0.0 if ready or timeout_s < 0 else timeout_s):
            if handler := self._handlers.get(fd):
                handler()
                handled = True
            elif not ready:
                ready = zmq_poll(self._asked, 0)
        for socket, _ in ready:
            self._sockets[socket]()
            self._used = True
        return handled or bool(ready)

    def close(self) -> None:
        """Close the epoll descriptor. Idempotent."""
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
