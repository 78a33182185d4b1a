"""What there is of each symbol on each day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from tickplant.instruments import Instrument
from tickplant.records.layouts import UNKNOWN, Kind
from tickplant.records.merge import Columns

FIELDS: Final = ("ts_recv", "instrument", "kind", "size")
DAY_NS: Final = 86_400 * 10**9
SCHEMA: Final = pa.schema(
    [
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("day", pa.date32()),
        ("records", pa.int64()),
        ("gaps", pa.int64()),
        ("missing", pa.int64()),
        ("state", pa.string()),
    ]
)
_MARKET: Final = np.array([kind not in (Kind.GAP, Kind.STATUS) for kind in range(256)])


class _Day:
    """Counts of one symbol on one day."""

    def __init__(self) -> None:
        self.records = 0  # of the market: neither gaps nor statuses
        self.gaps = 0
        self.missing: int | None = 0  # None once a gap does not know


def table(blocks: Iterable[Columns], instruments: Sequence[Instrument]) -> pa.Table:
    """The table that `Store.coverage` describes, from FIELDS of ticks of these instruments."""
    symbols = {row.id: (row.venue, row.symbol) for row in instruments}
    days: dict[tuple[str, str], dict[int, _Day]] = {}
    for block in blocks:
        numbers = block["ts_recv"] // DAY_NS
        gaps = block["kind"] == Kind.GAP
        keys, places = np.unique(np.stack([block["instrument"].astype(np.int64), numbers]), axis=1, return_inverse=True)
        counts = np.bincount(places.ravel(), weights=_MARKET[block["kind"]], minlength=keys.shape[1])
        for (ident, number), count in zip(keys.T.tolist(), counts.tolist(), strict=True):
            days.setdefault(symbols[ident], {}).setdefault(number, _Day()).records += int(count)
        for ident, number, size in zip(
            *(column[gaps].tolist() for column in (block["instrument"], numbers, block["size"])), strict=True
        ):
            day = days[symbols[ident]][number]
            day.gaps += 1
            day.missing = None if day.missing is None or size == UNKNOWN else day.missing + size
    rows = []
    for venue, symbol in sorted(days):
        found = days[venue, symbol]
        for number in range(min(found), max(found) + 1):
            day = found.get(number, _Day())
            state = "missing" if not day.records else "gaps" if day.gaps else "complete"
            rows.append((venue, symbol, number, day.records, day.gaps, day.missing, state))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA)
    days_at = SCHEMA.names.index("day")
    columns[days_at] = pa.array(columns[days_at], pa.int32()).cast(pa.date32())
    return pa.Table.from_arrays([pa.array(*pair) for pair in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
