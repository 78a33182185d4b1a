"""Which records a reader wants, and which chunks may hold them. Imports numpy and msgspec only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Clock = Literal["recv", "event"]
Records = NDArray[np.void]


class Selection(msgspec.Struct, frozen=True):
    """Which records are wanted; None means all. Ranges are half-open, `start_ns <= time < end_ns`."""

    ids: frozenset[int] | None = None
    kinds: frozenset[int] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    clock: Clock = "recv"

    def chunks(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these index entries may hold such records."""
        headers = entries["header"]
        wanted = np.ones(len(entries), np.bool_)
        low, high = headers[f"ts_{self.clock}_min"], headers[f"ts_{self.clock}_max"]
        if self.start_ns is not None:
            wanted &= high >= self.start_ns
        if self.end_ns is not None:
            wanted &= low < self.end_ns
        if self.clock == "event" and (self.start_ns, self.end_ns) != (None, None):
            wanted &= high != 0
        if self.ids is not None:
            wanted &= (headers["instruments"] & np.uint64(_bits(self.ids, 64))) != 0
        if self.kinds is not None:
            wanted &= (headers["kinds"] & np.uint32(_bits(self.kinds, 32))) != 0
        return wanted

    def records(self, records: Records) -> Records:
        """Those of these records; the array itself where it is all of them."""
        wanted = np.ones(len(records), np.bool_)
        times = records[f"ts_{self.clock}"]
        if self.start_ns is not None:
            wanted &= times >= self.start_ns
        if self.end_ns is not None:
            wanted &= times < self.end_ns
        if self.clock == "event" and (self.start_ns, self.end_ns) != (None, None):
            wanted &= times != 0
        if self.ids is not None:
            wanted &= _is_one_of(records["instrument"], self.ids)
        if self.kinds is not None:
            wanted &= _is_one_of(records["kind"], self.kinds)
        return records if wanted.all() else records[wanted]

    def concerns(self, before: np.void | None, after: np.void | None) -> bool:
        """Whether such records may have been in a damaged stretch, by the headers of the chunks around it, if any."""
        if self.clock == "event":
            return True
        if self.end_ns is not None and before is not None and before["ts_recv_max"] >= self.end_ns:
            return False
        return not (self.start_ns is not None and after is not None and after["ts_recv_min"] < self.start_ns)


def _is_one_of(values: NDArray[np.unsignedinteger], wanted: frozenset[int]) -> NDArray[np.bool_]:
    if len(wanted) == 1:
        single: NDArray[np.bool_] = values == values.dtype.type(next(iter(wanted)))
        return single
    return np.isin(values, np.array(sorted(wanted), values.dtype))


def _bits(numbers: Iterable[int], width: int) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << (number % 64 if width == 64 else min(number, 31))
    return bits
