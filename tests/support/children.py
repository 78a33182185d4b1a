"""Starts one child of a plant as a process of its own, without a supervisor.

A fork server forks the child, as in a plant, since a new interpreter needs 1.5 s of CPU to import what it runs. With
options that a fork server cannot apply, such as an environment, the child is a new interpreter.
"""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

import msgspec

from tickplant.plant.fork_server import GO, Fork
from tickplant.plant.launcher import ForkServer
from tickplant.runtime.lineage import PR_SET_CHILD_SUBREAPER, prctl
from tickplant.venues import VENUES

MODULES = (
    "tickplant.sim",
    *dict.fromkeys(venue.kernels for venue in VENUES.values()),
    "tickplant.feeds",
    "tickplant.engine",
    "tickplant.writer",
)
START_S = 300.0
"""The first start on a machine compiles every kernel."""

_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def fork_server() -> ForkServer:
    """The fork server of this test process, which lives until the process ends."""
    server = ForkServer()
    server.warm(MODULES)
    atexit.register(server.close)
    return server


class Forked(subprocess.Popen[bytes]):
    """As `subprocess.Popen`, but forked by the fork server. `args` is the module."""

    def _execute_child(self, args: str, *words: Any) -> None:
        # Of the standard library's parameters, the descriptors alone: they stand together behind nine others.
        stdin, _, _, stdout, _, stderr = given = words[9:15]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.settimeout(START_S)
            standard = [fd if fd >= 0 else place for place, fd in enumerate((stdin, stdout, stderr))]
            # A grandchild of the server becomes a child of this process, which at other times is no heir of orphans.
            with _ONE_AT_A_TIME:
                prctl(PR_SET_CHILD_SUBREAPER, 1)
                try:
                    os.umask(mask := os.umask(0o077))
                    request = Fork(args, "test", f"tickplant {args}", mask)
                    assert fork_server().fork(request, [theirs.fileno(), *standard])
                    self.pid = int(ours.recv(32))
                    ours.send(GO)
                finally:
                    prctl(PR_SET_CHILD_SUBREAPER, 0)
        self._child_created = True
        self._close_pipe_fds(*given)  # type: ignore[attr-defined]


def start_child(module: str, spec: msgspec.Struct | dict[str, Any], **options: Any) -> subprocess.Popen[bytes]:
    """`python -m module` with this spec as its stdin; `options` as for Popen."""
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(spec))
        file.seek(0)
        if options.keys() <= {"stdout", "stderr"}:
            return Forked(module, stdin=file, **options)
        return subprocess.Popen([sys.executable, "-m", module], stdin=file, **options)
