"""Binance: trades, quotes, frames that are not recorded, the list of venues."""

from __future__ import annotations

import pytest
from binance_records import LEVEL_A, gaps, kinds, opened
from binance_tools import (
    Desk,
    agg_trade,
    diff,
    quote,
    snapshot,
    trade,
    wrapped,
)

from tickplant.errors import FeedError
from tickplant.feeds.contract import FeedContext
from tickplant.feeds.kit.shape_kernels import walk
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Flag, GapCause, Kind, Side
from tickplant.venues import VENUES, find_venue, warm_up

# Trades.


def test_a_trade_carries_the_aggressor_and_the_matching_time() -> None:
    desk = Desk()
    buy, sell = desk.feed(trade(1), trade(2, m=True), ts=99)
    assert (buy.side, sell.side) == (Side.BUY, Side.SELL)
    assert (buy.price, buy.size, buy.venue_seq, buy.flags) == (150_000_000, 200_000_000, 1, Flag.LAST)
    assert (buy.ts_event, buy.ts_recv) == (1_700_000_000_001_000_000, 99)


def test_an_aggregate_trade_has_its_own_ids_and_names_its_first_trade() -> None:
    desk = Desk()
    records = desk.feed(trade(700), agg_trade(20, 690), agg_trade(23, 697), ts=1)
    assert kinds(records) == [Kind.TRADE, Kind.TRADE, Kind.GAP, Kind.TRADE]
    assert (records[1].venue_seq, records[1].order_id) == (20, 690)
    assert records[1].flags == Flag.LAST | Flag.AGGREGATE
    assert gaps(records) == [(GapCause.SEQUENCE, 2, 20, 23, Flag.ON_TRADE | Flag.AGGREGATE)]


def test_missing_trades_are_counted_in_a_gap_before_the_next_one() -> None:
    desk = Desk()
    records = desk.feed(trade(10), trade(14))
    assert kinds(records) == [Kind.TRADE, Kind.GAP, Kind.TRADE]
    assert gaps(records) == [(GapCause.SEQUENCE, 3, 10, 14, Flag.ON_TRADE)]
    assert desk.adapter.counters.gaps == 1


def test_a_trade_seen_before_is_dropped_whatever_its_time_unit() -> None:
    desk = Desk()
    desk.feed(trade(10, time=1_788_264_000_120))
    assert desk.feed(trade(10, time=1_788_264_000_120_457)) == []
    assert desk.feed(trade(9, time=1_788_264_000_119)) == []
    assert desk.adapter.counters.duplicates == 2
    assert desk.adapter.counters.parsed == 3


def test_an_id_that_goes_back_while_time_goes_on_is_a_new_count() -> None:
    desk = Desk()
    desk.feed(trade(10_000, time=1_788_264_000_000))
    records = desk.feed(trade(5, time=1_788_264_002_000), trade(6, time=1_788_264_002_001))
    assert kinds(records) == [Kind.GAP, Kind.TRADE, Kind.TRADE]
    assert gaps(records) == [(GapCause.SEQUENCE, UNKNOWN, 10_000, 5, Flag.ON_TRADE)]


def test_a_futures_fill_off_the_book_is_no_trade_but_uses_up_its_id() -> None:
    desk = Desk(futures=True)
    frames = [trade(n, X=origin) for n, origin in enumerate(("MARKET", "ADL", "INSURANCE_FUND", "NA", "MARKET"))]
    records = desk.feed(*frames)
    assert [record.venue_seq for record in records] == [0, 4]
    assert desk.adapter.counters.parsed == 5


def test_a_trade_whose_value_does_not_fit_is_a_gap_at_once_and_before_the_next_one() -> None:
    desk = Desk(scale=2)
    assert gaps(desk.feed(trade(1, price="1.001"))) == [(GapCause.REJECTED, UNKNOWN, 0, 2, Flag.ON_TRADE)]
    assert desk.feed(trade(2, price="92233720368547758.08")) == []
    records = desk.feed(trade(3))
    assert gaps(records) == [(GapCause.REJECTED, 2, 0, 3, Flag.ON_TRADE)]
    assert [(reject.cause, reject.raw[:4]) for reject in desk.rejects] == [("scale", b'{"e"')] * 2
    assert [instrument.symbol for instrument in desk.instruments] == ["BNBBTC"]


# Quotes.


def test_a_quote_is_a_bid_and_an_ask() -> None:
    desk = Desk()
    bid, ask = desk.feed(quote(7), ts=3)
    assert (bid.side, bid.price, bid.size, bid.flags) == (Side.BID, 10**8, 3 * 10**8, Flag(0))
    assert (ask.side, ask.price, ask.size, ask.flags) == (Side.ASK, 2 * 10**8, 4 * 10**8, Flag.LAST)
    assert (bid.venue_seq, bid.ts_event, bid.ts_recv) == (7, 0, 3)


