"""A plant and a simulated venue as real processes, for the benchmarks of the whole: start, CPU time, clean-up.

Imports tickplant's configuration and control modules only; measures nothing itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, cast

import httpx

from tickplant.errors import ControlError
from tickplant.runtime import config as cfg
from tickplant.runtime.control import Counters, GetStatus, Status
from tickplant.runtime.control_client import ControlClient

START_S: Final = 120.0  # a first start on a machine compiles the kernels
STOP_S: Final = 30.0
CHECK_S: Final = 5.0
STREAM_OF: Final = {"trade": "trade", "quote": "bookTicker"}
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "BNBUSDT")

CONFIG: Final = """
[plant]
data = "data"
log_level = "warning"

[feeds.binance]
venue = "binance"
ws_url = "{ws_url}"
rest_url = "{rest_url}"
symbols = {symbols}
channels = ["trade", "quote", "book"]

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
"""

UP: Final = "from tickplant import cli; from tickplant.runtime import lineage; lineage.die_with_parent(); cli.main()"
"""Runs `tickplant` so that it does not outlive the benchmark, even a killed one."""


class ProcessError(Exception):
    """A process of the benchmark failed to do its part."""


def cpu_ns(pid: int) -> int:
    """CPU time of a process and all its threads, including ended ones. Raises ProcessError if the process is gone.

    The kernel's clock of another process, `clock_getcpuclockid(3)`: nanoseconds, where /proc/PID/stat has 10 ms ticks.
    """
    scheduler_clock = 2
    try:
        return time.clock_gettime_ns((~pid << 3) | scheduler_clock)
    except OSError:
        raise ProcessError(f"process {pid} is gone") from None


class Usage(NamedTuple):
    """What a process has used so far."""

    cpu_ns: int
    switches: int  # of context, voluntary or not, of all its threads that live
    rss_bytes: int  # memory now


def usage(pid: int) -> Usage:
    """The usage of a process. Raises ProcessError if it is gone."""
    switches = rss_kib = 0
    try:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            switches += int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
            rss_kib = int(fields["VmRSS"].split()[0])
    except (OSError, KeyError):
        raise ProcessError(f"process {pid} is gone") from None
    return Usage(cpu_ns(pid), switches, rss_kib << 10)


def free_port() -> int:
    """A free port whose successor is free as well, for PUB and ROUTER."""
    while True:
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError, OverflowError):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            second.bind(("127.0.0.1", port + 1))
            return port


def read_line(process: subprocess.Popen[bytes], what: str, timeout_s: float) -> str:
    """The next line of a process's stdout. Raises ProcessError if none comes."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline_s = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
        byte = os.read(descriptor, 1) if ready else b""
        if not byte:
            raise ProcessError(f"{what} {'ended' if ready else f'said nothing for {timeout_s:g} s'}")
        line += byte
    return line.decode()


