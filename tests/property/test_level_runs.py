"""Long runs of levels: what only hundreds of them bring about, in the patterns that venues send."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.level_books import Books
from tickplant.books.plain_books import DictBooks
from tickplant.records.layouts import TICK, Flag, Kind, Side

pytestmark = pytest.mark.kernels

STEP = st.sampled_from([1, 2, 3, 10**7, 2**33])  # of prices: one that is free between two levels, or none


def walk(seed: int, step: int, width: int, drift: int, sweeps: bool) -> np.ndarray:
    """Events of both sides around a middle that drifts; levels of an event from the best on, or from anywhere."""
    random = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, int, int]] = [(Kind.CLEAR, 0, 0, 0, Flag.LAST)]
    for event in range(60):
        middle = 10**5 + event * drift
        for side, sign in ((Side.BID, -1), (Side.ASK, 1)):
            away = 1 + (np.sort(random.integers(0, width, 12)) if sweeps else random.integers(0, width, 12))
            size = np.where(random.random(12) < 0.4, 0, random.integers(1, 100, 12))
            prices = ((middle + sign * away) * step).tolist()
            rows += [(Kind.LEVEL, side, price, s, 0) for price, s in zip(prices, size.tolist(), strict=True)]
            # What the middle has passed is gone, as at a venue; every seventh event a whole stretch, the best one last.
            gone = min(width, 200) if event % 7 == 6 else drift
            rows += [(Kind.LEVEL, side, (middle + sign * (a - drift)) * step, 0, 0) for a in reversed(range(gone))]
        rows.append((Kind.CHECKSUM, 0, 0, 0, Flag.LAST))
    records = np.zeros(len(rows), TICK)
    for name, column in zip(("kind", "side", "price", "size", "flags"), zip(*rows, strict=True), strict=True):
        records[name] = column
    records["instrument"] = 1
    records["seq"] = np.arange(len(records))
    return records


def expect_whole(books: Books) -> None:
    """Keys ascend, a run begins and ends with a level, and the places beyond its last level are empty."""
    runs = books._runs
    for run in runs.sides[1]:
        start, count, end = int(run["start"]), int(run["count"]), int(run["end"])
        assert run["base"] <= start <= start + count <= end <= run["base"] + run["room"]
        assert (np.diff(runs.keys[start:end]) > 0).all()
        assert np.count_nonzero(runs.values[start : start + count]) == run["alive"]
        assert not runs.values[start + count : end].any()
        if count:
            assert runs.values[start]
            assert runs.values[start + count - 1]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), STEP, st.sampled_from([30, 300, 3000]), st.sampled_from([0, 1, 5]), st.booleans())
def test_long_runs_equal_the_reference(seed: int, step: int, width: int, drift: int, sweeps: bool) -> None:
    records = walk(seed, step, width, drift, sweeps)
    plain, books = DictBooks(), Books()
    for part in np.array_split(records, 5):
        assert books.apply(part).tobytes() == plain.apply(part).tobytes()
        expect_whole(books)
        if len(books.levels(1, Side.BID)):
            assert dict(books.levels(1, Side.BID).tolist()) == plain.books[1].bids
        assert dict(books.levels(1, Side.ASK).tolist()) == plain.books[1].asks


def test_a_room_that_hints_cannot_number_holds_the_same_levels() -> None:
    records = walk(1, 3, 300, 1, True)
    plain, books = DictBooks(), Books()
    for side in (0, 1):
        while books._runs.sides[1, side]["room"] < 1 << 17:  # levels begin in the middle, where hints begin anew
            books._runs.grow(1, side)
    books._note_addresses()
    assert books.apply(records).tobytes() == plain.apply(records).tobytes()
    expect_whole(books)
    assert dict(books.levels(1, Side.BID).tolist()) == plain.books[1].bids
    begin = books._runs.sides[1]["start"] - books._runs.sides[1]["base"]
    assert (begin < 1 << 16).all()
    assert (begin + books._runs.sides[1]["count"] > 1 << 16).all()
