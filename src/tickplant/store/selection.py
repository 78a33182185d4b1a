"""Which records a reader wants, and which chunks may hold them. Imports numpy and msgspec only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Clock = Literal["recv", "event"]
Records = NDArray[np.void]


class Selection(msgspec.Struct, frozen=True):
    """The wanted records; None means all. Ranges are half-open, `start_ns <= time < end_ns`."""

    ids: frozenset[int] | None = None
    kinds: frozenset[int] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    clock: Clock = "recv"

    def chunks(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these index entries' chunks may hold such records."""
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

    @property
    def columns(self) -> frozenset[str]:
        """The columns that `rows` looks at."""
        bounded = (self.start_ns, self.end_ns) != (None, None)
        looked_at = {f"ts_{self.clock}": bounded, "instrument": self.ids is not None, "kind": self.kinds is not None}
        return frozenset(name for name, needed in looked_at.items() if needed)

    def rows(self, columns: Mapping[str, NDArray[Any]] | Records) -> NDArray[np.bool_] | None:
        """Which rows of these columns, or of these records, are wanted; None if all of them are."""
        masks: list[NDArray[np.bool_]] = []
        if (self.start_ns, self.end_ns) != (None, None):
            times = columns[f"ts_{self.clock}"]
            if self.start_ns is not None:
                masks.append(times >= self.start_ns)
            if self.end_ns is not None:
                masks.append(times < self.end_ns)
            if self.clock == "event":
                masks.append(times != 0)
        if self.ids is not None:
            masks.append(_is_one_of(columns["instrument"], self.ids))
        if self.kinds is not None:
            masks.append(_is_one_of(columns["kind"], self.kinds))
        if not masks:
            return None
        wanted = masks[0]
        for mask in masks[1:]:
            wanted &= mask
        return None if wanted.all() else wanted

    def left(self, header: np.void) -> Self:
        """The selection without the tests that all rows of a chunk pass, by its header."""
        start_ns, end_ns, kinds = self.start_ns, self.end_ns, self.kinds
        low, high = int(header[f"ts_{self.clock}_min"]), int(header[f"ts_{self.clock}_max"])
        if self.clock == "recv":  # any row may lack an event time
            start_ns = None if start_ns is not None and low >= start_ns else start_ns
            end_ns = None if end_ns is not None and high < end_ns else end_ns
        if kinds is not None and not int(header["kinds"]) & ~_bits((kind for kind in kinds if kind < 31), 32):
            kinds = None
        return msgspec.structs.replace(self, start_ns=start_ns, end_ns=end_ns, kinds=kinds)

    def records(self, records: Records) -> Records:
        """The wanted ones of these records; the array itself if all are wanted."""
        wanted = self.rows(records)
        return records if wanted is None else records[wanted]

    def concerns(self, before: np.void | None, after: np.void | None) -> bool:
        """Whether wanted records may have been in a damaged stretch, by the headers of the chunks around it, if any."""
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
