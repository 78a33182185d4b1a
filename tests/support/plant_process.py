"""A plant as a user runs it: `tickplant up` as a real process in a folder of its own, and its remains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, Status
from tickplant.runtime.control_client import ControlClient

T = TypeVar("T")

DEADLINE_S = 90.0
"""The first start compiles every kernel, and two such starts may run at once on two slow cores."""


def wait_for(what: str, condition: Callable[[], T | None], *, timeout_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`; AssertionError, which names `what`, if none comes in time."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` is true; other tasks of the loop run meanwhile. For a caller with a deadline."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.005)


FIRST_PORT = 12_000
WORKERS = 16
_GIVEN: set[int] = set()


def free_port() -> int:
    """A free port whose successor is free as well, for PUB and ROUTER.

    It is chosen at random below the range that the kernel assigns to clients, so that none takes it meanwhile. Until a
    process listens on a port, it would look free to others: so each test process has ports of its own, and returns each
    only once.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    own = range(FIRST_PORT + 2 * worker, FIRST_PORT + 20_000, 2 * WORKERS)
    while True:
        port = secrets.choice(own)
        if port in _GIVEN:
            assert len(_GIVEN) < len(own), "a test process has used up its ports"
            continue
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            _GIVEN.add(port)
            return port


def tickplant(*words: str | Path, timeout_s: float = DEADLINE_S, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; stdout and stderr as text."""
    return subprocess.run(
        [sys.executable, "-m", "tickplant", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **options,
    )


@contextlib.contextmanager
def relay(*words: str | Path, says: bytes) -> Iterator[IO[bytes]]:
    """Run a command that republishes a plant's stream: from its first line, which contains `says`, to the block's end.

    Yields its standard error, from the next line on.
    """
    command = [sys.executable, "-m", "tickplant", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert says in line, line
        yield process.stderr
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()  # one that did not hear is not left to the tests behind this one


def state_of(pid: int) -> str:
    """The kernel's letter for the state of a process: R, S, D, T, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def shared_memory() -> set[str]:
    """Segments of any plant on this machine."""
    return {path.name for path in Path("/dev/shm").glob("tickplant-*")}


class PlantProcess:
    """A running `tickplant up`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.config = cfg.load(file)
        self.data_dir = self.config.data_dir
        self.plant_id = cfg.plant_id(self.data_dir)
        self.publish = next((engine.publish for engine in self.config.engines.values()), "")
        self.errors = file.with_suffix(".stderr")
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tickplant", "up", "-c", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        """Return once every process of the plant is ready."""

        def up() -> bool:
            text = self.errors.read_text()
            assert self.process.poll() is None, f"tickplant up ended with {self.process.returncode}:\n{text}"
            return "the plant is up" in text

        wait_for(f"the plant of {self.file} to be up", up)

    def status(self) -> dict[str, Any]:
        """What `tickplant status --json` prints, without a process of its own."""
        return dict(msgspec.to_builtins(status(self)))

    def process_named(self, name: str) -> dict[str, Any]:
        """One process in the status."""
        return next(process for process in self.status()["processes"] if process["name"] == name)

    def segments(self) -> set[str]:
        """Shared memory of this plant."""
        return {name for name in shared_memory() if name.startswith(f"tickplant-{self.plant_id}")}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end. Returns the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def pids(self) -> set[int]:
        """Every live process of the plant, found by the control address in its command line."""
        mark = str(cfg.run_dir(self.plant_id)).encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (entry / "cmdline").read_bytes():
                        found.add(int(entry.name))
        return found

    def clean_up(self) -> None:
        """End whatever a failed test left of this plant."""
        for pid in {self.process.pid} | self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        wait_for("the children to end", lambda: not self.pids())
        for name in self.segments():
            (Path("/dev/shm") / name).unlink(missing_ok=True)
        # A supervisor killed on purpose leaves its sockets for the next one to clear away.
        shutil.rmtree(cfg.run_dir(self.plant_id), ignore_errors=True)


def status(running: PlantProcess) -> Status:
    """Like `tickplant status`, without a process of its own."""
    client = ControlClient(cfg.control_address(cfg.run_dir(running.plant_id)), "test")
    try:
        reply = client.request(GetStatus(), timeout_s=DEADLINE_S)
    finally:
        client.close()
    assert isinstance(reply, Status)
    return reply


DEMO = """
[plant]
data = "data"
heartbeat_s = 0.2

[sims.market]
symbols = ["BTCUSDT", "ETHUSDT"]
messages_per_s = {rate}

[feeds.binance]
venue = "binance"
sim = "market"
symbols = ["BTCUSDT", "ETHUSDT"]

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
flush_s = 0.2
"""


@contextlib.contextmanager
def plant(folder: Path, text: str = DEMO, *, rate: float = 500.0, wait: bool = True) -> Iterator[PlantProcess]:
    """Start a plant in `folder`. After the block, nothing of it is left, whatever happened."""
    file = folder / "plant.toml"
    file.write_text(text.format(port=free_port(), rate=rate))
    running = PlantProcess(file)
    try:
        if wait:
            running.wait_until_up()
        yield running
        if running.process.poll() is None:
            running.stop()
    finally:
        running.clean_up()
