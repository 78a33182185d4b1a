"""The faults of a plant: one function per kind, and how to tell that the plant is well again."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Final

import msgspec

from chaos.chaos_plant import ENGINE, FEED, WRITER, ChaosPlant, kill
from tickplant.records.layouts import Schema
from tickplant.shm.ring import RingStatistics

PASSING_S: Final = 4.0
"""How long to wait for a process that comes and goes every two seconds."""

PASSING_LOOK_S: Final = 0.005

FLOWING_RECORDS: Final = 20
"""A feed is back when the ring has this many more records: its own STATUS records are fewer."""


class Recovery(msgspec.Struct):
    """A process that was killed or stopped, on its way back to work."""

    process: str
    fault: str
    began_s: float
    heads: dict[tuple[str, Schema], int]  # of the rings right after the fault
    pid: int  # of the victim
    took_s: float | None = None
    given_up: str = ""  # why nobody waits for it any more

    def is_over(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.took_s is not None or bool(self.given_up)


class Surgeon:
    """Kills and stops processes, and watches them come back. Call `turn` often."""

    def __init__(self, plant: ChaosPlant) -> None:
        self.plant = plant
        self.recoveries: list[Recovery] = []
        self.reached: dict[tuple[str, Schema], int] = defaultdict(int)  # highest position seen of each ring
        self.starting = False  # a new supervisor is starting

    @property
    def pending(self) -> list[Recovery]:
        """Processes that are not back yet."""
        return [one for one in self.recoveries if not one.is_over()]

    def note_heads(self) -> dict[tuple[str, Schema], int]:
        """Record the heads of the rings."""
        heads = self.plant.heads()
        for key, head in heads.items():
            self.reached[key] = max(self.reached[key], head)
        return heads

    def strike(self, name: str, number: signal.Signals = signal.SIGKILL, fault: str = "kill") -> bool:
        """Signal one child of the plant. False if it has no process now, or is not back from the last signal."""
        if self.starting or any(one.process in (name, "supervisor", "all") for one in self.pending):
            return False
        process = self.plant.process(name)
        if process is None or not process.pid or process.state != "running" or not kill(process.pid, number):
            return False
        began_s = time.monotonic()
        self.recoveries.append(Recovery(name, fault, began_s, self.note_heads(), process.pid))
        return True

    def kill_passing(self, name: str) -> bool:
        """Kill a process that comes and goes, within a time in which it should come. False if it did not."""
        end_s = time.monotonic() + PASSING_S
        while not self.starting and time.monotonic() < end_s:
            process = self.plant.process(name)
            if process is not None and process.pid:
                return kill(process.pid)
            time.sleep(PASSING_LOOK_S)
        return False

    def pause(self, name: str, for_s: float) -> bool:
        """Stop a child for less time than it takes to be found hung."""
        process = None if self.starting else self.plant.process(name)
        if process is None or process.state != "running" or not kill(process.pid, signal.SIGSTOP):
            return False
        time.sleep(for_s)
        kill(process.pid, signal.SIGCONT)
        return True

    def strike_supervisor(self, *, everybody: bool = False) -> bool:
        """Kill the supervisor, and its children with it; or all of them at one instant. Then `up` again."""
        if self.starting:
            return False
        pids = self.plant.pids()
        if "supervisor" not in pids:
            return False
        if everybody:
            # Stopped first, so that none sees another one die.
            victims = [pid for name, pid in pids.items() if name != "sim"]
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in victims:
                    kill(pid, number)
        else:
            kill(pids["supervisor"])
        began_s = time.monotonic()
        for one in self.pending:
            one.given_up = "the supervisor was killed meanwhile"
        name = "all" if everybody else "supervisor"
        self.recoveries.append(Recovery(name, "kill", began_s, self.note_heads(), pids["supervisor"]))
        self.plant.start_again()
        self.starting = True
        return True

    def turn(self) -> None:
        """Check what has come back."""
        for one in self.pending:
            if self._is_back(one):
                one.took_s = time.monotonic() - one.began_s
                if one.process in ("supervisor", "all"):
                    self.starting = False
        process = self.plant.running.process
        if process.poll() is not None:
            raise AssertionError(f"`tickplant up` ended with {process.returncode}: {self.plant.errors()}")

    def _is_back(self, one: Recovery) -> bool:
        checks: dict[str, Callable[[Recovery], bool]] = {
            FEED: self._feed_is_back,
            WRITER: lambda one: self._consumer_is_back(one, WRITER),
            ENGINE: lambda one: self._consumer_is_back(one, ENGINE),
        }
        return checks.get(one.process, self._plant_is_back)(one)

    def _feed_is_back(self, one: Recovery) -> bool:
        ring = self.plant.ring()
        return ring is not None and ring.producer_pid != one.pid and self._flows(one, ring)

    @staticmethod
    def _flows(one: Recovery, ring: RingStatistics) -> bool:
        return ring.head >= one.heads.get((FEED, Schema.TICK), 0) + FLOWING_RECORDS

    def _consumer_is_back(self, one: Recovery, label: str) -> bool:
        """Whether it has taken in (for the writer: stored) all that was in the ring at its death, and new records."""
        ring = self.plant.ring()
        consumer = next((each for each in ring.consumers if each.label == label), None) if ring else None
        head = one.heads.get((FEED, Schema.TICK), 0)
        return consumer is not None and consumer.alive and consumer.pid != one.pid and consumer.position > head

    def _plant_is_back(self, one: Recovery) -> bool:
        ring = self.plant.ring()
        if ring is None or ring.producer_pid == 0 or not self._flows(one, ring):
            return False
        return all(self._consumer_is_back(one, label) for label in (WRITER, ENGINE)) and self.plant.is_healthy()


class Times(msgspec.Struct, frozen=True):
    """Recovery times of one process."""

    process: str
    fault: str
    count: int
    recovered: int
    median_s: float
    max_s: float


def times(recoveries: list[Recovery]) -> list[Times]:
    """Recovery times by process and fault."""
    groups: dict[tuple[str, str], list[Recovery]] = defaultdict(list)
    for one in recoveries:
        groups[one.process, one.fault].append(one)
    table = []
    for (process, fault), group in sorted(groups.items()):
        took = [one.took_s for one in group if one.took_s is not None]
        middle, most = (round(median(took), 2), round(max(took), 2)) if took else (0.0, 0.0)
        table.append(Times(process, fault, len(group), len(took), middle, most))
    return table
