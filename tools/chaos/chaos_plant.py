"""A plant and a simulated venue for rough treatment: started, inspected from outside, killed, started again.

Facts about the plant come from its shared memory, its control socket and /proc, never only from its own word.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
from plant_process import PlantProcess, free_port
from sim_process import SimProcess, sim_process

from tickplant.errors import ControlError, RingError
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, ProcessStatus, Status
from tickplant.runtime.control_client import ControlClient
from tickplant.shm.ring import Ring, RingStatistics

FEED: Final = "feed"
ENGINE: Final = "engine"
WRITER: Final = "writer"
CHILDREN: Final = (FEED, ENGINE, WRITER)
COMPACTOR: Final = cfg.COMPACTOR
"""Comes and goes every two seconds, so that records move to daily files all the time."""

RINGS: Final = ((FEED, Schema.TICK), (ENGINE, Schema.BBO), (ENGINE, Schema.BAR), (ENGINE, Schema.CHECKPOINT))

CONFIG: Final = """
[plant]
data = "data"
heartbeat_s = 0.5
hang_s = {hang_s}
drain_s = 30.0
restart_backoff_s = 0.1
restart_cap_s = 1.0
restart_intensity = {restart_intensity}
restart_window_s = 20.0
fatal_retry_s = 3.0

[feeds.feed]
venue = "binance"
symbols = [{symbols}]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
stall_s = 3.0
silent_s = 3.0
handover_s = {handover_s}
reconnect_cap_s = 1.0
ring_records = {ring_records}

[engines.engine]
publish = "tcp://127.0.0.1:{port}"
high_water_messages = {high_water_messages}
recovery_mib = {recovery_mib}
max_connections = {max_connections}

[writers.writer]
flush_s = 0.2
rotate_mib = 1

[store]
compact_every_s = 2
open_days = true
keep_journal_h = 0
"""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of plant and venue."""

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    messages_per_s: float = 400.0
    depth_levels: int = 200
    seed: int = 1
    log: bool = True
    hang_s: float = 4.0
    handover_s: float = 20.0
    restart_intensity: int = 10
    ring_records: int = 1 << 18
    high_water_messages: int = 10_000
    recovery_mib: int = 64
    max_connections: int = 128


class ChaosPlant:
    """A plant with its venue, each a process of its own, in one folder."""

    __test__ = False  # not for pytest

    def __init__(self, folder: Path, settings: Settings, sim: SimProcess) -> None:
        self.folder = folder
        self.settings = settings
        self.sim = sim
        file = folder / "plant.toml"
        file.write_text(
            CONFIG.format(
                symbols=", ".join(f'"{symbol}"' for symbol in settings.symbols),
                ws_url=sim.ws_url,
                rest_url=sim.rest_url,
                port=free_port(),
                hang_s=settings.hang_s,
                handover_s=settings.handover_s,
                restart_intensity=settings.restart_intensity,
                ring_records=settings.ring_records,
                high_water_messages=settings.high_water_messages,
                recovery_mib=settings.recovery_mib,
                max_connections=settings.max_connections,
            )
        )
        self.running = PlantProcess(file)
        self.starts = 1
        self.miscounted: set[str] = set()  # accounts of processes that did not hold when checked
        self._client: ControlClient | None = None

    @property
    def data_dir(self) -> Path:
        """The store."""
        return self.running.data_dir

    @property
    def log(self) -> Path:
        """The venue's log of what it sent."""
        return self.folder / "sent.log"

    def start_again(self) -> None:
        """Run `up` once more, after the supervisor has died."""
        self.running.process.wait()
        self.forget()
        self.running = PlantProcess(self.running.file)
        self.starts += 1

    def forget(self) -> None:
        """Close the line to a supervisor."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def status(self, timeout_s: float = 2.0) -> Status | None:
        """The supervisor's status; None if it does not answer."""
        control = cfg.control_address(cfg.run_dir(self.running.plant_id))
        if not Path(control.removeprefix("ipc://")).exists():
            return None
        if self._client is None:
            self._client = ControlClient(control, "chaos")
        try:
            reply = self._client.request(GetStatus(), timeout_s=timeout_s)
        except ControlError:
            self.forget()
            return None
        if not isinstance(reply, Status):
            return None
        self.miscounted |= {f"{account.producer}: {account}" for account in reply.accounts if account.off}
        return reply

    def process(self, name: str) -> ProcessStatus | None:
        """One child; None if the supervisor does not answer."""
        status = self.status()
        return next((one for one in status.processes if one.name == name), None) if status else None

    def is_healthy(self) -> bool:
        """Whether the supervisor reports that all is well."""
        status = self.status()
        return status is not None and status.healthy

    def ring(self, producer: str = FEED, schema: Schema = Schema.TICK) -> RingStatistics | None:
        """The state of a ring; None if it does not exist now."""
        name = cfg.ring_name(self.running.plant_id, producer, schema.name.lower())
        try:
            with Ring.attach(name, schema, self.folder) as ring:
                return ring.statistics()
        except RingError:
            return None

    def heads(self) -> dict[tuple[str, Schema], int]:
        """The head of each ring; missing rings are left out."""
        found = {key: self.ring(*key) for key in RINGS}
        return {key: ring.head for key, ring in found.items() if ring is not None}

    def pids(self) -> dict[str, int]:
        """Pids of live processes by name, including the supervisor and the venue."""
        pids = {"sim": self.sim.process.pid}
        if self.running.process.poll() is None:
            pids["supervisor"] = self.running.process.pid
        status = self.status()
        return pids | ({one.name: one.pid for one in status.processes if one.pid} if status else {})

    def errors(self) -> str:
        """What `up` has printed."""
        return self.running.errors.read_text()


class Sample(msgspec.Struct, frozen=True):
    """One measurement of one process."""

    name: str
    pid: int
    time_s: float
    own_bytes: int  # resident, without shared memory: a ring counts in each of its readers until it has gone round once
    fds: int


def sample(pids: dict[str, int], now_s: float) -> Iterator[Sample]:
    """Measure processes; one that has just ended is left out."""
    for name, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            memory = process.memory_info()
            yield Sample(name, pid, now_s, memory.rss - memory.shared, process.num_fds())


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Signal a process; False if it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def chaos_plant(folder: Path, settings: Settings) -> Iterator[ChaosPlant]:
    """Start venue and plant; afterwards nothing of them is left, whatever happened."""
    folder.mkdir(parents=True, exist_ok=True)
    with sim_process(
        symbols=list(settings.symbols),
        messages_per_s=settings.messages_per_s,
        depth_levels=settings.depth_levels,
        seed=settings.seed,
        log=str(folder / "sent.log") if settings.log else None,
        weight_per_minute=1_000_000,
        client_messages_per_s=100,
        log_level="warning",
    ) as sim:
        plant = ChaosPlant(folder, settings, sim)
        try:
            yield plant
        finally:
            plant.forget()
            plant.running.clean_up()
