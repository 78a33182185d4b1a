"""One supervised process: how it is started, watched, stopped and restarted. Knows nothing of its work."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections import deque
from collections.abc import Callable

import msgspec
import psutil

from tickplant.plant.fork_server import GO, Fork
from tickplant.plant.launcher import ForkServer, spawn
from tickplant.plant.roles import ROLES
from tickplant.runtime.accounts import Account
from tickplant.runtime.config import PlantConfig
from tickplant.runtime.control import Counters, ProcessStatus, Role, State
from tickplant.runtime.lineage import PARENT_VARIABLE, spec_file

READY_TIMEOUT_S = 180.0
"""A first start compiles every kernel, which takes a minute on a slow machine."""


def orphans(parent: int) -> list[psutil.Process]:
    """Children of a dead supervisor that are still alive, such as one that was hung when the signal came."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # Another process may have that pid now, with children of its own: it is still their parent.
            if process.environ().get(PARENT_VARIABLE) == str(parent) and process.ppid() != parent:
                found.append(process)
    return found


class ChildPlan(msgspec.Struct, frozen=True):
    """What to run: `module`, as `python -m` would, with its spec as stdin."""

    name: str
    role: Role
    module: str
    spec: Callable[[], msgspec.Struct]  # called at each start: a port may be known only then
    finite: bool = False  # it ends by itself when its source has ended
    warms: tuple[str, ...] = ()  # what else the fork server prepares for it: see `fork_server.Warm`


