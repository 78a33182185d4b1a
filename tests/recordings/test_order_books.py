"""Books of orders on real files of CME's futures, against a book of the tests' own from the same bytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from folded_orders import ListedOrders, as_ticks, read_mbo
from independent import recording

from tickplant.books.market_books import MarketBooks
from tickplant.records.layouts import NO_PRICE, Flag, Side

pytestmark = [pytest.mark.long, pytest.mark.no_cover]  # one event at a time, against lists

ROW = ["order_id", "price", "size"]


def ends_of(records: np.ndarray) -> list[int]:
    return [0, *(np.flatnonzero(records["flags"] & 128) + 1).tolist()]


def expect_equal_at_each_end(path: Path) -> tuple[MarketBooks, ListedOrders, np.ndarray]:
    """Fold a file event by event; at the end of each, orders, their places and the best are those of the list."""
    records = read_mbo(path)
    ticks, books, truth = as_ticks(records), MarketBooks(), ListedOrders()
    said, best = [], None
    books.apply(ticks[:1])
    for start, end in pairwise(ends_of(records)):
        bbo = books.apply(ticks[start + 1 : end + 1])
        said.append(bbo)
        for record in records[start:end]:
            truth.take(record)
        tops = []
        for side in (Side.BID, Side.ASK):
            orders = books.of_orders.orders(1, side)
            expected = truth.orders(side)
            assert orders[ROW].tolist() == expected
            top = expected[0][1] if expected else NO_PRICE
            tops += [top, sum(size for _, price, size in expected if price == top)]
        if len(bbo):
            best = bbo[-1][["bid_price", "bid_size", "ask_price", "ask_size", "flags"]].tolist()
        assert best == (*tops, Flag.CROSSED if truth.crossed() else 0)
    return books, truth, np.concatenate(said)


def expect_places(books: MarketBooks) -> int:
    """What is ahead of each order at the end. Returns how many orders there are."""
    count = 0
    for side in (Side.BID, Side.ASK):
        orders = books.of_orders.orders(1, side)
        count += len(orders)
        for price in set(orders["price"].tolist()):
            queue = orders[orders["price"] == price]
            assert queue["orders_ahead"].tolist() == list(range(len(queue)))
            assert queue["size_ahead"].tolist() == [0, *np.cumsum(queue["size"])[:-1].tolist()]
            levels = dict(books.levels(1, side).tolist())
            assert levels[price] == queue["size"].sum()
    return count


def test_a_snapshot_equals_an_independent_book_at_every_end() -> None:
    books, truth, said = expect_equal_at_each_end(recording("databento_esh4_20231224.mbo.dbn.zst"))
    assert expect_places(books) == 8725
    assert len(said) == 1
    assert sum(truth.unknown.values()) == 0
    assert not any(count for name, count in books.counters.items() if "unknown" in name or "invalid" in name)


def test_a_file_that_begins_in_the_middle_names_unknown_orders_and_each_is_counted() -> None:
    books, truth, said = expect_equal_at_each_end(recording("dbn/CLX5_mbo.dbn"))
    assert expect_places(books) > 100
    counters = books.counters
    assert (counters["orders_unknown_cancel"], counters["orders_unknown_modify"]) == (1224, 216)
    assert counters["orders_unknown_fill"] == truth.unknown[b"F"] > 0
    assert counters["orders_ignored"] == counters["orders_invalid"] == 0
    assert counters["crossed"] > 0
    assert (said["flags"] & Flag.CROSSED).any()


def test_crossed_books_are_resolved_where_that_is_asked_for() -> None:
    ticks = as_ticks(read_mbo(recording("dbn/CLX5_mbo.dbn")))
    books = MarketBooks(matching=True)
    said = books.apply(ticks)
    assert not (said["flags"] & Flag.CROSSED).any()
    both = said[(said["bid_price"] != NO_PRICE) & (said["ask_price"] != NO_PRICE)]
    assert len(both) > 1000
    assert (both["bid_price"] < both["ask_price"]).all()
    assert books.counters["orders_matched"] > 0
    assert books.of_orders.whole() == [], "from there on it is not what the records alone say"
