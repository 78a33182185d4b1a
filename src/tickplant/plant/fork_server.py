"""The fork server: imports what children run, compiles or loads their kernels once, and forks a ready child in 10 ms.

Runs as `python -m tickplant.plant.fork_server FD PADDING`; FD is one end of a socket pair whose other end the
supervisor holds (`launcher.ForkServer`). It has one thread, no ZeroMQ context and no event loop, so that a fork is
sound. A child is forked twice: when the process in between has ended, the kernel gives the child to the supervisor,
which is a subreaper. So the supervisor waits for it, and takes it along when ending, as with a child of its own, and
the server may be killed at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import msgspec

from tickplant.runtime.lineage import PR_SET_NAME, PR_SET_PDEATHSIG, die_with_parent, prctl


class Warm(msgspec.Struct, tag="warm"):
    """Supervisor: prepare these, in this order; replaces the earlier list.

    Each is a module that children run, whose `warm_up` is called if it has one, or `module:name` of another callable.
    """

    modules: list[str]


class Fork(msgspec.Struct, tag="fork"):
    """Supervisor: fork a child that runs `module`. Comes with four descriptors: channel, stdin, stdout, stderr."""

    module: str
    name: str
    title: str
    umask: int


class Progress(msgspec.Struct, tag="progress"):
    """Server: a kernel is being compiled, the `kernel`th of those that `module` and what it imports declare."""

    module: str
    kernel: int
    kernels: int


class Ready(msgspec.Struct, tag="ready"):
    """Server: everything requested is warm."""

    modules: list[str]


GO: Final = b"go"
"""On a child's channel: the child sends its pid, and begins when the supervisor has answered with this.

