"""Books sampled at instants: each book as it was at each 100 ms, second … of the receive clock.

Instants are counted from the epoch, so `1s` samples at each full second. A symbol has a sample at the end of each
interval in which a record of its book was received: the book after the last record before that instant. The sample is
taken before the symbol's next record, which was received at the instant or later, so it follows from the ticks alone. A
record whose receive time steps back counts in the open interval, never in one that has been sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_samples import FOLLOWER, NOTHING, SAMPLE, BookSamples
from tickplant.derive import sample_kernels as k
from tickplant.derive.derivation import Made, Series
from tickplant.derive.indicator import Indicator
from tickplant.derive.running_series import BookSeries, running_books
from tickplant.derive.series import is_wanted
from tickplant.instruments import FEED_SYMBOL
from tickplant.kernels import direct
from tickplant.records.arrays import grown, joined
from tickplant.records.layouts import BBO, TICK, Schema

if TYPE_CHECKING:
    from tickplant.books.market_books import MarketBooks
    from tickplant.instruments import Instrument

Records = NDArray[np.void]
Integers = NDArray[np.int64]

_NOTHING: Final = np.zeros(0, SAMPLE)
_FIRST: Final = 64
"""Initial room for ids, lines and samples."""


class SampledBooks:
    """The books of one feed: a stream that makes best bids and offers, and takes samples for `BookValues`.

    Args:
        books: the feed's books.
        series: all wanted series.
        instrument: returns the row of an instrument id.
        line: returns the first id of the symbol that an instrument id belongs to.
        own: users' indicators, by name of the series.

    Attributes:
        series: the series over books, in order.
        keys: by slot, the first id of the symbol; 0 for the slot of symbols that no series samples.
        samples: samples of the last batch, SAMPLE records in the order of its ticks.
    """

    def __init__(
        self,
        books: MarketBooks,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        line: Callable[[int], int],
        own: Mapping[str, Indicator],
    ) -> None:
        self.series = running_books(series, own)
        self.keys = [0]
        self.samples: Records = _NOTHING
        self._taken = BookSamples()
        self._room = np.zeros(_FIRST, SAMPLE)
        self._awaited: list[tuple[int, int, tuple[int, ...]]] = []  # slot, follower, and what `followed` returned
        self._from_seq = 0
        self._books = books
        self._instrument = instrument
        self._first_of = line
        self._slots = np.full(_FIRST, k.NOT_KNOWN, np.int32)
        self._lines = np.zeros(_FIRST, k.LINE)
        self._every_ns = np.zeros(0, np.int64)
        self._slot_of: dict[int, int] = {}  # by first id of the symbol
        self._note: Callable[..., tuple[int, int]] = direct(k.note_samples, *self._arguments(np.zeros(0, TICK), 0, 0))
        books.prepare_to_sample()

    @property
    def counters(self) -> dict[str, int]:
        """The books' counters."""
        return self._books.counters

    @property
    def levels(self) -> Integers:
        """Levels of the last batch's samples, shape (n, 3)."""
        return self._taken.levels

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        self._books.reserve(instrument_id)
        old = len(self._slots)
        if instrument_id >= old:
            self._slots = grown(self._slots, 2 * instrument_id)
            self._slots[old:] = k.NOT_KNOWN

    def apply(self, made: Made) -> Records:
        """The best bids and offers that a batch produces; also takes its samples."""
        ticks = made[Schema.TICK]
        if self._awaited and len(ticks):
            return self._apply_awaited(ticks)
        return self._apply(ticks)

    def _apply_awaited(self, ticks: Records) -> Records:
        """Follow orders again from a tick on: queue positions were counted in the books as of just before that tick."""
        cut = int(np.searchsorted(ticks["seq"], np.uint64(self._from_seq)))
        bests = [self._books.apply(ticks[:cut])]  # samples before that tick are not wanted
        self._due(ticks[:cut])
        self.samples = _NOTHING
        if cut < len(ticks):
            for slot, follower, remembered in self._awaited:
                row = self._taken.followers[self._lines[slot]["followers"] + follower]
                self._books.of_orders.follow_again(row, remembered)
            self._awaited = []
            bests.append(self._apply(ticks[cut:]))
        return joined([part for part in bests if len(part)], BBO)

    def _apply(self, ticks: Records) -> Records:
        count = self._due(ticks)
        if not count:  # nearly always
            self.samples = _NOTHING
            return self._books.apply(ticks)
        self.samples = self._room[:count].copy()
        self._taken.begin(self.samples)
        return self._books.apply(ticks, self._taken)

    def slot(self, key: int) -> int:
        """The slot of a symbol, given its first id."""
        found = self._slot_of.get(key)
        if found is None:
            row = self._instrument(key)
            wanted = [one for one in self.series if is_wanted(one.symbols, row.venue, row.symbol)]
            there = wanted and row.symbol != FEED_SYMBOL  # its gaps and disconnects do not concern a book
            found = self._slot_of[key] = self._open(key, wanted) if there else k.NOBODYS
        return found

    def wanted(self, slot: int) -> list[BookSeries]:
        """The wanted series of a line."""
        row = self._instrument(self.keys[slot])
        return [one for one in self.series if is_wanted(one.symbols, row.venue, row.symbol)]

    def memory(self, slot: int) -> tuple[int, int]:
        """What to store of a line: the time of its latest record, and the instrument of its last record."""
        line = self._lines[slot]
        return int(line["since"]), int(line["instrument"])

    def remember(self, slot: int, since: int, instrument: int) -> None:
        """Restore a line from what `memory` returned."""
        line = self._lines[slot]
        if since > line["since"]:
            every_ns = self._every_ns[line["begin"] : line["end"]]
            line["since"], line["instrument"] = since, instrument
            line["due"] = int(((since // every_ns + 1) * every_ns).min())

    def begin_anew(self) -> None:
        """Time jumps: forget all open intervals and all followed orders."""
        self._lines["since"] = 0
        self._taken.followers["cycle"] = NOTHING
        self._awaited = []

    def followed(self, slot: int, follower: int) -> Sequence[int]:
        """What to store of a line's follower, given its number; FOLLOWED integers."""
        for awaited in self._awaited:
            if awaited[:2] == (slot, follower):
                return awaited[2]
        return self._books.of_orders.followed(self._taken.followers[self._lines[slot]["followers"] + follower])

    def follow_again(self, slot: int, follower: int, remembered: Sequence[int], from_seq: int) -> None:
        """Restore a follower from what `followed` returned, as it was before the tick `from_seq`."""
        self._from_seq = from_seq
        self._awaited.append((slot, follower, tuple(remembered)))

    def _due(self, ticks: Records) -> int:
        """How many samples a batch needs; they are in `_room`."""
        place, count = self._note(*self._arguments(ticks, 0, 0))
        while place < len(ticks):
            id_ = int(ticks[place]["instrument"])
            if self._slots[id_] == k.NOT_KNOWN:
                self._slots[id_] = self.slot(self._first_of(id_))
            else:
                self._room = grown(self._room, 2 * len(self._room))
            place, count = self._note(*self._arguments(ticks, place, count))
        return count

    def _arguments(self, ticks: Records, position: int, count: int) -> tuple[Any, ...]:
        return ticks, position, count, self._slots, self._lines, self._every_ns, self._room

    def _open(self, key: int, series: Sequence[BookSeries]) -> int:
        """Open a new line."""
        slot, begin = len(self.keys), len(self._every_ns)
        if slot == len(self._lines):
            self._lines = grown(self._lines, 2 * slot)
        self._every_ns = np.concatenate([self._every_ns, list({one.every_ns for one in series})])
        depth = max(one.depth for one in series)
        follow = [one for one in series if one.follows]
        followers = np.zeros(len(follow), FOLLOWER)
        followers["every_ns"] = [one.every_ns for one in follow]
        followers["cycle_ns"] = [one.every_ns * one.follows for one in follow]
        followers["cycle"] = NOTHING
        first = len(self._taken.followers)
        self._taken.followers = np.concatenate([self._taken.followers, followers])
        self._lines[slot] = 0, 0, key, depth, begin, len(self._every_ns), first, len(follow)
        self.keys.append(key)
        return slot
