"""The answers that a Flight server streams: how many at a time, and how long a client may leave a batch untaken.

gRPC waits forever for a client that takes nothing, and offers no way to end a call from here. So the connection of such
a client is shut down, which ends all its calls.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

IDLE_S: Final = 300.0
"""A client that takes nothing for this long is disconnected."""
GRACE_S: Final = 2.0
"""How long answers may take to finish when the server stops."""
LOOKS: Final = 8
"""Checks per idle time. Checks are counted, not seconds: so a server that stands still does not blame its clients."""


Address = tuple[str, str]
"""Host and port."""


class TooManyAnswersError(Exception):
    """As many answers as allowed are streaming already."""


class Answers:
    """Places for a bounded number of answers. Thread-safe. `close` ends the thread that watches them.

    Args:
        most: how many answers may stream at a time.
        idle_s: how long a client may take nothing.
    """

    def __init__(self, most: int, idle_s: float = IDLE_S) -> None:
        self.cut_off = 0  # clients disconnected for taking nothing
        self._most = most
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._streaming: dict[Answer, str] = {}  # each with its peer
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, name="tickplant-flight", daemon=True)
        self._watch.start()

    @property
    def count(self) -> int:
        """How many answers are streaming."""
        return len(self._streaming)

    @contextlib.contextmanager
    def place(self, peer: str) -> Iterator[Answer]:
        """A place for an answer to `peer`, as gRPC names it. Raises TooManyAnswersError."""
        answer = Answer()
        with self._lock:
            if len(self._streaming) >= self._most:
                raise TooManyAnswersError
            self._streaming[answer] = peer
        try:
            yield answer
        finally:
            with self._lock:
                del self._streaming[answer]

    def close(self, port: int) -> None:
        """Let answers finish for GRACE_S, then shut down all connections to a port of this process."""
        deadline_s = time.monotonic() + GRACE_S
        while self.count and time.monotonic() < deadline_s:
            time.sleep(GRACE_S / 40)
        cut_off(lambda own, _: own[1] == str(port))
        self._ended.set()
        self._watch.join()

    def _idle(self) -> set[Address]:
        """Clients that have left a batch untaken for the whole idle time. Each call counts as a check."""
        with self._lock:
            return {address_of(peer) for answer, peer in self._streaming.items() if answer.looks() >= LOOKS}

    def _look(self) -> None:
        while not self._ended.wait(self._idle_s / LOOKS):
            if peers := self._idle():
                self.cut_off += cut_off(lambda _, peer: peer in peers)


class Answer:
    """An answer that streams."""

    def __init__(self) -> None:
        self._batches = 0
        self._untaken = 0  # number of the batch given to the client but not taken; 0: the next one is being made
        self._seen = 0  # `_untaken` at the last check
        self._looks = 0

    def looks(self) -> int:
        """Check: returns how many earlier checks in a row have seen the same batch untaken."""
        untaken = self._untaken
        self._looks = self._looks + 1 if untaken and untaken == self._seen else 0
        self._seen = untaken
        return self._looks

    @contextlib.contextmanager
    def handed_over(self) -> Iterator[None]:
        """Marks the time during which the transport holds a batch."""
        self._batches += 1
        self._untaken = self._batches
        yield
        self._untaken = 0


def cut_off(which: Callable[[Address, Address], bool]) -> int:
    """Shut down connections of this process, chosen by their own and their peer's address; returns how many."""
    count = 0
    for path in list(Path("/proc/self/fd").iterdir()):
        # Work on a duplicate of the descriptor: the number itself may be reused for another file at any time.
        try:
            copy = os.dup(int(path.name))
        except OSError:
            continue
        try:
            connection = socket.socket(fileno=copy)
        except OSError:  # another kind of file
            os.close(copy)
            continue
        with connection, contextlib.suppress(OSError):
            if connection.family in (socket.AF_INET, socket.AF_INET6) and which(
                _address(*connection.getsockname()[:2]), _address(*connection.getpeername()[:2])
            ):
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    return count


def address_of(peer: str) -> Address:
    """The address of a peer as gRPC names it, such as `ipv4:127.0.0.1:40112`."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return _address(host, port)


def _address(host: str, port: object) -> Address:
    """An address in one form, whether from gRPC or from the kernel."""
    return host.strip("[]").partition("%")[0].removeprefix("::ffff:"), str(port)
