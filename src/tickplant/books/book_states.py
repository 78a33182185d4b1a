"""What books by level and books of orders have in common: states, counters, the best, and memory that grows on demand.

The kernels work in arrays and stop where one is too small; `BookStates` gives it more room and lets them go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books import level_kernels as k
from tickplant.books.level_runs import SIDE
from tickplant.records.arrays import grown, joined
from tickplant.records.layouts import BBO, TICK, Flag, GapCause, Kind, Side
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]

NOTHING: Final = np.zeros(0, BBO)  # making one costs as much as a kernel
NO_TICKS: Final = np.zeros(0, TICK)

_FIRST_LEVELS: Final = 64  # room that a side starts with; doubled when half of it is used


class Runs:
    """The sides of all books: runs of levels in two pools, see `level_runs`."""

    def __init__(self) -> None:
        self.sides = np.zeros((0, 2), SIDE)
        self.keys = np.zeros(4096, np.int64)
        self.values = np.zeros(4096, np.int64)
        self.hints = np.zeros(4096, np.int32)
        self._used = 0  # of the pools
        self._free: dict[int, list[int]] = {}  # rooms given back, by size

    @property
    def memory_bytes(self) -> int:
        """Allocated."""
        return self.sides.nbytes + self.keys.nbytes + self.values.nbytes + self.hints.nbytes

    def entries(self, instrument_id: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys and values of a side (0 bid, 1 ask), best first, those without a value left out."""
        run = self.sides[instrument_id, side]
        place = slice(run["start"], run["start"] + run["count"])
        keys, values = self.keys[place][::-1], self.values[place][::-1]
        kept = values != 0
        return keys[kept], values[kept]

    def grow(self, instrument_id: int, side: int) -> None:
        """Move one side to a room twice as large. Asked for when half of it is used, so bounds on levels bound it."""
        run = self.sides[instrument_id, side]
        base, room, start, count = (int(run[name]) for name in ("base", "room", "start", "count"))
        new_room = max(_FIRST_LEVELS, 2 * room)
        new_base = self._take(new_room)
        new_start = new_base + (new_room - count) // 2
        for pool in (self.keys, self.values):
            pool[new_start : new_start + count] = pool[start : start + count]
        if room:
            self._free.setdefault(room, []).append(base)
        run["base"], run["room"], run["start"] = new_base, new_room, new_start
        run["end"] = new_start + count

    def _take(self, room: int) -> int:
        """Base of a free room."""
        if self._free.get(room):
            return self._free[room].pop()
        base, self._used = self._used, self._used + room
        if self._used > len(self.keys):
            self.keys = grown(self.keys, 2 * self._used)
            self.values = grown(self.values, 2 * self._used)
            self.hints = grown(self.hints, 2 * self._used)
        return base


