"""A program that kills ring processes: `python ring_driver.py DIRECTORY random SEED KILLS` or `… DIRECTORY steps`.

It imports numba once and forks its children, so that a new producer or consumer takes a millisecond. At the end it
prints one JSON object. Every word of a record is a function of its position, so a torn record cannot hide.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from remains import ring_name

from tickplant.shm import layout, protocol
from tickplant.shm.ring import OLDEST, Consumer, Mode, Producer, Ring, prepare_kernels

RECORD = np.dtype([("seq", "<i8"), *((f"word_{i}", "<i8") for i in range(1, 8))])
FACTORS = np.array([1, *(0x9E3779B97F4A7C15 ** (i + 1) % 2**63 | 1 for i in range(1, 8))], np.int64)
START = 1000
CAPACITY = 256
ENTRY = struct.Struct("<qqq")
LOST_WAKEUP_S = 60.0
LEAST = 10_000
TORN, LOST_WAKEUP = 3, 4  # exit codes of a child


def make_records(first: int, count: int) -> NDArray[np.void]:
    """The records of positions `first` to `first` + `count` - 1."""
    return (np.arange(first, first + count)[:, None] * FACTORS).reshape(-1).view(RECORD)


def check_records(records: NDArray[np.void], position: int) -> None:
    """Exit unless the records are exactly those directly before `position`."""
    if records.tobytes() != make_records(position - len(records), len(records)).tobytes():
        os._exit(TORN)


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a child; returns its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def reap(pid: int) -> int:
    """Wait for the end of a child; returns its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Random:
    """Producer, gating and lossy consumer, each killed at random instants and replaced at once."""

    def __init__(self, directory: Path, seed: int, kills: int) -> None:
        self.directory, self.seed, self.kills = directory, seed, kills
        self.ring = Ring.create(ring_name(), RECORD, CAPACITY, start=START, epoch=1, doorbell_dir=directory)
        self.final = np.frombuffer(mmap.mmap(-1, 8), np.int64)  # shared with the children; 0 while records still come
        # The place of the gating consumer is there before the first record, as in a plant.
        self.ring.consumer("gating", Mode.GATING).close()
        self.stop = np.frombuffer(mmap.mmap(-1, 8), np.int64)

    def run(self) -> dict[str, Any]:
        rng = random.Random(self.seed)
        roles: dict[str, Callable[[], None]] = {"producer": self.produce, "gating": self.store, "lossy": self.follow}
        pids = {role: fork(work) for role, work in roles.items()}
        died = dict.fromkeys(roles, 0)
        exits: list[int] = []
        try:
            for _ in range(self.kills):
                time.sleep(rng.random() * 0.006)  # the instant of the kill, not a wait for anything
                role = rng.choice(list(roles))
                os.kill(pids[role], signal.SIGKILL)
                exits.append(reap(pids[role]))
                died[role] += 1
                pids[role] = fork(roles[role])
            # On a busy machine those that were killed have done little: there must be records, and some overtaken.
            until_s = time.monotonic() + LOST_WAKEUP_S
            while not self.has_run() and time.monotonic() < until_s:
                time.sleep(0.01)
            self.stop[0] = 1
            exits.append(reap(pids.pop("producer")))
            with self.ring.producer() as producer:
                self.final[0] = producer.position + 10
                producer.publish(make_records(producer.position, 10))
            exits.extend(reap(pids.pop(role)) for role in list(pids))
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            statistics = self.ring.statistics()
            self.ring.unlink()
        return {
            "died": died,
            "exits": sorted(set(exits)),
            "published": statistics.head - START,
            "gating": self.judge_gating(),
            "lossy": self.judge_lossy(),
            "lost": {consumer.label: consumer.lost for consumer in statistics.consumers},
        }

    def has_run(self) -> bool:
        """Whether enough records have passed through the ring, and faster than the lossy consumer could follow."""
        statistics = self.ring.statistics()
        lost = {consumer.label: consumer.lost for consumer in statistics.consumers}
        return statistics.head - START > LEAST and lost.get("lossy", 0) > 0

    def produce(self) -> None:
        rng = random.Random()
        producer = self.attach().producer()
        while not self.stop[0]:
            count = rng.choice([1, 2, 5, 30, 100])
            assert producer.publish(make_records(producer.position, count)) == count

    def store(self) -> None:
        """As the writer does: note records in the file, which stores them, then commit."""
        log = os.open(self.directory / "gating", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        entries = self.entries("gating")
        consumer = self.attach().consumer("gating", Mode.GATING, start=sum(entries[-1][:2]) if entries else None)
        reads = 0
        while consumer.position != self.final[0]:
            self.wait(consumer)
            records = consumer.read(70)
            check_records(records, consumer.position)
            os.write(log, ENTRY.pack(consumer.position - len(records), len(records), consumer.lost))
            reads += 1
            if reads % 3 == 0:
                consumer.commit(consumer.position)
        consumer.commit(consumer.position)

    def follow(self) -> None:
        log = os.open(self.directory / "lossy", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        consumer = self.attach().consumer("lossy", Mode.LOSSY, start=None if self.entries("lossy") else OLDEST)
        os.write(log, ENTRY.pack(consumer.position, -1, consumer.lost))
        reads = 0
        while consumer.position != self.final[0]:
            self.wait(consumer)
            records = consumer.read(200)
            check_records(records, consumer.position)
            os.write(log, ENTRY.pack(consumer.position - len(records), len(records), consumer.lost))
            reads += 1
            if reads % 20 == 0:
                time.sleep(0.001)  # be slow now and then, so as to be overtaken

    def wait(self, consumer: Consumer) -> None:
        began_s = time.monotonic()
        consumer.wait(LOST_WAKEUP_S)
        if time.monotonic() - began_s >= LOST_WAKEUP_S:
            os._exit(LOST_WAKEUP)

    def attach(self) -> Ring:
        return Ring.attach(self.ring.name, RECORD, self.directory)

    def entries(self, name: str) -> list[tuple[int, int, int]]:
        path = self.directory / name
        return list(ENTRY.iter_unpack(path.read_bytes())) if path.exists() else []

    def judge_gating(self) -> str:
        """Each record exactly once, in order."""
        position = START
        for first, count, lost in self.entries("gating"):
            if first != position or lost:
                return f"{first} follows {position}, {lost} lost"
            position += count
        return "exact" if position == self.final[0] else f"ends at {position}"

    def judge_lossy(self) -> str:
        """Each record is seen once or counted as lost. The successor reads again what a killed reader had in hand."""
        seen: list[tuple[int, int]] = []
        lost = 0
        for first, count, lost_now in self.entries("lossy"):
            if lost_now < lost:
                return f"lost fell from {lost} to {lost_now}"
            lost = lost_now
            if count < 0:
                while seen and seen[-1][0] >= first:
                    seen.pop()
                if seen and sum(seen[-1]) > first:
                    return f"resumed inside a batch, at {first}"
            elif seen and first < sum(seen[-1]):
                return f"{first} read twice"
            else:
                seen.append((first, count))
        began = self.entries("lossy")[0][0]
        total = sum(count for _, count in seen) + lost
        return "exact" if total == self.final[0] - began else f"{total} of {self.final[0] - began}"


class Steps:
    """One process at a time, which kills itself after each step of the protocol, and is then replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self) -> dict[str, Any]:
        findings = {}
        for count in (1, 5, 16):
            for step in self.producer_steps(None, np.zeros(1, np.int64), make_records(0, 1)):
                findings[f"producer, {count} records, {step}"] = self.kill_producer(step, count)
        for mode in (Mode.GATING, Mode.LOSSY):
            for step in self.consumer_steps(None, mode):
                findings[f"{mode} consumer, {step}"] = self.kill_consumer(step, mode)
        return findings

    def producer_steps(
        self, producer: Producer | None, words: NDArray[np.int64], records: NDArray[np.void]
    ) -> dict[str, Callable[[], object]]:
        source, count = records.view(np.int64), len(records)

        def tear() -> None:
            at = layout.HEADER_WORDS + words[layout.CURSOR] % 64 * 8
            protocol.copy_words(words, at, source, 0, 3)

        return {
            "granted": lambda: protocol.grant(words, count),
            "announced": lambda: protocol.announce(words, count),
            "torn": tear,
            "half copied": lambda: protocol.copy_in(words, source, 0, count // 2),
            "copied": lambda: protocol.copy_in(words, source, 0, count),
            "advanced": lambda: protocol.advance(words, count),
            "bells noted": lambda: protocol.bells(words),
            "rung": lambda: producer and producer._bells.ring(0xFFFF),
        }

    def kill_producer(self, last_step: str, count: int) -> str:
        name = ring_name()
        ring = Ring.create(name, RECORD, 64, start=START, epoch=1, doorbell_dir=self.directory)
        try:
            gating, lossy = ring.consumer("gating", Mode.GATING), ring.consumer("lossy", Mode.LOSSY, start=START)
            got: list[int] = []

            def produce(steps: bool, batches: int) -> None:
                own = Ring.attach(name, RECORD, self.directory)
                producer = own.producer()
                for _ in range(batches):
                    producer.publish(make_records(producer.position, 60), timeout_s=0)
                if steps:
                    records = make_records(producer.position, count)
                    for step, work in self.producer_steps(producer, own._words, records).items():
                        work()
                        if step == last_step:
                            killed()

            def drain() -> None:
                got.extend(gating.read(1000)["seq"].tolist())
                gating.commit(gating.position)

            # Once round, so that the killed batch lies over old records and across the end.
            reap(fork(lambda: produce(False, 1)))
            drain()
            assert gating.prepare_wait()
            code = reap(fork(lambda: produce(True, 0)))
            published = last_step in {"advanced", "bells noted", "rung"}
            if code != -signal.SIGKILL:
                return f"exit {code}"
            if ring.statistics().head != START + 60 + count * published:
                return f"head {ring.statistics().head}"
            with ring.producer() as successor:
                if published and not select.select([gating], [], [], 30)[0]:
                    return "asleep over published records"
                gating.finish_wait()
                drain()
                # A shorter batch first: the lossy reader must not trust what the dead one touched.
                successor.publish(make_records(successor.position, 1))
                records = lossy.read(1000)
                if records.tobytes() != make_records(lossy.position - len(records), len(records)).tobytes():
                    return "torn"
                if len(records) + lossy.lost != ring.statistics().head - START:
                    return f"{len(records)} + {lossy.lost} of {ring.statistics().head - START}"
                drain()
                successor.publish(make_records(successor.position, 64), timeout_s=0)
                drain()
            if got != list(range(START, gating.position)) or gating.position != ring.statistics().head:
                return f"gating got {got}"
            return "exact"
        finally:
            ring.unlink()

    def consumer_steps(self, consumer: Consumer | None, mode: Mode) -> dict[str, Callable[[], object]]:
        words = consumer._words if consumer else np.zeros(1, np.int64)
        base = consumer._base if consumer else 0
        out = np.zeros(10 * 8, np.int64)
        return {
            "joined": lambda: None,
            "copied": lambda: protocol.copy_out(words, out, base, 10),
            "settled": lambda: protocol.settle(words, out, base, 10),
            "read more": lambda: consumer and consumer.read(10),
            "committed": lambda: consumer and consumer.commit(START + 15),
            "asleep": lambda: protocol.fall_asleep(words, base),
        }

    def kill_consumer(self, last_step: str, mode: Mode) -> str:
        name = ring_name()
        ring = Ring.create(name, RECORD, 64, start=START, epoch=1, doorbell_dir=self.directory)
        try:
            producer = ring.producer()

            def consume() -> None:
                consumer = Ring.attach(name, RECORD, self.directory).consumer("reader", mode, start=START)
                for step, work in self.consumer_steps(consumer, mode).items():
                    work()
                    if step == last_step:
                        killed()

            producer.publish(make_records(START, 40))
            code = reap(fork(consume))
            if code != -signal.SIGKILL:
                return f"exit {code}"
            dead = ring.statistics().consumers[0]
            if dead.alive:
                return "alive"
            expected = {"read more": 10, "committed": 10, "asleep": 20} if mode is Mode.LOSSY else {}
            expected |= {"committed": 15, "asleep": 15} if mode is Mode.GATING else {}
            if dead.position != START + expected.get(last_step, 0):
                return f"position {dead.position}"
            producer.publish(make_records(START + 40, 10))
            consumer = ring.consumer("reader", mode)
            records = consumer.read(1000)
            if consumer.lost or records.tobytes() != make_records(dead.position, START + 50 - dead.position).tobytes():
                return "its successor does not go on where it was"
            return "exact" if consumer.prepare_wait() else "not all read"
        finally:
            ring.unlink()


def main() -> None:
    directory, what = Path(sys.argv[1]), sys.argv[2]
    prepare_kernels()
    scenario = Random(directory, int(sys.argv[3]), int(sys.argv[4])) if what == "random" else Steps(directory)
    print(json.dumps(scenario.run()))


if __name__ == "__main__":
    main()
