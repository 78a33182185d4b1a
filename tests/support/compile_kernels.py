"""Compiles every kernel before the first test, if several processes run the tests.

Otherwise the first plants would all compile at once, each for itself, and the tests that wait for them would time out.
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
    """Compile the kernels of ring, engine and writer."""
    engine_process.warm_up()


def of_producers() -> None:
    """Compile the kernels of feeds and the simulated venue."""
    venues.warm_up()
    ring_publisher.prepare_kernels()
    notes.prepare_kernels()
    checksums.prepare_kernels()
    for venue in (name for name, entry in DIALECTS.items() if not entry.serves):
        dialect_of(parse_spec(msgspec.json.encode({"venue": venue}))).source.prepare()


HALVES = {"consumers": of_consumers, "producers": of_producers}


def compile_kernels() -> None:
    """Compile both halves in parallel."""
    running = [subprocess.Popen([sys.executable, __file__, half]) for half in HALVES]
    for process in running:
        assert process.wait() == 0, process.args


if __name__ == "__main__":
    HALVES[sys.argv[1]]()
