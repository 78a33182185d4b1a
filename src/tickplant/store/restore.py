"""What of the store an engine needs to come back: from which tick on it must fold, and how far its own records reach.

`FeedPast` is what the engine holds of one feed; the functions below find the seq from which folding the stored ticks
gives books and bars exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TICK, Flag, Kind, Schema
from tickplant.runtime.job_specs import Past
from tickplant.store import stored_checkpoints
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

Records = NDArray[np.void]

BARS_BACK_S: Final = 600
"""Bars are folded from this long, and at least two of their intervals, before the last derived record that is stored.

So a bar that is still open is whole, unless its instrument has been silent for longer: that one begins anew."""

LOOK_BACK_S: Final = 3 * 86_400
"""A series of derived records without one for this long counts as never begun: a feed's books begin anew every day."""


class Mark(NamedTuple):
    """How far a series of derived records is stored: its last one was made by the tick `source_seq`."""

    instrument: int
    interval_s: int  # of the bars; 0: best bid and offer
    source_seq: int
    ts_recv: int = 0
    stale: bool = False  # its last word is that the book is out of sync


def marks(store: Store, engine: str, ids: frozenset[int], bar_s: Sequence[int], *, whole: bool = False) -> list[Mark]:
    """How far each series that an engine derives from these instruments is stored. Raises DamageError.

    With `whole` each one is looked for in the whole store.
    """
    found: list[Mark] = []
    for schema, intervals in ((Schema.BBO, (0,)), (Schema.BAR, bar_s)):
        wanted = {(instrument, interval_s) for instrument in ids for interval_s in intervals}
        newest_ns: int | None = None
        for stretch in store.newest_first(engine, schema, Selection(ids=ids)):
            newest_ns = newest_ns or stretch.ts_recv_max
            if not wanted or (not whole and stretch.ts_recv_max < newest_ns - LOOK_BACK_S * 10**9):
                break
            left = Selection(ids=frozenset(instrument for instrument, _ in wanted))
            if not any(left.chunks(np.atleast_1d(chunk.entry))[0] for chunk in stretch.chunks):
                continue
            records = store.records(stretch)[::-1]
            keys = records["instrument"].astype(np.uint64) << np.uint64(32)
            if schema is Schema.BAR:
                keys |= records["interval_s"]
            for place in np.unique(keys, return_index=True)[1]:
                mark = _mark(records[place], schema)
                if (mark.instrument, mark.interval_s) in wanted:
                    wanted.remove((mark.instrument, mark.interval_s))
                    found.append(mark)
    return found


def _mark(record: np.void, schema: Schema) -> Mark:
    return Mark(
        instrument=int(record["instrument"]),
        interval_s=int(record["interval_s"]) if schema is Schema.BAR else 0,
        source_seq=int(record["source_seq"]),
        ts_recv=int(record["ts_recv"]),
        stale=schema is Schema.BBO and bool(record["flags"] & Flag.STALE),
    )


class Beginning(NamedTuple):
    """What a fold begins with: checkpoints, if any, then the ticks from a seq on."""

    first_seq: int
    checkpoints: Records  # as ticks


def first_needed(
    store: Store,
    engine: str,
    feed: str,
    ids: frozenset[int],
    stored: Sequence[Mark],
    bar_s: Sequence[int],
    otherwise: int,
    *,
    whole: bool = False,
) -> Beginning:
    """The latest beginning from which a fold of the feed's ticks gives exactly what follows the stored records.

    A book that was in sync when its last stored BBO was made begins with the last CLEAR until then: at the end of that
    one's event, content and best are the same whatever was before. One that was stale needs nothing older than the
    first CLEAR after. Bars begin `BARS_BACK_S` before.

    Checkpoints that name tick `s` are the books before it, to the level, and what was last said of them. So every book
    may begin there that is among them, and every other whose CLEAR is `s` or later. Two things must hold besides: bars
    begin at `s` or later, and the last stored BBO of all is of `s` or later. For BBO are stored in the order of
    their ticks, so that none is missing from before `s`, though a quiet book's own last one may be much older.

    Args:
        store: where.
        engine: whose derived records and checkpoints they are.
        feed: producer of the ticks.
        ids: instruments of the feed.
        stored: how far the derived records are stored.
        bar_s: lengths of the bars, seconds.
        otherwise: the seq to give where no derived record is stored.
        whole: begin so early that every bar that is open now is whole, however long its instrument has been silent.
    """
    if not stored:
        return Beginning(0 if whole else otherwise, np.zeros(0, TICK))
    last = max(stored, key=lambda mark: mark.source_seq)
    bars_back_s = max([BARS_BACK_S, *(2 * interval_s for interval_s in bar_s)])
    bars_from = min(last.source_seq, _seq_at(store, feed, last.ts_recv - bars_back_s * 10**9))
    if whole:
        bars_from = min(bars_from, _begun(store, feed, ids, stored, bar_s, bars_back_s))
    said = {mark.instrument: mark for mark in stored if not mark.interval_s}
    begins = _snapshots(store, feed, said)
    found = stored_checkpoints.newest_of_all(
        store,
        engine,
        feed,
        ids,
        begins=begins,
        after_seq=min([bars_from, *begins.values()]),
        until_seq=min(bars_from, max((mark.source_seq for mark in said.values()), default=-1)),
    )
    if found:
        return Beginning(found.source_seq, found.ticks)
    return Beginning(min([bars_from, *(seq for seq in begins.values() if seq != _REMOVED)]), np.zeros(0, TICK))


