"""The processes of a plant, and the one poll loop that hears all of them. Decides nothing about them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import zmq

from tickplant.plant.child import READY_TIMEOUT_S, Child
from tickplant.plant.fork_watch import ForkWatch
from tickplant.plant.launcher import ForkServer
from tickplant.plant.supervisor_log import SupervisorLog, plant_log
from tickplant.plant.switchboard import Switchboard
from tickplant.runtime.redaction import redact
from tickplant.runtime.signals import signals_as_fd
from tickplant.runtime.standstill import Standstill, excused

AWAIT_S: Final = 0.2  # longest turn while waiting for processes to end

Report = Callable[[str, str], None]
"""Takes `(level, sentence)` for whoever watches the plant."""


class Owner(Protocol):
    """Decides about the processes."""

    def on_control(self) -> None:
        """The control socket has messages."""

    def on_output(self, child: Child, line: str) -> bool:
        """A child has written to its stdout. Returns whether the line was more than a log line."""

    def on_exit(self, child: Child, code: int) -> None:
        """A child has ended and is reaped; `code` is its exit code, negative for a signal."""


class Pool:
    """Children by name, their descriptors, the control socket and the signals. One thread: all work is in `turn`."""

    def __init__(self, owner: Owner, report: Report) -> None:
        self.children: dict[str, Child] = {}
        self.stopping = False  # a signal has come, or the owner has set it
        self._owner = owner
        self._report = report
        self._partial: dict[int, bytes] = {}  # by descriptor: an incomplete line

    @contextlib.contextmanager
    def opened(self, control: str, log_dir: Path, server: ForkServer, hang_s: float) -> Iterator[None]:
        """Listen to the control socket and the signals, with a log in `log_dir`. Raises ControlError, StoreError."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.board = Switchboard(context, lambda sentence: self.tell("warning", sentence))
        self._poller = zmq.Poller()
        try:
            self.board.open(control)
            with (
                signals_as_fd(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as self._signal_fd,
                plant_log(log_dir) as self._log_file,
            ):
                self.log = SupervisorLog(self._log_file)
                self._poller.register(self.board.socket, zmq.POLLIN)
                self._poller.register(self._signal_fd, zmq.POLLIN)
                self.forks = ForkWatch(server, self._poller, hang_s, self.log, self.tell)
                yield
        finally:
            self.board.close()
            context.term()

    def tell(self, level: str, sentence: str) -> None:
        """Log an event, and report it to whoever watches."""
        sentence = redact(sentence)
        getattr(self.log, level)(sentence)
        self._report(level, sentence)

    def start(self, child: Child) -> None:
        """Start a child's process, or have it forked."""
        child.start(self.forks.server)
        self._watch(child)

    def await_end(self, group: Iterable[Child], allowed_s: float, on_tick: Callable[[], None]) -> None:
        """Wait until all of these have ended; one that takes longer than allowed is killed."""
        group = list(group)
        deadline_s = time.monotonic() + allowed_s
        standstill = Standstill(2 * AWAIT_S)
        while any(child.alive for child in group):
            self.turn(AWAIT_S)
            deadline_s += standstill.look()
            on_tick()
            now_s = time.monotonic()
            if any(child.state == "starting" and now_s < child.started_s + READY_TIMEOUT_S for child in group):
                deadline_s = now_s + allowed_s  # its work has not begun
            if now_s > deadline_s:
                for child in group:
                    if child.alive:
                        self._kill(child, f"{child.name} did not finish in {allowed_s:g} s: killed")

    def excuse(self, stood_s: float) -> None:
        """Excuse all silence during the time that the supervisor stood still."""
        if stood_s >= 1:
            why = "the machine was paused or overloaded"
            self.tell("warning", f"the supervisor stood still for {stood_s:.0f} s: {why}")
        now_s = time.monotonic()
        for child in self.children.values():
            child.seen_s = excused(child.seen_s, stood_s, now_s)

    def kill_hung(self, now_s: float) -> None:
        """End a fork server or child that has been silent for too long."""
        for child in self.children.values():
            if child.channel:
                self.forks.kill_if_hung(child, now_s)
            elif child.hung(now_s):
                self._kill(child, f"{child.name} (pid {child.pid}) has been silent for too long: killed")

    def _kill(self, child: Child, why: str) -> None:
        """Kill a child and report it once: a process with much memory to free may exist for some turns more."""
        if not child.killed:
            self.tell("error", why)
            child.kill()

    def turn(self, timeout_s: float) -> None:
        """Handle whatever has happened, waiting up to `timeout_s` for it."""
        if any(child.withdrawn for child in self.children.values()):
            timeout_s = 0.0
        # Rounded up: polling for a deadline half a millisecond away must not spin.
        events = dict(self._poller.poll(int(timeout_s * 1000) + 1 if timeout_s > 0 else 0))
        if self.board.socket in events:
            self._owner.on_control()
        if self._signal_fd in events:
            os.read(self._signal_fd, 64)
            self.stopping = True
        for child in list(self.children.values()):
            if child.channel and (channel := child.channel.fileno()) in events and child.adopt():
                self._poller.unregister(channel)
                self._watch(child)
                continue  # its descriptors are new: `events` concerns former owners of their numbers
            ended = child.pidfd in events or child.withdrawn > 0
            for fd, is_stdout in child.pipes.items():
                if ended or fd in events:
                    self._read_pipe(child, fd, is_stdout=is_stdout)
            if ended:
                self._bury(child)
        self.forks.attend(events, self.children.values())

    def _watch(self, child: Child) -> None:
        """Poll a child's descriptors; once the process exists, log that and accept its messages."""
        for fd in child.fds:
            self._poller.register(fd, zmq.POLLIN)
        if child.pid:
            self.board.expect(child.name, child.pid)
            self.log.info("started", name=child.name, pid=child.pid)

    def _read_pipe(self, child: Child, fd: int, *, is_stdout: bool) -> None:
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self._poller.unregister(fd)
                return
            *lines, self._partial[fd] = (self._partial.get(fd, b"") + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                if not (is_stdout and self._owner.on_output(child, text)):
                    self._log_line(child, text)

    def _log_line(self, child: Child, line: str) -> None:
        if line.startswith("{"):
            self._log_file.info(line)
        else:
            line = redact(line)
            self.log.warning("output", name=child.name, line=line)
            if line.strip():
                child.last_lines.append(line.strip())

    def _bury(self, child: Child) -> None:
        for fd in child.fds:
            with contextlib.suppress(KeyError):
                self._poller.unregister(fd)
            self._partial.pop(fd, None)
        self._owner.on_exit(child, child.reap())
