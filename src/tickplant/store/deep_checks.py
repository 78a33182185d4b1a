"""Proves derived records: applies every tick again, and compares what an engine has stored with the result.

One pass over a feed compares its books with the checkpoints that engines wrote, and the derived best bids and offers,
bars and series with the records that engines made from its ticks. Bars are derived by the plain rules (`PlainBars`),
not by the engine's kernel; series by the engine's streams (`series_checks`).

Some records can be neither proved nor refuted. Each of them counts as unproved, never as right: those of an instrument
that several feeds recorded, since a derived record names its tick by seq alone; those before the first snapshot of a
book, or before the oldest records that retention has kept; and all records after damaged ticks. For two kinds of books,
a record that agrees is proved, but one that differs is only unproved: a crossed book of orders, which an engine may
have resolved; and a book that has given up levels, which an engine with other `max_levels` did at another point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.market_books import MAX_LEVELS, MarketBooks
from tickplant.books.plain_books import PlainBars
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.layouts import BBO, Flag, Kind, Schema
from tickplant.records.merge import join_records
from tickplant.store import stored_checkpoints
from tickplant.store.deep_summary import FLAWS, DeepSummary, Flaw, StoredDerived
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.series_checks import SeriesCheck

Records = NDArray[np.void]

_BBO_VALUES: Final = ("bid_price", "bid_size", "ask_price", "ask_size", "flags")
_BOOK_VALUES: Final = ("kind", "side", "price", "size", "order_id")
_NS: Final = 10**9


class DeepCheck:
    """Checks one feed, in one pass.

    Args:
        store: the store.
        feed: the feed.
        recorded: for each feed of the store, the instruments that it has recorded.
        max_levels: the most levels per side in the engines' books; see `Books`.
    """

    def __init__(
        self, store: Store, feed: str, recorded: Mapping[str, frozenset[int]], max_levels: int = MAX_LEVELS
    ) -> None:
        self.summary = DeepSummary(feed)
        self._store = Store(store.data_dir)  # a Store of its own, since damage ends the check
        self._feed = feed
        self._books = MarketBooks(max_levels, UNBOUNDED)
        self._evicted = 0
        self._ids = recorded[feed].difference(*(ids for name, ids in recorded.items() if name != feed))
        self._heads = _heads(self._store, self._ids)
        self._unsure: set[int] = set()  # ids of books that an engine may have resolved, or that have given up levels
        self._bbo = [_StoredBbo(self._store, engine, self._ids) for engine in self._store.producers(Schema.BBO)]
        self._bars = [_StoredBars(self._store, engine, self._ids) for engine in self._store.producers(Schema.BAR)]
        lengths = {bars.engine: bars.lengths for bars in self._bars}
        engines = {engine for schema in (Schema.VALUE, Schema.TRADE_BAR) for engine in self._store.producers(schema)}
        self._series = [
            SeriesCheck(self._store, engine, self._ids, lengths.get(engine, ()), self._unsure, max_levels)
            for engine in sorted(engines)
        ]

    def run(self, while_folding: Callable[[], object] = lambda: None) -> DeepSummary:
        """Check all ticks of the feed; `while_folding` is called for each chunk. Raises StoreError."""
        for flaw in self._flaws(while_folding):
            if len(self.summary.flaws) < FLAWS:
                self.summary.flaws.append(flaw)
        return self.summary

    def _flaws(self, while_folding: Callable[[], object]) -> Iterator[Flaw]:
        summary = self.summary
        damages: list[str] = []
        self._store.on_damage = lambda damage: damages.append(str(damage))
        for records in self._store.read(self._feed, Schema.TICK, Selection()):
            if damages:
                break
            while_folding()
            derived = []
            for ticks in self._between_moments(records):
                if (head := self._heads.pop(int(ticks[0]["seq"]), None)) is not None:
                    yield from self._check_books(head, ticks[0])
                derived.append(self._books.apply(ticks))
                self._look_for_unsure(derived[-1])
                for series in self._series:
                    yield from series.at(ticks[0], summary)
                    yield from series.apply(ticks, derived[-1], summary)
            bbo = join_records(derived) if derived else np.zeros(0, BBO)
            first, last = int(records["seq"][0]), int(records["seq"][-1])
            for stored_bbo in self._bbo:
                yield from stored_bbo.compare(bbo, first, last, summary, self._unsure)
            for stored_bars in self._bars:
                yield from stored_bars.compare(records, last, summary)
            summary.ticks += len(records)
        summary.stopped = damages[0] if damages else ""
        summary.unproved += sum(stored.rest() for stored in (*self._bbo, *self._bars))
        summary.unproved += sum(series.rest() for series in self._series)
        summary.lacking += sum(series.missing for series in self._series)

    def _between_moments(self, records: Records) -> Iterator[Records]:
        """Split these ticks before each tick for which a state was stored; no part is empty."""
        first, last = int(records["seq"][0]), int(records["seq"][-1])
        moments = self._heads.keys() | {seq for series in self._series for seq in series.seqs}
        seqs = sorted(seq for seq in moments if first <= seq <= last)
        cuts = np.searchsorted(records["seq"], np.array(seqs, np.uint64)).tolist()
        for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
            if start < stop:
                yield records[start:stop]

    def _check_books(self, heads: list[tuple[str, np.void]], tick: np.void) -> Iterator[Flaw]:
        """Compare the checkpoints before one tick with the books so far."""
        for engine, head in heads:
            id_ = int(head["instrument"])
            if head[["ts_event", "ts_recv"]] != tick[["ts_event", "ts_recv"]]:
                continue  # of another tick with this seq, which was lost; see `stored_checkpoints`
            ticks = stored_checkpoints.ticks_of(self._store, engine, head)
            if ticks is None or self._books.is_stale(id_):
                self.summary.unproved += 1
                continue
            folded = self._books.own_snapshot(id_)
            if len(ticks) == len(folded) and all((ticks[name] == folded[name]).all() for name in _BOOK_VALUES):
                self.summary.checkpoints += 1
            elif id_ in self._unsure:
                self.summary.unproved += 1
            else:
                self.summary.wrong += 1
                text = f"the checkpoint of instrument {id_} before seq {head['source_seq']} of {self._feed}"
                yield Flaw(engine, "checkpoint", int(head["seq"]), f"{text} is not the book that the ticks lead to")

    def _look_for_unsure(self, bbo: Records) -> None:
        for id_ in np.unique(bbo["instrument"][bbo["flags"] & Flag.CROSSED != 0]).tolist():
            if self._books.has_orders(id_):
                self._unsure.add(id_)
        if (evicted := self._books.by_level.counters["levels_evicted"]) > self._evicted:
            self._evicted = evicted
            self._unsure.update(self._books.by_level.evicted())


class _StoredBbo(StoredDerived):
    """Best bids and offers."""

    def __init__(self, store: Store, engine: str, ids: frozenset[int]) -> None:
        super().__init__(store, engine, Schema.BBO, ids)
        self._last: dict[int, np.void] = {}  # by instrument, the latest derived record
        self._live: set[int] = set()  # instruments whose books had a snapshot

    def compare(
        self, derived: Records, first: int, last: int, summary: DeepSummary, unsure: set[int]
    ) -> Iterator[Flaw]:
        """Compare the records derived from ticks `first` to `last` with the stored ones."""
        stored = self.until(last)
        if stored is not None:
            yield from self._hold(stored, derived, first, summary, unsure)
        if not self.ended and len(derived):
            found = _keys(derived, first)
            kept = np.isin(found, _keys(stored, first)) if stored is not None else np.zeros(len(found), np.bool_)
            live = derived["flags"] & Flag.STALE == 0
            summary.lacking += int(np.count_nonzero(~kept & live & np.isin(derived["instrument"], list(self._live))))
        for place in _last_of_each(derived["instrument"]):
            self._last[int(derived[place]["instrument"])] = derived[place]
        self._live |= set(np.unique(derived["instrument"][derived["flags"] & Flag.STALE == 0]).tolist())

    def _hold(
        self, stored: Records, derived: Records, first: int, summary: DeepSummary, unsure: set[int]
    ) -> Iterator[Flaw]:
        # A stored record must equal the latest derived one at its tick, whether that changed at this tick or before.
        known = [row.reshape(1) for row in self._last.values()]
        before = join_records(known) if known else derived[:0]
        truth = join_records([before, derived])
        keys = np.concatenate([before["instrument"].astype(np.uint64) << np.uint64(32), _keys(derived, first)])
        order = np.argsort(keys, kind="stable")
        place = np.searchsorted(keys[order], _keys(stored, first), side="right") - 1
        match = truth[order[np.maximum(place, 0)]] if len(truth) else np.zeros(len(stored), BBO)
        proved = (place >= 0) & (match["instrument"] == stored["instrument"]) & (stored["source_seq"] >= first)
        # Before its first snapshot, or the first one that retention has kept, a book proves nothing.
        began = derived["flags"] & Flag.STALE == 0
        begins = dict.fromkeys(self._live, 0)
        for row in derived[began][::-1]:
            if int(row["instrument"]) not in self._live:
                begins[int(row["instrument"])] = int(row["source_seq"])
        never = np.iinfo(np.int64).max
        start = np.array([begins.get(id_, never) for id_ in stored["instrument"].tolist()], np.uint64)
        proved &= stored["source_seq"] >= start
        right = proved & np.logical_and.reduce([match[name] == stored[name] for name in _BBO_VALUES])
        proved &= right | ~np.isin(stored["instrument"], list(unsure))
        summary.bbo += int(np.count_nonzero(right))
        summary.unproved += int(np.count_nonzero(~proved))
        for row in stored[proved & ~right]:
            summary.wrong += 1
            text = f"the best bid and offer of instrument {row['instrument']} at seq {row['source_seq']} of"
            yield Flaw(self.engine, "bbo", int(row["seq"]), f"{text} {summary.feed} is not what the ticks lead to")


class _StoredBars(StoredDerived):
    """Bars."""

    def __init__(self, store: Store, engine: str, ids: frozenset[int]) -> None:
        super().__init__(store, engine, Schema.BAR, ids)
        self.lengths = _lengths(store, engine, ids)
        self._plain = PlainBars(self.lengths)
        self._bucket_ns = _NS * gcd(*self.lengths) if self.lengths else _NS
        self._first: int | None = None  # seq of the first tick
        self._begun: set[tuple[int, int]] = set()  # instruments and lengths for which a bar has closed

    def compare(self, ticks: Records, last: int, summary: DeepSummary) -> Iterator[Flaw]:
        """Derive the bars of these ticks, up to the seq `last`, and compare them with the stored ones."""
        if self._first is None:
            self._first = int(ticks["seq"][0])
        derived = self._plain.apply(_that_matter(ticks, self._bucket_ns))
        truth = {_bar_key(row): row for row in derived}
        stored = self.until(last)
        for row in stored if stored is not None else ():
            found = truth.pop(_bar_key(row), None)
            if found is not None and self._is_first(row):
                summary.unproved += 1  # its first ticks are no longer stored
            elif found is not None and _values(found) == _values(row):
                summary.bars += 1
            elif found is None and self._first and not self._has_begun(row):
                summary.unproved += 1
            else:
                summary.wrong += 1
                text = f"the bar of {row['interval_s']} s of instrument {row['instrument']} that seq"
                text += f" {row['source_seq']} of {summary.feed} closed is not what the ticks lead to"
                yield Flaw(self.engine, "bar", int(row["seq"]), text)
        self._begun |= {(int(row["instrument"]), int(row["interval_s"])) for row in derived}
        if not self.ended:
            summary.lacking += len(truth)

    def _has_begun(self, row: np.void) -> bool:
        return (int(row["instrument"]), int(row["interval_s"])) in self._begun

    def _is_first(self, row: np.void) -> bool:
        """Whether this is the first bar of a feed whose oldest ticks were removed."""
        if not self._first or self._has_begun(row):
            return False
        self._begun.add((int(row["instrument"]), int(row["interval_s"])))
        return True


def _bar_key(row: np.void) -> tuple[int, int, int]:
    return int(row["instrument"]), int(row["interval_s"]), int(row["source_seq"])


def _values(row: np.void) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in row.dtype.names or () if name not in ("seq", "reserved"))


def _keys(records: Records, first: int) -> NDArray[np.uint64]:
    """Keys of instrument and position of the tick in this block, counted from 1; 0 means before the block."""
    place = records["source_seq"].astype(np.int64) - first + 1
    return records["instrument"].astype(np.uint64) << np.uint64(32) | np.maximum(place, 0).astype(np.uint64)


def _last_of_each(ids: NDArray[np.uint32]) -> Iterable[int]:
    """Index of the last record of each instrument."""
    _, places = np.unique(ids[::-1], return_index=True)
    return (len(ids) - 1 - place for place in places.tolist())


def _that_matter(ticks: Records, bucket_ns: int) -> Records:
    """The ticks on which bars depend: trades, and the first tick of an instrument beyond the end of a bar."""
    timed = ticks[ticks["ts_event"] > 0]
    order = np.argsort(timed["instrument"], kind="stable")
    own = timed[["instrument", "ts_event"]][order]
    buckets = own["ts_event"] // bucket_ns
    passes = np.ones(len(timed), np.bool_)
    passes[1:] = (buckets[1:] > buckets[:-1]) | (own["instrument"][1:] != own["instrument"][:-1])
    wanted = timed["kind"] == Kind.TRADE
    wanted[order] |= passes
    chosen: Records = timed[wanted]
    return chosen


def recorded_of(store: Store) -> dict[str, frozenset[int]]:
    """The instruments that each feed has recorded. Raises StoreError."""
    feeds = {row.id for row in store.instruments if row.symbol == FEED_SYMBOL}
    reader = Store(store.data_dir, on_damage=lambda _: None)
    found: dict[str, frozenset[int]] = {}
    for feed in reader.producers():
        ids: set[int] = set()
        for block in reader.blocks(feed, Schema.TICK, Selection(), ("instrument",)):
            ids.update(np.unique(block.columns["instrument"]).tolist())
        found[feed] = frozenset(ids - feeds)
    return found


def _lengths(store: Store, engine: str, ids: frozenset[int]) -> tuple[int, ...]:
    """Lengths of the stored bars, in seconds."""
    found: set[int] = set()
    for block in store.blocks(engine, Schema.BAR, Selection(ids=ids), ("interval_s",)) if ids else ():
        found.update(np.unique(block.columns["interval_s"]).tolist())
    return tuple(sorted(found))


def _heads(store: Store, ids: frozenset[int]) -> dict[int, list[tuple[str, np.void]]]:
    """The first records of all checkpoints, by the seq of the tick before which they were taken."""
    heads: dict[int, list[tuple[str, np.void]]] = {}
    for engine in store.producers(Schema.CHECKPOINT):
        wanted = Selection(ids=ids, kinds=frozenset({Kind.CLEAR}))
        for records in store.read(engine, Schema.CHECKPOINT, wanted) if ids else ():
            for head in records:
                heads.setdefault(int(head["source_seq"]), []).append((engine, head))
    return heads
