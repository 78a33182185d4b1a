"""The cost of a plant by rate, symbols and subscribers, and a model of it: the numbers in docs/performance.md.

    venue ══ws══> feed ──ring──> engine ══ZeroMQ PUB══> subscribers (`crowd`), 1 to 500
                     ╰──ring──> writer                                            1 to 5,000 symbols

CPU time of each process in percent of one core, at points that differ in one of the three. The model of each process is
linear in what drives its cost, fitted to all points by least squares of the relative error; the error at the worst
point is a result too. The check: every subscriber has as many records as the venue's ledger, from the first on.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from bench import pipeline
from bench import plant as plants
from bench.harness import Result, host, main
from bench.plant import ProcessError

SECONDS: Final = 8.0
WARM_UP_S: Final = 2.0
ATTACH_S: Final = 6.0
READS_PER_S: Final = 400.0
"""With a venue that sends every 2 ms: the most wake-ups per second of a feed and an engine."""

ROLES: Final = ("feed", "engine", "writer", "supervisor")


class Point(NamedTuple):
    """The load on a plant."""

    rate: int  # messages/s of the venue, trades and best prices
    symbols: int = 3
    subscribers: int = 1


POINTS: Final = (
    *(Point(rate) for rate in (200, 1_000, 10_000, 50_000, 200_000)),
    *(Point(20_000, symbols=symbols) for symbols in (1, 100, 1_000, 5_000)),
    *(Point(200, subscribers=subscribers) for subscribers in (50, 200, 500)),
    Point(10_000, subscribers=20),
)
QUICK_POINTS: Final = (Point(200), Point(1_000), Point(10_000), Point(1_000, symbols=50), Point(200, subscribers=10))


class Measured(NamedTuple):
    """The results at one point; CPU time in percent of one core."""

    point: Point
    cpu: dict[str, float]  # by role
    messages_per_s: float  # that the engine made
    rss_bytes: dict[str, int]

    @property
    def reads_per_s(self) -> float:
        """An upper bound, see READS_PER_S."""
        return min(float(self.point.rate), READS_PER_S)


DRIVERS: Final = {
    "feed": ("a read", "a message"),
    "engine": ("a read", "a message", "a message published", "a message sent to a subscriber"),
    "writer": ("a second", "a message"),
}
"""What drives the cost of each process."""


def drivers(measured: Measured, role: str) -> list[float]:
    """How often each driver of a role occurs per second."""
    count = {
        "a second": 1.0,
        "a read": measured.reads_per_s,
        "a message": float(measured.point.rate),
        "a message published": measured.messages_per_s,
        "a message sent to a subscriber": measured.messages_per_s * measured.point.subscribers,
    }
    return [count[name] for name in DRIVERS[role]]


def measure(point: Point, seconds: float) -> Measured:
    """Measure one point. Raises ProcessError, and AssertionError if a subscriber lacks a record."""
    symbols = tuple(f"S{number:04d}USDT" for number in range(point.symbols))
    limit = int(point.rate * (WARM_UP_S + seconds + 1.0))
    with contextlib.ExitStack() as stack:
        venue = stack.enter_context(
            plants.sim(
                point.rate,
                symbols=symbols,
                depth_levels=20,
                prepared_messages=pipeline.PREPARED_MESSAGES,
                settle_s=ATTACH_S,
                settle_partial_s=60.0,
                limit_messages=limit,
                max_buffer_bytes=pipeline.BUFFER_BYTES,
            )
        )
        running = stack.enter_context(pipeline.plant(venue, 1, symbols=symbols))
        words = ("-m", "bench.crowd", running.publish, str(point.subscribers))
        crowd = stack.enter_context(plants.child(*words, stdin=subprocess.PIPE))
        plants.read_line(crowd, "the crowd", plants.START_S)
        if venue.sent().happened:
            raise ProcessError(f"the crowd was not there within {ATTACH_S:g} s: this machine is too busy")
        while not venue.sent().happened:  # of thousands of streams the ledger is long
            time.sleep(0.2)
        time.sleep(WARM_UP_S)
        before, start_s = {role: plants.usage(running.pids[role]) for role in ROLES}, time.monotonic()
        time.sleep(seconds)
        after, wall_s = {role: plants.usage(running.pids[role]) for role in ROLES}, time.monotonic() - start_s
        sent = pipeline.drained(venue, running)
        (engine,) = running.counters("engine")
        expected = sent.frames_of("trade") + 2 * sent.frames_of("bookTicker")
        time.sleep(2.0)  # for what is under way
        assert crowd.stdin is not None
        crowd.stdin.close()
        least, most = map(int, plants.read_line(crowd, "the crowd", plants.STOP_S).split())
    if not expected <= least <= most:
        raise AssertionError(f"{point}: of {expected:,} records one subscriber got {least:,}")
    return Measured(
        point,
        {role: (after[role].cpu_ns - before[role].cpu_ns) / 1e7 / wall_s for role in ROLES},
        cast("int", engine["messages"]) / limit * point.rate,
        {role: after[role].rss_bytes for role in ROLES},
    )


def fit(runs: list[Measured], role: str) -> tuple[NDArray[np.float64], float]:
    """Cost in µs of each driver of a role, none below 0, and the relative error of the model at the worst point."""
    features = np.array([drivers(one, role) for one in runs])
    percent = np.array([one.cpu[role] for one in runs])
    used = list(range(features.shape[1]))
    while True:
        solution, *_ = np.linalg.lstsq(features[:, used] / percent[:, None], np.ones(len(runs)), rcond=None)
        if (solution >= 0).all():
            break
        used.pop(int(solution.argmin()))  # a negative cost is noise
    cost = np.zeros(features.shape[1])
    cost[used] = solution
    return cost * 1e4, float(np.abs(features @ cost / percent - 1).max())


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure each point, then fit the model."""
    del repeats  # the points are many, and the model is their mean
    runs = [measure(point, 2.0 if quick else SECONDS) for point in (QUICK_POINTS if quick else POINTS)]
    machine = host()
    results = []
    for one in runs:
        name = "sizing: {:,} messages/s, {:,} symbols, {:,} subscribers: ".format(*one.point)
        for role in ROLES:
            result = Result(name=name + f"CPU of the {role}", value=one.cpu[role], unit="% of a core", host=machine)
            results.append(result)
        memory = sum(one.rss_bytes.values()) / 2**20
        results.append(Result(name=name + "messages published", value=one.messages_per_s, unit="/s", host=machine))
        results.append(Result(name=name + "memory", value=memory, unit="MiB", host=machine))
    for role, names in DRIVERS.items():
        costs, error = fit(runs, role)
        results += [
            Result(name=f"sizing: model of the {role}: {name}", value=float(cost), unit="µs", host=machine)
            for name, cost in zip(names, costs, strict=True)
        ]
        worst = Result(name=f"sizing: model of the {role}: off by, at worst", value=100 * error, unit="%", host=machine)
        results.append(worst)
    return results


if __name__ == "__main__":
    main(run)