def _begun(
    store: Store, feed: str, ids: frozenset[int], stored: Sequence[Mark], bar_s: Sequence[int], back_s: int
) -> int:
    """A seq before which no bar was opened that is still open, and no book began of which nothing was derived yet."""
    known = {(mark.instrument, mark.interval_s): mark for mark in stored}
    closed = [mark for mark in stored if mark.interval_s]
    begins = [mark.source_seq for mark in closed]
    if closed:
        begins.append(_seq_at(store, feed, min(mark.ts_recv for mark in closed) - back_s * 10**9))
    for interval_s, kind in ((0, Kind.CLEAR), *((interval_s, Kind.TRADE) for interval_s in bar_s)):
        without = frozenset(id_ for id_ in ids if (id_, interval_s) not in known)
        wanted = Selection(ids=without, kinds=frozenset({kind}))
        if without and (first := store.first(feed, Schema.TICK, wanted)):
            begins.append(first.first_seq)
    return min(begins, default=store.next_seq(feed, Schema.TICK))


_REMOVED: Final = -1
"""The CLEAR of a book in sync that the journal has no more: older than anything there is."""


def _snapshots(store: Store, feed: str, said: dict[int, Mark]) -> dict[int, int]:
    """By instrument, seq of the CLEAR that its book begins with; none for a book that was stale and has stayed so."""
    begins = {id_: _REMOVED for id_, mark in said.items() if not mark.stale}
    open_ = dict(said)
    wanted = Selection(ids=frozenset(said), kinds=frozenset({Kind.CLEAR}))
    for stretch in store.newest_first(feed, Schema.TICK, wanted):
        last = stretch.last_seq
        open_ = {id_: mark for id_, mark in open_.items() if not mark.stale or last > mark.source_seq}
        if not open_:
            break
        clears = wanted.records(store.records(stretch))
        clears = clears[(clears["flags"] & Flag.PARTIAL) == 0]
        for id_, mark in list(open_.items()):
            seqs = clears["seq"][clears["instrument"] == id_]
            before, after = seqs[seqs <= mark.source_seq], seqs[seqs > mark.source_seq]
            if mark.stale and len(after):
                begins[id_] = int(after[0])
            elif not mark.stale and len(before):
                begins[id_] = int(before[-1])
                del open_[id_]
    return begins


def _seq_at(store: Store, feed: str, time_ns: int) -> int:
    """A seq before which nothing was received at or after this time, as far as chunks tell; 0 where none is."""
    for stretch in store.newest_first(feed, Schema.TICK, Selection()):
        if stretch.ts_recv_max < time_ns:
            return stretch.last_seq + 1
    return 0


class FeedPast:
    """The stored ticks of one feed, for an engine that must make its state of them anew.

    Args:
        store: to read; it reports damage rather than raise, since the engine finds a hole by its seqs.
        engine: whose derived records are continued.
        feed: producer of the ticks.
        past: whose ticks these are.
        seen: ids of instruments that have come from the feed; asked for at each beginning, as symbols are added.
        bar_s: lengths of the engine's bars, seconds.
        whole: nothing at all may be missing of what is derived, however much has to be read for that.
    """

    def __init__(
        self,
        store: Store,
        engine: str,
        feed: str,
        past: Past,
        seen: Callable[[], Iterable[int]],
        bar_s: Sequence[int],
        *,
        whole: bool = False,
    ) -> None:
        self.feed = feed
        self._store = store
        self._engine = engine
        self._past = past
        self._seen = seen
        self._bar_s = bar_s
        self._whole = whole

    def beginning(self, otherwise: int) -> tuple[Beginning, list[Mark]]:
        """Where to begin, and how far derived records are stored. Raises StoreError.

        Args:
            otherwise: the seq to begin with where no derived record is stored.
        """
        store, ids = self._store, self.ids()
        stored = marks(store, self._engine, ids, self._bar_s, whole=self._whole)
        first = first_needed(store, self._engine, self.feed, ids, stored, self._bar_s, otherwise, whole=self._whole)
        stored_until = store.next_seq(self.feed, Schema.TICK)
        return first._replace(first_seq=min(first.first_seq, stored_until)), stored

    def ticks(self, first_seq: int) -> Iterator[Records]:
        """What is stored by now from a seq on, chunk by chunk. Raises StoreError."""
        return self._store.read(self.feed, Schema.TICK, Selection(), first_seq=first_seq)

    def ids(self) -> frozenset[int]:
        """Instruments of the feed: those that may be stored, and those that have been added since."""
        symbols = {symbol.upper() for symbol in self._past.symbols}
        rows = (row for row in self._store.instruments if row.venue == self._past.venue)
        stored = {row.id for row in rows if not symbols or row.symbol.upper() in symbols}
        return frozenset(stored.union(self._seen()))
