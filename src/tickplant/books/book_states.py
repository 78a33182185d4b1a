"""What books by level and books of orders share: states, counters, best levels, and memory that grows on demand.

The kernels work in arrays and stop where one is too small; `BookStates` enlarges it and lets them continue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books import fold_kernels as m
from tickplant.books import level_kernels as k
from tickplant.books.book_samples import BookSamples
from tickplant.books.level_runs import SIDE
from tickplant.records.arrays import grown, joined
from tickplant.records.layouts import BBO, NO_PRICE, TICK, Flag, GapCause, Kind, Side
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]

NOTHING: Final = np.zeros(0, BBO)  # creating one costs as much as running a kernel
_OUT_RECORDS: Final = 1024
_FIRST_LEVELS: Final = 64  # initial room of a side; doubled when half of it is used


class Runs:
    """The sides of all books: runs of levels in two pools, see `level_runs`."""

    def __init__(self) -> None:
        self.sides = np.zeros((0, 2), SIDE)
        self.keys = np.zeros(4096, np.int64)
        self.values = np.zeros(4096, np.int64)
        self.hints = np.zeros(4096, np.uint16)
        self._used = 0  # entries of the pools in use
        self._free: dict[int, list[int]] = {}  # bases of free rooms, by size

    @property
    def memory_bytes(self) -> int:
        """Bytes allocated."""
        return self.sides.nbytes + self.keys.nbytes + self.values.nbytes + self.hints.nbytes

    def entries(self, instrument_id: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys and values of a side (0 bid, 1 ask), best first, without entries of value 0."""
        run = self.sides[instrument_id, side]
        place = slice(run["start"], run["start"] + run["count"])
        keys, values = self.keys[place][::-1], self.values[place][::-1]
        kept = values != 0
        return keys[kept], values[kept]

    def grow(self, instrument_id: int, side: int) -> None:
        """Move one side to a room twice as large, once half of it is used; so a bound on levels bounds the room."""
        base, room, start, count, alive, _, last, moved = self.sides[instrument_id, side].item()
        new_room = max(_FIRST_LEVELS, 2 * room)
        new_base = self._take(new_room)
        new_start = new_base + (new_room - count) // 2
        for pool in (self.keys, self.values):
            pool[new_start : new_start + count] = pool[start : start + count]
        if room:
            self._free.setdefault(room, []).append(base)
        self.sides[instrument_id, side] = (
            new_base, new_room, new_start, count, alive, new_start + count, last, moved
        )  # fmt: skip

    def _take(self, room: int) -> int:
        """The base of a free room."""
        if self._free.get(room):
            return self._free[room].pop()
        base, self._used = self._used, self._used + room
        if self._used > len(self.keys):
            self.keys = grown(self.keys, 2 * self._used)
            self.values = grown(self.values, 2 * self._used)
            self.hints = grown(self.hints, 2 * self._used)
        return base


