"""Books of orders equal the plain reference on any stream of records, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books import order_table
from tickplant.books.order_books import OrderBooks
from tickplant.books.plain_orders import PlainOrderBooks
from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, OrderFlag, Side, StatusCode

pytestmark = pytest.mark.kernels

INSTRUMENTS = (1, 2, 70)  # one beyond what there is room for at first
KINDS = [Kind.ORDER_ADD] * 5 + [Kind.ORDER_MODIFY] * 2 + [Kind.ORDER_CANCEL] * 2 + [Kind.ORDER_FILL]
FLAGS = [
    0,
    0,
    0,
    Flag.LAST,
    Flag.LAST,
    Flag.SNAPSHOT | Flag.LAST,
    Flag.PARTIAL,
    OrderFlag.TOP,
    OrderFlag.TOP | Flag.LAST,
]
PRICES = st.one_of(st.integers(-4, 4), st.integers(-4, 4), st.sampled_from([NO_PRICE, 2**63 - 1, -(2**63) + 1]))
SIZES = st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from([-1, 2**62, 2**63 - 1]))
RECORD = st.one_of(
    *[st.tuples(st.sampled_from(KINDS), st.sampled_from([1, 2, 1, 2, 0, 3]), PRICES, SIZES, st.integers(0, 12))] * 6,
    st.tuples(st.sampled_from([Kind.CLEAR, Kind.CHECKSUM, Kind.TRADE]), st.just(0), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just(Kind.GAP), st.just(0), st.integers(1, 4), st.just(0), st.just(0)),
    st.tuples(st.just(Kind.STATUS), st.just(0), st.sampled_from(list(StatusCode)), st.just(0), st.just(0)),
)


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    row = st.tuples(RECORD, st.sampled_from(INSTRUMENTS), st.sampled_from(FLAGS), st.integers(0, 5))
    rows = draw(st.lists(row, max_size=120))
    records = np.zeros(len(rows) + 3, TICK)
    records["kind"], records["instrument"][:3], records["flags"] = Kind.CLEAR, INSTRUMENTS, Flag.LAST | Flag.ON_ORDERS
    for record, ((kind, side, price, size, order_id), instrument, drawn, chance) in zip(records[3:], rows, strict=True):
        flags = drawn
        if kind in (Kind.CLEAR, Kind.CHECKSUM, Kind.GAP, Kind.STATUS):
            flags = drawn & ~OrderFlag.TOP | (Flag.ON_ORDERS if chance else Flag.ON_BOOK)
        for name, value in zip(
            ("kind", "instrument", "side", "price", "size", "flags", "order_id"),
            (kind, instrument, side, price, size, flags, order_id),
            strict=True,
        ):
            record[name] = value
    for field in ("ts_event", "ts_recv", "venue_seq", "seq"):
        records[field] = np.arange(len(records)) + 1000
    return records


def expect_same(books: OrderBooks, plain: PlainOrderBooks) -> None:
    """Orders with their places, levels and counters."""
    for instrument, book in plain.order_books.items():
        for side in (Side.BID, Side.ASK):
            assert books.orders(instrument, side).tolist() == book.orders(side)
            best = sorted({row[1] for row in book.orders(side)}, reverse=side == Side.BID)[:2]
            assert books.orders(instrument, side, 2).tolist() == [row for row in book.orders(side) if row[1] in best]
            book.derive()
            levels = book.bids if side == Side.BID else book.asks
            assert books.levels(instrument, side).tolist() == [
                [price, levels[price]] for price in sorted(levels, reverse=side == Side.BID)
            ]
        assert books.is_stale(instrument) == (book.state != "live")
    assert {name: count for name, count in books.counters.items() if count} == +plain.counters
    assert books.alive == sum(len(book.where) for book in plain.order_books.values())


@settings(max_examples=300)
@given(streams(), st.lists(st.integers(0, 123), max_size=5), st.sampled_from([3, 1000]), st.booleans())
def test_output_and_orders_equal_the_reference_for_any_cuts(
    records: np.ndarray, cuts: list[int], limit: int, matching: bool
) -> None:
    plain = PlainOrderBooks(limit, matching=matching)
    expected = plain.apply(records)
    books = OrderBooks(limit, matching=matching)
    parts = [books.apply(part.copy()) for part in np.split(records, sorted(c for c in cuts if c <= len(records)))]
    assert b"".join(part.tobytes() for part in parts) == expected.tobytes()
    expect_same(books, plain)
    if matching:
        assert not (expected["flags"] & Flag.CROSSED).any()


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_long_random_walks_equal_the_reference(seed: int, matching: bool) -> None:
    random = np.random.default_rng(seed)
    records = np.zeros(1500, TICK)
    records["kind"] = random.choice([int(kind) for kind in KINDS], len(records))
    records["order_id"] = random.integers(1, 400, len(records)) * 2**33 + random.integers(0, 2, len(records))
    records["instrument"] = 1
    records["side"] = random.integers(1, 3, len(records))
    offset = random.geometric(0.02, len(records)) - 2
    records["price"] = np.where(records["side"] == Side.BID, 1000 - offset, 1000 + offset)
    records["size"] = random.integers(0, 30, len(records))
    records["flags"] = np.where(random.random(len(records)) < 0.3, int(Flag.LAST), 0)
    records["kind"][0], records["flags"][0] = Kind.CLEAR, Flag.ON_ORDERS
    records["seq"] = np.arange(len(records))
    books, plain = OrderBooks(matching=matching), PlainOrderBooks(matching=matching)
    assert books.apply(records).tobytes() == plain.apply(records).tobytes()
    expect_same(books, plain)


@settings(max_examples=100)
@given(streams(), st.integers(0, 123))
def test_a_snapshot_at_any_point_continues_as_the_book_itself(records: np.ndarray, cut: int) -> None:
    original, joiner = OrderBooks(), OrderBooks()
    original.apply(records[:cut].copy())
    for instrument in INSTRUMENTS:
        joiner.apply(original.order_snapshot(instrument))
    ends = np.zeros(3, TICK)  # a joiner knows that its book is live when the event that was under way has ended
    ends["kind"], ends["instrument"], ends["flags"] = Kind.CHECKSUM, INSTRUMENTS, Flag.LAST | Flag.ON_ORDERS
    for part in (records[cut:].copy(), ends):
        original.apply(part)
        joiner.apply(part)
    for instrument in INSTRUMENTS:
        assert joiner.is_stale(instrument) == original.is_stale(instrument)
        for side in (Side.BID, Side.ASK):
            assert joiner.orders(instrument, side).tolist() == original.orders(instrument, side).tolist()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=60))
def test_the_table_is_a_dict(steps: list[tuple[int, int]]) -> None:
    table, truth = np.zeros(64, order_table.ENTRY), {}
    for slot, (name, owner) in enumerate(steps, 1):
        key = name << 59 | name, owner << 30  # few places where a search begins
        at = order_table.find(table, np.uint64(key[0] % 2**64), key[1])
        assert table[at]["slot"] == truth.get(key, 0)
        if key in truth:
            order_table.forget(table, at)
            del truth[key]
        elif len(truth) < 32:
            order_table.remember(table, at, np.uint64(key[0] % 2**64), key[1], slot)
            truth[key] = slot
    larger = np.zeros(128, order_table.ENTRY)
    order_table.refill(table, larger)
    for copy in (table, larger):
        assert sorted(copy["slot"][copy["slot"] > 0].tolist()) == sorted(truth.values())
        for key, slot in truth.items():
            assert copy[order_table.find(copy, np.uint64(key[0] % 2**64), key[1])]["slot"] == slot
