"""Books of ten levels a side (`mbp-10`): each row has all levels; recorded are the changes, which fold to the book.

The first row of an instrument becomes a snapshot. Each further row becomes the levels that are gone, with size 0, and
those that are new or have another size. A row with unchanged levels becomes nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.venues.databento.ticks import Rows, Stamp, Ticks, size_of, time_of
from tickplant.records import dbn_layouts
from tickplant.records.layouts import TICK, Flag, Kind, Side

DEPTH: Final = 10

Sides = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Prices and sizes, shape (n, 10) each; size 0 for an absent level."""


class TenLevels:
    """The levels of each instrument in its newest row."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}  # shape (2, 10): sides

    def forget(self, instrument: int) -> None:
        """Treat the next row of this instrument as a snapshot."""
        self._last.pop(instrument, None)

    def ticks(self, rows: Rows, stamp: Stamp) -> tuple[Ticks, NDArray[np.int64]]:
        """The LEVEL and CLEAR records of these rows, and the row number of each."""
        instruments = np.broadcast_to(np.asarray(stamp.instruments, np.int64), len(rows))
        times = np.broadcast_to(np.asarray(stamp.times, np.int64), len(rows))
        levels = rows["levels"]
        prices = np.stack([levels["bid_px"], levels["ask_px"]], axis=1)
        sizes = np.stack([size_of(levels["bid_sz"]), size_of(levels["ask_sz"])], axis=1)
        sizes[prices == dbn_layouts.NO_VALUE] = 0
        before = np.zeros_like(prices), np.zeros_like(sizes)
        first = np.zeros(len(rows), np.bool_)
        for instrument in np.unique(instruments).tolist():
            mine = np.flatnonzero(instruments == instrument)
            known = self._last.get(instrument)
            first[mine[0]] = known is None
            for was, now, last in zip(before, (prices, sizes), known or (0, 0), strict=True):
                was[mine[0]] = last
                was[mine[1:]] = now[mine[:-1]]
            self._last[instrument] = prices[mine[-1]].copy(), sizes[mine[-1]].copy()
        gone = (before[1] != 0) & ~_among(before[0], prices, sizes != 0)
        same = (prices[..., :, None] == before[0][..., None, :]) & (sizes[..., :, None] == before[1][..., None, :])
        fresh = (sizes != 0) & ~same.any(axis=-1)
        # In order, per row: a CLEAR if it is the first one, the levels that are gone, the new levels.
        marks = np.concatenate([first[:, None], gone.reshape(len(rows), -1), fresh.reshape(len(rows), -1)], axis=1)
        row, place = np.nonzero(marks)
        ticks: Ticks = np.zeros(len(row), TICK)
        level = np.maximum(place - 1, 0)
        side, depth = level // DEPTH % 2, level % DEPTH
        is_gone = level < 2 * DEPTH
        ticks["kind"] = np.where(place == 0, Kind.CLEAR, Kind.LEVEL)
        ticks["side"] = np.where(place == 0, Side.NONE, np.where(side == 0, Side.BID, Side.ASK))
        ticks["price"] = np.where(is_gone, before[0][row, side, depth], prices[row, side, depth])
        ticks["size"] = np.where(is_gone, 0, sizes[row, side, depth])
        ticks["price"][place == 0] = 0
        ticks["instrument"], ticks["ts_recv"] = instruments[row], times[row]
        ticks["ts_event"], ticks["venue_seq"] = time_of(rows["ts_event"])[row], rows["sequence"][row]
        last = np.append(row[1:] != row[:-1], True) if len(row) else np.zeros(0, np.bool_)
        ticks["flags"] = np.where(last, Flag.LAST, 0) | np.where(first[row], Flag.SNAPSHOT, 0)
        return ticks, row


def _among(prices: NDArray[np.int64], others: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of these prices are among the valid others of their row and side."""
    found: NDArray[np.bool_] = ((prices[..., :, None] == others[..., None, :]) & valid[..., None, :]).any(axis=-1)
    return found
