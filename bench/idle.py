"""The cost of an idle plant: CPU time of every process with a venue that sends one message per second.

    sim (reported apart) ══ws══> feed ──ring──> engine, writer; supervisor ══> all

Measures CPU time, user and kernel, over at least ten seconds after everything has settled, in percent of one core. The
check: every message of the venue is in the ring, nothing was lost or restarted, and the plant is healthy.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Final

from bench import plant as plants
from bench.harness import Result, host, main
from bench.plant import RIVAL_NAME, System

RATE: Final = 1.0  # messages/s: a venue that says nothing at all would have its connection replaced
SETTLE_S: Final = 5.0
TOTAL_S: Final = 10.0
QUICK_S: Final = 2.0


def measure(system: System, *, windows: int, window_s: float, settle_s: float) -> dict[str, float]:
    """Percent of one core by process, as medians of the windows. Raises ProcessError and AssertionError."""
    with contextlib.ExitStack() as stack:
        venue = stack.enter_context(plants.sim(RATE))
        running = stack.enter_context(system(venue))
        pids = running.pids | {"sim": venue.pid}
        time.sleep(settle_s)
        shares: dict[str, list[float]] = {name: [] for name in pids}
        for _ in range(windows):
            start_ns, before = time.monotonic_ns(), {name: plants.cpu_ns(pid) for name, pid in pids.items()}
            time.sleep(window_s)
            wall_ns = time.monotonic_ns() - start_ns
            for name, pid in pids.items():
                shares[name].append(100 * (plants.cpu_ns(pid) - before[name]) / wall_ns)
        running.check(venue)
    return {name: statistics.median(values) for name, values in shares.items()}


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure the whole plant, then each process, compared with the rival's one process."""
    windows, window_s = (1, QUICK_S) if quick else (repeats, max(1.0, TOTAL_S / repeats))
    settle_s = 1.0 if quick else SETTLE_S
    mine, rival = (
        measure(system, windows=windows, window_s=window_s, settle_s=settle_s)
        for system in (plants.plant, plants.rival)
    )
    sim = mine.pop("sim")
    machine = host()
    whole = sum(mine.values())
    results = [
        Result(
            name="idle: whole plant, CPU of one core",
            value=whole,
            unit="%",
            compared_with=f"{RIVAL_NAME} ({rival['rival']:.2f})",
            ratio=rival["rival"] / whole,
            host=machine,
        )
    ]
    return results + [
        Result(name=f"idle: {name}, CPU of one core", value=share, unit="%", host=machine)
        for name, share in (mine | {"simulated venue (not counted)": sim}).items()
    ]


if __name__ == "__main__":
    main(run)
