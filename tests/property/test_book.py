"""Books equal the plain reference on any stream of records, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from folded_book import FoldedBook
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.fold import Fold
from tickplant.books.level_books import Books
from tickplant.books.plain_books import DictBooks
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, Flag, Kind, Side, StatusCode

pytestmark = pytest.mark.kernels

FLAGS = [0, 0, 0, Flag.LAST, Flag.LAST, Flag.SNAPSHOT | Flag.LAST, Flag.PARTIAL, Flag.PARTIAL | Flag.LAST]
LEVEL = st.tuples(st.just(Kind.LEVEL), st.integers(1, 3), st.sampled_from([1, 2, 1, 2, 0]), st.integers(-40, 40))
RECORD = st.one_of(
    LEVEL,
    LEVEL,
    LEVEL,
    st.tuples(st.sampled_from([Kind.CLEAR, Kind.CHECKSUM, Kind.TRADE]), st.integers(1, 3), st.just(0), st.just(0)),
    st.tuples(st.just(Kind.GAP), st.integers(1, 3), st.just(0), st.integers(1, 4)),
    st.tuples(st.just(Kind.STATUS), st.integers(1, 3), st.just(0), st.sampled_from(list(StatusCode))),
)


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    rows = draw(st.lists(st.tuples(RECORD, st.sampled_from([0, 1, 2, 5]), st.sampled_from(FLAGS)), max_size=120))
    records = np.zeros(len(rows) + 3, TICK)
    for i in range(3):  # begin with live books more often than chance would
        records[i]["kind"], records[i]["instrument"], records[i]["flags"] = Kind.CLEAR, i + 1, Flag.LAST
    for record, ((kind, instrument, side, price), size, flags) in zip(records[3:], rows, strict=True):
        on_book = Flag.ON_BOOK if kind in (Kind.GAP, Kind.STATUS) and size else 0
        for name, value in zip(
            ("kind", "instrument", "side", "price", "size", "flags"),
            (kind, instrument, side, price, size, flags | on_book),
            strict=True,
        ):
            record[name] = value
    for field in ("ts_event", "ts_recv", "venue_seq", "seq"):
        records[field] = np.arange(len(records)) + 1000
    return records


@settings(max_examples=150)
@given(streams(), st.lists(st.integers(0, 123), max_size=5), st.sampled_from([2, 5, 1000]))
def test_output_and_levels_equal_the_reference_for_any_cuts(records: np.ndarray, cuts: list[int], limit: int) -> None:
    plain = DictBooks(limit)
    expected = plain.apply(records)
    cut = Books(limit)
    parts = [cut.apply(part.copy()) for part in np.split(records, sorted(c for c in cuts if c <= len(records)))]
    assert b"".join(part.tobytes() for part in parts) == expected.tobytes()
    for instrument, book in plain.books.items():
        assert dict(cut.levels(instrument, Side.BID).tolist()) == book.bids
        assert dict(cut.levels(instrument, Side.ASK).tolist()) == book.asks
        assert cut.levels(instrument, Side.BID)[:, 0].tolist() == sorted(book.bids, reverse=True)
        assert cut.levels(instrument, Side.ASK)[:, 0].tolist() == sorted(book.asks)


@settings(max_examples=100)
@given(streams(), st.lists(st.tuples(st.integers(0, 123), st.booleans()), max_size=4), st.sampled_from([1, 3]))
def test_the_fold_of_one_instrument_equals_the_tests_own(
    records: np.ndarray, cuts: list[tuple[int, bool]], instrument: int
) -> None:
    fold, truth, start = Fold(instrument), FoldedBook(), 0
    row = Instrument(instrument, "", "", 0, 0)
    for cut, lost in [*sorted(cuts), (len(records), False)]:
        part = records[start:cut].copy()
        start = max(start, cut)
        fold.apply(part)
        truth.apply_ticks(part[part["instrument"] == instrument])
        if lost:
            fold.lose()
            truth.take(Kind.GAP, Side.NONE, 0, 0, Flag.ON_BOOK, 0, 0, 0)
        book = fold.book(row)
        sides = [[tuple(level) for level in side.tolist()] for side in (book.bids, book.asks)]
        assert sides == [truth.side(Side.BID), truth.side(Side.ASK)]
        assert book.bids.flags.c_contiguous
        assert (book.stale, book.ts_event, book.ts_recv) == (not truth.live, *truth.times)


@settings(max_examples=60)
@given(streams(), st.integers(0, 123))
def test_a_snapshot_at_any_point_continues_as_the_book_itself(records: np.ndarray, cut: int) -> None:
    original = Books(1000)
    original.apply(records[:cut].copy())
    joiner = Books(1000)
    for instrument in (1, 2, 3):
        joiner.apply(original.snapshot(instrument))
    ends = np.zeros(3, TICK)  # a joiner knows that its book is live when the event that was under way has ended
    ends["kind"], ends["instrument"], ends["flags"] = Kind.CHECKSUM, (1, 2, 3), Flag.LAST
    for part in (records[cut:].copy(), ends):
        original.apply(part)
        joiner.apply(part)
    for instrument in (1, 2, 3):
        assert joiner.is_stale(instrument) == original.is_stale(instrument)
        for side in (Side.BID, Side.ASK):
            assert joiner.levels(instrument, side).tolist() == original.levels(instrument, side).tolist()


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([40, 400]))
def test_long_random_walks_equal_the_reference(seed: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    records = np.zeros(600, TICK)
    records["kind"] = Kind.LEVEL
    records[0]["kind"] = Kind.CLEAR
    records["instrument"] = 1
    records["side"] = random.integers(1, 3, len(records))
    offset = random.geometric(0.02, len(records))
    records["price"] = np.where(records["side"] == Side.BID, 1000 - offset, 1000 + offset)
    records["size"] = random.integers(0, 3, len(records))
    records["flags"] = np.where(random.random(len(records)) < 0.3, int(Flag.LAST), 0)
    records["seq"] = np.arange(len(records))
    assert Books(limit).apply(records).tobytes() == DictBooks(limit).apply(records).tobytes()
