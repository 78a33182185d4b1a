"""Estimates how far this machine's clock is ahead of a venue's.

The rule: for each SLOT_NS of receive time, take the least (receive time - venue's time) of a live record; the estimate
is the median over the last SLOTS slots. The least value comes from a record that waited nowhere; the median discards
slots in which the venue's own times were odd. The result is the offset of the clocks plus the shortest transit, which
cannot be told apart from here.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

from tickplant.records.ages import NO_AGE

SLOT_NS: Final = 10 * 10**9
SLOTS: Final = 30


class ClockOffset:
    """The estimate for one feed."""

    def __init__(self) -> None:
        # By slot, the present one last; slots without a record are omitted.
        self._least: deque[int] = deque(maxlen=SLOTS)
        self._slot = -1

    def see(self, age_ns: int, received_ns: int) -> None:
        """Take in the least age of what was received at this time; NO_AGE is ignored."""
        if age_ns == NO_AGE:
            return
        slot = received_ns // SLOT_NS
        if slot != self._slot:
            self._slot = slot
            self._least.append(age_ns)
        else:
            self._least[-1] = min(self._least[-1], age_ns)

    @property
    def estimate_s(self) -> float | None:
        """Seconds; None before the first record with a time of the venue."""
        return median(self._least) / 1e9 if self._least else None
