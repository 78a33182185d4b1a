"""From a record of a gateway to the book of orders that an engine publishes: a whole plant, at several rates.

    gateway ══tcp, DBN══> feed ──ring──> engine: book of orders ══ZeroMQ PUB══> subscriber: best bid and offer
    ts_event: sending                                                          received

A CME future is played in a loop, each turn with new order ids; a writer stores meanwhile. Latency is `received -
ts_event` of each change of the best, after a second of warm-up; it includes the gateway's interval of 2 ms between
sends. A gateway waits for a slow client. So an overloaded plant first falls further and further behind, and takes fewer
records per second than offered; a ring that stays full for `full_wait_ms` then costs a GAP. The ring here holds 4 s of
the highest rate, instead of half a second.

The check: each record was decoded, and reached the engine and the journal; each loss is a GAP, and is reported.
"""

from __future__ import annotations

import statistics
import time
from typing import Final, NamedTuple

import numpy as np
import zmq

from bench import plant as plants
from bench.harness import Result, host, main
from bench.orders import FILE, MBO
from bench.plant import Plant, ProcessError
from tickplant.records.layouts import BBO

RATES: Final = (50_000, 200_000, 500_000)
QUICK_RATES: Final = (50_000,)
RUN_S: Final = 6.0
WARM_UP_S: Final = 1.0
PATIENCE_S: Final = 60.0
"""The longest silence before the remaining records count as lost."""

TOPIC: Final = b"databento.GLBX.MDP3/CLX5.bbo"
CONFIG: Final = """
[plant]
data = "data"
log_level = "warning"

[feeds.feed]
venue = "databento"
ws_url = "tcp://{address}"
symbols = ["GLBX.MDP3/CLX5"]
channels = ["orders", "trade"]
ring_records = 2097152

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
"""
ROLES: Final = ("feed", "engine", "writer")


class Run(NamedTuple):
    """One run at one rate."""

    p50_ms: float
    p99_ms: float
    taken_per_s: float
    gaps: int
    cpu_us: dict[str, float]  # of each process, a record


def measure(rate: int, seconds: float) -> Run:
    """Measure one rate. Raises AssertionError if a record was lost, ProcessError if nothing came."""
    limit = int(rate * seconds)
    turns = -(-limit // ((FILE.stat().st_size - 1) // MBO.itemsize))
    play = {"venue": "databento", "recording": str(FILE), "recording_per_s": rate, "loop": True, "symbols": ()}
    with (
        plants.sim(rate, limit_messages=limit, **play) as venue,
        plants.up(CONFIG.replace("{address}", venue.address)) as plant,
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
    ):
        socket.set(zmq.RCVHWM, 1_000_000)
        socket.set(zmq.LINGER, 0)
        socket.connect(plant.publish)
        socket.subscribe(TOPIC)
        received, sent = _receive(socket, plant, limit)
        gaps = _check(plant, limit, turns)
        cpu = {role: plants.cpu_ns(plant.pids[role]) / 1e3 / limit for role in ROLES}
    steady = sent >= sent[0] + int(WARM_UP_S * 1e9)
    if not steady.any():
        raise ProcessError(f"at {rate:,} records/s all was over within the time of warming up")
    p50, p99 = np.percentile((received - sent)[steady], (50, 99)) / 1e6
    between_ns = int(received[-1] - received[steady][0])
    return Run(float(p50), float(p99), _records_between(sent[steady], rate) / between_ns * 1e9, gaps, cpu)


def _records_between(sent: np.ndarray, rate: int) -> float:
    """How many records the gateway should have sent in this time."""
    return float(sent[-1] - sent[0]) / 1e9 * rate


def _receive(socket: zmq.Socket[bytes], plant: Plant, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """When each change of the best was received, and when the gateway sent its record; each shape (n,), in ns."""
    times: list[tuple[int, bytes]] = []
    quiet_s, end_s = 1.0, time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if socket.poll(int(quiet_s * 1000)):
            _, _, payload = socket.recv_multipart()
            times.append((time.time_ns(), payload))
        elif times and _counter(plant, "feed", "parsed") >= limit:
            break
    if not times:
        raise ProcessError("no book came")
    sent = [np.frombuffer(payload, BBO)["ts_event"] for _, payload in times]
    received = np.repeat([now_ns for now_ns, _ in times], [len(rows) for rows in sent])
    return received, np.concatenate(sent)


def _counter(plant: Plant, role: str, name: str) -> int:
    found = next(process.counters for process in plant.status().processes if process.role == role)
    value = found.get(name, 0)
    assert isinstance(value, int)
    return value


def _check(plant: Plant, limit: int, turns: int) -> int:
    """Assert that everything played is in the engine and the journal, except for GAPs; returns the number of GAPs.

    Counters come from each process's last report.
    """
    deadline_s = time.monotonic() + plants.CHECK_S
    wanted = limit + turns  # with the begin of each turn
    while True:
        status = plant.status()
        (ring,) = (ring for ring in status.rings if ring.schema == "tick")
        taken = {name: _counter(plant, *name.split(" ")) for name in ("feed parsed", "engine records")}
        if taken["feed parsed"] >= wanted and taken["engine records"] >= ring.head and not any(ring.lag.values()):
            break
        if time.monotonic() > deadline_s:
            counters = next(process.counters for process in status.processes if process.role == "feed")
            causes = {name: counters.get(name) for name in ("gap_causes", "statuses")}
            raise AssertionError(f"of {wanted:,} records, ring {ring}, taken {taken}; {causes}")
        time.sleep(0.1)
    lost = sum(sum(one.lost.values()) for one in status.rings)
    off = [str(account) for account in status.accounts if account.off]
    gaps = _counter(plant, "feed", "gaps") + _counter(plant, "feed", "ring_gaps")
    if lost or off or ring.head < wanted or not status.healthy:
        raise AssertionError(f"{lost} records lost, {gaps} gaps, a ring of {ring.head:,} of {wanted:,}; {off}")
    return gaps


def run(repeats: int, quick: bool) -> list[Result]:
    """Latency, records taken, and CPU time at each rate."""
    if not FILE.exists():
        raise FileNotFoundError(f"{FILE} is not on this machine")
    results: list[Result] = []
    for rate in QUICK_RATES if quick else RATES:
        runs = [measure(rate, 2.0 if quick else RUN_S) for _ in range(repeats)]
        name = f"orders at {rate:,} records/s"

        def result(what: str, unit: str, values: list[float], name: str = name) -> Result:
            return Result(name=f"{name}: {what}", value=statistics.median(values), unit=unit, host=host())

        results += [
            result("record to book, p50", "ms", [one.p50_ms for one in runs]),
            result("record to book, p99", "ms", [one.p99_ms for one in runs]),
            result("taken", "records/s", [one.taken_per_s for one in runs]),
            result("GAPs", "of a run", [float(one.gaps) for one in runs]),
            *(result(f"CPU of the {role}", "µs/record", [one.cpu_us[role] for one in runs]) for role in ROLES),
        ]
    return results


if __name__ == "__main__":
    main(run)