class Child:
    """One process of the plant and its restarts. Driven by the supervisor's loop; never blocks.

    A start is requested from the fork server; `channel` becomes readable when the process exists, or has failed to
    start: see `adopt`.
    """

    def __init__(self, plan: ChildPlan, settings: PlantConfig) -> None:
        self.plan = plan
        self.settings = settings
        self.state: State = "stopped"
        self.pid = 0  # 0 if it is not running, or not yet
        self.pidfd = -1
        self.channel: socket.socket | None = None  # while a request to the fork server is pending
        self.killed = False  # in its present life
        self.withdrawn = 0  # the signal that cancelled a start before the process existed
        self.pipes: dict[int, bool] = {}  # descriptors of its output, and whether each is stdout
        self.counters: Counters = {}
        self.accounts: list[Account] = []
        self.restarts = 0
        self.started_s = 0.0
        self.seen_s = 0.0  # when it last reported
        self.ready_s = 0.0  # when it said hello in its present life; 0 before that
        self.retry_s = 0.0  # when to restart it, in backoff and fatal
        self.last_lines: deque[str] = deque(maxlen=20)  # of its stderr, for the report of its death
        self._words: list[str] = []
        self._given: list[int] = []  # its ends of stdin, stdout and stderr, until it has them
        self._deaths: deque[float] = deque()
        self._row = 0  # deaths in quick succession
        self._usage: psutil.Process | None = None

    @property
    def name(self) -> str:
        """Unique in the plant."""
        return self.plan.name

    @property
    def was_ready(self) -> bool:
        """Whether it has said hello in its present life."""
        return self.ready_s > 0

    @property
    def alive(self) -> bool:
        """Whether a process exists, in any state, or is being started."""
        return self.pid > 0 or self.channel is not None

    @property
    def fds(self) -> list[int]:
        """Descriptors to poll for reading."""
        own = [self.channel.fileno()] if self.channel else []
        return [*own, *([self.pidfd] if self.pidfd >= 0 else []), *self.pipes]

    def start(self, server: ForkServer) -> None:
        """Start the process; its stdout and stderr are pipes for the supervisor to read. Raises OSError."""
        self.state = "starting"
        self.counters, self.accounts = {}, []
        self.started_s = self.seen_s = time.monotonic()
        self.ready_s = 0.0
        self.killed = False
        self._usage = None
        self.last_lines.clear()
        spec = self.plan.spec()
        plant = getattr(spec, "plant", None)
        # The process title that `ps` shows: role, name and plant; never the spec.
        self._words = [self.name, *([plant.run_dir] if plant else [])]
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        for fd in (out, err):
            os.set_blocking(fd, False)
        self.pipes = {out: True, err: False}
        self._given = [spec_file(spec), out_end, err_end]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            title = " ".join(["tickplant", self.plan.role, *self._words])
            os.umask(mask := os.umask(0o077))  # there is no other way to read the umask
            request = Fork(self.plan.module, self.name, title, mask)
            asked = server.fork(request, [theirs.fileno(), *self._given])
        if asked:
            ours.setblocking(False)
            self.channel = ours
        else:
            ours.close()
            self._spawn()

    def adopt(self) -> bool:
        """Handle what the channel brings: the process, or its failure to start. Returns whether a process exists now.

        Without a fork server, or if that died before the fork, the process is a new interpreter.
        """
        if self.channel is None or self.withdrawn:
            return False
        try:
            pid = int(self.channel.recv(32))
            self._let_begin(pid)
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            # It ended before it began, and is reaped with the unknown children.
            self._close_channel()
            os.lseek(self._given[0], 0, os.SEEK_SET)
            self._spawn()
        return True

    def _let_begin(self, pid: int) -> None:
        """Raises OSError if the process has ended."""
        pidfd = os.pidfd_open(pid)
        self.pid, self.pidfd = pid, pidfd
        with contextlib.suppress(OSError):  # it has ended: the pidfd shows that
            if self.channel:
                self.channel.send(GO)
        self._close_channel()
        self._close_given()

    def _spawn(self) -> None:
        self.pid = spawn(self.plan.module, self._words, *self._given)
        self.pidfd = os.pidfd_open(self.pid)
        self._close_given()

    def _close_channel(self) -> None:
        if self.channel:
            self.channel.close()
        self.channel = None

    def _close_given(self) -> None:
        while self._given:
            os.close(self._given.pop())

    def ready(self) -> None:
        """Note that the child said hello."""
        self.ready_s = time.monotonic()
        if self.state == "starting":
            self.state = "running"
        self.seen_s = time.monotonic()

    def heard(self, counters: Counters, accounts: list[Account]) -> None:
        """Note a report of the child."""
        self.counters, self.accounts = counters, accounts
        self.asked()

    def asked(self) -> None:
        """Note a request of the child: it lives, though it may not get to reports, as with thousands of new symbols."""
        self.seen_s = time.monotonic()

    def hung(self, now_s: float) -> bool:
        """Whether the child has been silent for too long; never true for one that does not report."""
        if not (ROLES[self.plan.role].reports and self.alive):
            return False
        patient = self.state == "starting" or ROLES[self.plan.role].yields
        limit_s = max(READY_TIMEOUT_S, self.settings.hang_s) if patient else self.settings.hang_s
        return self.state in ("starting", "running") and now_s - self.seen_s > limit_s

    def terminate(self) -> None:
        """Ask the child to finish its work and exit."""
        if self.alive and self.state != "stopping":
            self.state = "stopping"
            self.seen_s = time.monotonic()
            self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child now."""
        self.killed = True
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it exists. Any signal cancels a pending start."""
        if self.channel:
            with contextlib.suppress(OSError):  # no process is there yet
                self.channel.shutdown(socket.SHUT_RDWR)
            self._close_given()
            self.withdrawn = int(number)
        elif self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """The exit code of the ended process, negative for a signal; closes its descriptors."""
        if not self.alive:
            raise RuntimeError(f"{self.name} has no process to reap")
        code = -self.withdrawn
        if self.pid:
            with contextlib.suppress(ChildProcessError):
                code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.pidfd)
        self._close_channel()
        for fd in self.pipes:
            os.close(fd)
        self.pid, self.pidfd, self.withdrawn, self.pipes, self._usage = 0, -1, 0, {}, None
        return code

    def schedule_restart(self, now_s: float) -> float:
        """Enter backoff, or fatal if the child dies too often. Returns the pause in seconds: exponential, full jitter.

        The pauses grow with deaths in quick succession. A child that was up for longer than its last pause could have
        been starts over with short pauses: a single crash is the common case, and data waits in the ring meanwhile.
        """
        settings = self.settings
        self._deaths.append(now_s)
        while self._deaths and now_s - self._deaths[0] > settings.restart_window_s:
            self._deaths.popleft()
        ceiling_s = settings.restart_backoff_s * 2.0 ** min(self._row, 32)
        if self.was_ready and now_s - self.ready_s > min(settings.restart_cap_s, ceiling_s):
            self._row = 0
        if len(self._deaths) > settings.restart_intensity:
            self.state = "fatal"
            pause_s = settings.fatal_retry_s
        else:
            self.state = "backoff"
            ceiling_s = min(settings.restart_cap_s, settings.restart_backoff_s * 2.0 ** min(self._row, 32))
            pause_s = random.uniform(0, ceiling_s)
        self._row += 1
        self.retry_s = now_s + pause_s
        self.restarts += 1
        return pause_s

    def status(self, now_s: float) -> ProcessStatus:
        """The child's status, with its share of one core since the last call."""
        cpu_percent, rss_bytes = 0.0, 0
        if self.pid:
            with contextlib.suppress(psutil.Error):
                self._usage = self._usage or psutil.Process(self.pid)
                cpu_percent, rss_bytes = self._usage.cpu_percent(None), self._usage.memory_info().rss
        return ProcessStatus(
            name=self.name,
            role=self.plan.role,
            state=self.state,
            pid=self.pid,
            uptime_s=round(now_s - self.started_s, 1) if self.alive else 0.0,
            restarts=self.restarts,
            cpu_percent=cpu_percent,
            rss_bytes=rss_bytes,
            counters=self.counters,
        )
