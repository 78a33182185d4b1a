"""VENUE_BAR records: bars made by a venue, as it sends them. The schema BAR holds our own.

A bar is one atomic event of four or five records, in the order of BarField:

    price     the number (open, high, low, close, vwap)   order_id  field | trades << 8, the trades on CLOSE alone
    size      on CLOSE the volume, else 0                 venue_seq start of the bar, inclusive, ns
    ts_event  end of the bar, exclusive, ns               flags     PARTIAL: the bar is not over yet; LAST on the last

A bar that comes again, with the same start and end, replaces the earlier one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import BAR, NO_PRICE, Flag, Kind

FIELD_BITS: Final = 8


class BarField(IntEnum):
    """Which number of a bar; the low 8 bits of `order_id` of a VENUE_BAR."""

    OPEN = 1
    HIGH = 2
    LOW = 3
    CLOSE = 4
    VWAP = 5


VENUE_BARS: Final = np.dtype([*((name, BAR.fields[name][0]) for name in BAR.names), ("vwap", "<i8")])  # type: ignore[index, union-attr]
"""The fields of a BAR, and `vwap` at the price scale, NO_PRICE if the venue gives none; `buy_volume` is 0."""


def venue_bars(ticks: NDArray[np.void]) -> NDArray[np.void]:
    """The bars in these records (dtype TICK), in order; dtype VENUE_BARS.

    Other kinds are left out, and so are bars with a missing record.
    """
    records = ticks[ticks["kind"] == Kind.VENUE_BAR]
    field = records["order_id"] & ((1 << FIELD_BITS) - 1)
    closes = np.flatnonzero(field == BarField.CLOSE)
    closes = closes[closes >= BarField.CLOSE - 1]
    whole = np.ones(len(closes), np.bool_)
    for back, number in enumerate((BarField.CLOSE, BarField.LOW, BarField.HIGH, BarField.OPEN)):
        whole &= field[closes - back] == number
        for same in ("instrument", "venue_seq", "ts_event"):
            whole &= records[same][closes - back] == records[same][closes]
    closes = closes[whole]
    bars: NDArray[np.void] = np.zeros(len(closes), VENUE_BARS)
    last = records[closes]
    for name in ("ts_event", "ts_recv", "instrument", "seq"):
        bars[name] = last[name]
    bars["flags"] = last["flags"] & ~np.uint16(Flag.LAST)
    bars["ts_open"], bars["source_seq"] = last["venue_seq"], last["seq"]
    bars["interval_s"] = (last["ts_event"] - last["venue_seq"].astype(np.int64)) // 1_000_000_000
    bars["open"], bars["high"] = records["price"][closes - 3], records["price"][closes - 2]
    bars["low"], bars["close"] = records["price"][closes - 1], last["price"]
    bars["volume"], bars["trades"] = last["size"], last["order_id"] >> FIELD_BITS
    follows = np.minimum(closes + 1, len(records) - 1)
    has_vwap = (field[follows] == BarField.VWAP) & (records["instrument"][follows] == last["instrument"])
    bars["vwap"] = np.where(has_vwap, records["price"][follows], NO_PRICE)
    return bars
