"""How old records are at each stage: histograms of constant size, counted where the records pass.

    at receipt      receive time minus the venue's time: the offset of two clocks, and the network between them
    since receipt   now minus the receive time

Records whose age says nothing about latency are left out: STATUS and GAP; those of a snapshot, or fetched later; and,
at receipt, those without a venue time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import brief_kernel, direct
from tickplant.records.batch import FLAGS_SHIFT, PACKED, TS_EVENT, TS_RECV, WORDS
from tickplant.records.layouts import Flag
from tickplant.records.notes import is_note_word

BOUNDS_S: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the classes; one more class holds everything beyond."""

BEYOND: Final = "inf"
NO_AGE: Final = np.iinfo(np.int64).max
"""What `count_ages` returns if no record was counted."""

_BOUNDS_NS: Final = np.array([round(bound * 1e9) for bound in BOUNDS_S], np.int64)
_CLASSES: Final = len(BOUNDS_S) + 1
_LATE: Final = int(Flag.BACKFILL | Flag.SNAPSHOT) << FLAGS_SHIFT


@brief_kernel
def count_ages(words: NDArray[np.int64], now_ns: int, counts: NDArray[np.float64]) -> int:
    """Count the ages of records by class; returns the smallest age in ns, or NO_AGE.

    Args:
        words: TICK records, flat, 8 words each.
        now_ns: the time up to which to count age since receipt; 0: count age at receipt.
        counts: the counts by class, then the sum of all ages in ns; shape (classes + 1,).
    """
    least = NO_AGE
    for start in range(0, len(words), WORDS):
        packed = words[start + PACKED]
        if packed & _LATE or is_note_word(packed) or (now_ns == 0 and words[start + TS_EVENT] == 0):
            continue
        age = now_ns - words[start + TS_RECV] if now_ns else words[start + TS_RECV] - words[start + TS_EVENT]
        place = 0
        while place < len(_BOUNDS_NS) and age > _BOUNDS_NS[place]:
            place += 1
        counts[place] += 1
        counts[-1] += age
        least = min(least, age)
    return least


class Ages:
    """A histogram of one stage.

    Args:
        every_ns: count at most one batch per this interval; 0: count every batch. The interval bounds the cost, and
            gives every moment the same weight.
    """

    def __init__(self, every_ns: int = 0) -> None:
        self._counts = np.zeros(_CLASSES + 1, np.float64)  # whole numbers up to 2**53
        self._count = direct(count_ages, np.empty(0, np.int64), 0, self._counts)
        self._every_ns = every_ns
        self._counted_ns = 0

    def since_receipt(self, records: NDArray[np.void], now_ns: int) -> None:
        """Count the ages that records have at this time. `records`: shape (n,), dtype TICK, contiguous."""
        if now_ns - self._counted_ns >= self._every_ns and len(records):
            self._counted_ns = now_ns
            self._count(np.frombuffer(records, np.int64), now_ns, self._counts)

    def at_receipt(self, records: NDArray[np.void], received_ns: int) -> int:
        """Count records received at this time; returns the smallest age in ns, or NO_AGE.

        `records`: shape (n,), dtype TICK, contiguous.
        """
        if received_ns - self._counted_ns < self._every_ns or not len(records):
            return NO_AGE
        self._counted_ns = received_ns
        return self._count(np.frombuffer(records, np.int64), 0, self._counts)

    def report(self) -> dict[str, int]:
        """Number of records in each class, keyed by its upper bound as text; the last key is BEYOND."""
        return dict(zip((*map(repr, BOUNDS_S), BEYOND), map(int, self._counts[:-1].tolist()), strict=True))

    @property
    def sum_s(self) -> float:
        """Sum of all ages."""
        return float(self._counts[-1]) / 1e9


def prepare_kernels() -> None:
    """Compile the kernel above, or load it from the cache, for this process."""
    Ages().since_receipt(np.zeros(8, np.int64).view("V64"), 1)
