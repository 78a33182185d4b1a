"""Books of orders, one rule a test."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.books.market_books import MarketBooks
from tickplant.books.order_books import OrderBooks, Unknown
from tickplant.books.order_queues import QUEUED
from tickplant.books.plain_orders import PlainOrderBooks
from tickplant.records.layouts import NO_PRICE, TICK, Flag, GapCause, Kind, OrderFlag, Side

pytestmark = pytest.mark.kernels

LAST, ON = Flag.LAST, Flag.ON_ORDERS
ADD, MODIFY, CANCEL, FILL = Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL
BID, ASK, NONE = Side.BID, Side.ASK, Side.NONE
Row = tuple[int, ...]


def ticks(*rows: Row, instrument: int = 1, clear: bool = True) -> np.ndarray:
    """A CLEAR, then rows of kind, order id, side, price, size and, where they end no event, flags."""
    begin = [(Kind.CLEAR, 0, 0, 0, 0, LAST | ON)] if clear else []
    records = np.zeros(len(begin) + len(rows), TICK)
    for record, row in zip(records, [*begin, *rows], strict=True):
        flags = row[5] if len(row) > 5 else LAST
        for name, value in zip(("kind", "order_id", "side", "price", "size"), row[:5], strict=True):
            record[name] = value
        record["flags"] = flags
    records["instrument"] = instrument
    for name in ("ts_event", "ts_recv", "venue_seq", "seq"):
        records[name] = 50 + np.arange(len(records))
    return records


def orders(books: OrderBooks, side: Side = BID, instrument: int = 1) -> list[tuple[int, int, int]]:
    return books.orders(instrument, side)[["order_id", "price", "size"]].tolist()


def folded(*rows: Row) -> OrderBooks:
    """The kernel's books, which the reference agrees with."""
    books, plain = OrderBooks(), PlainOrderBooks()
    assert books.apply(ticks(*rows)).tobytes() == plain.apply(ticks(*rows)).tobytes()
    for side in (BID, ASK):
        assert books.orders(1, side).tolist() == plain.order_books[1].orders(side)
    return books


QUEUE = ((ADD, 1, BID, 100, 5), (ADD, 2, BID, 100, 6), (ADD, 3, BID, 100, 7), (ADD, 4, BID, 99, 8))


@pytest.mark.parametrize("ident", [2**53 + 1, 2**63 - 1, 2**63 + 1, 2**64 - 1])
def test_ids_keep_every_digit(ident: int) -> None:
    books = folded((ADD, ident, BID, 100, 5), (ADD, ident - 1, BID, 100, 6))
    assert [number for number, *_ in orders(books)] == [ident, ident - 1]
    assert books.order_snapshot(1)["order_id"][1:].tolist() == [ident, ident - 1]


