"""Reduces records to the latest ones, which are all that a screen needs. Imports numpy only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TRADE_BAR, BarFlag, Flag, Kind, TradeFlag

Records = NDArray[np.void]

NOTES: Final = (int(Kind.STATUS), int(Kind.GAP))
"""Kinds that say what happened to a topic: each of their records matters, however old."""

_LATER: Final = int(Flag.BACKFILL | TradeFlag.CORRECTION | TradeFlag.CANCELLED)
_LATER_BAR: Final = int(Flag.BACKFILL | BarFlag.CORRECTION | BarFlag.CANCELLED)


def latest_ones(records: Records) -> Records:
    """The last record of each kind and side, and every GAP and STATUS, in their order.

    A trade that was fetched later, or that restates or cancels another one, does not replace a trade. Likewise, a
    correction does not replace a bar.

    Args:
        records: one or more records of one topic, in order.
    """
    if "kind" in (records.dtype.names or ()):
        kinds, flags = records["kind"].astype(np.int64), records["flags"].astype(np.int64)
        keys = kinds << 24 | records["side"].astype(np.int64) << 16
        keys |= np.where(kinds == int(Kind.TRADE), flags & _LATER, 0)
        notes = np.isin(kinds, NOTES)
        keys[notes] = -1 - np.flatnonzero(notes)
    elif records.dtype == TRADE_BAR:
        keys = records["flags"].astype(np.int64) & _LATER_BAR
    else:
        return records[-1:]
    _, last = np.unique(keys[::-1], return_index=True)
    latest: Records = records[np.sort(len(records) - 1 - last)]
    return latest
