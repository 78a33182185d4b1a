"""The one way an engine or a writer sleeps: epoll over descriptors and ZeroMQ sockets. Imports pyzmq only."""

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
"""Between two questions to a socket that is patient. A send every millisecond need not be followed by one each time."""

PATIENCE_S: Final = 0.05
"""For so long no sleep is ended in order to ask it: where sends go on, the next one that ends comes soon enough."""

Handler = Callable[[], object]
ZmqSocket = zmq.Socket[bytes]


class Poll:
    """Descriptors and sockets, and who is called when one of them can be read. Not thread-safe.

    The descriptor of a ZeroMQ socket says only that libzmq has commands for it. Every send and receive carries these
    commands out, and the descriptor then stays silent although a message may be waiting. So `wait` asks sockets for
    their events before it sleeps: no message that arrived earlier can be slept over, whatever its user did meanwhile.
    They are asked with one call, which costs a third of a call for each. One that was not used since it was asked last
    need not be asked: its descriptor still tells. See `add_socket`.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}  # of plain descriptors
        self._sockets: dict[object, Handler] = {}
        self._asked: list[tuple[ZmqSocket, int]] = []  # these, for what
        self._often: list[tuple[ZmqSocket, int]] = []  # of these, before every sleep
        self._patient: list[tuple[ZmqSocket, int]] = []  # of these, before a sleep ASK_S after the last time
        self._asked_s = 0.0  # when all of these were
        self._used = True  # one of the others, perhaps

    def add(self, fd: int, handler: Handler = lambda: None) -> None:
        """Watch a descriptor: `wait` calls `handler` whenever it can be read, again and again until it is."""
        self._epoll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def add_socket(self, socket: ZmqSocket, handler: Handler, *, seldom: bool = False, patient: bool = False) -> None:
        """Watch a ZeroMQ socket: `wait` calls `handler` whenever it has messages, again and again until it has none.

        Args:
            socket: which one.
            handler: called without arguments.
            seldom: between two calls of `wait` nobody but handlers of sockets sends or receives on it without saying so
                by `used`.
            patient: a message that has come just before a send or receive may wait for PATIENCE_S.
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
        """Somebody has sent or received on sockets that are used seldom."""
        self._used = True

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor that `add` was given; it may be closed by now."""
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        del self._handlers[fd]

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something can be read, `timeout_s` at most, and call the handlers. Returns whether any was.

        May end early without: libzmq wakes sockets for purposes of its own.
        """
        # Few calls, since all that is executed after a sleep of milliseconds has to come into the caches first.
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
        """Let go of all descriptors. Idempotent."""
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
