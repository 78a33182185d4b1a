"""An engine as a real process, without a supervisor, with rings that the test fills."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from children import start_child
from plant_process import DEADLINE_S, free_port, wait_for
from remains import ring_name

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Flag, Kind, Schema, Side
from tickplant.runtime.config import EngineConfig
from tickplant.runtime.control import Heartbeat, Hello, decode
from tickplant.runtime.job_specs import EngineSpec, Plant, RingRef
from tickplant.shm.ring import Mode, Ring

SYMBOLS = ("BTCUSDT", "ETHUSDT")
_NUMBERS = itertools.count()


class EngineProcess:
    """`python -m tickplant.engine`, its rings, and the end of its control line."""

    def __init__(
        self,
        folder: Path,
        *,
        ring_records: int = 1 << 16,
        out_records: int = 1 << 16,
        store: bool = True,
        schemas: tuple[Schema, ...] = (Schema.BBO, Schema.BAR),
        **options: Any,
    ) -> None:
        self.folder = folder
        table = InstrumentTable.load(folder / "instruments.jsonl")
        self.ids = {symbol: table.register("binance", symbol, 2, 8).id for symbol in ("*", *SYMBOLS)}
        self.address = f"tcp://127.0.0.1:{free_port()}"
        name = ring_name()
        self.rings = {
            schema: Ring.create(
                f"{name}-{schema.name.lower()}",
                schema,
                ring_records if schema is Schema.TICK else out_records,
                epoch=time.time_ns(),
                doorbell_dir=folder,
            )
            for schema in Schema
        }
        self.producer = self.rings[Schema.TICK].producer()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.control = self.context.socket(zmq.ROUTER)
        control = f"ipc://{folder}/control"
        self.control.bind(control)
        config = {key: options.pop(key) for key in list(options) if key in EngineConfig.__struct_fields__}
        refs = {schema: RingRef(ring.name, int(schema), "test") for schema, ring in self.rings.items()}
        self.spec = EngineSpec(
            name="engine",
            plant=Plant(str(folder), str(folder), control, heartbeat_s=0.1),
            config=EngineConfig(publish=self.address, **config),
            inputs=[refs[Schema.TICK]],
            outputs=[refs[schema] for schema in schemas] if store else [],
            **options,
        )
        self.counters: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.process = start_child("tickplant.engine", self.spec)
        wait_for("the engine's hello", lambda: any(isinstance(message, Hello) for message in self.heard()))

    def heard(self) -> list[object]:
        """The engine's messages since the last call."""
        messages = []
        assert self.process.poll() is None, "the engine has ended"
        while self.control.poll(20):
            message = decode(self.control.recv_multipart()[1])
            if isinstance(message, Heartbeat):
                self.counters = dict(message.counters)
            messages.append(message)
        return messages

    def wait_for_counter(self, name: str, least: int) -> None:
        """Return once a reported counter is at least `least`."""
        wait_for(f"{name} to be {least}", lambda: self.heard() is not None and self.counters.get(name, 0) >= least)

    def publish(self, ticks: np.ndarray) -> None:
        """Put ticks into the ring, stamped."""
        ticks["seq"] = np.arange(self.producer.position, self.producer.position + len(ticks))
        assert self.producer.publish(ticks, timeout_s=DEADLINE_S) == len(ticks)

    def derived(self, schema: Schema) -> bytes:
        """Everything in an output ring."""
        with self.rings[schema].consumer(f"test{next(_NUMBERS)}", Mode.LOSSY, start=0) as consumer:
            return consumer.read(1 << 20).tobytes()

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def clean_up(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self.producer.close()
        for ring in self.rings.values():
            ring.unlink()
            ring.close()
        self.control.close(0)
        self.context.term()


@contextlib.contextmanager
def engine(folder: Path, **options: Any) -> Iterator[EngineProcess]:
    """A running engine, which leaves nothing behind."""
    running = EngineProcess(folder, **options)
    try:
        yield running
    finally:
        running.clean_up()


class Market:
    """Endless plausible ticks of one instrument: a book around a wandering price, and trades."""

    def __init__(self, instrument: int, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._instrument = instrument
        self._time_ns = 1_700_000_000 * 10**9
        self._begun = False

    def ticks(self, count: int) -> np.ndarray:
        """The next `count` ticks."""
        random = self._random
        made = np.zeros(count, TICK)
        made["instrument"] = self._instrument
        made["kind"] = np.where(random.random(count) < 0.2, int(Kind.TRADE), int(Kind.LEVEL))
        made["side"] = random.integers(1, 3, count)
        away = random.geometric(0.1, count)
        made["price"] = 10_000 + np.where(made["side"] == Side.BID, -away, away)
        gone = (random.random(count) < 0.5) & (made["kind"] == Kind.LEVEL)
        made["size"] = np.where(gone, 0, random.integers(1, 6, count))
        made["flags"] = np.where(random.random(count) < 0.5, int(Flag.LAST), 0)
        made["flags"][made["kind"] == Kind.TRADE] = Flag.LAST
        made["ts_event"] = made["ts_recv"] = self._time_ns + np.arange(count) * 10**6
        self._time_ns += count * 10**6
        if not self._begun:
            made["kind"][0] = Kind.CLEAR
            self._begun = True
        return made
