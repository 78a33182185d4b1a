"""What a process has said before its end: all of it is there when its connections have been seen to end.

ZeroMQ receives in a thread of its own. That a process has ended does not say that this thread has had its turn.
"""

from __future__ import annotations

import zmq
from zmq.utils.monitor import parse_monitor_message


class Callers:
    """The connections of a socket that is to be bound or connected; made before that. `close` it before the socket."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._events = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._open = 0

    def gone(self, others: int = 0) -> bool:
        """Whether no more than `others` are open: what came over the rest can be received without a wait."""
        while self._events.poll(0):
            event = parse_monitor_message(self._events.recv_multipart())["event"]
            self._open += -1 if event == zmq.EVENT_DISCONNECTED else 1
        return self._open <= others

    def close(self) -> None:
        """Hear no more of them."""
        self._socket.disable_monitor()
        self._events.close(0)
