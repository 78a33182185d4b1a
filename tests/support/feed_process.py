"""A feed process with everything that it needs around it: a ring with one reader, and a supervisor's answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from callers import Callers
from children import start_child
from remains import ring_name

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Kind, Schema
from tickplant.runtime.accounts import Account
from tickplant.runtime.config import FeedConfig
from tickplant.runtime.control import Done, Heartbeat, Hello, Message, Register, Registered, decode, encode
from tickplant.runtime.job_specs import FeedSpec, Live, Plant, Recording, RingRef
from tickplant.shm.ring import Mode, Ring

DEADLINE_S = 90.0


class FeedProcess:
    """One feed under test. `wait_for` keeps the supervisor's side and the reader going."""

    def __init__(
        self,
        folder: Path,
        source: Live | Recording,
        config: FeedConfig,
        capacity_records: int,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.environment = environment
        self.data_dir = folder / "data"
        self.run_dir = Path(tempfile.mkdtemp(prefix="tickplant-feed-"))  # a socket path must be short
        self.name = "feed"
        self.hello: Hello | None = None
        self.done: Done | None = None
        self.counters: dict[str, Any] = {}
        self.accounts: list[Account] = []
        self.heartbeats = 0
        self.errors = folder / "feed.stderr"
        self.reading = True
        self.instruments = InstrumentTable.load(self.data_dir / "instruments.jsonl")
        self.process: subprocess.Popen[bytes] | None = None
        self._batches: list[np.ndarray[Any, Any]] = []
        self._identity = b""
        segment = ring_name()
        self.ring = Ring.create(segment, Schema.TICK, capacity_records, epoch=1, doorbell_dir=self.run_dir)
        self.consumer = self.ring.consumer("test", Mode.GATING)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.LINGER, 0)
        self._callers = Callers(self._router)
        control = f"ipc://{self.run_dir}/control"
        self._router.bind(control)
        self.spec = FeedSpec(
            name=self.name,
            plant=Plant(str(self.data_dir), str(self.run_dir), control, heartbeat_s=0.1),
            config=config,
            ring=RingRef(segment, int(Schema.TICK), self.name),
            source=source,
            discover=isinstance(source, Recording),
        )

    def start(self, *, stderr: int | None = None) -> None:
        """Start the process, or restart it after its end; its log goes to `errors`, or to the descriptor `stderr`."""
        with self.errors.open("ab") as file:
            options = {} if self.environment is None else {"env": os.environ | self.environment}
            errors = file if stderr is None else stderr
            self.process = start_child("tickplant.feeds", self.spec, stderr=errors, **options)

    def tell(self, message: Message) -> None:
        """Send a command to the feed."""
        self._router.send_multipart([self._identity, encode(message)])

    def turn(self) -> None:
        """Answer the feed, and read what it has published."""
        if self._router.poll(10):
            while True:
                try:
                    identity, frame = self._router.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._on_message(identity, decode(frame))
        if self.reading:
            while len(batch := self.consumer.read(1 << 16)):
                self._batches.append(batch)
                self.consumer.commit(self.consumer.position)

    def wait_for(self, what: str, condition: Callable[[], Any], *, timeout_s: float = DEADLINE_S) -> Any:
        """The first true value of `condition`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.turn()
            if value := condition():
                return value
            assert time.monotonic() < deadline_s, (
                f"waited {timeout_s:g} s for {what}:\n{self.errors.read_text()[-4000:]}"
            )

    @property
    def records(self) -> np.ndarray[Any, Any]:
        """All records read so far, dtype TICK."""
        if len(self._batches) > 1:
            self._batches = [np.concatenate(self._batches)]
        return self._batches[0] if self._batches else np.empty(0, TICK)

    def of_kind(self, kind: Kind) -> np.ndarray[Any, Any]:
        """Records of one kind."""
        return self.records[self.records["kind"] == kind]

    def log(self) -> list[dict[str, Any]]:
        """The process's log lines."""
        return [msgspec.json.decode(line) for line in self.errors.read_bytes().splitlines() if line.startswith(b"{")]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and read everything. Returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait_for_end()

    def wait_for_end(self, *, others: int = 0) -> int:
        """The exit code, once the process has ended and all its messages have been read; `others` processes live on."""
        process = self.process
        assert process is not None
        self.wait_for("the feed to end", lambda: process.poll() is not None and self._callers.gone(others))
        self.turn()
        return process.returncode

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.consumer.close()
        self.ring.unlink()
        self.ring.close()
        self._callers.close()
        self._router.close()
        self._context.term()
        shutil.rmtree(self.run_dir)

    def _on_message(self, identity: bytes, message: Message) -> None:
        match message:
            case Register(venue, symbol, price_scale, size_scale):
                instrument = self.instruments.register(venue, symbol, price_scale, size_scale)
                self._router.send_multipart([identity, encode(Registered(instrument))])
            case Hello():
                self._identity, self.hello = identity, message
            case Heartbeat(counters=counters, accounts=accounts):
                self.counters, self.accounts = counters, accounts
                self.heartbeats += 1
            case Done(counters=counters, accounts=accounts):
                self.counters, self.accounts, self.done = counters, accounts, message
            case _:
                raise AssertionError(f"a feed does not send {message}")


@contextlib.contextmanager
def feed_process(
    folder: Path,
    source: Live | Recording,
    *,
    capacity_records: int = 1 << 16,
    start: bool = True,
    environment: dict[str, str] | None = None,
    **config: Any,
) -> Iterator[FeedProcess]:
    """A running feed process; `config` are keys of FeedConfig. With `environment` it is a new interpreter."""
    settings = FeedConfig(**{"venue": "binance", "symbols": ("BTCUSDT",), **config})
    feed = FeedProcess(folder, source, settings, capacity_records, environment)
    try:
        if start:
            feed.start()
        yield feed
    finally:
        feed.close()