def test_orders_stand_in_price_time_priority_and_know_what_is_ahead() -> None:
    books = folded(*QUEUE, (ADD, 9, ASK, 103, 1), (ADD, 8, ASK, 102, 2))
    assert books.orders(1, BID).tolist() == [(1, 100, 5, 0, 0), (2, 100, 6, 1, 5), (3, 100, 7, 2, 11), (4, 99, 8, 0, 0)]
    assert orders(books, ASK) == [(8, 102, 2), (9, 103, 1)]
    assert books.levels(1, BID).tolist() == [[100, 18], [99, 8]]
    assert books.orders(1, BID, levels=1)["order_id"].tolist() == [1, 2, 3]
    assert books.orders(999, BID).dtype == QUEUED


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((MODIFY, 2, BID, 100, 3), [(1, 100, 5), (2, 100, 3), (3, 100, 7), (4, 99, 8)]),  # smaller: keeps its place
        ((MODIFY, 2, BID, 100, 6), [(1, 100, 5), (2, 100, 6), (3, 100, 7), (4, 99, 8)]),
        ((MODIFY, 2, BID, 100, 9), [(1, 100, 5), (3, 100, 7), (2, 100, 9), (4, 99, 8)]),  # larger: to the back
        ((MODIFY, 2, BID, 99, 1), [(1, 100, 5), (3, 100, 7), (4, 99, 8), (2, 99, 1)]),  # moved: to the back there
        ((MODIFY, 4, BID, 101, 8), [(4, 101, 8), (1, 100, 5), (2, 100, 6), (3, 100, 7)]),
        ((MODIFY, 2, BID, 100, 0), [(1, 100, 5), (3, 100, 7), (4, 99, 8)]),
        ((CANCEL, 2, NONE, 0, 4), [(1, 100, 5), (2, 100, 2), (3, 100, 7), (4, 99, 8)]),  # a part: keeps its place
        ((CANCEL, 2, BID, 100, 6), [(1, 100, 5), (3, 100, 7), (4, 99, 8)]),
        ((CANCEL, 2, BID, 100, 60), [(1, 100, 5), (3, 100, 7), (4, 99, 8)]),
        ((CANCEL, 4, BID, 99, 0), [(1, 100, 5), (2, 100, 6), (3, 100, 7)]),
        ((FILL, 1, BID, 100, 5), [(1, 100, 5), (2, 100, 6), (3, 100, 7), (4, 99, 8)]),
        (
            (ADD, 1, BID, 99, 2),
            [(2, 100, 6), (3, 100, 7), (4, 99, 8), (1, 99, 2)],
        ),  # known already: the newer one counts
        ((ADD, 5, BID, 90, 2, LAST | OrderFlag.TOP), [(5, 90, 2)]),
        ((ADD, 0, BID, NO_PRICE, 0, LAST | OrderFlag.TOP), []),
        ((ADD, 5, BID, NO_PRICE, 1), [(1, 100, 5), (2, 100, 6), (3, 100, 7), (4, 99, 8)]),
        ((ADD, 5, BID, 100, 1, LAST | Flag.PARTIAL), [(1, 100, 5), (2, 100, 6), (3, 100, 7), (4, 99, 8)]),
    ],
)
def test_what_a_record_does_to_its_side(change: Row, expected: list[tuple[int, int, int]]) -> None:
    assert orders(folded(*QUEUE, change)) == expected


def test_orders_without_an_id_are_named_by_side_and_price() -> None:
    books = folded((ADD, 0, BID, 100, 5), (ADD, 0, ASK, 100, 6), (ADD, 0, BID, 99, 7), (CANCEL, 0, BID, 100, 1))
    assert (orders(books), orders(books, ASK)) == ([(0, 100, 4), (0, 99, 7)], [(0, 100, 6)])


def test_operations_on_unknown_orders_are_counted_by_cause_and_news_once() -> None:
    books = OrderBooks()
    books.apply(ticks((CANCEL, 7, BID, 1, 1), (CANCEL, 8, BID, 1, 1), (FILL, 7, BID, 1, 1), (MODIFY, 9, BID, 5, 2)))
    counters = books.counters
    names = ("orders_unknown_cancel", "orders_unknown_fill", "orders_unknown_modify")
    assert [counters[name] for name in names] == [2, 1, 1]
    assert orders(books) == [(9, 5, 2)], "a modify of an unknown order adds it"
    assert books.news() == [Unknown(1, MODIFY), Unknown(1, CANCEL), Unknown(1, FILL)]
    books.apply(ticks((CANCEL, 10, BID, 1, 1), clear=False))
    assert books.news() == []


def test_a_book_is_stale_until_a_clear_and_what_comes_meanwhile_is_ignored() -> None:
    books = OrderBooks()
    books.apply(ticks(*QUEUE, clear=False))
    assert books.is_stale(1)
    assert books.counters["orders_ignored"] == 4
    books.apply(ticks(*QUEUE))
    assert not books.is_stale(1)
    gap = ticks((Kind.GAP, 0, 0, GapCause.SEQUENCE, -1, LAST | ON), clear=False)
    bbo = books.apply(gap)
    assert bbo[["bid_price", "bid_size", "flags"]].tolist() == [(100, 18, Flag.STALE)]
    books.apply(ticks((CANCEL, 1, BID, 0, 0), clear=False))
    assert len(orders(books)) == 4
    of_levels = ticks((Kind.CLEAR, 0, 0, 0, 0, LAST), (Kind.GAP, 0, 0, 1, -1, LAST | Flag.ON_BOOK), clear=False)
    assert not len(books.apply(of_levels))


def test_a_best_is_said_at_the_end_of_an_event_only() -> None:
    books = OrderBooks()
    assert len(books.apply(ticks((ADD, 1, BID, 100, 5, 0), (ADD, 2, ASK, 99, 5, 0)))) == 1, "of the CLEAR: empty"
    bbo = books.apply(ticks((MODIFY, 2, ASK, 101, 5), clear=False))
    assert bbo[["bid_price", "ask_price", "flags"]].tolist() == [(100, 101, 0)]


