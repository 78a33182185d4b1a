"""Subscribers of one plant, and a comparison of their records with the store.

Between two reported losses, a subscriber has every record of a topic, in order, once, exactly as stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from chaos.chaos_plant import ENGINE, FEED
from chaos.subscriber import CATCH_UP_S, Account, Stretch
from tickplant.records.layouts import Flag, Kind, Schema, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.wire import bar_channel, split_topic

Records = NDArray[np.void]

MOST: Final = 3
"""Subscribers besides the steady one that `Crowd.join` keeps."""

PATHS: Final = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests" / "support")]

ON_TICKS: Final = {
    "trade": ((Kind.TRADE,), Flag.ON_TRADE),
    "quote": ((Kind.QUOTE,), Flag.ON_QUOTE),
    "book": ((Kind.CLEAR, Kind.LEVEL, Kind.CHECKSUM), Flag.ON_BOOK),
}
"""Records of each channel, and the flag of its GAPs."""

EVENTS: Final = ("trade", "quote")
"""Channels that carry only stored records, whatever happens to the engine. The others carry state, which is repeated
after a restart."""


class Verdict(msgspec.Struct, frozen=True):
    """The outcome for a subscriber."""

    name: str
    end: str  # told, killed
    topics: list[str]
    records: int
    recovered: int
    losses: int  # reported to it
    wrong: list[str]


class Crowd:
    """Subscriber processes by name. `heads` is a file that says how far they must read when they are dismissed."""

    def __init__(self, address: str, folder: Path) -> None:
        self.heads = folder / "heads.json"
        self._address = address
        self._folder = folder
        self._number = 0
        self._alive: dict[str, subprocess.Popen[bytes]] = {}
        self._killed: list[str] = []
        self._told: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._alive.values():
            process.kill()
            process.wait()

    @property
    def victims(self) -> list[str]:
        """Names of those that may be treated roughly."""
        return [name for name in self._alive if name != "steady"]

    def start(self, name: str, *subscriptions: Sequence[str]) -> None:
        """Start a process with these subscriptions, each a list of topics."""
        self._alive[name] = subprocess.Popen(
            [
                *(sys.executable, "-m", "chaos.subscriber", self._address, str(self._file(name)), str(self.heads)),
                *(",".join(topics) for topics in subscriptions),
            ],
            env=tools_environment(),
            stdout=subprocess.DEVNULL,
        )

    def join(self, kind: str = "late") -> None:
        """Add one for everything; if there are many, the oldest makes room."""
        if len(self.victims) >= MOST:
            self._dismiss([self.victims[0]])
        self._number += 1
        self.start(kind if kind == "steady" else f"{kind}-{self._number}", ["binance"])

    def is_ready(self, name: str) -> bool:
        """Whether all subscriptions of a process are attached."""
        assert self._alive[name].poll() is None, f"subscriber {name} has ended"
        return self._file(name).with_suffix(".ready").exists()

    def die(self, name: str) -> None:
        """Kill a subscriber with -9."""
        process = self._alive.pop(name)
        process.kill()
        process.wait()
        self._killed.append(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send SIGSTOP or SIGCONT."""
        if name in self._alive:
            self._alive[name].send_signal(number)

    def dismiss(self) -> None:
        """End all of them and collect their files."""
        self._dismiss(list(self._alive))

    def _dismiss(self, names: list[str]) -> None:
        for name in names:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        for name in names:
            process = self._alive.pop(name)
            self._told.append(name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(CATCH_UP_S + 30.0)
            process.kill()
            process.wait()

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def accounts(self) -> dict[str, list[Account]]:
        """The accounts of those that were told to end, by process; empty if one left nothing."""
        return {
            name: msgspec.json.decode(file.read_bytes(), type=list[Account])
            if (file := self._file(name)).exists()
            else []
            for name in self._told
        }

    def judge(self, data_dir: Path, channels: Sequence[str] = ()) -> list[Verdict]:
        """Compare what they received with the store; only these channels, if any are named."""
        stored = StoredTopics(data_dir)
        verdicts = [Verdict(name, "killed", [], 0, 0, 0, []) for name in self._killed]
        for process, accounts in self.accounts().items():
            if not accounts:
                verdicts.append(Verdict(process, "told", [], 0, 0, 0, ["it left nothing behind"]))
            for number, account in enumerate(accounts):
                wrong = list(account.holes)
                for stretch in account.stretches:
                    if not channels or split_topic(stretch.topic)[2] in channels:
                        wrong += stored.compare(stretch)
                verdicts.append(
                    Verdict(
                        name=process if len(accounts) == 1 else f"{process}.{number}",
                        end="told",
                        topics=account.topics,
                        records=sum(stretch.records for stretch in account.stretches),
                        recovered=account.recovered,
                        losses=sum(account.losses.values()),
                        wrong=wrong,
                    )
                )
        return verdicts


class StoredTopics:
    """The store, topic by topic; read chunk by chunk, since a long run does not fit into memory."""

    def __init__(self, data_dir: Path) -> None:
        self._store = Store(data_dir)

    def compare(self, stretch: Stretch) -> list[str]:
        """What is wrong with records that should have no hole."""
        digest, count = hashlib.blake2b(digest_size=16), 0
        for records in self._read(stretch.topic, stretch.first_seq, stretch.last_seq):
            digest.update(records.tobytes())
            count += len(records)
        if digest.hexdigest() == stretch.digest:
            return []
        what = f"{stretch.records} records of seq {stretch.first_seq} to {stretch.last_seq}"
        return [f"{stretch.topic}: {what} are not the {count} that the store has"]

    def _read(self, topic: str, first_seq: int, last_seq: int) -> Iterator[Records]:
        venue, symbol, channel = split_topic(topic)
        schema = Schema.BBO if channel == "bbo" else Schema.BAR if channel.startswith("bar_") else Schema.TICK
        producer = FEED if schema is Schema.TICK else ENGINE
        selection = Selection(ids=frozenset(row.id for row in self._store.find(venue, symbol)))
        for records in self._store.read(producer, schema, selection, first_seq=first_seq, last_seq=last_seq):
            yield records[_is_of(channel, schema, records)]


def _is_of(channel: str, schema: Schema, records: Records) -> NDArray[np.bool_]:
    if schema is Schema.BBO:
        return np.ones(len(records), np.bool_)
    if schema is Schema.BAR:
        intervals = [one for one in np.unique(records["interval_s"]) if bar_channel(int(one)) == channel]
        return np.isin(records["interval_s"], intervals)
    gaps, stops = records["kind"] == Kind.GAP, records["kind"] == Kind.STATUS
    if channel == "status":
        flags = Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK
        return stops | (gaps & ((records["flags"] & flags) == 0))
    kinds, flag = ON_TICKS[channel]
    cut = stops & (records["price"] == StatusCode.DISCONNECTED)
    said = (gaps | (cut & (channel == "book"))) & ((records["flags"] & flag) != 0)
    return np.isin(records["kind"], kinds) | said


def tools_environment() -> dict[str, str]:
    """The environment for processes that run modules of this folder."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in (*PATHS, os.environ.get("PYTHONPATH")) if path)}
