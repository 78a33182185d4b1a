"""The samples of books over which an indicator is computed, made from a store's ticks day by day, by the engine's rule.

Each producer's ticks lead to a book of their own, from its first stored snapshot on. At the end of a day, the books and
the open interval are carried to the next day as plain arrays.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_samples import queues_of
from tickplant.books.fold import BOOK_KINDS
from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.market_books import MarketBooks
from tickplant.derive.derivation import Series
from tickplant.derive.indicator import COLUMNS, Indicator
from tickplant.derive.sample_kernels import fill_books
from tickplant.derive.sampled_books import SampledBooks
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, Flag, GapCause, Schema
from tickplant.records.merge import join_records
from tickplant.records.notes import make_gaps
from tickplant.store.daily_files import DAY_NS
from tickplant.store.derived_rows import Block, Carried, chunks_by_day
from tickplant.store.segments import Range
from tickplant.store.selection import Selection

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]

BLOCK_LEVELS: Final = 65_536
"""How many levels per side fit in a block: this bounds memory, whatever the length of a day."""
BOOK, OPEN = "book_", "open_"
"""What is carried for a producer: its books as TICK records, and the open interval."""


class BookRows:
    """The samples of one symbol for one series, named as `derive.series` says."""

    def __init__(self, store: Store, instruments: Sequence[Instrument], indicator: Indicator, name: str) -> None:
        self._store = store
        self._rows = sorted(instruments, key=lambda row: row.id)
        self._ids = np.array([row.id for row in self._rows])
        # The memory of books grows with the largest id, and a store may have a million: here ids count from 1.
        self._units = np.ones((1 + len(self._rows), 2))
        for place, row in enumerate(self._rows, 1):
            self._units[place] = 10.0**row.price_scale, 10.0**row.size_scale
        self._columns = np.array([COLUMNS["book"].index(column) for column in indicator.inputs])
        self._indicator = indicator
        self._name = name
        self._selection = Selection(ids=frozenset(self._ids.tolist()), kinds=frozenset(map(int, BOOK_KINDS)))
        self._producers = [producer for producer in store.producers(Schema.TICK) if self._has(producer)]

    def _has(self, producer: str) -> bool:
        """Whether a producer has recorded the book."""
        asked = Range(producer, Schema.TICK, self._selection)
        return any(stretch.chunks for stretch in self._store.stretches(asked))

    def chunks_by_day(self) -> dict[int, bytes]:
        """The identity of the chunks behind each day with records of the book, by days since the epoch, in order."""
        further = repr((self._ids.tolist(), self._units.tolist()))
        return chunks_by_day(self._store, Schema.TICK, self._selection, further)

    def read(self, day: int, carried: Carried) -> Iterator[Block]:
        """Samples made by the records received on a UTC day; the state at its end is put into `carried`.

        Raises DamageError.
        """
        if len(self._producers) == 1:
            yield from self._of_producer(self._producers[0], day, carried, BLOCK_LEVELS)
            return
        # Blocks of one row, so that the samples of several producers merge in the order of their times.
        parts = [self._of_producer(producer, day, carried, 1) for producer in self._producers]
        yield from heapq.merge(*parts, key=lambda block: int(block.ts_recv[0]))

    def _of_producer(self, producer: str, day: int, carried: Carried, most: int) -> Iterator[Block]:
        books = MarketBooks(UNBOUNDED, UNBOUNDED)
        sampled = SampledBooks(
            books, [Series(1, self._name)], lambda id_: self._rows[id_ - 1], lambda _: 1, {self._name: self._indicator}
        )
        if BOOK + producer in carried:
            books.apply(carried[BOOK + producer])
            since, instrument, *followed = carried[OPEN + producer].tolist()
            sampled.remember(sampled.slot(1), since, instrument)
            if followed:
                sampled.follow_again(1, 0, followed, 0)
        damages = self._store.damages
        for found in self._store.scan(
            schema=Schema.TICK,
            ids=self._selection.ids,
            kinds=BOOK_KINDS,
            start_ns=day * DAY_NS,
            end_ns=(day + 1) * DAY_NS,
            producers=[producer],
        ):
            if self._store.damages > damages:
                damages = self._store.damages
                gaps = make_gaps(np.arange(1, 1 + len(self._ids)), GapCause.DAMAGE, flags=Flag.ON_BOOK | Flag.ON_ORDERS)
                books.apply(gaps)
            ticks = found.copy()
            ticks["instrument"] = 1 + np.searchsorted(self._ids, found["instrument"])
            sampled.apply({Schema.TICK: ticks})
            yield from self._blocks(sampled, most)
        if len(sampled.keys) > 1:
            carried[BOOK + producer] = _whole(books, len(self._ids))
            followed = sampled.followed(1, 0) if sampled.series[0].follows else ()
            carried[OPEN + producer] = np.array([*sampled.memory(1), *followed], np.int64)

    def _blocks(self, sampled: SampledBooks, most: int) -> Iterator[Block]:
        """The samples at hand, in blocks with or without a book, each of at most `most` levels per side in all."""
        one, samples = sampled.series[0], sampled.samples
        if one.follows:
            samples = queues_of(samples, 0)
        every_ns = one.every_ns
        samples = samples[samples["since"] // every_ns != samples["ts_recv"] // every_ns]
        begin = 0
        while begin < len(samples):
            known = bool(samples["known"][begin])
            widths = np.maximum.accumulate(np.maximum(samples["bids"], samples["asks"])[begin:])
            widths = np.minimum(np.maximum(widths, 1), one.depth)
            fits = (samples["known"][begin:] == known) & (np.arange(1, 1 + len(widths)) * widths <= most)
            count = len(fits) if fits.all() else max(1, int(fits.argmin()))
            rows = samples[begin : begin + count]
            begin += count
            instants = (rows["since"] // every_ns + 1) * every_ns
            inputs = None
            if known:
                inputs = np.empty((len(self._columns), count, int(widths[count - 1])))
                fill_books(rows, sampled.levels, self._columns, self._units, inputs)
            yield Block(instants, np.ascontiguousarray(rows["ts_recv"]), inputs)


def _whole(books: MarketBooks, count: int) -> Records:
    """The books as TICK records that rebuild them, whatever their state."""
    parts = [np.zeros(0, TICK)]
    for id_ in range(1, 1 + count):
        if books.by_level.is_described(id_):
            parts.append(books.by_level.snapshot(id_))
        if books.of_orders.is_described(id_):
            parts.append(books.of_orders.order_snapshot(id_))
    return join_records(parts)
