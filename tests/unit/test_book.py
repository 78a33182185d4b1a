"""Books, one rule a test."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.books.level_books import Books
from tickplant.books.plain_books import DictBooks
from tickplant.records.layouts import NO_PRICE, TICK, UNKNOWN, Flag, GapCause, Kind, Side, StatusCode

pytestmark = pytest.mark.kernels

LAST = Flag.LAST


def ticks(*rows: dict[str, int]) -> np.ndarray:
    """TICK records from the fields that matter; times and seq count up."""
    records = np.zeros(len(rows), TICK)
    for i, row in enumerate(rows):
        values = {"ts_event": 1000 + i, "ts_recv": 2000 + i, "seq": 50 + i, "venue_seq": 9 + i, "instrument": 1} | row
        for name, value in values.items():
            records[name][i] = value
    return records


def level(side: Side, price: int, size: int, flags: int = LAST, instrument: int = 1) -> dict[str, int]:
    return {
        "kind": Kind.LEVEL,
        "side": side,
        "price": price,
        "size": size,
        "flags": flags,
        "instrument": instrument,
    }


def bid(price: int, size: int, flags: int = LAST, instrument: int = 1) -> dict[str, int]:
    return level(Side.BID, price, size, flags, instrument)


def ask(price: int, size: int, flags: int = LAST, instrument: int = 1) -> dict[str, int]:
    return level(Side.ASK, price, size, flags, instrument)


def clear(flags: int = LAST, instrument: int = 1) -> dict[str, int]:
    return {"kind": Kind.CLEAR, "flags": flags, "instrument": instrument}


def gap(flags: int = Flag.ON_BOOK | LAST, cause: int = GapCause.SEQUENCE) -> dict[str, int]:
    return {"kind": Kind.GAP, "price": cause, "size": UNKNOWN, "flags": flags}


def status(code: int, instrument: int, flags: int) -> dict[str, int]:
    return {"kind": Kind.STATUS, "price": code, "instrument": instrument, "flags": flags}


def said(bbo: np.ndarray) -> list[tuple[int, ...]]:
    return bbo[["bid_price", "bid_size", "ask_price", "ask_size", "flags"]].tolist()


def levels(books: Books, side: Side) -> list[list[int]]:
    return books.levels(1, side).tolist()


def test_the_best_is_given_at_the_end_of_an_atomic_event_only() -> None:
    books = Books()
    assert not len(books.apply(ticks(clear(0), bid(10, 1, 0), ask(12, 3, 0))))
    out = books.apply(ticks(bid(11, 2)))
    assert said(out) == [(11, 2, 12, 3, 0)]
    assert out[["ts_event", "ts_recv", "source_seq", "instrument", "seq"]].tolist() == [(1000, 2000, 50, 1, 0)]


def test_an_event_that_leaves_the_best_alone_gives_nothing() -> None:
    books = Books()
    out = books.apply(ticks(clear(0), bid(10, 1, 0), ask(12, 3), bid(9, 4), bid(9, 0), ask(13, 1), bid(10, 1)))
    assert said(out) == [(10, 1, 12, 3, 0)]


def test_each_of_the_four_numbers_counts_as_a_change() -> None:
    books = Books()
    out = books.apply(ticks(clear(0), bid(10, 1, 0), ask(12, 3), bid(10, 2), bid(11, 1), ask(12, 4), ask(12, 0)))
    assert said(out) == [
        (10, 1, 12, 3, 0),
        (10, 2, 12, 3, 0),
        (11, 1, 12, 3, 0),
        (11, 1, 12, 4, 0),
        (11, 1, NO_PRICE, 0, 0),
    ]


def test_a_book_nobody_has_described_is_stale_and_ignores_levels() -> None:
    books = Books()
    assert not len(books.apply(ticks(bid(10, 1), gap())))
    assert books.is_stale(1)
    assert levels(books, Side.BID) == []
    assert books.counters["levels_ignored"] == 1
    assert books.stale == 0


def test_a_gap_makes_the_book_stale_until_the_last_of_the_next_snapshot() -> None:
    books = Books()
    out = books.apply(ticks(clear(0), bid(10, 1, 0), ask(12, 3), gap(), gap(), bid(11, 1)))
    assert said(out) == [(10, 1, 12, 3, 0), (10, 1, 12, 3, Flag.STALE)]
    assert books.is_stale(1)
    assert levels(books, Side.BID) == [[10, 1]], "content is kept"
    assert books.stale == 1

    assert not len(books.apply(ticks(clear(Flag.SNAPSHOT), bid(10, 1, Flag.SNAPSHOT))))
    out = books.apply(ticks(ask(12, 3, Flag.SNAPSHOT | LAST)))
    assert said(out) == [(10, 1, 12, 3, 0)], "live again, though the numbers are the old ones"
    assert not books.is_stale(1)
    assert books.live == 1


def test_a_gap_on_other_streams_leaves_the_book_alone() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1)))
    assert not len(books.apply(ticks(gap(Flag.ON_TRADE | Flag.ON_QUOTE | LAST))))
    assert not books.is_stale(1)


def test_a_gap_inside_a_snapshot_makes_the_book_stale_again() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1), gap(), clear(0), bid(11, 1, 0), gap()))
    assert not len(books.apply(ticks(bid(12, 1))))
    assert books.is_stale(1)


def test_a_disconnect_makes_a_book_stale_where_the_connection_carried_it() -> None:
    books = Books()
    for instrument in (1, 2, 3):
        books.apply(ticks(clear(0, instrument), bid(10, instrument, LAST, instrument)))
    on_book = LAST | Flag.ON_BOOK
    changes = [(1, StatusCode.CONNECTED, on_book), (2, StatusCode.DISCONNECTED, LAST | Flag.ON_TRADE)]
    changes += [(3, StatusCode.DISCONNECTED, on_book), (3, StatusCode.DISCONNECTED, on_book)]
    out = books.apply(ticks(*(status(code, instrument, flags) for instrument, code, flags in changes)))
    assert out[["instrument", "source_seq", "flags"]].tolist() == [(3, 52, Flag.STALE)]
    assert [books.is_stale(i) for i in (1, 2, 3)] == [False, False, True]
    assert books.snapshot(3)[-1][["kind", "price"]].tolist() == (Kind.GAP, GapCause.DISCONNECT)


def test_a_partial_book_never_touches_the_diff_book() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1)))
    assert not len(books.apply(ticks(clear(Flag.PARTIAL), bid(99, 1, Flag.PARTIAL | LAST))))
    assert levels(books, Side.BID) == [[10, 1]]


def test_a_checksum_can_end_an_event() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1)))
    out = books.apply(ticks(bid(11, 1, 0), {"kind": Kind.CHECKSUM, "size": 7, "flags": LAST}))
    assert said(out) == [(11, 1, NO_PRICE, 0, 0)]


def test_a_crossed_book_is_flagged_and_counted() -> None:
    books = Books()
    out = books.apply(ticks(clear(0), bid(10, 1, 0), ask(10, 3), ask(10, 0, 0), ask(11, 1)))
    assert said(out) == [(10, 1, 10, 3, Flag.CROSSED), (10, 1, 11, 1, 0)]
    assert books.counters["crossed"] == 1


def test_removing_a_level_that_is_not_there_is_silent() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1)))
    assert not len(books.apply(ticks(bid(9, 0), bid(12, 0), ask(5, 0))))
    assert levels(books, Side.BID) == [[10, 1]]


def test_impossible_levels_are_counted_and_ignored() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1)))
    books.apply(ticks(bid(11, -1), level(Side.NONE, 11, 1), bid(NO_PRICE, 1)))
    assert levels(books, Side.BID) == [[10, 1]]
    assert books.counters["levels_invalid"] == 3


def test_levels_are_given_best_first_and_negative_prices_work() -> None:
    books = Books()
    books.apply(ticks(clear(0), *(bid(p, 1, 0) for p in (-3, 2, -7)), *(ask(p, 2, 0) for p in (9, 5, 7)), ask(6, 2)))
    assert [price for price, _ in levels(books, Side.BID)] == [2, -3, -7]
    assert [price for price, _ in levels(books, Side.ASK)] == [5, 6, 7, 9]


def test_a_full_side_gives_up_its_worst_level_and_says_so() -> None:
    books = Books(max_levels=3)
    books.apply(ticks(clear(0), *(bid(p, p, 0) for p in (10, 30, 20)), bid(25, 25)))
    assert levels(books, Side.BID) == [[30, 30], [25, 25], [20, 20]]
    books.apply(ticks(bid(1, 1)))
    assert levels(books, Side.BID) == [[30, 30], [25, 25], [20, 20]]
    assert books.counters["levels_evicted"] == 2


def test_a_deep_book_grows_and_shrinks_without_losing_a_level() -> None:
    prices = [(i * 7919) % 501 for i in range(501)]
    records = ticks(clear(0), *(bid(p, p + 1, 0) for p in prices), *(ask(p + 600, p + 1, 0) for p in prices), bid(0, 1))
    books = Books()
    books.apply(records)
    assert levels(books, Side.BID) == [[p, p + 1] for p in range(500, -1, -1)]
    assert levels(books, Side.ASK) == [[p + 600, p + 1] for p in range(501)]
    books.apply(ticks(*(bid(p, 0, 0) for p in prices if p % 5), bid(0, 1)))
    assert levels(books, Side.BID) == [[p, p + 1] for p in range(500, -1, -5)]
    books.apply(ticks(*(bid(p, 0, 0) for p in prices), bid(0, 0)))
    assert levels(books, Side.BID) == []


def test_memory_stays_bounded_under_ever_new_prices() -> None:
    books = Books(max_levels=100)
    books.apply(ticks(clear()))
    for start in range(0, 6000, 500):
        books.apply(ticks(*(bid(p, 1) for p in range(start, start + 500))))
    assert len(books.levels(1, Side.BID)) == 100
    before = books.memory_bytes
    for start in range(6000, 18_000, 500):
        books.apply(ticks(*(bid(p, 1) for p in range(start, start + 500))))
    assert books.memory_bytes == before


@pytest.mark.parametrize("step", [1, -1])
def test_a_book_that_drifts_far_keeps_every_level(step: int) -> None:
    books = Books(max_levels=200)
    books.apply(ticks(clear()))
    for i in range(0, 3000 * step, step):
        books.apply(ticks(bid(i, 1, 0), bid(i - 150 * step, 0)))
    assert sorted(price for price, _ in levels(books, Side.BID)) == sorted(range(2850 * step, 3000 * step, step))


def test_books_of_thousands_of_instruments_are_kept_apart() -> None:
    books = Books()
    out = books.apply(ticks(*(row for i in range(1, 1500) for row in (clear(0, i), bid(i, i, LAST, i)))))
    assert out["instrument"].tolist() == list(range(1, 1500))
    assert all(books.levels(i, Side.BID).tolist() == [[i, i]] for i in (1, 64, 700, 1499))


def test_every_book_that_goes_stale_has_its_record_also_where_they_fill_the_output() -> None:
    books = Books()
    many = 1100
    setup = ticks(*(row for i in range(1, many + 1) for row in (clear(0, i), bid(i, i, LAST, i))))
    lost = ticks(*(status(StatusCode.DISCONNECTED, i, LAST | Flag.ON_BOOK) for i in range(1, many + 1)))
    out = books.apply(np.concatenate([setup, lost]))
    assert len(out) == 2 * many
    assert (out["flags"][many:] == Flag.STALE).all()


@pytest.mark.parametrize(
    "history",
    [
        pytest.param((), id="never described"),
        pytest.param((clear(0), bid(10, 1, 0), ask(12, 1)), id="live"),
        pytest.param((clear(0), bid(10, 1, 0), ask(12, 1), bid(11, 1, 0)), id="inside an event"),
        pytest.param((clear(0), bid(10, 1, 0), ask(12, 1), gap()), id="stale"),
        pytest.param((clear(0), bid(10, 1, 0), ask(12, 1), gap(), clear(0), bid(9, 1, 0)), id="inside a snapshot"),
        pytest.param((clear(),), id="live and empty"),
    ],
)
def test_a_snapshot_folds_into_the_same_book_in_every_state(history: tuple[dict[str, int], ...]) -> None:
    books = Books()
    books.apply(ticks(*history))
    copy = Books()
    copy.apply(books.snapshot(1))
    for side in (Side.BID, Side.ASK):
        assert copy.levels(1, side).tolist() == books.levels(1, side).tolist()
    following = ticks(bid(13, 1, 0), ask(14, 2), clear(0), bid(1, 1))
    copied, out = copy.apply(following), books.apply(following)
    for field in ("bid_price", "ask_price", "bid_size", "ask_size", "flags"):
        assert copied[field].tolist() == out[field].tolist()
    assert copy.is_stale(1) == books.is_stale(1)


def test_a_snapshot_says_what_it_is_and_when_it_was() -> None:
    books = Books()
    books.apply(ticks(clear(0), bid(10, 1, 0), bid(11, 2, 0), ask(12, 1)))
    snapshot = books.snapshot(1)
    assert snapshot["kind"].tolist() == [Kind.CLEAR, Kind.LEVEL, Kind.LEVEL, Kind.LEVEL]
    assert snapshot["price"].tolist() == [0, 11, 10, 12]
    assert snapshot["flags"].tolist() == [Flag.SNAPSHOT] * 3 + [Flag.SNAPSHOT | LAST]
    assert set(snapshot["ts_recv"].tolist()) == {2003}
    assert set(snapshot["seq"].tolist()) == {53}
    stale = Books()
    stale.apply(ticks(clear(0), bid(10, 1), gap(cause=GapCause.CHECKSUM)))
    assert stale.snapshot(1)[-1][["kind", "price"]].tolist() == (Kind.GAP, GapCause.CHECKSUM)


def test_the_reference_agrees_on_a_worked_example() -> None:
    records = ticks(clear(0), bid(10, 1, 0), ask(12, 3), bid(12, 1), bid(12, 0), gap(), clear(0), ask(5, 5))
    assert Books().apply(records).tobytes() == DictBooks().apply(records).tobytes()


def test_nothing_in_gives_nothing_out_and_a_bound_of_zero_is_refused() -> None:
    assert not len(Books().apply(ticks()))
    assert Books().levels(999, Side.BID).shape == (0, 2)
    assert Books().is_stale(999)
    with pytest.raises(ValueError, match="max_levels"):
        Books(max_levels=0)
