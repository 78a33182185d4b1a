"""The book of one instrument that a feed keeps if the venue cuts its books to a depth or sends checksums.

    book = DepthBook(10)
    dropped = book.snapshot(rows)         # CLEAR and LEVEL rows of a `TickBatch`, or (side, price, size)
    dropped = book.update(rows)           # one atomic event
    batch.extend(dropped)                 # LEVEL rows of size 0, to be recorded after the event

A venue that sends the best `depth` levels sends nothing when a level falls out of that window. The book drops such
levels at the end of the event and returns them as records, so that the fold of the records still equals the book.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_runs import MOST_FILLED, SIDE, UNBOUNDED, copy_best, drop_worst, empty, set_level
from tickplant.kernels import kernel
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, ORDER_ID, PACKED, PRICE, SIDE_SHIFT, SIZE, WORDS
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side

Integers = NDArray[np.int64]

# Words of `memory`, which holds a whole book: passing one array to a kernel costs less than passing five.
BID_PRICE: Final = 0  # these four as in a BBO
BID_SIZE: Final = 1
ASK_PRICE: Final = 2
ASK_SIZE: Final = 3
LIVE: Final = 4  # 0 before the first snapshot and after `lose`
UNKNOWN_DELETES: Final = 5
IGNORED: Final = 6
DEPTH: Final = 7
SIDES: Final = 8  # two SIDE
POOLS: Final = SIDES + 2 * SIDE.itemsize // 8  # from here on, a third each: keys, sizes, hints

# What `apply_event` returns instead of a number of rows.
NO_ROOM: Final = -1  # the sides or `removed` need more room; nothing was changed
INVALID: Final = -2  # minus the position of an invalid level; nothing was changed

_LEVEL: Final = int(Kind.LEVEL)
_CLEAR: Final = int(Kind.CLEAR)
_OTHER: Final = 0
_BID: Final = int(Side.BID)
_ASK: Final = int(Side.ASK)
_PARTIAL: Final = int(Flag.PARTIAL) << FLAGS_SHIFT
_LAST: Final = int(Flag.LAST) << FLAGS_SHIFT
_KIND_AND_SIDE: Final = 0xFF << KIND_SHIFT | 0xFF << SIDE_SHIFT


@kernel
def read_level(levels: Integers, i: int) -> tuple[int, int, int, int]:
    """Kind, side, price and size of one row in either form; kind 0 if the row does not concern the book."""
    if levels.shape[1] != WORDS:
        return _LEVEL, levels[i, 0], levels[i, 1], levels[i, 2]
    packed = levels[i, PACKED]
    kind = packed >> KIND_SHIFT & 0xFF
    if packed & _PARTIAL or kind not in (_LEVEL, _CLEAR):
        kind = _OTHER
    return kind, packed >> SIDE_SHIFT & 0xFF, levels[i, PRICE], levels[i, SIZE]


@kernel
def write_removal(levels: Integers, side: int, price: int, out: Integers) -> None:
    """Write a row that removes a level, in the form of `levels`, with the times and ids of the event's last row."""
    if levels.shape[1] != WORDS:
        out[0] = side
        out[1] = price
        out[2] = 0
        return
    out[:] = levels[len(levels) - 1]
    out[PRICE] = price
    out[SIZE] = 0
    out[ORDER_ID] = 0
    out[PACKED] = out[PACKED] & ~(_KIND_AND_SIDE | _LAST) | _LEVEL << KIND_SHIFT | side << SIDE_SHIFT


@kernel
def sides_and_pools(memory: Integers) -> tuple[Any, Integers, Integers, Integers]:
    """The two SIDE records of a book, and the pools of keys, sizes and hints."""
    pool = (len(memory) - POOLS) // 3
    sizes = POOLS + pool
    hints = sizes + pool
    return memory[SIDES:POOLS].view(SIDE), memory[POOLS:sizes], memory[sizes:hints], memory[hints:]


@kernel
def note_best(memory: Integers) -> None:
    """Copy the best levels to where they can be read without a kernel."""
    sides, keys, sizes, _ = sides_and_pools(memory)
    for which in range(2):
        side = sides[which]
        memory[2 * which], memory[2 * which + 1] = NO_PRICE, 0
        if side["count"]:
            at = side["start"] + side["count"] - 1
            memory[2 * which] = -keys[at] if which else keys[at]
            memory[2 * which + 1] = sizes[at]


