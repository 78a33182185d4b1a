"""Kraken's books of orders and bars in talk with its simulated self; the suite itself has its books by level.

A feed with a key asks for a token first. While messages are lost, spoilt and connections break, each checksum that the
records hold agrees with their fold, and the books end as the venue's.
"""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from session_records import gaps, status
from venue_sample import VenueSample
from venue_samples import SAMPLES
from venue_session import VenueSession

from tickplant.books.order_books import OrderBooks
from tickplant.feeds.kit.order_ids import order_id
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode
from tickplant.sim.dialects.kraken.printer import KrakenPrinter
from tickplant.sim.order_flow import ASK, BID

CHANNELS = ("trade", "orders", "venue_bar")


def sample(depth: int) -> VenueSample:
    secrets = {"key": "a-key-that-is-good", "secret": "c2VjcmV0"}
    return msgspec.structs.replace(SAMPLES["kraken"], channels=CHANNELS, secrets=secrets, depth=depth)


def venue_orders(session: VenueSession, row: Instrument, depth: int) -> dict[Side, list[tuple[int, int, int]]]:
    """Id, price and size of the orders of the best levels, at the scales of an instrument, in price-time priority."""
    printer, index = session.source.printer, session.source.index[row.symbol]
    assert isinstance(printer, KrakenPrinter)
    queues = printer.requested._queues[index]
    price_step, price_digits, size_step, size_digits = printer.decimals[index].tolist()
    price, size = price_step * 10 ** (row.price_scale - price_digits), size_step * 10 ** (row.size_scale - size_digits)
    return {
        side: [
            (order_id(ident), tick * price, lots * size)
            for tick in queues.best(place, depth)
            for ident, lots in queues.levels[place][tick].items()
        ]
        for place, side in ((BID, Side.BID), (ASK, Side.ASK))
    }


@pytest.mark.parametrize("depth", [10, pytest.param(100, marks=pytest.mark.long)])
def test_books_of_orders_follow_the_venue_through_trouble(depth: int) -> None:
    chance = random.Random(3)
    kraken = sample(depth)
    with VenueSession(kraken, seed=3, depth=depth, channels=CHANNELS, messages_per_s=100.0) as session:
        session.run(1.5)
        for deed in ("drop", "corrupt", "duplicate", "cut", "drop", "cut"):
            if deed == "cut":
                session.disconnect()
            else:
                session.fault(deed, stream="*@level3-*", count=chance.randint(1, 5))
            session.run(0.7)
        counters = session.feed.adapter.counters
        assert counters.checksums_ok > 50 and counters.checksums_failed
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run(0.5)
        for symbol in kraken.symbols:
            mine = session.feed.of(symbol)
            assert len(status(mine, StatusCode.DISCONNECTED)) >= 2
            assert (mine["kind"] == Kind.VENUE_BAR).sum() > 2
            row = session.feed.table.known(symbol)
            assert row is not None
            books = OrderBooks()
            books.apply(mine)
            assert not books.is_stale(row.id)
            for side, expected in venue_orders(session, row, depth).items():
                assert books.orders(row.id, side)[["order_id", "price", "size"]].tolist() == expected
        assert GapCause.CHECKSUM in gaps(session.feed.records, Flag.ON_ORDERS)["price"]
        assert len(status(session.feed.records, StatusCode.RESYNC))


def test_a_key_that_the_venue_does_not_know_ends_the_feed() -> None:
    kraken = msgspec.structs.replace(sample(10), secrets={"key": "another", "secret": "c2VjcmV0"})
    with pytest.raises(AssertionError, match="Invalid key"), VenueSession(kraken, channels=CHANNELS) as session:
        session.run(1.0)


def test_a_bar_comes_with_each_trade_and_is_over_when_the_next_begins() -> None:
    with VenueSession(sample(10), channels=("trade", "venue_bar"), messages_per_s=20.0) as session:
        session.run(65.0, step_ms=100)
        mine = session.feed.of("BTC/USD")
    bars = mine[mine["kind"] == Kind.VENUE_BAR]
    over = bars[bars["flags"] & Flag.PARTIAL == 0]
    assert len(np.unique(bars["venue_seq"])) == 2
    assert len(np.unique(over["venue_seq"])) == 1
    assert bars["size"].max() > 0
