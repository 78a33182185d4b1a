"""Shared by all benchmarks: results, the host, medians of repeats. Imports nothing of the project.

A benchmark module has `run(repeats: int, quick: bool) -> list[Result]`. It checks its output before it reports a
number, measures in the same run what a user would pick instead, and says in `name` what was measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One number."""

    name: str  # part and what was measured, such as "ring: records/s in batches of 256"
    value: float
    unit: str
    compared_with: str = ""  # what else was measured in the same run
    ratio: float | None = None  # how many times better than that: above 1 is better, whatever the unit
    host: str = ""


def host() -> str:
    """The processor, cores, kernel and Python on which the numbers were measured."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def median_of(repeats: int, measure: Callable[[], float]) -> float:
    """The median of `repeats` measurements, which a single disturbed run does not move."""
    return statistics.median(measure() for _ in range(repeats))


def report(results: list[Result]) -> None:
    """Print a table of results."""
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        line = f"{result.name:<{width}}  {_number(result.value):>10} {result.unit}"
        if result.ratio is not None:
            line += f"   {result.ratio:.3g} x {result.compared_with}"
        elif result.compared_with:
            line += f"   beside {result.compared_with}"
        print(line)


def main(run: Callable[[int, bool], list[Result]]) -> None:
    """Command line of a single benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5, help="how often each number is measured; the median counts")
    parser.add_argument(
        "--quick", action="store_true", help="little work, to see that it runs: the numbers mean nothing"
    )
    arguments = parser.parse_args()
    print(host())
    if len(os.sched_getaffinity(0)) < 2:
        print("warning: one core only; what runs in two processes at once is measured wrong")
    report(run(arguments.repeats, arguments.quick))


def _number(value: float) -> str:
    for factor, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"