class BookStates(ABC):
    """The books of one stream of ticks. The output depends only on the ticks, not on how they are cut into batches.

    Args:
        tally: names of the counters; later places belong to the kernels.
    """

    def __init__(self, tally: Sequence[str]) -> None:
        self._books = np.zeros(0, k.BOOK)
        self._runs = Runs()
        self._names = tuple(tally)
        self._tally = np.zeros(m.TALLIES, np.int64)
        self.memory: NDArray[np.int64] = np.zeros(m.WORDS, np.int64)
        """What the kernels work in: addresses and lengths of all arrays, see `fold_kernels`."""
        self.address: int = self.memory.ctypes.data
        self._words = self.memory.data  # ten times as fast for a single word
        self._words[m.ARRAY] = id(np.ndarray)
        self.out = NOTHING
        """Where kernels write BBO records, each place once; see `fold_kernels.PLACE_BITS`."""
        self._renew_out()
        self.reserve(63)

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name."""
        return dict(zip(self._names, self._tally.tolist(), strict=False))

    @property
    def stale(self) -> int:
        """Books that once had content and are now out of sync with their venue."""
        return int(np.count_nonzero((self._books["state"] == k.STALE) & (self._books["cause"] > 0)))

    @property
    def live(self) -> int:
        """Books in sync with their venue."""
        return int(np.count_nonzero(self._books["state"] == k.LIVE))

    @property
    def memory_bytes(self) -> int:
        """Bytes allocated for books and their content."""
        return self._books.nbytes + self.out.nbytes + self._runs.memory_bytes

    def reserve(self, instrument_id: int) -> None:
        """Make a book for every id up to this one. Ids count from 1, so memory grows with the instrument table."""
        old = len(self._books)
        if instrument_id < old:
            return
        new = 1 << instrument_id.bit_length()
        self._books = grown(self._books, new)
        self._runs.sides = grown(self._runs.sides, new)
        new_books = self._books[old:]  # not described by any record
        new_books["bid_price"] = new_books["ask_price"] = NO_PRICE
        new_books["flags"] = Flag.STALE
        self._note_addresses()

    def apply(self, ticks: Records, samples: BookSamples | None = None) -> Records:
        """Fold TICK records, in stored order, into the books, and take the samples, if any, along the way.

        Returns:
            BBO records in the order of their causes, with `seq` 0: one for each end of an atomic event at which the
            four numbers or the flags of a book differ from the last BBO, and one when a book goes stale.
        """
        result = self._run(ticks, samples)
        if result == 0:
            return NOTHING
        return self.said() if result > 0 else self.finish(ticks, result, samples)

    def _run(self, ticks: Records, samples: BookSamples | None) -> int:
        """Call the kernel."""
        if samples is None:
            return self.fold(ticks)
        return self.fold_and_sample(id(self.memory), id(ticks), *samples.arguments)

    def said(self) -> Records:
        """The BBO records of this batch since the room for them was renewed."""
        return self.out[self._words[m.BATCH] : self._words[m.OUT_BEGIN]]

    def finish(self, ticks: Records, result: int, samples: BookSamples | None = None) -> Records:
        """Do what a kernel has stopped for, `result`, until it has taken all ticks. Returns its BBO records."""
        parts = []
        try:
            while result < 0:
                position = self._words[m.POSITION]
                if result == -m.SCATTERED:
                    ticks = np.array(ticks, TICK)
                elif result == -m.PAUSED:
                    pass
                elif result == -k.OUTPUT_FULL:
                    parts.append(self.said())
                    self._renew_out()
                elif samples is not None and result == -k.SAMPLES_FULL:
                    samples.make_room()
                elif result == -k.NEW_INSTRUMENT:
                    self.reserve(int(ticks[position]["instrument"]))
                elif result == -k.SIDE_FULL:
                    keys, tick = self._runs.keys, ticks[position]
                    self._runs.grow(int(tick["instrument"]), int(tick["side"]) - 1)
                    if self._runs.keys is not keys:
                        self._note_addresses()
                else:
                    self._make_room()
                    self._note_addresses()
                result = self._run(ticks, samples)
        finally:
            self._words[m.POSITION] = 0  # whatever failed, the next batch starts afresh
        last = self.said()
        return joined([*parts, last], BBO) if parts else last

    def _renew_out(self) -> None:
        """Allocate new room for BBO records: those returned earlier are views of the old room, which readers keep."""
        self.out = np.empty(_OUT_RECORDS, BBO)
        self._words[m.BATCH] = self._words[m.OUT_BEGIN] = 0
        self._words[m.OUT], self._words[m.OUT_END] = self.out.ctypes.data, len(self.out)

    def _note_addresses(self) -> None:
        """Tell the kernels where the arrays are now."""
        runs, words = self._runs, self._words
        words[m.BOOKS], words[m.BOOK_COUNT] = self._books.ctypes.data, len(self._books)
        words[m.SIDES], words[m.KEYS], words[m.VALUES] = (
            array.ctypes.data for array in (runs.sides, runs.keys, runs.values)
        )
        words[m.HINTS], words[m.POOL] = runs.hints.ctypes.data, len(runs.keys)
        words[m.TALLY_AT] = self._tally.ctypes.data

    def prepare_to_sample(self) -> None:
        """Compile or load the kernel that takes samples."""
        self._run(np.zeros(0, TICK), BookSamples())

    def is_stale(self, instrument_id: int) -> bool:
        """Whether the book is out of sync or was never described."""
        return instrument_id >= len(self._books) or bool(self._books[instrument_id]["state"] != k.LIVE)

    def is_described(self, instrument_id: int) -> bool:
        """Whether any record has described the book."""
        if instrument_id >= len(self._books):
            return False
        book = self._books[instrument_id]
        return bool(book["state"] != k.STALE or book["cause"])

    def times(self, instrument_id: int) -> tuple[int, int]:
        """`ts_event` and `ts_recv` of the last record applied to the book; 0 if there was none."""
        self.reserve(instrument_id)
        book = self._books[instrument_id]
        return int(book["ts_event"]), int(book["ts_recv"])

    def seq(self, instrument_id: int) -> int:
        """`seq` of the last record applied to a described book."""
        return int(self._books[instrument_id]["seq"])

    def whole(self) -> list[int]:
        """Ids of the books that are in sync, not inside an atomic event, and exactly what the records say."""
        books = self._books
        return np.flatnonzero((books["state"] == k.LIVE) & (books["inside"] == 0) & (books["evicted"] == 0)).tolist()

    def evicted(self) -> list[int]:
        """Ids of the books that have deviated from the records since their last CLEAR."""
        return np.flatnonzero(self._books["evicted"]).tolist()

    @abstractmethod
    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """Price and size mantissas of one side, best first: a C-contiguous array of shape (levels, 2)."""

    def snapshot(self, instrument_id: int) -> Records:
        """The book as TICK records that, folded into an empty book, reproduce this one in whatever state it is.

        CLEAR, then bids and asks, best first, all with flag SNAPSHOT and the times and ids of the last record applied
        to the book. The last one has LAST unless the book is inside an atomic event. For a stale book, a GAP follows,
        which makes it stale.
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
        """A snapshot with this many records per side, whose kind, price and size are still to be set."""
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

    @cached_property
    @abstractmethod
    def fold(self) -> Callable[[Records], int]:
        """The kernel for these books (see `fold_kernels`), as a method of `memory`. It takes the ticks."""

    @cached_property
    @abstractmethod
    def fold_and_sample(self) -> Callable[..., int]:
        """The kernel that also takes samples. It gets the addresses of `memory` and ticks, and the samples' arrays."""

    def _make_room(self) -> None:
        """Enlarge what a kernel found full, other than sides and instruments."""
        raise NotImplementedError
