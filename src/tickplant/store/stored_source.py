"""What a process that plays stored ticks into a ring has in common: see `replay` and `restore`.

Knows nothing of what is played.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Schema
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import (
    ControlClient,
    Counters,
    ReplaySpec,
    RestoreSpec,
    Stop,
)
from tickplant.shm.ring import Producer, Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.writer.format.codec import warm_up as warm_up_codec

BATCH_RECORDS: Final = 8192
TURN_S: Final = 0.1
"""Longest wait before heartbeats and signals have their turn."""

Spec = TypeVar("Spec", ReplaySpec, RestoreSpec)


class Stopped(Exception):  # noqa: N818  # no error: the way out of whatever reads
    """This process is to end."""


class StoredSource:
    """The producer of a ring of stored ticks. Subclasses say which, in `run`.

    Whatever may take longer than a heartbeat, reading the store above all, calls `beat` meanwhile.
    """

    def __init__(self, heartbeat_s: float, producer: Producer, client: ControlClient) -> None:
        self.stopping = False
        self._producer = producer
        self._client = client
        self._heartbeat_s = heartbeat_s
        self._beat_s = 0.0
        self._records = 0
        self._ts_recv = 0

    def run(self) -> None:
        """Play until the end or until stopped."""
        raise NotImplementedError

    def stop(self, *_: object) -> None:
        """Stop playing. May be called from a signal handler."""
        self.stopping = True

    def counters(self) -> Counters:
        """What the supervisor shows."""
        return {"records": self._records, "ts_recv": self._ts_recv}

    def publish(self, records: NDArray[np.void]) -> int:
        """Publish as many as fit within a turn, always the first ones; returns how many."""
        published = self._producer.publish(records[:BATCH_RECORDS], timeout_s=TURN_S)
        if published:
            self._records += published
            self._ts_recv = int(records[published - 1]["ts_recv"])
        return published

    def wait(self, timeout_s: float) -> None:
        """Sleep, but hear what the supervisor says."""
        self._client.socket.poll(int(1000 * min(timeout_s, TURN_S)) + 1)

    def beat(self) -> None:
        """Report when it is time. Raises Stopped where this is to end: so whatever reads the store ends there, too."""
        if self.stopping:
            raise Stopped
        now_s = time.monotonic()
        if now_s >= self._beat_s:
            self._beat_s = now_s + self._heartbeat_s
            self._client.heartbeat(self.counters())
            if any(isinstance(message, Stop) for message in self._client.receive()):
                self.stop()


def warm_up() -> None:
    """Compile or load the kernels of such a process."""
    prepare_ring()
    warm_up_codec()


def run_source(kind: type[Spec], source: Callable[[Spec, Producer, ControlClient], StoredSource]) -> None:
    """Run one such process from its spec; ends it with a sentence where it cannot work."""
    with child_process(kind) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            client = ControlClient(spec.plant.control, spec.name)
            resources.callback(client.close)
            ring = resources.enter_context(Ring.attach(spec.ring.name, Schema.TICK, Path(spec.plant.run_dir)))
            producer = resources.enter_context(ring.producer())
            process = source(spec, producer, client)
            signal.signal(signal.SIGTERM, process.stop)
            process.run()
