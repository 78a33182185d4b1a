"""Samples of books: the best levels of a book as they were before a tick of a batch.

One kernel folds a batch from sample to sample, so samples do not cut batches. A symbol whose book is by level in one
part of the stream and of orders in another is sampled by both kernels, levels first; the rule of `market_books` chooses
between the two.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.fold_kernels import (
    MATCHING,
    MOST,
    SCATTERED,
    begun,
    is_plain,
    level_arrays,
    memory_at,
    order_arrays,
    out_of,
    stopped,
    tally_of,
    ticks_of,
)
from tickplant.books.level_kernels import DONE, LIVE, SAMPLES_FULL, STALE, apply_ticks
from tickplant.books.level_runs import copy_levels
from tickplant.books.order_kernels import apply_orders
from tickplant.books.order_queues import JOINED, best, copy_prices
from tickplant.books.queue_places import count_ahead, queue_at
from tickplant.kernels import kernel
from tickplant.records.arrays import grown
from tickplant.records.layouts import NO_PRICE

Records = NDArray[np.void]
Integers = NDArray[np.int64]

SAMPLE: Final = np.dtype(
    [
        ("since", "<i8"),  # the book was the same at every instant between this time and `ts_recv`
        ("ts_recv", "<i8"),  # of the tick before which the sample is taken
        ("source_seq", "<u8"),
        ("before", "<i8"),  # index of that tick in the batch
        ("depth", "<i8"),  # wanted levels per side
        ("begin", "<i8"),  # first row of its levels: bids, then asks
        ("bids", "<i8"),
        ("asks", "<i8"),
        ("seq", "<u8"),  # of the last record applied to the book
        ("instrument", "<u4"),
        ("slot", "<i4"),  # slot of the line, see `derive.sample_kernels`
        ("followers", "<i4"),  # the line's first follower, and how many there are
        ("followed", "<i4"),
        ("queued", "u1"),  # whether followers' rows are present: only in a known book of orders
        ("described", "u1"),  # whether any record has described the book
        ("live", "u1"),  # whether it was in sync
        ("known", "u1"),  # whether it was in sync, and not inside an atomic event
    ],
    align=True,
)
"""A book before a tick. Levels are rows of price, size and number of orders (-1 in a book by level). After them, each
follower has two rows, bid and ask: the price that it follows, and the size and number of the orders ahead."""

FOLLOWER: Final = np.dtype(
    [
        ("every_ns", "<i8"),  # how often the book is sampled for it
        ("cycle_ns", "<i8"),  # how long an order is followed
        ("cycle", "<i8"),  # number, since the epoch, of the cycle in which the order joined; NOTHING: no order
        ("cleared", "<i8"),  # the book's `cleared` at that time
        ("instrument", "<i8"),
        ("bid", "<i8"),  # key of the order's price; NO_PRICE: the side was empty
        ("ask", "<i8"),
        ("bid_joined", "<u8"),  # orders whose `joined` is at most this are ahead of it
        ("ask_joined", "<u8"),
    ]
)
"""A hypothetical order at the best bid and one at the best ask, followed for a number of samples; see `follow`."""

NOTHING: Final = -1

FOLLOWED: Final = 6
"""How many numbers are stored per follower; see `OrderBooks.followed`."""

# Positions in `progress`.
TAKEN: Final = 0  # samples taken
USED: Final = 1  # rows of levels used

_FIRST: Final = 64


class BookSamples:
    """Samples to take while a batch is folded, and the levels of those taken.

    Attributes:
        rows: SAMPLE records in the order of `before`; the caller sets `before`, `depth` and `instrument`.
        levels: their levels, shape (n, 3); the last batch has used a part of the rows.
        progress: how many samples were taken, and how many rows of levels used.
        followers: FOLLOWER rows of all lines.
    """

    def __init__(self) -> None:
        self.rows: Records = np.zeros(0, SAMPLE)
        self.levels: Integers = np.zeros((_FIRST, 3), np.int64)
        self.progress: Integers = np.zeros(2, np.int64)
        self.followers: Records = np.zeros(0, FOLLOWER)

    @property
    def arguments(self) -> tuple[Records, Integers, Integers, Records]:
        """The kernels' arguments."""
        return self.rows, self.levels, self.progress, self.followers

    def begin(self, rows: Records) -> None:
        """Start with the samples of another batch."""
        self.rows = rows
        self.progress[:] = 0

    def take_again(self) -> None:
        """Take the samples again from other books, keeping the levels found so far."""
        self.progress[TAKEN] = 0

    def make_room(self) -> None:
        """Make room for twice as many levels."""
        self.levels = grown(self.levels, 2 * len(self.levels))


def queues_of(samples: Records, follower: int) -> Records:
    """Samples as books of one level per side: the rows written by the line's follower with this number."""
    seen = samples.copy()
    seen["begin"] += samples["bids"] + samples["asks"] + 2 * follower
    seen["bids"], seen["asks"] = 1, 1
    seen["known"] &= samples["queued"]
    return seen


@kernel
def note_book(books: Records, sample: Any) -> bool:
    """Note the state of a book. Returns whether its levels should be taken.

    A better book replaces the notes of one sampled earlier: a book in sync is better, else the one with the newer
    record.
    """
    if sample["instrument"] >= len(books):
        return False
    book = books[sample["instrument"]]
    live = book["state"] == LIVE
    if book["state"] == STALE and book["cause"] == 0:  # no record has described it
        return False
    if sample["described"] and (live < sample["live"] or (live == sample["live"] and book["seq"] < sample["seq"])):
        return False
    sample["described"] = True
    sample["live"] = live
    sample["seq"] = book["seq"]
    sample["known"] = live and not book["inside"]
    sample["queued"] = False
    sample["bids"] = 0
    sample["asks"] = 0
    return bool(sample["known"])


