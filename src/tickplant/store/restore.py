"""What an engine needs from the store to restart: the tick from which to fold, and how far its own records reach.

An engine holds a `FeedPast` for each feed. The functions below find the seq from which folding the stored ticks gives
exactly the right books and bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Derivation, Settings, series_of
from tickplant.derive.registry import BY_SCHEMA, STREAMS
from tickplant.derive.series import parse_series
from tickplant.records.layouts import TICK, Flag, Kind, Schema
from tickplant.runtime.job_specs import Past
from tickplant.store import stored_checkpoints
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.stored_states import StateSet, newest_states

Records = NDArray[np.void]

LOOK_BACK_S: Final = 3 * 86_400
"""A series without a derived record for this long counts as never begun: a feed's books restart every day."""


class Mark(NamedTuple):
    """How far a series of derived records is stored: the tick `source_seq` made the last one."""

    schema: Schema
    instrument: int
    series: int  # number of the series; 0 if the schema has one series per instrument
    source_seq: int
    ts_recv: int = 0
    stale: bool = False  # its last record says that the book is out of sync

    @property
    def of_books(self) -> bool:
        """Whether it is a series of the best bid and offer of a book."""
        return BY_SCHEMA[self.schema].begins is Kind.CLEAR


def marks(store: Store, engine: str, ids: frozenset[int], settings: Settings, *, whole: bool = False) -> list[Mark]:
    """How far each series that an engine derives from these instruments is stored. Raises DamageError.

    With `whole`, the entire store is searched for each series.
    """
    found: list[Mark] = []
    for entry in STREAMS:
        wanted = {(instrument, number) for instrument in ids for number in entry.numbers(settings)}
        newest_ns: int | None = None
        for stretch in store.newest_first(engine, entry.schema, Selection(ids=ids)):
            newest_ns = newest_ns or stretch.ts_recv_max
            if not wanted or (not whole and stretch.ts_recv_max < newest_ns - LOOK_BACK_S * 10**9):
                break
            left = Selection(ids=frozenset(instrument for instrument, _ in wanted))
            if not any(left.chunks(np.atleast_1d(chunk.entry))[0] for chunk in stretch.chunks):
                continue
            records = store.records(stretch)[::-1]
            numbers = series_of(entry.schema, records)
            keys = records["instrument"].astype(np.uint64) << np.uint64(32) | numbers
            for place in np.unique(keys, return_index=True)[1].tolist():
                key = int(records["instrument"][place]), int(numbers[place])
                if key in wanted:
                    wanted.remove(key)
                    record = records[place]
                    stale = bool(record["flags"] & Flag.STALE)
                    mark = Mark(entry.schema, *key, int(record["source_seq"]), int(record["ts_recv"]))
                    found.append(mark._replace(stale=stale and mark.of_books))
    return found


class Beginning(NamedTuple):
    """What a fold begins with: checkpoints and states, if any, then the ticks from a seq on."""

    first_seq: int
    checkpoints: Records  # as ticks
    states: StateSet | None = None


def first_needed(
    store: Store,
    engine: str,
    feed: str,
    ids: frozenset[int],
    stored: Sequence[Mark],
    settings: Settings,
    otherwise: int,
    *,
    whole: bool = False,
) -> Beginning:
    """The latest beginning from which a fold of the feed's ticks gives exactly what follows the stored records.

    A book that was in sync when its last stored BBO was made begins with the last CLEAR up to that tick: after the
    CLEAR's event, the book and its best prices do not depend on what was before. A book that was stale needs nothing
    before the next CLEAR. Other series begin as far back as their derivation looks.

    Indicators look back for ever. They continue from their newest set of states, and take the rows that ticks made from
    the set's tick on. So all inputs of indicators must be complete from that tick on.

    Checkpoints that name tick `s` are the books before that tick, to the level, and their last published state. So a
    book may begin at `s` if it is among the checkpoints, or if its CLEAR is `s` or later. Two more conditions must
    hold: other series begin at `s` or later, and the last stored BBO of all is of `s` or later. BBO are stored in the
    order of their ticks, so then none from before `s` is missing, though a quiet book's last BBO may be much older.

    Args:
        store: the store.
        engine: the engine of the derived records and checkpoints.
        feed: producer of the ticks.
        ids: instruments of the feed.
        stored: how far the derived records are stored.
        settings: the engine's settings.
        otherwise: the seq to begin with if no derived record is stored.
        whole: begin early enough for every currently open bar to be complete, however long its instrument was silent.
    """
    if not stored:
        return Beginning(0 if whole else otherwise, np.zeros(0, TICK))
    last = max(stored, key=lambda mark: mark.source_seq)
    back_ns = max(entry.look_back_s(settings) for entry in STREAMS) * 10**9
    rest_from = min(last.source_seq, _seq_at(store, feed, last.ts_recv - back_ns))
    states = newest_states(store, engine, feed, ids) if any(_are_kept(settings)) else None
    if states:
        rest_from = min(rest_from, states.source_seq, _seq_at(store, feed, states.ts_recv - back_ns))
    if whole:
        rest_from = min(rest_from, _begun(store, feed, ids, stored, settings, back_ns))
    said = {mark.instrument: mark for mark in stored if mark.of_books}
    again: frozenset[int] = frozenset()
    if states and any(parse_series(series.name).of_books for series in settings.series):
        # Records of books are needed again from the states on; the CLEAR and a fold give the state of each book there.
        again = frozenset(id_ for id_, mark in said.items() if mark.source_seq >= states.source_seq)
        said |= {id_: said[id_]._replace(source_seq=states.source_seq - 1, stale=False) for id_ in again}
    begins = _snapshots(store, feed, said, again)
    found = stored_checkpoints.newest_of_all(
        store,
        engine,
        feed,
        ids,
        begins=begins,
        after_seq=min([rest_from, *begins.values()]),
        until_seq=min(rest_from, max((mark.source_seq for mark in said.values()), default=-1)),
    )
    if found:
        return Beginning(found.source_seq, found.ticks, states)
    first_seq = min([rest_from, *(seq for seq in begins.values() if seq != _REMOVED)])
    return Beginning(first_seq, np.zeros(0, TICK), states)


