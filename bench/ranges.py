"""Ranges of 1,000 rows in stores of 1, 10 and 100 million: the cost of one must not grow with the store.

    recording, again and again ──> journal, chunks of 64, 32, 4 Ki ──> RANGES ranges, two columns

Random ranges, and adjacent ranges, whose chunk the store still has cached. All are compared with the recording before
any is timed, so the previous request is always for another range. Median CPU time of this process, warm.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.codec import RECORDINGS, recorded_ticks
from bench.harness import Result, main
from bench.queries import RANGE_ROWS, SMALL_CHUNK, fill
from tickplant.store.reader import Store

MILLIONS: Final = (1, 10, 100)
QUICK_MILLIONS: Final = (0.2, 1)
RANGES: Final = 200
COLUMNS: Final = ("ts_recv", "price")


def range_s(store: Store, copies: int, length_ns: int, *, beside: bool) -> float:
    """Median CPU seconds of a range. Raises AssertionError if a range has other rows than the recording."""
    ticks = recorded_ticks(*RECORDINGS["spot"])
    times, random = ticks["ts_recv"], np.random.default_rng(1)
    asked = []
    for place in range(RANGES):
        behind = copies // 2 if beside else int(random.integers(copies))
        first = place % (len(times) // RANGE_ROWS - 1) * RANGE_ROWS
        asked.append((behind * length_ns, first if beside else int(random.integers(len(times) - RANGE_ROWS))))

    def read(behind: int, start_ns: int, end_ns: int) -> Mapping[str, NDArray[Any]]:
        rows = store.ticks(None, None, start_ns + behind, end_ns + behind, columns=COLUMNS, prices="integer")
        return rows.numpy()

    bounds = [(behind, int(times[first]), int(times[first + RANGE_ROWS])) for behind, first in asked]
    for behind, start_ns, end_ns in bounds:  # and the chunks are in the page cache then
        found, rows = read(behind, start_ns, end_ns), ticks[(times >= start_ns) & (times < end_ns)]
        assert np.array_equal(found["price"], rows["price"])
        assert np.array_equal(found["ts_recv"], rows["ts_recv"] + behind)
    taken = []
    for each in bounds:
        started_s = time.process_time()
        read(*each)
        taken.append(time.process_time() - started_s)
    return statistics.median(taken)


def run(_: int, quick: bool) -> list[Result]:
    """See the module."""
    results = []
    records = len(recorded_ticks(*RECORDINGS["spot"]))
    for chunk_rows, what in ((1 << 16, "64 Ki"), (1 << 15, "32 Ki"), (SMALL_CHUNK, "4 Ki")):
        least_s: dict[bool, float] = {}
        for millions in QUICK_MILLIONS if quick else MILLIONS:
            copies = max(1, round(millions * 1e6 / records))
            with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as folder:
                store, count, length_ns = fill(Path(folder), copies, chunk_rows)
                taken_s = {beside: range_s(store, copies, length_ns, beside=beside) for beside in (False, True)}
            for beside, how in ((False, "at random"), (True, "one behind another")):
                known_s = least_s.get(beside)
                results.append(
                    Result(
                        name=f"ranges: {RANGE_ROWS:,} rows of {count:,}, {how}, two columns, chunks of {what}",
                        value=taken_s[beside] * 1e3,
                        unit="ms CPU",
                        compared_with="out of the smallest store" if known_s else "",
                        ratio=known_s / taken_s[beside] if known_s else None,
                    )
                )
            least_s = least_s or taken_s
    return results


if __name__ == "__main__":
    main(run)
