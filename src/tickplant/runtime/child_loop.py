"""How a child process sleeps, reports to its supervisor and hears when to end. Feeds use asyncio instead."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from tickplant.runtime.accounts import Account
from tickplant.runtime.control import Counters, Message, Stop
from tickplant.runtime.control_client import ControlClient
from tickplant.runtime.job_specs import Plant
from tickplant.runtime.poll import Poll
from tickplant.runtime.signals import signals_as_fd

NAP_S: Final = 0.1
"""Longest nap: heartbeats and signals have their turn in between."""

BEAT_S: Final = 1.0
"""Longest time between two beats of a process that reports less often."""

Report = Callable[[], tuple[Counters, Sequence[Account]]]


class Stopped(Exception):  # noqa: N818  # not an error: the way out of long work
    """The process is to end."""


class ChildLoop:
    """The pieces of a loop: `wait` (of `poll`) or `nap` when idle, `beat` often, until `stopping`.

    Args:
        plant: gives the control socket to report to, and the interval of reports.
        name: of the process.
        report: makes the content of a heartbeat; called at any `beat`, so what it needs must exist from the first one
            on.
        hear: receives the messages of the supervisor, except `Stop`.
        on_beat: called at least every BEAT_S, and before each report.

    Not thread-safe; for the main thread, since it handles SIGTERM.
    """

    def __init__(
        self,
        plant: Plant,
        name: str,
        report: Report,
        *,
        hear: Callable[[Message], object] = lambda _: None,
        on_beat: Callable[[], object] = lambda: None,
    ) -> None:
        self.stopping = False
        self.client = ControlClient(plant.control, name)
        self.poll = Poll()
        self.wait = self.poll.wait
        self._report = report
        self._hear = hear
        self._on_beat = on_beat
        self._heartbeat_s = plant.heartbeat_s
        self._beat_s = self._report_s = 0.0  # when the next beat and the next report are due

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as resources:
            resources.callback(self.client.close)
            resources.enter_context(self.poll)
            self.poll.add_socket(self.client.socket, self.listen, seldom=True)
            self.poll.add(resources.enter_context(signals_as_fd(signal.SIGTERM, handler=self.stop)))
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def due_s(self) -> float:
        """Seconds until the next beat is due; zero or negative if it is due."""
        return self._beat_s - time.monotonic()

    def stop(self, *_: object) -> None:
        """End the loop. May be called from a signal handler."""
        self.stopping = True

    def nap(self, timeout_s: float) -> None:
        """Sleep in the midst of work, for NAP_S at most; the supervisor's messages are read at the next `beat`."""
        self.client.socket.poll(int(1000 * min(timeout_s, NAP_S)) + 1)
        self.poll.used()

    def beat(self) -> None:
        """Look after what is due, report and listen if it is time."""
        now_s = time.monotonic()
        if now_s >= self._beat_s:
            reports = now_s >= self._report_s
            if reports:
                self._report_s = now_s + self._heartbeat_s
            self._beat_s = min(now_s + BEAT_S, self._report_s)
            self._on_beat()
            if reports:
                self.report()
            self.listen()

    def go_on(self) -> None:
        """Beat in the midst of long work. Raises Stopped if the process is to end."""
        if self.stopping:
            raise Stopped
        self.beat()

    def hello(self) -> None:
        """Say that this process is attached and ready."""
        self.client.hello()
        self.poll.used()

    def report(self) -> None:
        """Report now."""
        self.client.heartbeat(*self._report())
        self.poll.used()

    def done(self) -> None:
        """Report that the source has ended."""
        self.client.done(*self._report())
        self.poll.used()

    def listen(self) -> None:
        """Handle the supervisor's messages since the last call."""
        for message in self.client.receive():
            if isinstance(message, Stop):
                self.stop()
            else:
                self._hear(message)
