"""Books by level and of orders side by side: in one call of a kernel, which stops for room in either."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.fold_kernels import AT_ONCE
from tickplant.books.market_books import MarketBooks
from tickplant.books.plain_books import DictBooks
from tickplant.books.plain_orders import PlainOrderBooks
from tickplant.records.layouts import BBO, TICK, Flag, Kind, Side

pytestmark = pytest.mark.kernels

ADDED = 900


def both(seed: int, levels_first: int) -> np.ndarray:
    """Levels of one instrument and orders of another, both with ids beyond the first room; each record an event."""
    random = np.random.default_rng(seed)
    records = np.zeros(2 + ADDED, TICK)
    by_level = random.random(len(records)) < 0.5
    by_level[2 : 2 + levels_first] = True
    by_level[:2] = True, False
    records["kind"] = np.where(by_level, Kind.LEVEL, Kind.ORDER_ADD)
    records["kind"][2:][~by_level[2:] & (random.random(ADDED) < 0.2)] = Kind.ORDER_CANCEL
    records["instrument"] = np.where(by_level, 70, 200)
    records["side"] = random.integers(1, 3, len(records))
    away = random.integers(1, 400, len(records))
    records["price"] = 10**6 + np.where(records["side"] == Side.BID, -away, away)
    records["size"] = random.integers(1, 50, len(records))
    records["size"][by_level & (random.random(len(records)) < 0.2)] = 0
    records["order_id"] = np.where(by_level, 0, random.integers(1, ADDED, len(records)))
    records["flags"] = Flag.LAST
    records["kind"][:2] = Kind.CLEAR
    records["side"][:2] = Side.NONE
    records["flags"][:2] = Flag.LAST, Flag.LAST | Flag.ON_ORDERS
    for field in ("ts_event", "ts_recv", "venue_seq", "seq"):
        records[field] = np.arange(len(records)) + 1000
    return records


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 300, ADDED]), st.sampled_from([1, 2, 7, 100, 2000]))
def test_both_equal_their_references_for_any_cuts(seed: int, levels_first: int, size: int) -> None:
    records = both(seed, levels_first)
    expected = np.concatenate([DictBooks().apply(records), PlainOrderBooks().apply(records)])
    expected = expected[np.argsort(expected["source_seq"], kind="stable")]
    assert len(expected) > 5
    books = MarketBooks()
    said = [books.apply(records[i : i + size]) for i in range(0, len(records), size)]
    # Only now: what was handed out first is still what it was.
    assert b"".join(part.tobytes() for part in said) == expected.tobytes()


@pytest.mark.parametrize("step", [2, 3])
def test_records_that_lie_apart_are_taken_too(step: int) -> None:
    records = both(1, 100)
    apart = records[::step]
    assert MarketBooks().apply(apart).tobytes() == MarketBooks().apply(apart.copy()).tobytes()


def test_more_is_said_than_there_is_room_for() -> None:
    records = np.zeros(1 + 5000, TICK)
    records["kind"], records["side"], records["flags"] = Kind.LEVEL, Side.BID, Flag.LAST
    records["instrument"], records["price"] = 1, 10
    records["size"] = np.arange(len(records))
    records["kind"][0] = Kind.CLEAR
    books = MarketBooks()
    first = books.apply(records[:2])
    rest = books.apply(records[2:])
    assert first.dtype == rest.dtype == BBO
    assert first["bid_size"].tolist() == [0, 1]
    assert rest["bid_size"].tolist() == list(range(2, 5001))


def test_records_in_an_array_of_another_class_are_taken_too() -> None:
    records = both(2, 100)
    assert MarketBooks().apply(records.view(np.recarray)).tobytes() == MarketBooks().apply(records).tobytes()


def test_a_batch_is_taken_whole_where_one_call_takes_a_part() -> None:
    records = np.zeros(AT_ONCE + 4000, TICK)
    records["kind"], records["instrument"], records["flags"] = Kind.TRADE, 1, Flag.LAST
    few = both(3, 0)
    places = np.sort(np.random.default_rng(3).choice(len(records), len(few), replace=False))
    records[places] = few
    assert (places > AT_ONCE).sum() > 20
    expected = MarketBooks().apply(few)
    assert MarketBooks().apply(records).tobytes() == expected.tobytes()
    again = MarketBooks()
    first = again.apply(few[:3]).tobytes()  # of both kinds: from here on one kernel takes them
    assert first + again.apply(records[places[3] :]).tobytes() == expected.tobytes()
