"""Books of orders from an engine that is a process: on request, as a stream, and resolved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_process import EngineProcess, Market, engine
from made_past import as_orders

import tickplant
from tickplant.books.market_books import MarketBooks
from tickplant.client.subscription import Subscription
from tickplant.errors import SubscribeError
from tickplant.records.layouts import BBO, Flag, GapCause, Kind, Schema, Side
from tickplant.records.notes import make_gaps

TOPIC = "binance.BTCUSDT.orders"
ROW = ["order_id", "price", "size", "orders_ahead", "size_ahead"]


class Orders:
    """Endless operations on the orders of one instrument."""

    def __init__(self, instrument: int) -> None:
        self._market, self._random = Market(instrument), np.random.default_rng(7)

    def ticks(self, count: int) -> np.ndarray:
        made = self._market.ticks(count)
        as_orders(made, self._random)
        made["flags"][-1] |= np.uint16(Flag.LAST)
        return made


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EngineProcess]:
    with engine(tmp_path) as process:
        yield process


def folded(*parts: np.ndarray) -> MarketBooks:
    books = MarketBooks()
    for part in parts:
        books.apply(part.copy())
    return books


def expect_fetched(running: EngineProcess, truth: MarketBooks) -> None:
    """Levels and orders on request are those of the fold."""
    id_ = running.ids["BTCUSDT"]
    book = tickplant.fetch_book("binance", "BTCUSDT", address=running.address, orders=True)
    plain = tickplant.fetch_book("binance", "BTCUSDT", address=running.address)
    assert book.stale == plain.stale == truth.is_stale(id_)
    assert plain.bid_orders is None
    for side, queue, levels, derived in (
        (Side.BID, book.bid_orders, book.bids, plain.bids),
        (Side.ASK, book.ask_orders, book.asks, plain.asks),
    ):
        assert queue == truth.of_orders.orders(id_, side)[ROW].tolist()
        assert levels == derived == [tuple(level) for level in truth.levels(id_, side).tolist()]
        assert len(levels) > 3


def follow(messages: Subscription, books: MarketBooks, until: int) -> list[str]:
    """Fold what comes up to a topic sequence. Returns how it came."""
    kinds, reached = [], 0
    while reached < until:
        message = messages.receive(60)
        assert message, f"nothing comes any more, at {reached} of {until}"
        kinds.append(message.kind)
        books.apply(np.array(message.records))
        reached = message.first_seq + (len(message.records) if message.kind != "snapshot" else 0)
    return kinds


def test_orders_are_given_on_request_and_as_a_snapshot_and_what_follows(running: EngineProcess) -> None:
    with pytest.raises(SubscribeError, match="no such topic"):
        tickplant.fetch_book("binance", "BTCUSDT", address=running.address, orders=True)
    market = Orders(running.ids["BTCUSDT"])
    before, after = market.ticks(3000), market.ticks(2000)
    count = int((before["kind"] != Kind.TRADE).sum())
    running.publish(before)
    running.wait_for_counter("records", 3000)
    expect_fetched(running, folded(before))
    with tickplant.subscribe(TOPIC, address=running.address) as messages:
        books = MarketBooks()
        assert follow(messages, books, count)[0] == "snapshot"
        running.publish(after)
        assert set(follow(messages, books, count + int((after["kind"] != Kind.TRADE).sum()))) == {"live"}
    truth, id_ = folded(before, after), running.ids["BTCUSDT"]
    assert books.own_snapshot(id_)[["order_id", "price", "size"]].tolist() == (
        truth.own_snapshot(id_)[["order_id", "price", "size"]].tolist()
    )
    expect_fetched(running, truth)
    running.wait_for_counter("orders", truth.of_orders.alive)
    assert truth.counters["orders_unknown_cancel"] > 0
    running.wait_for_counter("orders_unknown_cancel", truth.counters["orders_unknown_cancel"])
    assert running.counters["orders_unknown_cancel"] == truth.counters["orders_unknown_cancel"]
    said = np.frombuffer(running.derived(Schema.BBO), BBO)
    assert len(said) > 100
    gap = make_gaps(id_, GapCause.SEQUENCE, flags=Flag.ON_ORDERS, ts_recv=int(after["ts_recv"][-1]))
    running.publish(gap)
    running.wait_for_counter("books_stale", 1)
    assert tickplant.fetch_book("binance", "BTCUSDT", address=running.address, orders=True).stale


def test_crossed_orders_are_resolved_where_the_feed_is_known_to_cross(tmp_path: Path) -> None:
    with engine(tmp_path, matching=("test",)) as running:
        market = Orders(running.ids["BTCUSDT"])
        ticks = market.ticks(2000)
        ticks["price"] += np.where(ticks["side"] == Side.BID, 6, -6)  # so that they often do
        running.publish(ticks)
        running.wait_for_counter("records", 2000)
        running.wait_for_counter("orders_matched", 10)
        said = np.frombuffer(running.derived(Schema.BBO), BBO)
        assert not (said["flags"] & Flag.CROSSED).any()
        book = tickplant.fetch_book("binance", "BTCUSDT", address=running.address)
        assert not book.bids or not book.asks or book.bids[0] < book.asks[0]