def _are_kept(settings: Settings) -> Iterator[Derivation]:
    return (entry for entry in STREAMS if entry.kept and entry.numbers(settings))


def _begun(
    store: Store, feed: str, ids: frozenset[int], stored: Sequence[Mark], settings: Settings, back_ns: int
) -> int:
    """A seq before which no bar that is still open, and no series without derived records, has begun."""
    known = {(mark.schema, mark.instrument, mark.series) for mark in stored}
    closed = [mark for mark in stored if not mark.of_books]
    begins = [mark.source_seq for mark in closed]
    if closed:
        begins.append(_seq_at(store, feed, min(mark.ts_recv for mark in closed) - back_ns))
    for entry in STREAMS:
        for number in entry.numbers(settings):
            without = frozenset(id_ for id_ in ids if (entry.schema, id_, number) not in known)
            wanted = Selection(ids=without, kinds=frozenset({entry.begins}))
            if without and (first := store.first(feed, Schema.TICK, wanted)):
                begins.append(first.first_seq)
    return min(begins, default=store.next_seq(feed, Schema.TICK))


_REMOVED: Final = -1
"""Stands for the CLEAR of a book in sync that is no longer stored: older than all stored records."""


def _snapshots(store: Store, feed: str, said: dict[int, Mark], again: frozenset[int]) -> dict[int, int]:
    """By instrument, the seq of the CLEAR that its book begins with; a book that was stale, and still is, has none.

    A book of `again` may have had its first CLEAR after the mark.
    """
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
            if len(after) and (mark.stale or (id_ in again and not len(before))):
                begins[id_] = int(after[0])
            elif not mark.stale and len(before):
                begins[id_] = int(before[-1])
                del open_[id_]
    return begins


def _seq_at(store: Store, feed: str, time_ns: int) -> int:
    """A seq before which nothing was received at or after this time, as far as chunks tell; 0 if there is none."""
    for stretch in store.newest_first(feed, Schema.TICK, Selection()):
        if stretch.ts_recv_max < time_ns:
            return stretch.last_seq + 1
    return 0


class FeedPast:
    """The stored ticks of one feed, from which an engine rebuilds its state.

    Args:
        store: the store to read; it must report damage, not raise, since the engine notices a hole by its seqs.
        engine: the engine whose derived records are continued.
        feed: producer of the ticks.
        past: venue and symbols of the feed.
        seen: returns ids of instruments that have come from the feed; called at each beginning, as symbols are added.
        settings: the engine's settings.
        whole: no derived record may be missing, however much must be read for that.
    """

    def __init__(
        self,
        store: Store,
        engine: str,
        feed: str,
        past: Past,
        seen: Callable[[], Iterable[int]],
        settings: Settings,
        *,
        whole: bool = False,
    ) -> None:
        self.feed = feed
        self._store = store
        self._engine = engine
        self._past = past
        self._seen = seen
        self._settings = settings
        self._whole = whole

    def beginning(self, otherwise: int) -> tuple[Beginning, list[Mark]]:
        """Where to begin, and how far derived records are stored. Raises StoreError.

        Args:
            otherwise: the seq to begin with if no derived record is stored.
        """
        store, ids = self._store, self.ids()
        stored = marks(store, self._engine, ids, self._settings, whole=self._whole)
        first = first_needed(store, self._engine, self.feed, ids, stored, self._settings, otherwise, whole=self._whole)
        stored_until = store.next_seq(self.feed, Schema.TICK)
        return first._replace(first_seq=min(first.first_seq, stored_until)), stored

    def ticks(self, first_seq: int) -> Iterator[Records]:
        """The ticks stored by now, from a seq on, chunk by chunk. Raises StoreError."""
        return self._store.read(self.feed, Schema.TICK, Selection(), first_seq=first_seq)

    def ids(self) -> frozenset[int]:
        """Instruments of the feed: those that may be stored, and those added since."""
        symbols = {symbol.upper() for symbol in self._past.symbols}
        rows = (row for row in self._store.instruments if row.venue == self._past.venue)
        stored = {row.id for row in rows if not symbols or row.symbol.upper() in symbols}
        return frozenset(stored.union(self._seen()))
