"""The feed's book of one instrument, one rule a test."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.books.depth_book import DepthBook
from tickplant.books.level_books import Books
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side

pytestmark = pytest.mark.kernels

BID, ASK = int(Side.BID), int(Side.ASK)


def levels(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 3)


def book_of(depth: int | None, *rows: tuple[int, int, int]) -> DepthBook:
    book = DepthBook(depth)
    book.snapshot(levels(*rows))
    return book


def shown(book: DepthBook) -> tuple[list[list[int]], list[list[int]]]:
    bids, asks = book.levels()
    return bids.tolist(), asks.tolist()


def test_a_snapshot_replaces_the_book() -> None:
    book = book_of(None, (BID, 10, 1), (ASK, 12, 2))
    assert not len(book.snapshot(levels((ASK, 13, 4), (BID, 9, 3), (BID, 8, 5))))
    assert shown(book) == ([[9, 3], [8, 5]], [[13, 4]])
    assert book.best == (9, 3, 13, 4)
    assert len(book) == 3


def test_the_last_size_at_a_price_holds() -> None:
    book = book_of(None, (BID, 10, 1))
    book.update(levels((BID, 10, 2), (BID, 10, 3), (BID, 11, 4), (BID, 11, 0), (ASK, -5, 6)))
    assert shown(book) == ([[10, 3]], [[-5, 6]])
    assert book.unknown_deletes == 0


def test_what_falls_out_of_the_depth_is_removed_at_the_end_of_the_event_and_handed_out() -> None:
    book = book_of(2, (BID, 10, 1), (BID, 9, 1), (ASK, 20, 1), (ASK, 21, 1))
    removed = book.update(levels((BID, 12, 1), (BID, 11, 1), (ASK, 19, 1)))
    assert removed.tolist() == [[BID, 9, 0], [BID, 10, 0], [ASK, 21, 0]], "the worst first"
    assert shown(book) == ([[12, 1], [11, 1]], [[19, 1], [20, 1]])


def test_a_level_beyond_the_depth_stays_where_the_same_event_makes_room_for_it() -> None:
    book = book_of(2, (BID, 10, 1), (BID, 9, 1))
    assert not len(book.update(levels((BID, 8, 7), (BID, 10, 0))))
    assert shown(book) == ([[9, 1], [8, 7]], [])


def test_a_level_that_comes_and_falls_out_in_one_event_is_removed_as_well() -> None:
    book = book_of(1, (ASK, 20, 1))
    assert book.update(levels((ASK, 25, 1))).tolist() == [[ASK, 25, 0]]


def test_a_snapshot_deeper_than_the_depth_is_cut() -> None:
    book = DepthBook(1)
    assert book.snapshot(levels((BID, 10, 1), (BID, 11, 2))).tolist() == [[BID, 10, 0]]


def test_removals_of_levels_that_are_not_there_are_counted() -> None:
    book = book_of(2, (BID, 10, 1), (BID, 9, 0))
    book.update(levels((BID, 8, 0), (ASK, 10, 0), (BID, 10, 0), (BID, 10, 0)))
    assert book.unknown_deletes == 4
    assert book.best == (NO_PRICE, 0, NO_PRICE, 0)


def test_levels_are_ignored_before_the_first_snapshot_and_after_a_loss() -> None:
    book = DepthBook(1)
    assert not book.live
    assert not len(book.update(levels((BID, 10, 1), (BID, 11, 1))))
    book.snapshot(levels((BID, 9, 1)))
    book.lose()
    assert not book.live
    book.update(levels((BID, 9, 2)))
    assert shown(book) == ([[9, 1]], []), "the content is kept"
    assert book.levels_ignored == 3
    book.snapshot(levels((BID, 8, 1)))
    assert book.live
    assert book.best == (8, 1, NO_PRICE, 0)


@pytest.mark.parametrize("bad", [(0, 10, 1), (3, 10, 1), (BID, NO_PRICE, 1), (ASK, 10, -1)])
def test_an_event_with_a_level_that_is_none_changes_nothing(bad: tuple[int, int, int]) -> None:
    book = book_of(1, (BID, 10, 1))
    for take in (book.update, book.snapshot):
        with pytest.raises(ValueError, match=r"row 1 of an event"):
            take(levels((BID, 11, 1), bad))
    assert shown(book) == ([[10, 1]], [])


def test_a_depth_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        DepthBook(0)


def test_a_copy_goes_its_own_way() -> None:
    book = book_of(2, (BID, 10, 1), (ASK, 11, 1))
    book.update(levels((BID, 1, 0)))
    other = book.copy()
    other.update(levels((BID, 10, 5), (BID, 2, 0)))
    book.update(levels((ASK, 11, 0)))
    assert shown(book) == ([[10, 1]], [])
    assert shown(other) == ([[10, 5]], [[11, 1]])
    assert (book.unknown_deletes, other.unknown_deletes) == (1, 2)


def test_the_best_levels_alone_may_be_asked_for() -> None:
    book = book_of(None, *((BID, price, price) for price in range(1, 9)), (ASK, 20, 1))
    book.update(levels((BID, 7, 0)))
    bids, asks = book.top(3)
    assert bids.tolist() == [[8, 8], [6, 6], [5, 5]]
    assert asks.tolist() == [[20, 1]]


def test_events_larger_than_the_book_ever_was_find_room() -> None:
    book = book_of(1, (BID, 10, 1))
    removed = book.update(levels(*((BID, price, 1) for price in range(5000))))
    assert removed.tolist() == [[BID, price, 0] for price in range(4999)]
    assert book.best == (4999, 1, NO_PRICE, 0)


def batch_of(*rows: tuple[int, int, int, int], kind: int = Kind.LEVEL) -> TickBatch:
    batch = TickBatch()
    for side, price, size, flags in rows:
        batch.add(
            kind, 7, ts_event=5, ts_recv=6, price=price, size=size, venue_seq=8, order_id=9, side=side, flags=flags
        )
    return batch


def test_rows_of_ticks_give_rows_to_be_recorded_behind_them() -> None:
    snapshot = TickBatch()
    snapshot.add(Kind.CLEAR, 7, flags=Flag.SNAPSHOT)
    for side, price in ((BID, 10), (ASK, 20), (ASK, 21)):
        snapshot.add(Kind.LEVEL, 7, price=price, size=1, side=side, flags=Flag.SNAPSHOT)
    snapshot.add(Kind.LEVEL, 7, price=9, size=1, side=BID, flags=Flag.SNAPSHOT | Flag.LAST)
    book, engine = DepthBook(2), Books()
    assert not len(book.update(snapshot.rows[: snapshot.length])), "CLEAR makes it a snapshot"
    assert book.live
    engine.apply(snapshot.take())

    batch = batch_of((ASK, 19, 1, 0), (BID, 12, 1, 0), (BID, 11, 1, Flag.LAST))
    batch.extend(book.update(batch.rows[: batch.length]), Kind.LEVEL)
    ticks = batch.take()
    assert ticks["price"].tolist() == [19, 12, 11, 9, 10, 21]
    assert ticks["flags"].tolist() == [0, 0, 0, 0, 0, Flag.LAST], "the event ends with the last removal"
    fields = ["ts_event", "ts_recv", "size", "venue_seq", "order_id", "instrument", "kind", "side", "seq"]
    assert ticks[fields][3:].tolist() == [(5, 6, 0, 8, 0, 7, Kind.LEVEL, side, 0) for side in (BID, BID, ASK)]
    engine.apply(ticks)
    for side, own in zip((Side.BID, Side.ASK), book.levels(), strict=True):
        assert engine.levels(7, side).tolist() == own.tolist()


def test_an_event_that_a_checksum_record_ends_gets_removals_without_last() -> None:
    book = book_of(1, (BID, 10, 1))
    batch = batch_of((BID, 11, 1, 0))
    removed = book.update(batch.rows[: batch.length])
    assert (removed[:, 6] >> 48).tolist() == [0]


def test_rows_of_other_kinds_and_of_partial_books_are_passed_over() -> None:
    book = book_of(1, (BID, 10, 1))
    book.update(batch_of((BID, 99, 1, Flag.PARTIAL)).rows[:1])
    book.update(batch_of((BID, 98, 1, 0), kind=Kind.QUOTE).rows[:1])
    assert book.best == (10, 1, NO_PRICE, 0)
