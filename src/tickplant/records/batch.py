"""The growing batch of ticks that an adapter fills and the runner empties.

A TICK is eight 64-bit words, so kernels and Python write rows of plain integers; word 6 packs instrument, kind, side
and flags. The packing assumes a little-endian machine, as all supported ones are; `tests/unit/test_binance_batch.py`
checks it against the dtype.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TICK, Kind

WORDS: Final = 8
TS_EVENT: Final = 0
TS_RECV: Final = 1
PRICE: Final = 2
SIZE: Final = 3
VENUE_SEQ: Final = 4
ORDER_ID: Final = 5
PACKED: Final = 6  # instrument | kind << 32 | side << 40 | flags << 48

INSTRUMENT_MASK: Final = (1 << 32) - 1
KIND_SHIFT: Final = 32
SIDE_SHIFT: Final = 40
FLAGS_SHIFT: Final = 48
_KIND_BYTE: Final = 8 * PACKED + KIND_SHIFT // 8

Rows = NDArray[np.int64]
"""Ticks as integers, shape (n, 8); `rows.view(TICK)` gives the same ticks as records."""


def rows_of(records: NDArray[np.void]) -> Rows:
    """The same ticks as integers, shape (n, 8). `records`: shape (n,), dtype TICK, contiguous."""
    return records.view(np.int64).reshape(-1, WORDS)


class TickBatch:
    """Ticks in the order in which `take` hands them out. The memory is reused: `take` returns a view."""

    def __init__(self, capacity_records: int = 1024) -> None:
        self.rows: Rows
        self.length = 0
        self._allocate(capacity_records)
        self.kinds = [0] * (max(Kind) + 1)  # records ever added, by kind

    def reserve(self, records: int) -> None:
        """Make room for this many more records. `rows` may be a different array afterwards."""
        needed = self.length + records
        if needed > len(self.rows):
            rows = self.rows
            self._allocate(max(needed, 2 * len(rows)))
            self.rows[: self.length] = rows[: self.length]

    def _allocate(self, records: int) -> None:
        self._ticks: NDArray[np.void] = np.zeros(records, TICK)
        self.rows = self._ticks.view(np.int64).reshape(records, WORDS)

    def add(
        self,
        kind: int,
        instrument: int,
        *,
        ts_event: int = 0,
        ts_recv: int = 0,
        price: int = 0,
        size: int = 0,
        venue_seq: int = 0,
        order_id: int = 0,
        side: int = 0,
        flags: int = 0,
    ) -> None:
        """Append one tick."""
        self.reserve(1)
        packed = instrument | kind << KIND_SHIFT | side << SIDE_SHIFT | flags << FLAGS_SHIFT
        self.rows[self.length] = (ts_event, ts_recv, price, size, venue_seq, order_id, packed, 0)
        self.length += 1
        self.kinds[kind] += 1

    def extend(self, rows: Rows, kind: int | None = None) -> None:
        """Append rows, all of `kind` if that is given. They may already lie in place, directly after `length`."""
        self.reserve(len(rows))
        self.rows[self.length : self.length + len(rows)] = rows
        self.length += len(rows)
        if kind is not None:
            self.kinds[kind] += len(rows)
        else:
            kinds = rows.tobytes()[_KIND_BYTE :: 8 * WORDS]  # a bincount of the words costs ten times as much
            for each in set(kinds):
                self.kinds[each] += kinds.count(each)

    def take(self) -> NDArray[np.void]:
        """The ticks so far, shape (n,), dtype TICK, valid until the next one is added. Empties the batch."""
        ticks = self._ticks[: self.length]
        self.length = 0
        return ticks
