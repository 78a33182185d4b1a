"""Compile every kernel before the first test, where several processes run the tests.

Otherwise the first plants would all do so at once, each for itself, and whoever waits for them would lose patience.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

from tickplant import venues
from tickplant.books import checksums
from tickplant.engine import engine_process
from tickplant.feeds import ring_publisher
from tickplant.records import notes
from tickplant.sim.dialect_table import DIALECTS, dialect_of
from tickplant.sim.spec import parse_spec


def of_consumers() -> None:
    """Ring, engine and writer."""
    engine_process.warm_up()


def of_producers() -> None:
    """Feeds and the simulated venue."""
    venues.warm_up()
    ring_publisher.prepare_kernels()
    notes.prepare_kernels()
    checksums.prepare_kernels()
    for venue in (name for name, entry in DIALECTS.items() if not entry.serves):
        dialect_of(parse_spec(msgspec.json.encode({"venue": venue}))).source.prepare()


HALVES = {"consumers": of_consumers, "producers": of_producers}


def compile_kernels() -> None:
    """Both halves, side by side."""
    running = [subprocess.Popen([sys.executable, __file__, half]) for half in HALVES]
    for process in running:
        assert process.wait() == 0, process.args


if __name__ == "__main__":
    HALVES[sys.argv[1]]()
