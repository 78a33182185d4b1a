"""The kill table: kill -9 of each process in turn, at random instants of a busy plant, and the cost.

A lost record had reached a ring and is not stored. A doubled record is stored twice: a trade id, one side of a quote
id, the same change of a book. Each is attributed to the last kill before it.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from chaos.chaos_plant import CHILDREN, FEED, ChaosPlant, Settings, chaos_plant
from chaos.ending import Ending, end, until
from chaos.mixture import Recovery, Surgeon, times
from tickplant.records.layouts import Flag, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

PROCESSES: Final = (*CHILDREN, "supervisor", "all")


class KillRow(msgspec.Struct, frozen=True):
    """One process. `all` is the supervisor and its children at one instant."""

    process: str
    kills: int
    recovered: int
    median_s: float
    max_s: float
    lost: int
    doubled: int


class KillReport(msgspec.Struct, kw_only=True):
    """The table. `measured_messages_per_s` is the venue's average output over the whole run."""

    ok: bool
    seed: int
    messages_per_s: float
    measured_messages_per_s: float
    rows: list[KillRow]
    ending: Ending
    failures: list[str]


def kill_each(
    folder: Path,
    kills: int,
    seed: int,
    messages_per_s: float,
    say: Callable[[str], None],
    *,
    processes: tuple[str, ...] = PROCESSES,
) -> KillReport:
    """Kill each process this many times, one kill after the other; each waits until the plant is back."""
    chance = random.Random(seed)
    settings = Settings(
        messages_per_s=messages_per_s,
        seed=seed,
        log=False,
        handover_s=3600.0,
        restart_intensity=1000,  # FATAL is for the chaos run
    )
    failures = []
    with chaos_plant(folder, settings) as plant:
        plant.running.wait_until_up()
        began_s = time.monotonic()
        began_messages = plant.sim.ledger()["source"]["messages"]
        surgeon = Surgeon(plant)

        def turn() -> None:
            surgeon.turn()
            time.sleep(0.01)

        until(lambda: bool(surgeon.note_heads().get((FEED, Schema.TICK))), turn)
        for name in processes:
            for number in range(kills):
                _wait(chance.uniform(0.0, 1.5), turn)
                if not until(lambda name=name: _struck(surgeon, name), turn) or not until(
                    lambda: not surgeon.pending, turn
                ):
                    failures.append(f"{name} did not come back from kill {number + 1}")
                    break
                took_s = surgeon.recoveries[-1].took_s or 0.0
                say(f"{time.monotonic() - began_s:7.1f} s  {name} {number + 1}/{kills}: back after {took_s:.2f} s")
        messages = plant.sim.ledger()["source"]["messages"] - began_messages
        measured = messages / (time.monotonic() - began_s)
        surgeon.note_heads()
        ending = end(plant, surgeon.reached, turn)
        failures += ending.failures
        rows = _rows(plant, surgeon, ending)
    failures += [f"{row.doubled} records are doubled after kills of {row.process}" for row in rows if row.doubled]
    return KillReport(
        ok=not failures,
        seed=seed,
        messages_per_s=messages_per_s,
        measured_messages_per_s=round(measured, 1),
        rows=rows,
        ending=ending,
        failures=failures,
    )


def _struck(surgeon: Surgeon, name: str) -> bool:
    if name in CHILDREN:
        return surgeon.strike(name)
    return surgeon.strike_supervisor(everybody=name == "all")


def _wait(for_s: float, turn: Callable[[], None]) -> None:
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        turn()


def _rows(plant: ChaosPlant, surgeon: Surgeon, ending: Ending) -> list[KillRow]:
    doubled = Counter(_blamed(surgeon.recoveries, seq) for seq in doubled_seqs(plant.data_dir, FEED))
    lost = Counter(_blamed(surgeon.recoveries, seq) for seq in _missing_seqs(plant.data_dir, FEED))
    # Derived records and the end of a journal are known only in total.
    rest = ending.lost - lost.total()
    rows = [
        KillRow(
            one.process,
            one.count,
            one.recovered,
            one.median_s,
            one.max_s,
            lost[one.process],
            doubled[one.process],
        )
        for one in times(surgeon.recoveries)
    ]
    if rest:
        rows.append(KillRow("(unknown)", 0, 0, 0.0, 0.0, rest, 0))
    return rows


def _blamed(recoveries: list[Recovery], seq: int) -> str:
    """The last process killed before a record got its place."""
    heads = [one.heads.get((FEED, Schema.TICK), 0) for one in recoveries]
    return recoveries[max(0, bisect_right(heads, seq) - 1)].process


def _ticks(data_dir: Path, producer: str) -> Iterator[np.ndarray]:
    return Store(data_dir).read(producer, Schema.TICK, Selection())


def _missing_seqs(data_dir: Path, producer: str) -> list[int]:
    missing: list[int] = []
    expected = None
    for records in _ticks(data_dir, producer):
        seqs = records["seq"]
        if expected is not None:
            missing += range(expected, int(seqs[0]))
        expected = int(seqs[-1]) + 1
    return missing


def doubled_seqs(data_dir: Path, producer: str) -> list[int]:
    """seq of every record that is stored a second time."""
    keys = []
    for records in _ticks(data_dir, producer):
        kinds = records["kind"]
        plain = (kinds == Kind.TRADE) | (kinds == Kind.QUOTE) | (kinds == Kind.LEVEL)
        chosen = records[plain & ((records["flags"] & Flag.SNAPSHOT) == 0)]
        key = np.zeros(
            len(chosen), [("id", "<u8"), ("price", "<i8"), ("instrument", "<u4"), ("kind", "u2"), ("seq", "<u8")]
        )
        key["id"], key["instrument"], key["seq"] = chosen["venue_seq"], chosen["instrument"], chosen["seq"]
        key["kind"] = chosen["kind"].astype("u2") << 8 | np.where(chosen["kind"] == Kind.TRADE, 0, chosen["side"])
        # A change of a book has many levels, each price once.
        key["price"] = np.where(chosen["kind"] == Kind.LEVEL, chosen["price"], 0)
        keys.append(key)
    if not keys:
        return []
    every = np.concatenate(keys)
    every = every[np.lexsort([every[name] for name in ("seq", "price", "id", "kind", "instrument")])]
    same = np.ones(len(every) - 1, np.bool_)
    for name in ("price", "id", "kind", "instrument"):
        same &= every[name][1:] == every[name][:-1]
    return sorted(every["seq"][1:][same].tolist())