@contextlib.contextmanager
def child(*words: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """`python WORDS` with its stdout in a pipe; ended after the block, by force if necessary."""
    # A session of its own: Ctrl-C ends the benchmark, which then ends its children in order.
    process = subprocess.Popen([sys.executable, *words], stdin=stdin, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Sent(NamedTuple):
    """The ledger of a simulated venue, summed up by stream."""

    happened: int  # messages of the market, whether somebody took them or not
    frames: dict[str, int]
    last_ids: dict[str, int]
    connections: int

    def frames_of(self, stream: str) -> int:
        """Frames of one kind of stream, all symbols together."""
        return sum(count for name, count in self.frames.items() if name.endswith(f"@{stream}"))


class Sim:
    """A running simulated venue."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid = pid
        self.address = address
        self.ws_url = f"ws://{address}"
        self.rest_url = f"http://{address}"

    def ledger(self) -> dict[str, Any]:
        """The venue's ledger of what it has sent."""
        answer = httpx.get(f"{self.rest_url}/sim/ledger", timeout=30.0, trust_env=False)
        return cast("dict[str, Any]", answer.json())

    def sent(self) -> Sent:
        """What the venue has sent so far, over all connections."""
        ledger = self.ledger()
        frames: dict[str, int] = {}
        last_ids: dict[str, int] = {}
        for connection in ledger["connections"]:
            for name, one in connection["streams"].items():
                frames[name] = frames.get(name, 0) + one["frames"]
                last_ids[name] = max(last_ids.get(name, 0), one["last_id"])
        return Sent(ledger["source"]["messages"], frames, last_ids, len(ledger["connections"]))


@contextlib.contextmanager
def sim(messages_per_s: float, **options: Any) -> Iterator[Sim]:
    """A simulated venue with evenly spaced messages, unless `options` (of SimSpec) say otherwise."""
    spec = {"symbols": SYMBOLS, "messages_per_s": messages_per_s, "burstiness": 0.0, "log_level": "error", **options}
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(spec).encode())
        file.seek(0)
        with child("-m", "tickplant.sim", stdin=file.fileno()) as process:
            ready = json.loads(read_line(process, "the simulated venue", START_S))
            yield Sim(process.pid, f"{ready['host']}:{ready['port']}")


class Running(Protocol):
    """A system to compare: the plant, or the rival."""

    form: str  # of its messages, see bench/subscriber.py
    publish: str  # where subscribers attach
    pids: dict[str, int]  # of all its processes, by role

    def check(self, venue: Sim) -> None:
        """Raise AssertionError if the system has not done its work."""
        ...


class Plant:
    """A running `tickplant up`."""

    form = "ticks"

    def __init__(self, folder: Path, publish: str, process: subprocess.Popen[bytes]) -> None:
        self.publish = publish
        self.pids = {"supervisor": process.pid}
        self.data = folder / "data"
        self.id = cfg.plant_id(self.data)
        self.run_dir = cfg.run_dir(self.id)
        self._process = process
        self._errors = folder / "errors"
        self._control = cfg.control_address(self.run_dir)

    def status(self) -> Status:
        """The supervisor's status. Raises ControlError."""
        client = ControlClient(self._control, "bench")
        try:
            return cast("Status", client.request(GetStatus(), timeout_s=1.0))
        finally:
            client.close()

    def wait_until_up(self) -> None:
        """Return once every process is ready. Raises ProcessError."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise ProcessError(
                    f"tickplant up ended with {self._process.returncode}: {self._errors.read_text()[-2000:]}"
                )
            with contextlib.suppress(ControlError):
                status = self.status()
                if status.healthy:
                    for process in status.processes:  # several of a role: feed, feed-2
                        number = 1 + sum(role.partition("-")[0] == process.role for role in self.pids)
                        self.pids[process.role if number == 1 else f"{process.role}-{number}"] = process.pid
                    return
            time.sleep(0.1)
        raise ProcessError(f"the plant was not up within {START_S:g} s")

    def counters(self, role: str) -> list[Counters]:
        """The counters of a role's processes, from their last reports."""
        return [process.counters for process in self.status().processes if process.role == role]

    def decoded(self) -> dict[str, int]:
        """Frames of each of STREAM_OF that the feeds have turned into records, and GAPs as `gap`."""
        kinds: Counter[str] = Counter()
        for counters in self.counters("feed"):
            assert isinstance(counters["kinds"], dict)
            kinds.update(counters["kinds"])
        return {"trade": kinds["trade"], "quote": kinds["quote"] // 2, "gap": kinds["gap"]}

    def check(self, venue: Sim) -> None:
        """Assert that all frames of the venue were decoded, nothing was lost, and no process was restarted.

        A feed's counts are known only from its last report, so this waits for the next one or two.
        """
        sent = venue.sent()
        frames = {name: sent.frames_of(stream) for name, stream in STREAM_OF.items()}
        deadline_s = time.monotonic() + CHECK_S
        while True:
            decoded = self.decoded()
            if all(decoded[name] >= count for name, count in frames.items()):
                break
            if time.monotonic() > deadline_s:
                raise AssertionError(f"the venue sent {frames}, the feed decoded {decoded}")
            time.sleep(0.1)
        status = self.status()
        lost = sum(sum(ring.lost.values()) for ring in status.rings)
        if not status.healthy or lost or decoded["gap"] or any(one.restarts for one in status.processes):
            raise AssertionError(f"the plant is not well: {lost} records lost, {decoded['gap']} gaps")


@contextlib.contextmanager
def plant(venue: Sim) -> Iterator[Running]:
    """A plant that records this venue."""
    symbols = json.dumps(SYMBOLS)
    with up(CONFIG.format(ws_url=venue.ws_url, rest_url=venue.rest_url, symbols=symbols, port="{port}")) as running:
        yield running


@contextlib.contextmanager
def up(text: str) -> Iterator[Plant]:
    """A plant of this configuration, with `{port}`, in a temporary folder; it leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as name:
        folder = Path(name)
        port = free_port()
        file = folder / "supervisor.toml"
        file.write_text(text.replace("{port}", str(port)))
        with (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", UP, "up", "-c", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        running = Plant(folder, f"tcp://127.0.0.1:{port}", process)
        try:
            running.wait_until_up()
            yield running
        finally:
            _end(process, running)


def _end(process: subprocess.Popen[bytes], running: Plant) -> None:
    """Drain the plant; if it does not obey, kill it and remove its remains."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its children ask the kernel to end with it
        process.wait()
    for segment in Path("/dev/shm").glob(f"tickplant-{running.id}-*"):
        segment.unlink(missing_ok=True)


class Rival:
    """A running bench/rival.py."""

    form = "json"

    def __init__(self, publish: str, pid: int) -> None:
        self.publish = publish
        self.pids = {"rival": pid}

    def check(self, venue: Sim) -> None:
        """Nothing to check: the rival keeps no counts; its subscriber does."""


@contextlib.contextmanager
def rival(venue: Sim) -> Iterator[Running]:
    """The process of bench/rival.py, connected."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with child("-m", "bench.rival", venue.ws_url, address) as process:
        read_line(process, "the rival", START_S)
        yield Rival(address, process.pid)


System = Callable[[Sim], contextlib.AbstractContextManager[Running]]
RIVAL_NAME: Final = "websockets + json + ZeroMQ PUB"