class BookStates(ABC):
    """The books of one stream of ticks. Output depends on the ticks alone, not on how they are cut into batches.

    Args:
        tally: names of what is counted; one more place is the kernels' own.
    """

    def __init__(self, tally: Sequence[str]) -> None:
        self._books = np.zeros(0, k.BOOK)
        self._runs = Runs()
        self._out = np.zeros(1024, BBO)
        self._names = tuple(tally)
        self._tally = np.zeros(len(tally) + 1, np.int64)
        self.reserve(63)

    @property
    def counters(self) -> dict[str, int]:
        """What has been counted."""
        return dict(zip(self._names, self._tally.tolist()[:-1], strict=True))

    @property
    def stale(self) -> int:
        """Books that had content once and are out of sync with their venue now."""
        return int(np.count_nonzero((self._books["state"] == k.STALE) & (self._books["cause"] > 0)))

    @property
    def live(self) -> int:
        """Books in sync with their venue."""
        return int(np.count_nonzero(self._books["state"] == k.LIVE))

    @property
    def memory_bytes(self) -> int:
        """Allocated for books and what is in them."""
        return self._books.nbytes + self._out.nbytes + self._runs.memory_bytes

    def reserve(self, instrument_id: int) -> None:
        """Have a book for every id up to this one. Ids count up from 1, so memory follows the instrument table."""
        old = len(self._books)
        if instrument_id < old:
            return
        new = 1 << instrument_id.bit_length()
        self._books = grown(self._books, new)
        self._runs.sides = grown(self._runs.sides, new)
        k.reset(self._books[old:])

    def apply(self, ticks: Records) -> Records:
        """Fold TICK records, in stored order, into the books.

        Returns:
            BBO records in the order of their causes, `seq` 0: one wherever, at the end of an atomic event, one of the
            four numbers or the flags of a book differ from the last BBO, and one when a book goes stale.
        """
        if not len(ticks):
            return NOTHING
        ticks = np.ascontiguousarray(ticks)  # the kernels' type
        parts = []
        position = 0
        while True:
            position, written, reason = self._fold(ticks, position)
            if written:
                parts.append(joined([self._out[:written]], BBO))
            if reason == k.DONE:
                return parts[0] if len(parts) == 1 else joined(parts, BBO) if parts else NOTHING
            tick = ticks[position]
            if reason == k.SIDE_FULL:
                self._runs.grow(int(tick["instrument"]), int(tick["side"]) - 1)
            elif reason == k.NEW_INSTRUMENT:
                self.reserve(int(tick["instrument"]))
            elif reason != k.OUTPUT_FULL:
                self._make_room()

    def is_stale(self, instrument_id: int) -> bool:
        """Whether the book is out of sync, or was never described."""
        return instrument_id >= len(self._books) or bool(self._books[instrument_id]["state"] != k.LIVE)

    def is_consistent(self, instrument_id: int) -> bool:
        """Whether the book is in sync, and no atomic event is under way."""
        return not self.is_stale(instrument_id) and not self._books[instrument_id]["inside"]

    def is_described(self, instrument_id: int) -> bool:
        """Whether any record has said something of the book."""
        if instrument_id >= len(self._books):
            return False
        book = self._books[instrument_id]
        return bool(book["state"] != k.STALE or book["cause"])

    def times(self, instrument_id: int) -> tuple[int, int]:
        """`ts_event` and `ts_recv` of the last record that the book took in; 0 where there was none."""
        self.reserve(instrument_id)
        book = self._books[instrument_id]
        return int(book["ts_event"]), int(book["ts_recv"])

    def seq(self, instrument_id: int) -> int:
        """Of the last record that a described book took in."""
        return int(self._books[instrument_id]["seq"])

    def whole(self) -> list[int]:
        """Ids of the books in sync that no atomic event is under way in, and that are all that the records say."""
        books = self._books
        return np.flatnonzero((books["state"] == k.LIVE) & (books["inside"] == 0) & (books["evicted"] == 0)).tolist()

    @abstractmethod
    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """Price and size mantissas of one side, best first: a C-contiguous array of shape (levels, 2)."""

    @abstractmethod
    def copy_top(self, instrument_id: int, depth: int, out: NDArray[np.int64]) -> tuple[int, int]:
        """Write the best levels, at most `depth` a side, to `out`, C-contiguous, shape (n, 3): bids, then asks.

        A row is price, size and number of orders, -1 in a book by level; best first. Returns how many bids and asks
        there are. Where that is more than n, nothing is written.
        """

    def snapshot(self, instrument_id: int) -> Records:
        """The book as TICK records that, folded into an empty book, give this one, whatever state it is in.

        CLEAR, then the bids and the asks, best first, all with flag SNAPSHOT and the times and ids of the last record
        that the book took in. The last one has LAST unless an atomic event is under way. A book that is stale is
        followed by a GAP that makes it so.
        """
        self.reserve(instrument_id)
        bids, asks = self.levels(instrument_id, Side.BID), self.levels(instrument_id, Side.ASK)
        records = self._framed(instrument_id, len(bids), len(asks), Flag.ON_BOOK)
        rows = records[1 : 1 + len(bids) + len(asks)]
        rows["kind"] = Kind.LEVEL
        for field, column in (("price", 0), ("size", 1)):
            rows[field] = np.concatenate([bids[:, column], asks[:, column]])
        return records

    def _framed(self, instrument_id: int, bids: int, asks: int, stream: Flag) -> Records:
        """A snapshot of so many records a side, whose kind, price and size are still to be given."""
        book = self._books[instrument_id]
        stale = bool(book["state"] == k.STALE)
        count = 1 + bids + asks
        records = np.zeros(count + stale, TICK)
        for field in ("ts_event", "ts_recv", "venue_seq", "seq"):
            records[field] = book[field]
        records["instrument"] = instrument_id
        records["flags"] = Flag.SNAPSHOT
        records[0]["kind"] = Kind.CLEAR
        records["side"][1 : 1 + bids] = Side.BID
        records["side"][1 + bids : count] = Side.ASK
        if not book["inside"]:
            records[count - 1]["flags"] |= Flag.LAST
        if stale:
            cause, flags = int(book["cause"]) or GapCause.RESTART, Flag.SNAPSHOT | stream
            gap = make_gaps(instrument_id, cause, last_id=book["venue_seq"], flags=flags)
            gap[["ts_event", "ts_recv", "seq"]] = records[count][["ts_event", "ts_recv", "seq"]]
            records[count] = gap[0]
        return records

    @abstractmethod
    def _fold(self, ticks: Records, position: int) -> tuple[int, int, int]:
        """Run the kernel from `position` on: the position reached, the BBO written to `_out`, and why it stopped."""

    def _make_room(self) -> None:
        """Give what a kernel found full, besides sides and instruments, more room."""
        raise NotImplementedError
