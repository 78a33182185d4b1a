"""A subscriber as a process of its own: keeps all it is given, and leaves it in a file when it is told to end.

    python -m chaos.subscriber ADDRESS FILE

`Crowd` runs several of them and holds what they were given against the store: between two losses that it was told of, a
subscriber has every record of a topic, in order, once, and exactly as it is stored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.client import Subscription, subscribe
from tickplant.errors import SubscribeError
from tickplant.shm.records import TICK, Flag, Kind, Schema
from tickplant.writer.selection import Selection
from tickplant.writer.store import Store

Records = NDArray[np.void]

MOST: Final = 3
"""Subscribers beside the steady one."""

TESTS: Final = str(Path(__file__).parents[1])
CHECKED: Final = {"trade": (Kind.TRADE, Flag.ON_TRADE), "quote": (Kind.QUOTE, Flag.ON_QUOTE)}
"""Channels whose records are events, each with its records and the flag of its gaps."""


class Given(msgspec.Struct, frozen=True):
    """One message: how it came, and how many of the records in the file belong to it."""

    topic: str
    kind: str
    records: int
    lost: int


class Verdict(msgspec.Struct, frozen=True):
    """What became of a subscriber."""

    name: str
    end: str  # told, killed
    records: int
    recovered: int
    losses: int  # that it was told of
    wrong: list[str]


def main() -> None:
    """The process."""
    address, file = sys.argv[1], Path(sys.argv[2])
    given: list[Given] = []
    kept: list[Records] = []
    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    subscription: Subscription | None = None
    while subscription is None and not stopping:
        with contextlib.suppress(SubscribeError):
            subscription = subscribe("binance", address=address, timeout=2.0)
    while subscription is not None and not stopping:
        message = subscription.receive(0.2)
        if message is not None and message.channel in CHECKED and message.kind != "snapshot":
            given.append(Given(message.topic, message.kind, len(message.records), message.lost))
            kept.append(np.array(message.records, TICK))
    with file.with_suffix(".npy").open("wb") as out:
        np.save(out, np.concatenate([np.zeros(0, TICK), *kept]))
    file.write_bytes(msgspec.json.encode(given))


class Crowd:
    """Subscribers of one plant. The first one, `steady`, is left alone."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder
        self._number = 0
        self._alive: dict[str, subprocess.Popen[str]] = {}
        self._ended: list[Verdict] = []
        self._told: list[str] = []
        self.join("steady")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._alive.values():
            process.kill()
            process.wait()

    @property
    def victims(self) -> list[str]:
        """Names of those that may be maltreated."""
        return [name for name in self._alive if name != "steady"]

    def join(self, kind: str = "late") -> str:
        """One more, which the eldest makes room for where there are many. Returns its name."""
        if len(self.victims) >= MOST:
            self._leave(self.victims[0])
        self._number += 1
        name = kind if kind == "steady" else f"{kind}-{self._number}"
        self._alive[name] = subprocess.Popen(
            [sys.executable, "-m", "chaos.subscriber", self._address, str(self._folder / f"{name}.json")],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(path for path in (TESTS, os.environ.get("PYTHONPATH")) if path)},
            stdout=subprocess.DEVNULL,
            text=True,
        )
        return name

    def pids(self) -> dict[str, int]:
        """By name."""
        return {name: process.pid for name, process in self._alive.items()}

    def die(self, name: str) -> None:
        """kill -9."""
        process = self._alive.pop(name)
        process.kill()
        process.wait()
        self._ended.append(Verdict(name, "killed", 0, 0, 0, []))

    def signal(self, name: str, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT."""
        if name in self._alive:
            self._alive[name].send_signal(number)

    def dismiss(self) -> None:
        """Have all of them end and leave their files."""
        for name in list(self._alive):
            self._leave(name)

    def _leave(self, name: str) -> None:
        process = self._alive.pop(name)
        self._told.append(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def judge(self, data_dir: Path, producer: str) -> list[Verdict]:
        """Hold what they were given against the store."""
        store = Store(data_dir)
        parts = list(store.read(producer, Schema.TICK, Selection()))
        ticks = np.concatenate(parts) if parts else np.zeros(0, TICK)
        symbols = {f"{row.venue}.{row.symbol}": row.id for row in store.instruments}
        return [*self._ended, *(self._verdict(name, ticks, symbols) for name in self._told)]

    def _verdict(self, name: str, ticks: Records, symbols: dict[str, int]) -> Verdict:
        file = self._folder / f"{name}.json"
        if not file.exists():
            return Verdict(name, "told", 0, 0, 0, ["it left nothing behind"])
        given = msgspec.json.decode(file.read_bytes(), type=list[Given])
        records = np.load(file.with_suffix(".npy"))
        segments: dict[str, list[list[Records]]] = defaultdict(lambda: [[]])
        start = 0
        for one in given:
            if one.kind == "lost":
                segments[one.topic].append([])
            else:
                segments[one.topic][-1].append(records[start : start + one.records])
            start += one.records
        wrong = []
        for topic, stretches in segments.items():
            venue_symbol, _, channel = topic.rpartition(".")
            kind, flag = CHECKED[channel]
            mine = ticks[ticks["instrument"] == symbols[venue_symbol]]
            stored = mine[(mine["kind"] == kind) | ((mine["kind"] == Kind.GAP) & ((mine["flags"] & flag) != 0))]
            for stretch in stretches:
                if stretch:
                    wrong += _compare(topic, np.concatenate(stretch), stored)
        recovered = sum(one.records for one in given if one.kind == "recovered")
        return Verdict(name, "told", len(records), recovered, sum(one.kind == "lost" for one in given), wrong)


def _compare(topic: str, given: Records, stored: Records) -> list[str]:
    """What is wrong with a stretch that should be without a hole."""
    if not len(given):
        return []
    first, last = int(given[0]["seq"]), int(given[-1]["seq"])
    same = stored[(stored["seq"] >= first) & (stored["seq"] <= last)]
    if len(same) == len(given) and (same == given).all():
        return []
    missing = np.setdiff1d(same["seq"], given["seq"])
    what = f"{len(given)} records of seq {first} to {last}, the store has {len(same)}"
    return [f"{topic}: {what}; missing {len(missing)}, the first {missing[:3].tolist()}"]


if __name__ == "__main__":
    main()