If the channel closes before that, nobody waits for the child any more, or the child does not exist.
"""

MESSAGE_BYTES: Final = 1 << 16
PADDING: Final = "-" * 240
"""Last word of the command line: room for the title of a child, which overwrites the whole command line."""

_DECODER: Final = msgspec.msgpack.Decoder(Warm | Fork)


class _Job(msgspec.Struct):
    """The job of this process, which is now the child."""

    module: str
    warm: bool  # the server has imported it


class Server:
    """The loop. `run` returns in the server when the supervisor is gone, and in each child with its job."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._warm: set[str] = set()
        self._to_warm: list[str] = []
        self._owes_ready = False  # since the last `Warm`
        self._to_fork: list[tuple[Fork, list[int]]] = []
        self._has_compiled = False

    def run(self) -> _Job | None:
        """Serve. Returns the child's job in a child, None in the server."""
        while True:
            # While work is left, requests are only checked for.
            if not self._receive(wait=not self._to_warm and not self._to_fork):
                return None
            waiting, self._to_fork = self._to_fork, []
            for request, fds in waiting:
                if request.module in self._to_warm:
                    self._to_fork.append((request, fds))
                elif (job := self._fork(request, fds)) is not None:
                    return job
            if self._to_warm:
                self._warm_up(self._to_warm[0])
                del self._to_warm[0]
            if self._owes_ready and not self._to_warm:
                self._owes_ready = False
                self._say(Ready(sorted(self._warm)))

    def _receive(self, *, wait: bool) -> bool:
        """Take in the supervisor's requests. False if the supervisor is gone."""
        while True:
            self._connection.setblocking(wait)  # Python 3.11 ignores flags in `recv_fds`
            try:
                data, fds, _, _ = socket.recv_fds(self._connection, MESSAGE_BYTES, 4)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            message = _DECODER.decode(data)
            if isinstance(message, Warm):
                self._to_warm = [module for module in message.modules if module not in self._warm]
                self._owes_ready = True
            else:
                self._to_fork.append((message, fds))
            wait = False

    def _say(self, message: Progress | Ready) -> None:
        # A supervisor that does not read must not stop the compilation with a full socket.
        with contextlib.suppress(OSError):
            self._connection.send(msgspec.msgpack.encode(message), socket.MSG_DONTWAIT)

    # ------------------------------------------------------------------------------------------------ warm-up

    def _warm_up(self, module: str) -> None:
        """Import a module, and compile or load its kernels."""
        self._warm.add(module)
        if warm_up := _find_warm_up(module):
            if not self._has_compiled and not jit().all_cached():
                self._has_compiled = True
                self._compile()
            self._load_kernels(module, warm_up)
        if (threads := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208  # only their number
            raise RuntimeError(f"{module} has started {threads - 1} threads, with which a fork is not sound")
        gc.freeze()  # a collection in a child would write to every shared page

    def _compile(self) -> None:
        """Compile everything that is not in the cache, in parallel helper processes.

        The compiler takes 400 MiB, which the server and all its children would otherwise keep.
        """
        server, waiting = os.getpid(), list(self._to_warm)
        running: set[int] = set()
        while waiting or running:
            if waiting and len(running) < len(os.sched_getaffinity(0)):
                module = waiting.pop(0)
                if helper := os.fork():
                    running.add(helper)
                    continue
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == server and (warm_up := _find_warm_up(module)):
                    self._load_kernels(module, warm_up)
                os._exit(0)
            # A helper that fails leaves its kernels to the server, which then fails as well, and reports why.
            running.discard(os.wait()[0])

    def _load_kernels(self, module: str, warm_up: Callable[[], object]) -> None:
        """Run a module's warm-up, and report each kernel that must be compiled."""
        count = 0

        def tell(_: str, __: str) -> None:
            nonlocal count
            count += 1
            self._say(Progress(module, count, max(count, jit().count_declared())))

        with jit().compiling(tell):
            warm_up()
        jit().mark_all_cached()

    # ------------------------------------------------------------------------------------------------ forks

    def _fork(self, request: Fork, fds: list[int]) -> _Job | None:
        """None in the server; the job in the child, which exits if nobody waits for it."""
        between = os.fork()
        if between:
            for fd in fds:
                os.close(fd)
            os.waitpid(between, 0)
            return None
        between = os.getpid()
        if os.fork():
            os._exit(0)
        self._connection.close()
        for _, others in self._to_fork:
            for fd in others:
                os.close(fd)
        channel, *standard = fds
        os.setsid()
        for target, fd in enumerate(standard):
            os.dup2(fd, target)
            os.close(fd)
        os.umask(request.umask)
        set_title(request.name, request.title)
        while os.getppid() == between:
            time.sleep(0.0001)
        with socket.socket(fileno=channel) as line:
            try:
                line.send(str(os.getpid()).encode())
                answer = line.recv(len(GO))
            except OSError:
                answer = b""
        if answer != GO:
            os._exit(0)
        gc.enable()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return _Job(request.module, request.module in self._warm)


@functools.cache
def jit() -> Any:
    """The module `kernels`; it imports numba, which only modules with kernels need."""
    return import_module("tickplant.kernels")


def _find_warm_up(module: str) -> Callable[[], object] | None:
    """Import a module of a `Warm`; returns what to call then, if anything."""
    name, _, attribute = module.partition(":")
    return getattr(import_module(_entry_name(name)), attribute or "warm_up", None)


def _entry_name(module: str) -> str:
    """The module that `python -m` would run."""
    found = find_spec(module)
    return f"{module}.__main__" if found and found.submodule_search_locations else module


def set_title(name: str, title: str) -> None:
    """Set what `ps` shows for this process: `name` as its command, `title` as its command line, truncated to fit."""
    prctl(PR_SET_NAME, name.encode()[:15])
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    room = end - start
    text = title.encode()[: max(0, room - 2)]
    # The kernel takes an area that does not end in NUL for a title, and shows it up to its first NUL.
    ctypes.memmove(start, text.ljust(room - 1, b"\0") + b" ", room)


def main() -> None:
    """Serve until the supervisor is gone; in a child, do its job. Ends the process."""
    die_with_parent(signal.SIGKILL)  # nothing needs finishing, even if it is stopped or compiling
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles the terminal's Ctrl-C
    gc.disable()
    # structlog, numba and httpx import these if installed; no child uses them, and they take 0.2 s.
    left_out = [name for name in ("rich", "coverage", "click") if name not in sys.modules]
    sys.modules |= dict.fromkeys(left_out, cast("ModuleType", None))
    job = Server(socket.socket(fileno=int(sys.argv[1]))).run()
    if job is not None:
        if not job.warm:  # the child's own imports may want them
            for name in left_out:
                sys.modules.pop(name, None)
        sys.argv = [job.module]
        entry = sys.modules.get(_entry_name(job.module)) or import_module(_entry_name(job.module))
        sys.exit(entry.main())


if __name__ == "__main__":
    main()