@kernel
def start_over(memory: Integers) -> None:
    """Empty a book that is about to be filled."""
    sides, _, _, _ = sides_and_pools(memory)
    empty(sides[0])
    empty(sides[1])
    memory[LIVE] = 1


@kernel
def apply_event(levels: Integers, memory: Integers, removed: Integers, clear: bool) -> int:
    """Apply one atomic event, cut both sides to the depth, and write a row to `removed` for each level cut off.

    Returns:
        The number of rows written, at most one for each row of `levels`; or NO_ROOM, or INVALID minus a position.
    """
    count, width = levels.shape
    sides, keys, sizes, hints = sides_and_pools(memory)
    for i in range(count):
        kind, which, price, size = read_level(levels, i)
        if kind == _LEVEL and (which not in (_BID, _ASK) or size < 0 or price == NO_PRICE):
            return INVALID - i
    if len(removed) < count or removed.shape[1] != width:
        return NO_ROOM
    for which in range(2):
        held = 0 if clear else sides[which]["alive"]
        if MOST_FILLED * (held + count) > sides[which]["room"]:
            return NO_ROOM
    if clear:
        start_over(memory)
    for i in range(count):
        kind, which, price, size = read_level(levels, i)
        if kind == _CLEAR:
            start_over(memory)
        elif kind == _LEVEL and not memory[LIVE]:
            memory[IGNORED] += 1
        elif kind == _LEVEL:
            side = sides[which - 1]
            before = side["alive"]
            set_level(side, keys, sizes, hints, price if which == _BID else -price, size, UNBOUNDED)
            if size == 0 and side["alive"] == before:
                memory[UNKNOWN_DELETES] += 1
    cut = 0
    for which in range(2):
        while sides[which]["alive"] > memory[DEPTH]:
            key = drop_worst(sides[which], keys, sizes)
            write_removal(levels, which + 1, -key if which else key, removed[cut])
            cut += 1
    if cut and width == WORDS and levels[count - 1, PACKED] & _LAST:
        levels[count - 1, PACKED] &= ~_LAST
        removed[cut - 1, PACKED] |= _LAST
    note_best(memory)
    return cut


@kernel
def copy_best_of_both(memory: Integers, out: Integers) -> tuple[int, int]:
    """Copy the best levels of both sides to `out`, shape (2, n, 2). Returns the numbers of bids and asks."""
    sides, keys, sizes, _ = sides_and_pools(memory)
    return copy_best(sides[0], keys, sizes, 1, out[0]), copy_best(sides[1], keys, sizes, -1, out[1])


