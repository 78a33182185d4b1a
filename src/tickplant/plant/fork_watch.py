"""Watches the fork server: reads its messages, replaces a dead one, kills a hung one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import zmq

from tickplant.plant.child import READY_TIMEOUT_S, Child
from tickplant.plant.fork_server import Progress, Ready
from tickplant.plant.launcher import ForkServer
from tickplant.plant.supervisor_log import SupervisorLog

PROGRESS_S: Final = 1.0  # between two lines about the kernels being compiled


class ForkWatch:
    """One fork server after another, in the supervisor's poll loop.

    Args:
        server: already started; its starter also ends it.
        poller: of the loop, which passes the events found to `attend`.
        hang_s: how long a ready server may take for a fork.
        log: the supervisor's.
        tell: takes the level and sentence of a line for whoever watches the plant.
    """

    def __init__(
        self,
        server: ForkServer,
        poller: zmq.Poller,
        hang_s: float,
        log: SupervisorLog,
        tell: Callable[[str, str], None],
    ) -> None:
        self.server = server
        self._poller = poller
        self._hang_s = hang_s
        self._log = log
        self._tell = tell
        self._compiled = 0  # kernels compiled since it was last ready
        self._killed = 0  # pid of the last server killed: it may exist for some turns more
        self._told_s = 0.0  # time of the last line about kernels
        self._register()

    @property
    def retry_s(self) -> float:
        """When to start the next server (monotonic); infinite while one runs."""
        return self.server.retry_s

    def attend(self, events: Mapping[int, int], children: Iterable[Child]) -> None:
        """Do what is due. Closes descriptors, whose numbers may be reused: must be the last call of a turn."""
        server, children = self.server, list(children)
        if any(fd in events for fd in server.fds):
            if words := server.words().strip():
                self._log.warning("output", name="fork server", line=words.splitlines()[-1])
            messages = server.receive()
            for message in messages or []:
                self._hear(message, children)
            if messages is None:
                for fd in server.fds:
                    self._poller.unregister(fd)
                server.bury()
                self._log.warning("the fork server has ended: until it is back, processes start as new interpreters")
        if time.monotonic() >= server.retry_s:
            server.start()
            self._register()
        # The server's children that ended before they began. Others are reaped by their pidfd.
        known = {child.pid for child in children} | {server.pid}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in known:
                os.waitpid(ended.si_pid, 0)

    def kill_if_hung(self, child: Child, now_s: float) -> None:
        """Kill a server that this child has waited for too long; all children waiting for it notice by their channels.

        A server that still compiles reports each kernel, and may take longer.
        """
        limit_s = self._hang_s if self.server.ready else READY_TIMEOUT_S / 2
        if now_s - child.seen_s > limit_s and self.server.pid != self._killed:
            self._killed = self.server.pid
            self._tell("error", f"the fork server (pid {self.server.pid}) does not answer: killed")
            self.server.kill()

    def _register(self) -> None:
        for fd in self.server.fds:
            self._poller.register(fd, zmq.POLLIN)

    def _hear(self, message: Progress | Ready, children: list[Child]) -> None:
        """Handle a message. The first start after an installation or a change compiles, and shows its progress."""
        now_s = time.monotonic()
        for child in children:
            if child.channel:
                child.seen_s = now_s
        if isinstance(message, Ready):
            self._log.info("the fork server is ready")
            if self._compiled:
                self._tell("info", f"{self._compiled} kernels compiled; later starts load them from the cache")
            self._compiled = 0
            return
        self._compiled += 1
        if now_s - self._told_s > PROGRESS_S:
            self._told_s = now_s
            what = message.module.removeprefix("tickplant.").partition(":")[0]
            self._tell("info", f"compiling kernels, first start only: {what}, {message.kernel} of {message.kernels}")
