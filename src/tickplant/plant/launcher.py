"""How the supervisor starts processes: forked by the fork server if there is one, else as new interpreters.

Never blocks. Imports the fork server's messages, but nothing that its children need.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from tickplant.plant.fork_server import MESSAGE_BYTES, PADDING, Fork, Progress, Ready, Warm
from tickplant.runtime.lineage import PARENT_VARIABLE

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
"""Pauses before a dead fork server is restarted; each is twice the one before."""

LIVE_MODULES: Final = ("tickplant.plant.survey", "tickplant.writer", "tickplant.engine", "tickplant.plant.continuation")
"""What every live plant runs, known before its configuration is read."""

END_S: Final = 2.0  # how long an idle server may take to end

_DECODER: Final = msgspec.msgpack.Decoder(Progress | Ready)


def environment() -> dict[str, str]:
    """Environment of every process started: names its parent, and keeps numpy from starting threads."""
    return {"OPENBLAS_NUM_THREADS": "1"} | os.environ | {PARENT_VARIABLE: str(os.getpid())}


class ForkServer:
    """The fork server as the supervisor sees it. If it cannot be started or has died, `fork` returns False."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self._modules: list[str] = []
        self._connection: socket.socket | None = None
        self._pause_s = FIRST_PAUSE_S
        self._retry_s = float("inf")
        self.start()

    @property
    def fds(self) -> list[int]:
        """Descriptors to poll for reading: its messages, and its stderr."""
        if self._connection is None or self.process is None or self.process.stderr is None:
            return []
        return [self._connection.fileno(), self.process.stderr.fileno()]

    @property
    def pid(self) -> int:
        """Its pid; 0 if it is not running."""
        return self.process.pid if self.process else 0

    @property
    def retry_s(self) -> float:
        """When to restart it (monotonic); infinite while it runs."""
        return self._retry_s

    def start(self) -> None:
        """Start the server, and repeat the list of modules to warm."""
        self._retry_s = float("inf")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tickplant.plant.fork_server", str(theirs.fileno()), PADDING],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            self._schedule()
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        if self.process.stderr is not None:
            os.set_blocking(self.process.stderr.fileno(), False)
        self._connection = ours
        if self._modules:
            self.warm(self._modules)

    def warm(self, modules: Sequence[str]) -> None:
        """State which modules it will have to fork, most urgent first; replaces the earlier list."""
        self._modules, self.ready = list(modules), False
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.send(msgspec.msgpack.encode(Warm(self._modules)))

    def fork(self, request: Fork, fds: Sequence[int]) -> bool:
        """Ask for a child; returns whether that was possible. The child's channel shows the outcome."""
        if self._connection is None:
            return False
        try:
            socket.send_fds(self._connection, [msgspec.msgpack.encode(request)], fds)
        except OSError:
            return False
        return True

    def receive(self) -> list[Progress | Ready] | None:
        """Its messages since the last call; None if it has ended."""
        messages: list[Progress | Ready] = []
        while self._connection is not None:
            try:
                data = self._connection.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return messages
            except ConnectionError:
                data = b""
            if not data:
                return None
            message = _DECODER.decode(data)
            if isinstance(message, Ready):
                if not set(self._modules) <= set(message.modules):
                    continue  # of an outdated list
                self.ready, self._pause_s = True, FIRST_PAUSE_S
            messages.append(message)
        return messages

    def words(self) -> str:
        """Its stderr output since the last call: nothing, unless it is broken."""
        if self.process is None or self.process.stderr is None:
            return ""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.process.stderr.fileno(), MESSAGE_BYTES).decode(errors="replace")
        return ""

    def kill(self) -> None:
        """Kill a hung server; `receive` then reports its end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)

    def bury(self) -> None:
        """Clean up after an ended server, or end it, and schedule the next one."""
        self.close()
        self._schedule()

    def _schedule(self) -> None:
        self._retry_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def close(self) -> None:
        """End the server: a ready one by closing its line, which it notices at once, any other by force. Idempotent."""
        was_ready, self.ready = self.ready, False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self.process is not None:
            if was_ready:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(END_S)
            self.kill()
            self.process.wait()
            if self.process.stderr is not None:
                self.process.stderr.close()
            self.process = None


def spawn(module: str, words: Sequence[str], stdin: int, stdout: int, stderr: int) -> int:
    """Start `python -m module WORDS` as a new interpreter in a session of its own; returns its pid. Raises OSError."""
    dup = os.POSIX_SPAWN_DUP2
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", module, *words],
        environment(),
        file_actions=[(dup, stdin, 0), (dup, stdout, 1), (dup, stderr, 2)],
        setsid=True,  # the terminal's Ctrl-C reaches the supervisor alone, which drains in order
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT],
    )
