"""A playback from any time: the books that it begins with, and what it plays then, are all that was recorded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_past import SETTINGS, derive, fill, past_ticks
from made_records import START_NS
from numpy.typing import NDArray

from tickplant.books.fold import BOOK_KINDS, Book, Fold
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Clock, Selection
from tickplant.store.stored_books import begins_at, fold_at

Records = NDArray[np.void]

FEEDS = {"one": [1, 2], "two": [3]}
COUNT = 1500
STEP_NS = 10**8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two feeds whose receive times step back, with gaps and new snapshots; of the first, checkpoints as well."""
    folder = tmp_path_factory.mktemp("cuts")
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    for seed, (feed, ids) in enumerate(FEEDS.items(), 1):
        ticks = past_ticks(ids, COUNT, seed=seed, start_ns=START_NS, step_ns=STEP_NS, of_orders=frozenset({2}))
        ticks["ts_event"][:: 7 + seed] = 0  # the venue gives none
        for id_ in ids:  # the last event is whole: in the middle of one, a snapshot is not done
            of_book = (ticks["instrument"] == id_) & np.isin(ticks["kind"], sorted(BOOK_KINDS))
            ticks["flags"][np.flatnonzero(of_book)[-1]] |= Flag.LAST
        if feed == "one":
            derived = derive(table, folder, ticks, SETTINGS._replace(checkpoint_s=5))
            fill(folder, Schema.CHECKPOINT, "engine", derived[Schema.CHECKPOINT])
        fill(folder, Schema.TICK, feed, ticks)
    return Store(folder)


def plain(book: Book) -> tuple[bool, list[object], list[object]]:
    return book.stale, book.bids.tolist(), book.asks.tolist()


def folded(id_: int, *parts: Records) -> Fold:
    fold = Fold(id_)
    for part in parts:
        fold.apply(part[part["instrument"] == id_].copy())
    return fold


def in_a_snapshot(ticks: Records, id_: int) -> bool:
    """Whether the ticks end within the snapshot that a book begins with."""
    own = ticks[(ticks["instrument"] == id_) & np.isin(ticks["kind"], sorted(BOOK_KINDS))]
    clears = np.flatnonzero(own["kind"] == Kind.CLEAR)
    return len(clears) > 0 and not (own["flags"][clears[-1] :] & Flag.LAST).any()


@given(st.floats(-0.05, 1.05), st.sampled_from(["recv", "event"]))
@example(0.6953125, "recv")
@settings(max_examples=100)
def test_books_before_a_cut_and_records_behind_it_are_all(store: Store, place: float, clock: Clock) -> None:
    start_ns = START_NS + int(place * COUNT * STEP_NS)
    begins = begins_at(store, None, start_ns, clock)
    for feed, ids in FEEDS.items():
        ticks = np.concatenate(list(store.read(feed, Schema.TICK, Selection())))
        cut = begins.get(feed, len(ticks))
        times = ticks[f"ts_{clock}"]
        assert (times[:cut] < start_ns).all()
        assert cut == len(ticks) or times[cut] >= start_ns
        for id_ in ids:
            (row,) = [row for row in store.instruments if row.id == id_]
            fold, instrument = fold_at(store, [row], start_ns, begins=begins)
            assert instrument == row
            if in_a_snapshot(ticks[:cut], id_):  # its records were received at different times
                assert fold.book(row).stale
                continue
            assert plain(fold.book(row)) == plain(folded(id_, ticks[:cut]).book(row))
            snapshot = fold.snapshot() if not fold.book(row).stale else ticks[:0]
            whole = folded(id_, ticks).book(row)
            again = folded(id_, snapshot, ticks[cut:]).book(row)
            assert again.stale == whole.stale
            assert whole.stale or plain(again) == plain(whole)  # of what is in a stale book, nobody knows
