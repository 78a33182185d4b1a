"""The ring, compared with iceoryx2's Python binding and a bare memcpy, in batches of 256 records. `make bench-peers`.

    this process ──ring | iceoryx2──> child      (throughput)
    this process ──> child ──> this process      (round trip)
    one array ──> a buffer that fits the cache   (memcpy: the least that any of them must do)

The three take turns. The ends and the checks are those of `ring`.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import Final

import numpy as np

from bench.harness import Result, host, main
from bench.ring import BATCH_RECORDS, CAPACITY_RECORDS, round_trip_us, throughput
from tickplant.records.layouts import TICK
from tickplant.shm.ring import prepare_kernels

BATCHES: Final = 20_000
TRIPS: Final = 20_000
KINDS: Final = ("ring", "iceoryx2")


def memcpy(count: int) -> float:
    """Records/s of copying batches into a buffer of the ring's size, by one thread."""
    records, buffer = np.zeros(count, TICK), np.zeros(CAPACITY_RECORDS, TICK)
    records["seq"] = np.arange(count)
    source, target = (array.view(np.uint8).reshape(len(array), -1) for array in (records, buffer))
    began_ns = time.perf_counter_ns()
    for first in range(0, count, BATCH_RECORDS):
        at = first % CAPACITY_RECORDS
        target[at : at + BATCH_RECORDS] = source[first : first + BATCH_RECORDS]
    seconds = (time.perf_counter_ns() - began_ns) / 1e9
    if int(buffer["seq"].max()) != count - 1:
        raise AssertionError("memcpy: the last record is not there")
    return count / seconds


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure rate and round trip of ring and iceoryx2, and the rate of memcpy."""
    if importlib.util.find_spec("iceoryx2") is None:
        raise FileNotFoundError("iceoryx2 is not installed here: `make bench-peers` has it")
    prepare_kernels()
    scale = 50 if quick else 1
    rates: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "memcpy")}
    trips: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        rates["memcpy"].append(memcpy(BATCH_RECORDS * BATCHES // scale))
        for kind in KINDS:
            rates[kind].append(throughput(kind, BATCH_RECORDS * BATCHES // scale))
            trips[kind].append(round_trip_us(kind, TRIPS // scale, BATCH_RECORDS))
    rate = {kind: statistics.median(values) for kind, values in rates.items()}
    trip = {kind: statistics.median(values) for kind, values in trips.items()}

    def result(what: str, unit: str, value: float, beside: str, other: float, ratio: float) -> Result:
        name = f"ring in batches of {BATCH_RECORDS}: {what}"
        return Result(
            name=name, value=value, unit=unit, compared_with=f"{beside} ({other:,.3g})", ratio=ratio, host=host()
        )

    return [
        result(
            "records/s",
            "records/s",
            rate["ring"],
            "iceoryx2's Python binding",
            rate["iceoryx2"],
            rate["ring"] / rate["iceoryx2"],
        ),
        result("records/s", "records/s", rate["ring"], "memcpy", rate["memcpy"], rate["ring"] / rate["memcpy"]),
        result(
            "round trip, p50",
            "µs",
            trip["ring"],
            "iceoryx2's Python binding",
            trip["iceoryx2"],
            trip["iceoryx2"] / trip["ring"],
        ),
    ]


if __name__ == "__main__":
    main(run)
