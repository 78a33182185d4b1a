"""A `DepthBook` equals the plain one on any events, and the fold of the records that it leaves is itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.depth_book import DepthBook
from tickplant.books.level_books import Books
from tickplant.books.plain_books import PlainDepthBook
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import Flag, Kind, Side

pytestmark = pytest.mark.kernels

LEVEL = st.tuples(st.sampled_from([1, 2]), st.integers(-30, 30), st.sampled_from([0, 1, 2, 5]))
EVENT = st.tuples(st.sampled_from(["update"] * 6 + ["snapshot", "lose"]), st.lists(LEVEL, max_size=12))
DEPTH = st.sampled_from([1, 2, 5, 100, None])


def array_of(levels: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(levels, np.int64).reshape(-1, 3)


def expect_equal(book: DepthBook, plain: PlainDepthBook) -> None:
    bids, asks = plain.top(None)
    assert [list(map(tuple, side.tolist())) for side in book.levels()] == [bids, asks]
    assert (book.live, book.unknown_deletes, book.levels_ignored) == (
        plain.live,
        plain.unknown_deletes,
        plain.levels_ignored,
    )
    for count in (1, 3):
        assert [list(map(tuple, side.tolist())) for side in book.top(count)] == list(plain.top(count))
    best = [*(bids[0] if bids else (-(2**63), 0)), *(asks[0] if asks else (-(2**63), 0))]
    assert list(book.best) == best
    assert len(book) == len(bids) + len(asks)


@settings(max_examples=150)
@given(st.lists(EVENT, max_size=20), DEPTH)
def test_any_events_give_what_the_reference_gives(events: list, depth: int | None) -> None:
    book, plain = DepthBook(depth), PlainDepthBook(depth)
    for what, levels in events:
        if what == "lose":
            book.lose()
            plain.live = False
            book = book.copy()
            continue
        removed = getattr(book, what)(array_of(levels))
        assert list(map(tuple, removed.tolist())) == getattr(plain, what)(levels)
        expect_equal(book, plain)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.lists(LEVEL, min_size=1, max_size=12)), max_size=15), DEPTH)
def test_the_records_fold_to_the_book(events: list, depth: int | None) -> None:
    book, folded = DepthBook(depth), Books()
    for whole, levels in [(True, events[0][1]), *events] if events else []:
        batch = TickBatch()
        if whole:
            batch.add(Kind.CLEAR, 1)
        for number, (side, price, size) in enumerate(levels):
            flags = Flag.LAST if number == len(levels) - 1 else 0
            batch.add(Kind.LEVEL, 1, price=price, size=size, side=side, flags=flags)
        batch.extend(book.update(batch.rows[: batch.length]), Kind.LEVEL)
        ticks = batch.take()
        assert np.flatnonzero(ticks["flags"] & Flag.LAST).tolist() == [len(ticks) - 1]
        folded.apply(ticks)
        for side, own in zip((Side.BID, Side.ASK), book.levels(), strict=True):
            assert folded.levels(1, side).tolist() == own.tolist()


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([10, 100]))
def test_long_random_walks_equal_the_reference(seed: int, depth: int) -> None:
    random = np.random.default_rng(seed)
    book, plain = DepthBook(depth), PlainDepthBook(depth)
    book.snapshot(array_of([]))
    plain.snapshot([])
    for _ in range(300):
        count = int(random.integers(1, 6))
        sides = random.integers(1, 3, count)
        away = random.geometric(0.5 / depth, count)
        prices = np.where(sides == Side.BID, 1000 - away, 1000 + away)
        levels = np.stack([sides, prices, random.integers(0, 3, count)], axis=1).astype(np.int64)
        assert list(map(tuple, book.update(levels).tolist())) == plain.update(map(tuple, levels.tolist()))
    expect_equal(book, plain)
