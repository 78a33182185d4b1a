"""Receives everything that a process sent before its end, by waiting until its connections have closed.

ZeroMQ receives in a thread of its own. The end of a process does not mean that this thread has read all its messages.
"""

from __future__ import annotations

import zmq
from zmq.utils.monitor import parse_monitor_message


class Callers:
    """Counts the connections of a socket. Make it before the socket is bound or connected, and close it first."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._events = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._open = 0

    def gone(self, others: int = 0) -> bool:
        """Whether at most `others` connections are open: all messages from the rest can be received without waiting."""
        while self._events.poll(0):
            event = parse_monitor_message(self._events.recv_multipart())["event"]
            self._open += -1 if event == zmq.EVENT_DISCONNECTED else 1
        return self._open <= others

    def close(self) -> None:
        """Stop counting."""
        self._socket.disable_monitor()
        self._events.close(0)