def test_an_empty_side_of_a_quote_has_no_price() -> None:
    desk = Desk()
    empty = quote(7, ask="0.00000000") | {"A": "0.00000000"}
    _, ask = desk.feed(empty)
    assert (ask.price, ask.size) == (NO_PRICE, 0)


def test_quotes_that_do_not_advance_are_duplicates() -> None:
    desk = Desk()
    desk.feed(quote(7), quote(8))
    assert desk.feed(quote(8), quote(7)) == []
    assert desk.adapter.counters.duplicates == 2


def test_rejected_quotes_show_as_a_gap_at_once_and_as_their_number_before_the_next_one() -> None:
    desk = Desk(scale=2)
    desk.feed(quote(7))
    assert gaps(desk.feed(quote(8, bid="1.001"))) == [(GapCause.REJECTED, UNKNOWN, 7, 9, Flag.ON_QUOTE)]
    assert desk.feed(quote(9, bid="1.001")) == []
    records = desk.feed(quote(12))
    assert gaps(records) == [(GapCause.REJECTED, 2, 7, 12, Flag.ON_QUOTE)]
    assert gaps(desk.feed(quote(13))) == []


# Frames that are not recorded.


def test_a_frame_that_cannot_be_read_is_kept_counted_and_shown_as_a_gap_of_the_feed() -> None:
    desk = opened()
    records = desk.feed(trade(1), b'{"e":"trade","s":"BN', trade(2), ts=8)
    assert kinds(records) == [Kind.TRADE, Kind.GAP, Kind.TRADE]
    assert (records[1].symbol, records[1].price, records[1].size) == ("*", GapCause.REJECTED, UNKNOWN)
    (reject,) = desk.rejects
    assert (reject.cause, reject.raw, reject.ts_recv_ns) == ("not json", b'{"e":"trade","s":"BN', 8)


def test_only_the_first_frames_of_each_cause_are_kept_but_all_are_counted() -> None:
    desk = opened(rejects_kept=3)
    desk.feed(*[b"{"] * 10, *[b"{}"] * 2)
    assert [reject.cause for reject in desk.rejects] == ["not json"] * 3 + ["unknown message"] * 2
    assert desk.adapter.counters.rejected == 12


def test_messages_of_other_kinds_are_ignored_and_counted() -> None:
    desk = opened()
    assert (
        desk.feed({"e": "24hrTicker", "s": "BNBBTC"}, wrapped("bnbbtc@new", {"x": 1}), {"result": None, "id": 99}) == []
    )
    counters = desk.adapter.counters
    assert (counters.ignored, counters.frames, counters.rejected) == (3, 3, 0)


def test_the_counters_add_up() -> None:
    desk = opened()
    desk.feed(trade(1), trade(1), quote(1), b"", b"nonsense", diff(1, 2, LEVEL_A), {"e": "24hrTicker"}, trade(9))
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected == 8
    assert counters.kinds == {"trade": 2, "quote": 2, "status": 1, "gap": 3}
    assert counters.ticks == 8


def test_what_belongs_to_no_connection_or_instrument_of_the_feed_does_nothing() -> None:
    desk = opened()
    desk.actions.clear()
    assert desk.open("nobody") == desk.close("nobody") == []
    assert desk.rest(snapshot(5), symbol="NOBODY") == []
    desk.close()
    assert desk.close() == []
    assert desk.actions == []


def test_a_snapshot_for_a_live_book_is_ignored_and_counted() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A))
    desk.rest(snapshot(12, LEVEL_A))
    assert desk.rest(snapshot(12, LEVEL_A)) == []
    assert desk.adapter.counters.ignored == 1


# The list of venues.


def test_every_venue_makes_an_adapter_of_its_name() -> None:
    for name, venue in VENUES.items():
        adapter = venue.make_adapter(FeedContext(symbols=None, channels=("trade",), resolve=Desk().resolve))
        assert adapter.venue == name
        assert all(address.startswith(("wss://", "https://", "tcp://")) for address in venue.endpoints.values())


def test_a_warmed_up_venue_compiles_nothing_more() -> None:
    warm_up()
    before = len(getattr(walk, "signatures", ()))
    desk = opened()
    desk.feed(trade(1), quote(1), diff(10, 12, LEVEL_A))
    desk.rest(snapshot(12, LEVEL_A))
    assert len(getattr(walk, "signatures", ())) == before


def test_an_unknown_venue_without_a_likely_one_is_answered_with_the_list() -> None:
    with pytest.raises(FeedError, match="choose from binance, binance-usdm"):
        find_venue("nasdaq")


def test_an_unknown_venue_is_named_with_the_likely_one() -> None:
    with pytest.raises(FeedError, match="unknown venue binanse; did you mean binance"):
        find_venue("binanse")
