"""Records of channels without ids: numbers of the venue, its bars, liquidations."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.checksums import ALGORITHMS
from tickplant.feeds.contract import FeedContext
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.venues.kraken.shapes import SHAPES
from tickplant.instruments import Instrument
from tickplant.records.channel_masks import tick_channels
from tickplant.records.channels import TICK_CHANNELS
from tickplant.records.flag_names import flag_names
from tickplant.records.layouts import NO_PRICE, TICK, Flag, GapCause, Kind, Schema, Side, TradeFlag
from tickplant.records.statistics import StatisticCode, value_of
from tickplant.records.venue_bars import venue_bars


def _resolve(symbol: str, price_scale: int | None, size_scale: int | None, *, exact: bool = False) -> Instrument:
    return Instrument(id=7 if symbol == "A" else 1, venue="v", symbol=symbol, price_scale=2, size_scale=3)


def _market() -> Market:
    context = FeedContext(symbols=None, channels=("statistic", "venue_bar", "liquidation"), resolve=_resolve)
    return Market(context, Shapes(SHAPES), lambda _: CheckedBook(ALGORITHMS["kraken"]), lambda _: None)


@pytest.fixture
def market() -> Market:
    return _market()


def test_a_statistic_keeps_every_digit(market: Market) -> None:
    listing = market.listings.add("A")
    numbers = {StatisticCode.MARK_PRICE: "62011.23456789", StatisticCode.FUNDING_RATE: "-0.00010000"}
    market.others.on_statistics(listing, numbers, 5, 6, at_ns=9)
    ticks = market.batch.take()
    assert [value_of(tick) for tick in ticks] == [Decimal("62011.23456789"), Decimal("-0.00010000")]
    assert ticks["order_id"].tolist() == list(numbers)
    assert ticks["venue_seq"].tolist() == [9, 9]
    assert (ticks["flags"] & Flag.LAST).tolist() == [0, 1]


@pytest.mark.parametrize("text", ["", "x", "NaN", "1" * 40])
def test_what_is_no_number_is_rejected_whole(market: Market, text: str) -> None:
    listing = market.listings.add("A")
    with pytest.raises(RejectError):
        market.others.on_statistics(listing, {StatisticCode.DELTA: "1", StatisticCode.GAMMA: text}, 0, 0)
    assert len(market.batch.take()) == 0


def test_a_bar_is_read_back_as_it_was_sent(market: Market) -> None:
    listing = market.listings.add("A")
    minute = 60_000_000_000
    market.others.on_bar(listing, Ohlc(minute, 2 * minute, "1.00", "2.5", "0.99", "2.00", "17.125", "1.5", 12), 3)
    market.others.on_bar(listing, Ohlc(2 * minute, 3 * minute, "2", "2", "2", "2", "0", closed=False), 4)
    ticks = market.batch.take().copy()
    assert (ticks["flags"] & Flag.LAST != 0).tolist() == [False] * 4 + [True] + [False] * 3 + [True]
    first, second = venue_bars(ticks)
    names = ("ts_event", "ts_open", "open", "high", "low", "close", "volume", "vwap", "trades", "interval_s", "flags")
    assert [int(first[name]) for name in names] == [*(2 * minute, minute, 100, 250, 99, 200, 17125, 150, 12, 60, 0)]
    assert (int(second["vwap"]), int(second["flags"])) == (NO_PRICE, Flag.PARTIAL)
    assert len(venue_bars(ticks[1:])) == 1
    assert len(venue_bars(ticks[:3])) == len(venue_bars(ticks[:0])) == 0


_TOO_LATE = st.integers(2**63, 2**80)


@given(end_ns=_TOO_LATE, start_ns=st.integers(0, 2**80))
@settings(max_examples=50)
def test_a_bar_whose_times_do_not_fit_is_rejected(end_ns: int, start_ns: int) -> None:
    market = _market()
    with pytest.raises(RejectError):
        market.others.on_bar(market.listings.add("A"), Ohlc(start_ns, end_ns, "1", "1", "1", "1", "1"), 3)
    assert len(market.batch.take()) == 0


@given(time_ns=_TOO_LATE | st.integers(-(2**80), -1))
@settings(max_examples=50)
def test_numbers_and_liquidations_whose_times_do_not_fit_are_rejected(time_ns: int) -> None:
    market = _market()
    others, listing, numbers = market.others, market.listings.add("A"), {StatisticCode.DELTA: "1"}
    with pytest.raises(RejectError):
        others.on_statistics(listing, numbers, time_ns, 3)
    with pytest.raises(RejectError):
        others.on_statistics(listing, numbers, 1, 3, at_ns=time_ns)
    with pytest.raises(RejectError):
        others.on_liquidation(listing, "1", "1", Side.BUY, time_ns, 3)
    assert len(market.batch.take()) == 0


def test_an_interruption_is_a_gap_when_the_channel_goes_on(market: Market) -> None:
    listing = market.listings.add("A")
    market.interrupt(listing, "liquidation", 1)
    market.others.on_liquidation(listing, "1.5", "2", Side.SELL, 1, 2)
    market.interrupt(listing, "liquidation", 3)
    market.others.on_liquidation(listing, "1.5", "2", Side.SELL, 4, 5)
    ticks = market.batch.take()
    assert ticks["kind"].tolist() == [Kind.LIQUIDATION, Kind.GAP, Kind.LIQUIDATION]
    assert (int(ticks[1]["price"]), int(ticks[1]["flags"])) == (GapCause.DISCONNECT, Flag.ON_OTHER | Flag.LAST)


@pytest.mark.kernels
def test_a_gap_goes_to_the_channels_that_have_carried_something() -> None:
    ticks = np.zeros(6, TICK)
    ticks["kind"] = [Kind.VENUE_BAR, Kind.GAP, Kind.STATISTIC, Kind.GAP, Kind.GAP, Kind.GAP]
    ticks["flags"][[1, 3, 4, 5]] = Flag.ON_OTHER
    ticks["flags"][4] |= Flag.PARTIAL
    ticks["instrument"][5] = 1
    masks = np.zeros(6, np.uint32)
    tick_channels(ticks, masks, np.zeros(2, np.uint32))
    named = [{name for bit, name in enumerate(TICK_CHANNELS) if mask >> bit & 1} for mask in masks.tolist()]
    assert named == [
        *({"venue_bar"}, {"venue_bar"}, {"statistic"}, {"venue_bar", "statistic"}),
        *({"book"}, {"venue_bar", "statistic", "liquidation"}),
    ]


def test_an_instrument_has_books_of_one_kind(market: Market) -> None:
    assert not market.streams & Flag.ON_ORDERS and market.streams & Flag.ON_BOOK
    market.book_channel = "orders"
    assert not market.streams & Flag.ON_BOOK and market.streams & Flag.ON_ORDERS


def test_the_gap_of_a_partial_book_goes_where_that_is_published(market: Market) -> None:
    listing = market.listings.add("A")
    market.others.on_partial_book(listing, np.zeros((0, 8), np.int64), 1)
    market.interrupt(listing, "partial_book", 1)
    market.go_on(listing, "partial_book", 2)
    market.rejects.add(RejectError("value", "x"), listing, "partial_book", 3)
    assert market.batch.take()["flags"].tolist() == [Flag.ON_OTHER | Flag.PARTIAL | Flag.LAST] * 2


def test_each_kind_goes_to_its_own_channel() -> None:
    ticks = np.zeros(8, TICK)
    ticks["kind"] = [12, 13, 14, Kind.ORDER_ADD, Kind.ORDER_FILL, Kind.CLEAR, Kind.CLEAR, Kind.GAP]
    ticks["flags"][5], ticks["flags"][7] = Flag.ON_ORDERS, Flag.ON_ORDERS | Flag.ON_OTHER
    masks = np.zeros(8, np.uint32)
    tick_channels(ticks, masks, np.zeros(1, np.uint32))
    named = [{name for bit, name in enumerate(TICK_CHANNELS) if mask >> bit & 1} for mask in masks.tolist()]
    others = {"statistic", "venue_bar", "liquidation"}
    assert named == [
        *({"statistic"}, {"venue_bar"}, {"liquidation"}, {"orders"}, {"orders"}, {"orders"}, {"book"}),
        others | {"orders"},
    ]


def test_flags_are_named_by_the_kind_that_has_them() -> None:
    bits = int(TradeFlag.CANCELLED | Flag.LAST)
    assert flag_names(bits, Kind.TRADE) == ["last", "cancelled"]
    assert flag_names(bits) == ["last", "crossed"]
    assert flag_names(bits, schema=Schema.TRADE_BAR) == ["last", "cancelled"]
