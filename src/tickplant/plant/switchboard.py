"""The supervisor's end of the control socket: what arrives, how much at a time, and from whom.

Three rules. A turn is bounded, so that supervision continues however much arrives. A message is bounded, in bytes and
in frames. What only a child may say is accepted from that child only: from the process that the supervisor started, by
its pid, and from the one connection on which that process first spoke.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import zmq

from tickplant.errors import ControlError
from tickplant.runtime.control import (
    MAX_MESSAGE_BYTES,
    Command,
    Counters,
    Done,
    Heartbeat,
    Hello,
    Message,
    decode,
    encode,
)

TURN_MESSAGES: Final = 256
TURN_S: Final = 0.02
LAST_WORDS: Final = 16  # turns spent on the end of a child, whose last report decides how the end is judged
QUEUED_MESSAGES: Final = 64  # per connection, before the sender has to wait
TELL_EVERY_S: Final = 10.0
COUNTERS: Final = 1024  # entries in a report, and in a table of it
NAME_CHARACTERS: Final = 64
TEXT_CHARACTERS: Final = 4096


def sane(counters: Counters) -> Counters:
    """Counters within bounds, and `trouble` as text: this bounds a process's part of a status."""
    kept: Counters = {}
    for key, value in islice(counters.items(), COUNTERS):
        if key == "trouble" and not isinstance(value, str):
            continue
        name = key[:NAME_CHARACTERS]
        if isinstance(value, str):
            kept[name] = value[:TEXT_CHARACTERS]
        else:
            kept[name] = dict(islice(value.items(), COUNTERS)) if isinstance(value, dict) else value
    return kept


class Switchboard:
    """One ROUTER socket, bound by `open`. Not thread-safe."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], warn: Callable[[str], object]) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 500)
        self.socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self.socket.set(zmq.RCVHWM, QUEUED_MESSAGES)
        self._warn = warn
        self._pids: dict[str, int] = {}  # of the running children, by name
        self._lines: dict[str, bytes] = {}  # and the connection on which each has spoken
        self._refused = 0
        self._tell_s = 0.0

    def open(self, address: str) -> None:
        """Listen. Raises ControlError."""
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            raise ControlError(f"{address}: cannot be opened: {error}") from None

    def close(self) -> None:
        """Close the socket; queued messages are still sent for half a second."""
        self.socket.close()

    def expect(self, name: str, pid: int) -> None:
        """The child `name` is the process `pid` from now on; its predecessor no longer speaks for it."""
        self._pids[name] = pid
        self._lines.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget a child that has ended."""
        self._pids.pop(name, None)
        self._lines.pop(name, None)

    def incoming(self, *, turns: int = 1) -> Iterator[tuple[bytes, bytes]]:
        """Connection and frame of each message that has arrived, within the bounds of a turn."""
        deadline_s = time.monotonic() + turns * TURN_S
        for _ in range(turns * TURN_MESSAGES):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) == 2:
                yield frames[0], frames[1]
            else:
                self._refuse(f"a message of {len(frames) - 1} frames instead of one")
            if time.monotonic() > deadline_s:
                return

    def admit(self, line: bytes, frame: bytes) -> Message | None:
        """The message, if this connection may send it; else None, which is logged. Raises ControlError."""
        message = decode(frame)
        if isinstance(message, Command):
            return message
        if isinstance(message, Hello | Heartbeat | Done):
            if self._speaks_for(message.name, message.pid, line):
                if not isinstance(message, Hello):
                    message.counters = sane(message.counters)
                return message
            self._refuse(f"a {type(message).__name__} in the name of {message.name[:40]!r}, pid {message.pid}")
            return None
        if line in self._lines.values():
            return message
        raise ControlError(f"{type(message).__name__} is for the processes of this plant alone")

    def _speaks_for(self, name: str, pid: int, line: bytes) -> bool:
        if self._pids.get(name) != pid:
            return False
        return self._lines.setdefault(name, line) == line

    def speaker(self, line: bytes) -> str:
        """Name of the child that speaks on a connection; empty if none does."""
        return next((name for name, known in self._lines.items() if known == line), "")

    def reply(self, line: bytes, message: Message) -> None:
        """Answer on a connection; dropped if the other end is gone or does not read."""
        try:
            self.socket.send_multipart([line, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def tell(self, name: str, message: Message) -> bool:
        """Send to a child. False if that child has not spoken yet, or is gone."""
        line = self._lines.get(name)
        if line is not None:
            self.reply(line, message)
        return line is not None

    def _refuse(self, what: str) -> None:
        """Report a refusal, but not each one of a flood."""
        self._refused += 1
        now_s = time.monotonic()
        if now_s >= self._tell_s:
            self._tell_s = now_s + TELL_EVERY_S
            self._warn(f"the control socket has refused {what} ({self._refused} messages so far)")