def test_a_crossed_book_is_flagged_or_resolved_first_come_first() -> None:
    rows = (*QUEUE, (ADD, 9, ASK, 99, 12))
    flagged = folded(*rows)
    assert flagged.counters["crossed"] == 1
    books = OrderBooks(matching=True)
    bbo = books.apply(ticks(*rows))
    assert orders(books) == [(3, 100, 6), (4, 99, 8)]
    assert orders(books, ASK) == []
    assert bbo[-1][["bid_size", "ask_price", "flags"]].tolist() == (6, NO_PRICE, 0)
    assert (books.counters["crossed"], books.counters["orders_matched"]) == (1, 3)
    assert books.whole() == []
    books.apply(ticks())
    assert books.whole() == [1], "from a CLEAR on it is what the records say"


def test_memory_is_bounded_and_a_book_that_lacks_an_order_is_not_whole() -> None:
    books = OrderBooks(max_orders=1000)
    many = [(ADD, number, BID, number % 50, 1) for number in range(1, 2001)]
    books.apply(ticks(*many))
    assert (books.alive, books.counters["orders_refused"], books.whole()) == (1000, 1000, [])
    assert books.memory_bytes < 1024 * 96 + 200_000
    books.apply(ticks((CANCEL, 5, BID, 0, 0), (ADD, 3000, BID, 7, 1), clear=False))
    assert books.alive == 1000
    with pytest.raises(ValueError, match="max_orders is 0"):
        OrderBooks(max_orders=0)


@pytest.mark.long
def test_room_that_orders_leave_is_used_again() -> None:
    books = OrderBooks()
    for start in range(0, 20_000, 200):
        adds = [(ADD, start + number, BID, number % 40, 1) for number in range(1, 201)]
        books.apply(ticks(*adds, *((CANCEL, row[1], BID, 0, 0) for row in adds), clear=not start))
    assert books.alive == 0
    assert books.memory_bytes == OrderBooks().memory_bytes + 104 * (256 - 64)


def test_of_two_books_of_an_instrument_the_one_in_sync_counts_and_of_two_the_newer() -> None:
    books = MarketBooks()
    levels = ticks((Kind.CLEAR, 0, 0, 0, 0, LAST), (Kind.LEVEL, 0, BID, 7, 1), clear=False)
    levels["seq"] += 100
    books.apply(ticks(*QUEUE))
    assert books.has_orders(1)
    books.apply(levels)
    assert (books.has_orders(1), books.levels(1, BID).tolist()) == (False, [[7, 1]])
    books.apply(ticks((Kind.GAP, 0, 0, GapCause.SEQUENCE, -1, LAST | Flag.ON_BOOK), clear=False))
    assert books.has_orders(1)
    books.apply(ticks((Kind.GAP, 0, 0, GapCause.SEQUENCE, -1, LAST | ON), clear=False))
    assert books.is_stale(1)


def test_both_kinds_of_books_go_their_ways_in_one_stream() -> None:
    books = MarketBooks()
    levels = ticks(
        (Kind.CLEAR, 0, 0, 0, 0, LAST),
        (Kind.LEVEL, 0, BID, 7, 1),
        (Kind.LEVEL, 0, BID, 8, 1),
        instrument=2,
        clear=False,
    )
    both = np.concatenate([levels[:2], ticks(*QUEUE[:1]), levels[2:], ticks(QUEUE[3], clear=False)])
    both["seq"] = np.arange(len(both))
    bbo = books.apply(both)
    assert bbo[["source_seq", "instrument"]].tolist() == [(0, 2), (1, 2), (2, 1), (3, 1), (4, 2)]
    assert (books.has_orders(1), books.has_orders(2)) == (True, False)
    assert [books.levels(id_, BID).tolist() for id_ in (1, 2)] == [[[100, 5], [99, 8]], [[8, 1], [7, 1]]]
    kinds = [[Kind.CLEAR, Kind.LEVEL, Kind.LEVEL], [Kind.CLEAR, ADD, ADD]]
    assert [records["kind"].tolist() for records in books.whole()] == kinds
    assert books.own_snapshot(1)["kind"].tolist() == kinds[1]
    assert books.snapshot(1)["kind"].tolist() == kinds[0]
    assert (books.live, books.stale, books.counters["orders"]) == (2, 0, 2)
