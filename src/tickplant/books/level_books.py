"""Price-level books of many instruments: feed them ticks, get best bids and offers.

`Books` owns the memory that the kernels of `level_kernels` work in, and lets it grow on demand up to a stated bound.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books import level_kernels as k
from tickplant.books.level_runs import SIDE
from tickplant.records.arrays import grown, joined
from tickplant.records.layouts import BBO, TICK, Flag, GapCause, Kind, Side
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, BBO)  # making one costs as much as a kernel

_FIRST_LEVELS: Final = 64  # room that a side starts with; doubled when more than three quarters are used


class Books:
    """The books of one stream of ticks. Output depends on the ticks alone, not on how they are cut into batches.

    A side that has `max_levels` levels gives up its worst one for a better one, counted as `levels_evicted`: the best
    `max_levels` of a deeper book are kept.
    """

    def __init__(self, max_levels: int = 20_000) -> None:
        if max_levels < 1:
            raise ValueError(f"max_levels is {max_levels}; a side holds at least one level")
        self.max_levels = max_levels
        self._books = np.zeros(0, k.BOOK)
        self._sides = np.zeros((0, 2), SIDE)
        self._keys = np.zeros(4096, np.int64)
        self._sizes = np.zeros(4096, np.int64)
        self._used = 0  # of the pools
        self._free: dict[int, list[int]] = {}  # rooms given back, by size
        self._out = np.zeros(1024, BBO)
        self._tally = np.zeros(len(k.TALLY), np.int64)
        self.reserve(63)

    @property
    def counters(self) -> dict[str, int]:
        """What has been counted: see `level_kernels.TALLY`."""
        return dict(zip(k.TALLY, self._tally.tolist(), strict=True))

    @property
    def stale(self) -> int:
        """Books that had levels once and are out of sync with their venue now."""
        return int(np.count_nonzero((self._books["state"] == k.STALE) & (self._books["cause"] > 0)))

    @property
    def live(self) -> int:
        """Books in sync with their venue."""
        return int(np.count_nonzero(self._books["state"] == k.LIVE))

    @property
    def memory_bytes(self) -> int:
        """Allocated for books and levels."""
        arrays = (self._books, self._sides, self._keys, self._sizes, self._out)
        return sum(array.nbytes for array in arrays)

    def reserve(self, instrument_id: int) -> None:
        """Have a book for every id up to this one. Ids count up from 1, so memory follows the instrument table."""
        old = len(self._books)
        if instrument_id < old:
            return
        new = 1 << instrument_id.bit_length()
        self._books = grown(self._books, new)
        self._sides = grown(self._sides, new)
        k.reset(self._books[old:])

    def apply(self, ticks: Records) -> Records:
        """Fold TICK records, in stored order, into the books.

        Returns:
            BBO records in the order of their causes, `seq` 0: one wherever, at the end of an atomic event, one of the
            four numbers or the flags of a book differ from the last BBO, and one when a book goes stale.
        """
        if not len(ticks):
            return _NOTHING
        parts = []
        position = 0
        while True:
            position, written, reason = k.apply_ticks(
                ticks,
                position,
                self._books,
                self._sides,
                self._keys,
                self._sizes,
                self.max_levels,
                self._out,
                self._tally,
            )
            if written:
                parts.append(joined([self._out[:written]], BBO))
            if reason == k.DONE:
                return parts[0] if len(parts) == 1 else joined(parts, BBO) if parts else _NOTHING
            tick = ticks[position]
            if reason == k.SIDE_FULL:
                self._grow(int(tick["instrument"]), int(tick["side"]) - 1)
            elif reason == k.NEW_INSTRUMENT:
                self.reserve(int(tick["instrument"]))

    def is_stale(self, instrument_id: int) -> bool:
        """Whether the book is out of sync, or was never described."""
        return instrument_id >= len(self._books) or bool(self._books[instrument_id]["state"] != k.LIVE)

    def times(self, instrument_id: int) -> tuple[int, int]:
        """`ts_event` and `ts_recv` of the last record that the book took in; 0 where there was none."""
        self.reserve(instrument_id)
        book = self._books[instrument_id]
        return int(book["ts_event"]), int(book["ts_recv"])

    def whole(self) -> list[int]:
        """Ids of the books in sync that no atomic event is under way in, and that have given up no level."""
        books = self._books
        return np.flatnonzero((books["state"] == k.LIVE) & (books["inside"] == 0) & (books["evicted"] == 0)).tolist()

    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """Price and size mantissas of one side, best first: a C-contiguous array of shape (levels, 2)."""
        if instrument_id >= len(self._books):
            return np.zeros((0, 2), np.int64)
        run = self._sides[instrument_id, side - 1]
        place = slice(run["start"], run["start"] + run["count"])
        keys, sizes = self._keys[place][::-1], self._sizes[place][::-1]
        kept = sizes != 0
        prices = keys[kept] if side == Side.BID else -keys[kept]
        return np.stack([prices, sizes[kept]], axis=1)

    def snapshot(self, instrument_id: int) -> Records:
        """The book as TICK records that, folded into an empty book, give this one, whatever state it is in.

        CLEAR, then the bids and the asks, best first, all with flag SNAPSHOT and the times and ids of the last record
        that the book took in. The last one has LAST unless an atomic event is under way. A book that is stale is
        followed by a GAP that makes it so.
        """
        self.reserve(instrument_id)
        book = self._books[instrument_id]
        bids, asks = self.levels(instrument_id, Side.BID), self.levels(instrument_id, Side.ASK)
        stale = bool(book["state"] == k.STALE)
        count = 1 + len(bids) + len(asks)
        records = np.zeros(count + stale, TICK)
        for field in ("ts_event", "ts_recv", "venue_seq", "seq"):
            records[field] = book[field]
        records["instrument"] = instrument_id
        records["flags"] = Flag.SNAPSHOT
        records["kind"] = Kind.LEVEL
        records[0]["kind"] = Kind.CLEAR
        records["side"][1 : 1 + len(bids)] = Side.BID
        records["side"][1 + len(bids) : count] = Side.ASK
        for field, column in (("price", 0), ("size", 1)):
            records[field][1:count] = np.concatenate([bids[:, column], asks[:, column]])
        if not book["inside"]:
            records[count - 1]["flags"] |= Flag.LAST
        if stale:
            cause, flags = int(book["cause"]) or GapCause.RESTART, Flag.SNAPSHOT | Flag.ON_BOOK
            gap = make_gaps(instrument_id, cause, last_id=book["venue_seq"], flags=flags)
            gap[["ts_event", "ts_recv", "seq"]] = records[count][["ts_event", "ts_recv", "seq"]]
            records[count] = gap[0]
        return records

    def _grow(self, instrument_id: int, side: int) -> None:
        """Move one side to a room twice as large. Asked for at three quarters full, so `max_levels` bounds it."""
        run = self._sides[instrument_id, side]
        base, room, start, count = (int(run[name]) for name in ("base", "room", "start", "count"))
        new_room = max(_FIRST_LEVELS, 2 * room)
        new_base = self._take(new_room)
        new_start = new_base + (new_room - count) // 2
        for pool in (self._keys, self._sizes):
            pool[new_start : new_start + count] = pool[start : start + count]
        if room:
            self._free.setdefault(room, []).append(base)
        run["base"], run["room"], run["start"] = new_base, new_room, new_start

    def _take(self, room: int) -> int:
        """Base of a free room."""
        if self._free.get(room):
            return self._free[room].pop()
        base, self._used = self._used, self._used + room
        if self._used > len(self._keys):
            self._keys = grown(self._keys, 2 * self._used)
            self._sizes = grown(self._sizes, 2 * self._used)
        return base