@kernel
def note_levels(sample: Any, bids: int, asks: int, further: int, levels: Integers, progress: Integers) -> bool:
    """Note where a sample's levels are, followed by `further` rows. Returns False if there is no room for them."""
    used = progress[USED]
    if used + bids + asks + further > len(levels):
        return False
    sample["begin"] = used
    sample["bids"] = bids
    sample["asks"] = asks
    progress[USED] += bids + asks + further
    return True


@kernel
def follow(
    follower: Any,
    sample: Any,
    book: Any,
    sides: Records,
    keys: Integers,
    places: Integers,
    prices: Records,
    orders: Records,
    joined: int,
    out: Integers,
) -> None:
    """Write what is ahead of a follower's orders to two rows. In a cycle's first sample, new orders join at the end.

    New orders also join if the book was cleared since: which of the earlier orders remain is not known.
    """
    instant = (sample["since"] // follower["every_ns"] + 1) * follower["every_ns"]
    if instant > sample["ts_recv"]:
        return
    id_ = sample["instrument"]
    cycle = instant // follower["cycle_ns"]
    if follower["cycle"] != cycle or follower["instrument"] != id_ or follower["cleared"] != book["cleared"]:
        follower["cycle"] = cycle
        follower["instrument"] = id_
        follower["cleared"] = book["cleared"]
        bid, ask = best(sides, places, id_, 0), best(sides, places, id_, 1)
        follower["bid"] = prices[bid]["key"] if bid else NO_PRICE
        follower["ask"] = prices[ask]["key"] if ask else NO_PRICE
        follower["bid_joined"] = joined
        follower["ask_joined"] = joined
    for side in range(2):
        key = follower["ask"] if side else follower["bid"]
        out[side, 0] = key
        out[side, 1] = 0
        out[side, 2] = NOTHING
        if key != NO_PRICE:
            out[side, 0] = -key if side else key
            at = queue_at(sides, keys, places, id_, side, key)
            limit = follower["ask_joined"] if side else follower["bid_joined"]
            out[side, 1], out[side, 2] = count_ahead(prices, orders, at, limit)


@kernel
def sample_levels(
    memory: int, ticks: int, samples: Records, levels: Integers, progress: Integers, followers: Records
) -> int:
    """`fold_kernels.fold_levels`, with each sample taken before its tick; see there, and `BookSamples`.

    Returns:
        As there, but as a machine integer; minus SAMPLES_FULL if `levels` is too small.
    """
    words = memory_at(memory)
    if not is_plain(ticks, words):
        return -SCATTERED
    records = ticks_of(ticks)
    books, sides, keys, sizes, hints = level_arrays(words)
    position, written = begun(words), 0
    out, tally = out_of(words), tally_of(words)
    while True:
        taken = progress[TAKEN]
        end = samples[taken]["before"] if taken < len(samples) else len(records)
        position, more, reason = apply_ticks(
            records[:end], position, books, sides, keys, sizes, hints, words[MOST], out[written:], tally
        )
        written += more
        if reason != DONE or taken == len(samples):
            break
        sample = samples[taken]
        if note_book(books, sample):
            rest = levels[progress[USED] :]
            bids, asks = copy_levels(sides, keys, sizes, sample["instrument"], sample["depth"], rest)
            if not note_levels(sample, bids, asks, 0, levels, progress):
                reason = SAMPLES_FULL
                break
        progress[TAKEN] += 1
    result: int = stopped(words, position, written, reason)
    return result


@kernel
def sample_orders(
    memory: int, ticks: int, samples: Records, levels: Integers, progress: Integers, followers: Records
) -> int:
    """`fold_kernels.fold_orders`, with samples taken as in `sample_levels`."""
    words = memory_at(memory)
    if not is_plain(ticks, words):
        return -SCATTERED
    records = ticks_of(ticks)
    books, sides, keys, places, hints = level_arrays(words)
    prices, orders, table, used = order_arrays(words)
    pools = books, sides, keys, places, hints, prices, orders, table, used
    position, written = begun(words), 0
    out, tally = out_of(words), tally_of(words)
    while True:
        taken = progress[TAKEN]
        end = samples[taken]["before"] if taken < len(samples) else len(records)
        position, more, reason = apply_orders(
            records[:end], position, *pools, words[MOST], words[MATCHING] != 0, out[written:], tally
        )
        written += more
        if reason != DONE or taken == len(samples):
            break
        sample = samples[taken]
        if note_book(books, sample):
            rest = levels[progress[USED] :]
            bids, asks = copy_prices(sides, keys, places, prices, sample["instrument"], sample["depth"], rest)
            if not note_levels(sample, bids, asks, 2 * sample["followed"], levels, progress):
                reason = SAMPLES_FULL
                break
            sample["queued"] = True
            for j in range(sample["followed"]):
                row = sample["begin"] + bids + asks + 2 * j
                follow(
                    followers[sample["followers"] + j], sample, books[sample["instrument"]], sides, keys, places,
                    prices, orders, used[JOINED], levels[row : row + 2],
                )  # fmt: skip
        progress[TAKEN] += 1
    result: int = stopped(words, position, written, reason)
    return result
