"""Samples of books, taken inside the fold of a batch: what the books say that have taken in the ticks before, alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_past import past_ticks

from tickplant.books.book_samples import SAMPLE, BookSamples
from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.market_books import MarketBooks
from tickplant.records.layouts import Flag, Kind, Side

pytestmark = pytest.mark.kernels

NOBODYS = 200
"""An id that no record names, beyond the room that books begin with."""


def feed(seed: int, count: int) -> np.ndarray:
    """Ticks of books by level and of orders; the books of 2 and 3 are now the one, now the other."""
    parts = [
        past_ticks([1, 2, 3, 4], 90, seed=seed + part, start_ns=10**18, step_ns=10**6, resyncs=0.1, of_orders=of_orders)
        for part, of_orders in enumerate([frozenset({2, 4}), frozenset({3, 4})] * (1 + count // 90))
    ]
    ticks = np.concatenate([part[:90] for part in parts])[:count]
    ticks["seq"] = np.arange(len(ticks))
    ticks["flags"][np.random.default_rng(seed).random(len(ticks)) < 0.5] |= np.uint16(Flag.LAST)
    return ticks


def expected(ticks: np.ndarray, id_: int, depth: int) -> tuple[bool, list[list[int]], list[list[int]]]:
    """Whether the book is known after these ticks, and its levels with the number of orders at each."""
    books = MarketBooks(UNBOUNDED, UNBOUNDED)
    books.apply(ticks)
    records = books.snapshot(id_)
    if records[-1]["kind"] == Kind.GAP or not records[-1]["flags"] & Flag.LAST:
        return False, [], []
    sides = []
    for side in (Side.BID, Side.ASK):
        levels = books.levels(id_, side)[:depth].tolist()
        counts = [-1] * len(levels)
        if books.has_orders(id_):
            prices = books.of_orders.orders(id_, side)["price"]
            counts = [int((prices == price).sum()) for price, _ in levels]
        sides.append([[*level, count] for level, count in zip(levels, counts, strict=True)])
    return True, *sides


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**20), count=st.integers(1, 400))
def test_a_sample_is_the_book_that_the_ticks_before_it_lead_to(data: st.DataObject, seed: int, count: int) -> None:
    ticks = feed(seed, count)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(ticks)), max_size=2))), len(ticks)]
    books, bests = MarketBooks(UNBOUNDED, UNBOUNDED), []
    samples = BookSamples()
    for begin, end in pairwise(cuts):
        places = sorted(data.draw(st.lists(st.integers(begin, end), max_size=6)))
        rows = np.zeros(len(places), SAMPLE)
        rows["before"] = np.array(places, np.int64) - begin
        rows["instrument"] = [data.draw(st.sampled_from((1, 2, 3, 4, NOBODYS))) for _ in places]
        rows["depth"] = [data.draw(st.sampled_from((1, 3, UNBOUNDED))) for _ in places]
        samples.begin(rows)
        bests.append(books.apply(ticks[begin:end], samples))
        for row in rows if end > begin else ():
            known, bids, asks = expected(ticks[: begin + row["before"]], int(row["instrument"]), int(row["depth"]))
            middle = row["begin"] + row["bids"]
            assert bool(row["known"]) == known
            assert samples.levels[row["begin"] : middle].tolist() == bids
            assert samples.levels[middle : middle + row["asks"]].tolist() == asks
    assert np.concatenate(bests).tobytes() == MarketBooks(UNBOUNDED, UNBOUNDED).apply(ticks).tobytes()


def test_the_made_feed_has_books_of_both_kinds_of_one_instrument_and_some_that_are_not_known() -> None:
    """So the test above can fail."""
    ticks = feed(7, 900)
    found = [(id_, *expected(ticks[:end], id_, 3)) for end in range(40, 900, 20) for id_ in (1, 2, 3, 4)]
    counted = {(id_, bids[0][2] > 0) for id_, known, bids, _ in found if known and bids}
    assert {(2, False), (2, True), (3, False), (3, True)} <= counted
    assert {known for _, known, _, _ in found} == {True, False}
