"""One supervised process: how it is started, watched, stopped and started again. Knows nothing of what it does."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec
import psutil

from tickplant.accounts import Account
from tickplant.config import PlantConfig
from tickplant.control import Counters, ProcessStatus
from tickplant.process import PARENT_VARIABLE

Role = Literal["sim", "writer", "engine", "feed", "replay", "restore", "recall"]
State = Literal["starting", "running", "stopping", "backoff", "fatal", "done", "stopped"]

READY_TIMEOUT_S = 180.0
"""A first start compiles every kernel, which takes a minute on a slow machine."""


def orphans(parent: int) -> list[psutil.Process]:
    """Children of a supervisor that is dead, alive all the same: such as one that was hung when the signal came."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # A process of that number may live again, with children of its own: theirs is still their parent.
            if process.environ().get(PARENT_VARIABLE) == str(parent) and process.ppid() != parent:
                found.append(process)
    return found


class ChildPlan(msgspec.Struct, frozen=True):
    """What to run: `python -m module --spec JSON`."""

    name: str
    role: Role
    module: str
    spec: Callable[[], msgspec.Struct]  # called at each start: a port may be known only then
    finite: bool = False  # it ends by itself when its source has ended


class Child:
    """One process of the plant and its restarts. Driven by the supervisor's loop; never blocks."""

    def __init__(self, plan: ChildPlan, settings: PlantConfig) -> None:
        self.plan = plan
        self.settings = settings
        self.state: State = "stopped"
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.counters: Counters = {}
        self.accounts: list[Account] = []
        self.restarts = 0
        self.started_s = 0.0
        self.seen_s = 0.0  # when it last said something
        self.was_ready = False  # in its present life
        self.retry_s = 0.0  # when to start it again, in backoff and fatal
        self.last_lines: deque[str] = deque(maxlen=20)  # of its stderr, for the report of its death
        self._deaths: deque[float] = deque()
        self._usage: psutil.Process | None = None

    @property
    def name(self) -> str:
        """Unique in the plant."""
        return self.plan.name

    @property
    def pid(self) -> int:
        """0 where it is not running."""
        return self.process.pid if self.process else 0

    @property
    def pipes(self) -> dict[int, bool]:
        """Descriptors of its output, and whether it is stdout."""
        if self.process is None or self.process.stdout is None or self.process.stderr is None:
            return {}
        return {self.process.stdout.fileno(): True, self.process.stderr.fileno(): False}

    @property
    def alive(self) -> bool:
        """Whether there is a process, in whatever state."""
        return self.process is not None

    def start(self) -> None:
        """Start the process; its stdout and stderr are pipes for the supervisor to read."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.plan.module, "--spec", msgspec.json.encode(self.plan.spec()).decode()],
            env=os.environ | {PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C reaches the supervisor alone, which drains in order
        )
        for fd in self.pipes:
            os.set_blocking(fd, False)
        self.pidfd = os.pidfd_open(self.process.pid)
        self.state = "starting"
        self.was_ready = False
        self.counters, self.accounts = {}, []
        self.started_s = self.seen_s = time.monotonic()
        self._usage = None

    def ready(self) -> None:
        """It said hello."""
        self.was_ready = True
        if self.state == "starting":
            self.state = "running"
        self.seen_s = time.monotonic()

    def heard(self, counters: Counters, accounts: list[Account]) -> None:
        """It reported."""
        self.counters, self.accounts = counters, accounts
        self.seen_s = time.monotonic()

    def hung(self, now_s: float) -> bool:
        """Whether it has been silent for too long. A simulated venue does not report and cannot hang in this sense."""
        if self.plan.role == "sim" or not self.alive:
            return False
        limit_s = READY_TIMEOUT_S if self.state == "starting" else self.settings.hang_s
        return self.state in ("starting", "running") and now_s - self.seen_s > limit_s

    def terminate(self) -> None:
        """Ask it to finish its work and exit."""
        if self.process and self.state != "stopping":
            self.state = "stopping"
            self.seen_s = time.monotonic()
            self.process.terminate()

    def kill(self) -> None:
        """End it now."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)

    def reap(self) -> int:
        """Collect the exit code of the process that has ended, and close what belonged to it."""
        process = self.process
        if process is None:
            raise RuntimeError(f"{self.name} has no process to reap")
        code = process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        os.close(self.pidfd)
        self.pidfd, self.process, self._usage = -1, None, None
        return code

    def schedule_restart(self, now_s: float) -> float:
        """Enter backoff, or fatal when it dies too often. Returns the pause, seconds: exponential with full jitter."""
        settings = self.settings
        self._deaths.append(now_s)
        while self._deaths and now_s - self._deaths[0] > settings.restart_window_s:
            self._deaths.popleft()
        if len(self._deaths) > settings.restart_intensity:
            self.state = "fatal"
            pause_s = settings.fatal_retry_s
        else:
            self.state = "backoff"
            ceiling_s = min(settings.restart_cap_s, settings.restart_backoff_s * 2.0 ** (len(self._deaths) - 1))
            # The first restart is quick: a single crash is the common case, and data waits in the ring meanwhile.
            pause_s = random.uniform(0, ceiling_s)
        self.retry_s = now_s + pause_s
        self.restarts += 1
        return pause_s

    def status(self, now_s: float) -> ProcessStatus:
        """How it is, with its share of one core since the last call."""
        cpu_percent, rss_bytes = 0.0, 0
        if self.process:
            with contextlib.suppress(psutil.Error):
                self._usage = self._usage or psutil.Process(self.process.pid)
                cpu_percent, rss_bytes = self._usage.cpu_percent(None), self._usage.memory_info().rss
        return ProcessStatus(
            name=self.name,
            role=self.plan.role,
            state=self.state,
            pid=self.pid,
            uptime_s=round(now_s - self.started_s, 1) if self.process else 0.0,
            restarts=self.restarts,
            cpu_percent=cpu_percent,
            rss_bytes=rss_bytes,
            counters=self.counters,
        )
