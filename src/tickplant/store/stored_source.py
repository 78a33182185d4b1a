"""A process that plays stored ticks into a ring: see `replay`.

Knows nothing of what is played.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Schema
from tickplant.runtime.child_loop import ChildLoop
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import ReplaySpec
from tickplant.shm.ring import Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.writer.format.codec import warm_up as warm_up_codec

BATCH_RECORDS: Final = 8192


class Stopped(Exception):  # noqa: N818  # no error: the way out of whatever reads
    """This process is to end."""


class StoredSource:
    """The producer of a ring of stored ticks. Subclasses say which, in `run`.

    Whatever may take longer than a heartbeat, reading the store above all, calls `beat` meanwhile.
    """

    def __init__(self, spec: ReplaySpec, resources: contextlib.ExitStack) -> None:
        self._records = 0
        self._ts_recv = 0
        self.loop = resources.enter_context(ChildLoop(spec.plant, spec.name, lambda: (self.counters(), [])))
        ring = resources.enter_context(Ring.attach(spec.ring.name, Schema.TICK, Path(spec.plant.run_dir)))
        self._producer = resources.enter_context(ring.producer())

    def run(self) -> None:
        """Play until the end or until stopped."""
        raise NotImplementedError

    def counters(self) -> Counters:
        """What the supervisor shows."""
        return {"records": self._records, "ts_recv": self._ts_recv}

    def publish(self, records: NDArray[np.void]) -> int:
        """Publish a batch as there is room for it, always the first records; returns how many. Raises Stopped."""
        batch = records[:BATCH_RECORDS]
        published = self._producer.publish_all(batch, lambda _: self.beat())
        self._records += published
        self._ts_recv = int(batch[-1]["ts_recv"])
        self.beat()
        return published

    def publish_all(self, records: NDArray[np.void]) -> None:
        """Publish all, batch by batch. Raises Stopped."""
        for start in range(0, len(records), BATCH_RECORDS):
            self.publish(records[start : start + BATCH_RECORDS])

    def beat(self) -> None:
        """Report when it is time. Raises Stopped where this is to end: so whatever reads the store ends there, too."""
        if self.loop.stopping:
            raise Stopped
        self.loop.beat()


def warm_up() -> None:
    """Compile or load the kernels of such a process."""
    prepare_ring()
    warm_up_codec()


def run_source(source: Callable[[ReplaySpec, contextlib.ExitStack], StoredSource]) -> None:
    """Run one such process from its spec; ends it with a sentence where it cannot work."""
    with child_process(ReplaySpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            source(spec, resources).run()