class DepthBook:
    """Bids and asks of one instrument, at most `depth` levels per side; None: all that the venue sends.

    Events come in either of two forms, writable C-contiguous arrays of int64:

    * shape (n, 8): rows as in a `TickBatch` (`records.batch`), CLEAR and LEVEL; others, and PARTIAL, are skipped;
    * shape (n, 3): side (`Side.BID` or `Side.ASK`), price and size.

    Within an event the order matters: the last size at a price wins. Methods return views that are valid until the next
    event. Give a book always the same form: memory for returned rows is kept in the form seen last.
    """

    def __init__(self, depth: int | None = None) -> None:
        if depth is not None and depth < 1:
            raise ValueError(f"depth is {depth}; a side holds at least one level")
        self.depth = depth
        self.memory: Integers = np.zeros(POOLS, np.int64)
        self.memory[[BID_PRICE, ASK_PRICE]] = NO_PRICE
        self.memory[DEPTH] = UNBOUNDED if depth is None else depth
        self._make_room(depth or 0)
        self._keep_removed(16, WORDS)

    @property
    def live(self) -> bool:
        """Whether a snapshot has come since the start or the last `lose`. Until then levels are ignored."""
        return bool(self.memory[LIVE])

    @property
    def unknown_deletes(self) -> int:
        """How many removals named levels that the book did not have."""
        return int(self.memory[UNKNOWN_DELETES])

    @property
    def levels_ignored(self) -> int:
        """How many levels came in updates while the book was not live."""
        return int(self.memory[IGNORED])

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Bid price, bid size, ask price and ask size; NO_PRICE and 0 for an empty side."""
        bid, bid_size, ask, ask_size = self.memory[:LIVE].tolist()
        return bid, bid_size, ask, ask_size

    def __len__(self) -> int:
        """The number of levels of both sides."""
        return int(self._sides()["alive"].sum())

    def snapshot(self, levels: Integers) -> Integers:
        """Replace the book by these levels; otherwise as `update`."""
        cut = apply_event(levels, self.memory, self._removed, True)
        return self._rows_removed(cut, levels, clear=True) if cut else self._nothing

    def update(self, levels: Integers) -> Integers:
        """Apply one event, as a whole or, if this raises, not at all.

        Returns:
            A row of size 0 for each level that the cut to `depth` has removed, bids first, worst first, in the form of
            `levels`: to be recorded right after the event. Rows of ticks have the times, ids and flags of the event's
            last row; if that row had LAST, the flag moves to the last returned row.

        Raises:
            ValueError: a level has no side, no price, or a negative size.
        """
        cut = apply_event(levels, self.memory, self._removed, False)
        return self._rows_removed(cut, levels, clear=False) if cut else self._nothing

    def lose(self) -> None:
        """The book no longer matches the venue's, as after a wrong checksum: ignore levels until the next snapshot."""
        self.memory[LIVE] = 0

    def top(self, count: int) -> tuple[Integers, Integers]:
        """The `count` best bids and asks, or all if there are fewer: (price, size), shape (n, 2), best first."""
        out = np.empty((2, count, 2), np.int64)
        bids, asks = copy_best_of_both(self.memory, out)
        return out[0, :bids], out[1, :asks]

    def levels(self) -> tuple[Integers, Integers]:
        """All bids and asks, as `top`."""
        return self.top(int(self._sides()["alive"].max()))

    def copy(self) -> DepthBook:
        """An independent book with the same levels, state and counts."""
        other = DepthBook.__new__(DepthBook)
        other.depth = self.depth
        other.memory = self.memory.copy()
        other._keep_removed(*self._removed.shape)
        return other

    def _rows_removed(self, cut: int, levels: Integers, *, clear: bool) -> Integers:
        """What `update` returns, after making more room if `apply_event` asked for it."""
        count, width = levels.shape
        if cut == NO_ROOM:
            if len(self._removed) < count or self._removed.shape[1] != width:
                self._keep_removed(max(16, 2 * count), width)
            self._make_room(count + (0 if clear else int(self._sides()["alive"].max())))
            cut = apply_event(levels, self.memory, self._removed, clear)
        if cut < 0:
            raise ValueError(f"no level: row {INVALID - cut} of an event is {levels[INVALID - cut].tolist()}")
        return self._removed[:cut]

    def _sides(self) -> NDArray[np.void]:
        return self.memory[SIDES:POOLS].view(SIDE)

    def _keep_removed(self, rows: int, width: int) -> None:
        self._removed: Integers = np.zeros((rows, width), np.int64)
        self._nothing = self._removed[:0]

    def _make_room(self, levels: int) -> None:
        """Make room for at least this many levels per side without filling more of the room than MOST_FILLED allows."""
        sides, keys, sizes, _ = sides_and_pools(self.memory)
        room = 1 << (MOST_FILLED * levels + 63).bit_length()
        if room <= sides[0]["room"]:
            return
        grown = np.zeros(POOLS + 6 * room, np.int64)
        grown[:POOLS] = self.memory[:POOLS]
        new_sides, new_keys, new_sizes, _ = sides_and_pools(grown)
        for which, (old, new) in enumerate(zip(sides, new_sides, strict=True)):
            count = int(old["count"])
            new["base"], new["room"] = which * room, room
            new["start"] = which * room + (room - count) // 2
            new["end"] = new["start"] + count
            for pool, new_pool in ((keys, new_keys), (sizes, new_sizes)):
                new_pool[new["start"] : new["start"] + count] = pool[old["start"] : old["start"] + count]
        self.memory = grown
