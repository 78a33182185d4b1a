"""Ranges of 1,000 rows out of stores of 1, 10 and 100 million: what one costs must not grow with the store.

    recording, again and again ──> journal, chunks of 64, 32, 4 Ki ──> RANGES ranges at random, two columns

Each range is compared with the recording before it is timed. CPU time of this process, warm; the median counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from bench.codec import RECORDINGS, recorded_ticks
from bench.harness import Result, main
from bench.queries import RANGE_ROWS, SMALL_CHUNK, fill
from tickplant.store.reader import Store

MILLIONS: Final = (1, 10, 100)
QUICK_MILLIONS: Final = (0.2, 1)
RANGES: Final = 200
COLUMNS: Final = ("ts_recv", "price")


def range_s(store: Store, copies: int, length_ns: int) -> float:
    """CPU seconds of a range, the median. Raises AssertionError where one has other rows."""
    ticks = recorded_ticks(*RECORDINGS["spot"])
    times, random = ticks["ts_recv"], np.random.default_rng(1)
    taken = []
    for _ in range(RANGES):
        behind = int(random.integers(copies)) * length_ns
        first = int(random.integers(len(times) - RANGE_ROWS))
        start_ns, end_ns = int(times[first]), int(times[first + RANGE_ROWS])
        rows = ticks[(times >= start_ns) & (times < end_ns)]
        asked = store.ticks(None, None, start_ns + behind, end_ns + behind, columns=COLUMNS, prices="integer")
        found = asked.numpy()  # and the chunks are in the page cache then
        assert np.array_equal(found["price"], rows["price"])
        assert np.array_equal(found["ts_recv"], rows["ts_recv"] + behind)
        started_s = time.process_time()
        store.ticks(None, None, start_ns + behind, end_ns + behind, columns=COLUMNS, prices="integer").numpy()
        taken.append(time.process_time() - started_s)
    return statistics.median(taken)


def run(_: int, quick: bool) -> list[Result]:
    """See the module."""
    results = []
    records = len(recorded_ticks(*RECORDINGS["spot"]))
    for chunk_rows, what in ((1 << 16, "64 Ki"), (1 << 15, "32 Ki"), (SMALL_CHUNK, "4 Ki")):
        least_s = 0.0
        for millions in QUICK_MILLIONS if quick else MILLIONS:
            copies = max(1, round(millions * 1e6 / records))
            with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as folder:
                store, count, length_ns = fill(Path(folder), copies, chunk_rows)
                taken_s = range_s(store, copies, length_ns)
            results.append(
                Result(
                    name=f"ranges: {RANGE_ROWS:,} rows of {count:,}, two columns, chunks of {what}",
                    value=taken_s * 1e3,
                    unit="ms CPU",
                    compared_with="out of the smallest store" if least_s else "",
                    ratio=least_s / taken_s if least_s else None,
                )
            )
            least_s = least_s or taken_s
    return results


if __name__ == "__main__":
    main(run)
