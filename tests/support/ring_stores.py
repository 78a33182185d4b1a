"""A program that kills ring processes after each single store to the segment, and in the middle of each copy.

    NUMBA_DISABLE_JIT=1 python ring_stores.py DIRECTORY

The kernels must be plain Python. Stores are counted as they happen, so that none can be forgotten, both in the work
itself and in taking over from a dead process. Prints one JSON object at the end, as `ring_driver.py` does.
"""

from __future__ import annotations

import json
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from remains import ring_name
from ring_driver import RECORD, START, fork, killed, make_records, reap

from tickplant.shm import protocol
from tickplant.shm.ring import Mode, Ring


class Stores:
    """One process at a time, which kills itself after each of its stores in turn, and is then replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self) -> dict[str, Any]:
        findings = {}
        for name, attempt in {
            "producer": self.kill_producer,
            "gating consumer": lambda store: self.kill_consumer(store, Mode.GATING),
            "lossy consumer": lambda store: self.kill_consumer(store, Mode.LOSSY),
            "overtaken consumer": self.kill_overtaken,
        }.items():
            store = 1
            while (finding := attempt(store)) != "lived":
                findings[f"{name}, store {store}"] = finding
                store += 1
        return findings

    def die_at(self, store: int) -> None:
        """Have this process killed after its store number `store` from now on; a copy is stopped half-way."""
        left = [store]
        store_release, copy_words = protocol.store_release, protocol.copy_words

        def deadly_store(words: NDArray[np.int64], at: int, value: int) -> None:
            store_release(words, at, value)
            left[0] -= 1
            if not left[0]:
                killed()

        def deadly_copy(target: NDArray[np.int64], at: int, source: NDArray[np.int64], begin: int, count: int) -> None:
            left[0] -= 1
            if not left[0]:
                copy_words(target, at, source, begin, count // 2)
                killed()
            copy_words(target, at, source, begin, count)

        protocol.store_release, protocol.copy_words = deadly_store, deadly_copy

    def attempt(self, work: Callable[[Ring], None], ring: Ring, store: int) -> bool:
        """Run `work` in a process of its own; whether it was killed at that store. False: it makes fewer stores."""

        def run() -> None:
            own = Ring.attach(ring.name, RECORD, self.directory)
            self.die_at(store)
            work(own)

        code = reap(fork(run))
        assert code in (0, -signal.SIGKILL), code
        return code != 0

    def leave_dead(self, ring: Ring, mode: Mode) -> None:
        """A consumer that was killed as soon as it had joined."""

        def join() -> None:
            with Ring.attach(ring.name, RECORD, self.directory).consumer("reader", mode, start=START):
                killed()

        reap(fork(join))

    def new_ring(self) -> Ring:
        name = ring_name()
        return Ring.create(name, RECORD, 64, start=START, epoch=1, doorbell_dir=self.directory)

    def kill_producer(self, store: int) -> str:
        """A producer takes over after a half-finished copy, publishes across the end, finds the ring full and drops."""
        ring = self.new_ring()
        try:
            gating, lossy = ring.consumer("gating", Mode.GATING), ring.consumer("lossy", Mode.LOSSY, start=START)
            got: list[int] = []

            def first() -> None:
                Ring.attach(ring.name, RECORD, self.directory).producer().publish(make_records(START, 60), timeout_s=0)

            def half() -> None:
                words = Ring.attach(ring.name, RECORD, self.directory)._words
                protocol.grant(words, 30)
                protocol.announce(words, 30)
                protocol.copy_in(words, make_records(START + 60, 30).view(np.int64), 0, 20)
                killed()

            def produce(own: Ring) -> None:
                producer = own.producer()
                for count in (5, 16, 1):
                    producer.publish(make_records(producer.position, count), timeout_s=0)
                records = make_records(producer.position, 64)
                producer.drop(64 - producer.publish(records, timeout_s=0))

            def drain() -> None:
                got.extend(gating.read(1000)["seq"].tolist())
                gating.commit(gating.position)

            reap(fork(first))
            drain()
            reap(fork(half))
            assert gating.prepare_wait()
            if not self.attempt(produce, ring, store):
                return "lived"
            head = ring.statistics().head
            with ring.producer() as successor:
                if head > START + 60 and not select.select([gating], [], [], 30)[0]:
                    return "asleep over published records"
                gating.finish_wait()
                drain()
                for count in (1, 40):
                    successor.publish(make_records(successor.position, count), timeout_s=0)
                    records = lossy.read(1000)
                    if records.tobytes() != make_records(lossy.position - len(records), len(records)).tobytes():
                        return "torn"
                    drain()
            if got != list(range(START, ring.statistics().head)):
                return f"gating got {got}"
            return "exact"
        finally:
            ring.unlink()

    def kill_consumer(self, store: int, mode: Mode) -> str:
        """A consumer joins, reads, commits, sleeps, wakes up and reads on."""
        ring = self.new_ring()
        try:
            producer = ring.producer()
            self.leave_dead(ring, mode)
            producer.publish(make_records(START, 40))

            def consume(own: Ring) -> None:
                consumer = own.consumer("reader", mode)
                consumer.read(10)
                consumer.commit(START + 5)
                consumer.read(1000)
                consumer.commit(START + 40)
                consumer.prepare_wait()
                consumer.finish_wait()
                consumer.read(10)

            if not self.attempt(consume, ring, store):
                return "lived"
            dead = ring.statistics().consumers[0]
            # Not what it had not done with, nor a second time what it had.
            if dead.position not in {START, START + 5, START + 10, START + 40}:
                return f"position {dead.position}"
            producer.publish(make_records(START + 40, 20), timeout_s=0)
            return self.judge_successor(ring, mode, dead.position)
        finally:
            ring.unlink()

    def kill_overtaken(self, store: int) -> str:
        """A lossy consumer returns, counts its losses and reads; it may be killed again meanwhile."""
        ring = self.new_ring()
        try:
            producer = ring.producer()
            producer.publish(make_records(START, 1))
            self.leave_dead(ring, Mode.LOSSY)
            for _ in range(10):
                producer.publish(make_records(producer.position, 16), timeout_s=0)

            def consume(own: Ring) -> None:
                consumer = own.consumer("reader", Mode.LOSSY)
                consumer.read(10)
                consumer.read(10)

            if not self.attempt(consume, ring, store):
                return "lived"
            # Killed once more, at the first store of taking over.
            self.attempt(consume, ring, 1)
            return self.judge_successor(ring, Mode.LOSSY, None)
        finally:
            ring.unlink()

    def judge_successor(self, ring: Ring, mode: Mode, position: int | None) -> str:
        """Check that the successor continues where the dead one was, and returns each record or counts it as lost."""
        head = ring.statistics().head
        consumer = ring.consumer("reader", mode)
        began, lost = consumer.position, consumer.lost
        if position is not None and (began, lost) != (position, 0):
            return f"begins at {began} with {lost} lost, not at {position}"
        records = consumer.read(1000)
        if records.tobytes() != make_records(head - len(records), len(records)).tobytes():
            return "torn"
        # What was handed to the dead one, and done with, is neither read again nor lost.
        if len(records) + consumer.lost - lost != head - began:
            return f"{len(records)} read and {consumer.lost - lost} lost of {head - began}"
        if position is None and not 0 <= began - START - lost <= 20:
            return f"begins at {began} with {lost} lost"
        return "exact" if consumer.prepare_wait() else "not all read"


if __name__ == "__main__":
    print(json.dumps(Stores(Path(sys.argv[1])).run()))
