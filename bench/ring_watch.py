"""Samples a feed's ring from outside: when a frame's records were in the ring, and when they were durable.

Twenty times a second it spins until the next record, and compares the clock with the record's `ts_recv`. The record is
durable once the writer commits it; this time is known to a twentieth of a second, which is enough, as flushes are a
second apart. Costs a percent or two of a core.
"""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Final, Self

from bench.plant import Plant
from tickplant.errors import RingError
from tickplant.records.layouts import Schema
from tickplant.shm.ring import LATEST, Mode, Ring, prepare_kernels

BETWEEN_S: Final = 0.05
PATIENCE_S: Final = 0.02
LABEL: Final = "bench"


class RingWatch:
    """A context manager that samples in a thread. `published_ns`, `durable_ns`: times since the frame was read."""

    def __init__(self, plant: Plant, feed: str, writer: str) -> None:
        prepare_kernels()
        self.published_ns: list[int] = []
        self.durable_ns: list[int] = []
        self._ring = Ring.attach(f"tickplant-{plant.id}-{feed}-tick", Schema.TICK, plant.run_dir)
        self._writer = writer
        self._waiting: list[tuple[int, int]] = []  # position and ts_recv of what is not durable yet
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._ring.close()

    def _watch(self) -> None:
        while not self._ending.wait(BETWEEN_S):
            with contextlib.suppress(RingError):  # all its places are taken just now
                self._sample()
            committed = [one.position for one in self._ring.statistics().consumers if one.label == self._writer]
            now_ns = time.time_ns()
            while self._waiting and committed and committed[0] > self._waiting[0][0]:
                self.durable_ns.append(now_ns - self._waiting.pop(0)[1])

    def _sample(self) -> None:
        with self._ring.consumer(LABEL, Mode.LOSSY, start=LATEST) as consumer:
            until_s = time.monotonic() + PATIENCE_S
            while consumer.lag == 0:
                if time.monotonic() > until_s:
                    return
            now_ns = time.time_ns()
            records = consumer.read(1)
            if len(records) and records["ts_recv"][0]:
                ts_recv = int(records["ts_recv"][0])
                self.published_ns.append(now_ns - ts_recv)
                self._waiting.append((consumer.position - 1, ts_recv))
