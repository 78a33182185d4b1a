"""Binance: instruments, connections, subscriptions, interruptions, captures."""

from __future__ import annotations

import json

import pytest
from binance_records import LEVEL_A, URL, acknowledged, gaps, kinds, opened, statuses
from binance_tools import (
    SECOND,
    Desk,
    diff,
    quote,
    snapshot,
    trade,
    wrapped,
)
from folded_book import FoldedBook

from tickplant.errors import FeedError
from tickplant.feeds.contract import Resubscribe
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, StatusCode

# Instruments.


def test_scales_come_from_the_instrument_data() -> None:
    desk = Desk(("BTCUSDT",), futures=True)
    (request,) = desk.start()
    assert desk.links == []
    symbols = [{"symbol": "BTCUSDT", "pricePrecision": 2, "quantityPrecision": 3, "quotePrecision": 8}]
    desk.answer(request, 200, json.dumps({"symbols": symbols}).encode(), 0)
    (instrument,) = desk.instruments
    assert (instrument.price_scale, instrument.size_scale) == (2, 3)
    assert [connection.name for connection in desk.links] == ["market", "public"]


def test_a_symbol_that_the_venue_lacks_is_named_with_the_likely_one() -> None:
    desk = Desk(("BNBBTC", "bnbusdt"))
    (request,) = desk.start()
    body = json.dumps({"symbols": [{"symbol": "BNBBTC"}, {"symbol": "BNBUSDT"}]}).encode()
    with pytest.raises(FeedError, match="unknown symbol bnbusdt; did you mean BNBUSDT?"):
        desk.answer(request, 200, body, 0)


def test_instrument_data_that_is_none_is_a_clear_error_and_an_unreachable_venue_is_asked_again() -> None:
    desk = Desk(("BNBBTC",))
    (request,) = desk.start()
    desk.answer(request, 503, b"", 7 * SECOND, retry_after_s=9.0)
    (again,) = desk.take_requests()
    assert (again.key, again.not_before_ns) == (request.key, 16 * SECOND)
    with pytest.raises(FeedError, match="is not instrument data"):
        desk.answer(request, 200, b"<html>", 0)


def test_instrument_data_in_a_recording_gives_the_scales_of_what_follows() -> None:
    desk = Desk()
    info = {"symbols": [{"symbol": "BNBBTC", "quotePrecision": 3, "baseAssetPrecision": 2, "more": [1]}]}
    desk.recorded(info)
    (record,) = desk.recorded(trade(1, price="1.5", size="2"))
    assert (record.price, record.size) == (1500, 200)
    assert desk.adapter.counters.ignored == 1


def test_without_configured_symbols_every_symbol_is_registered_once_and_the_feeds_own_never() -> None:
    desk = Desk()
    desk.recorded(trade(1, symbol="AAA"))
    desk.recorded(quote(1, symbol="测试USDT"))
    desk.recorded(trade(2, symbol="AAA"))
    assert [instrument.symbol for instrument in desk.instruments] == ["AAA", "测试USDT"]


def test_a_symbol_that_was_not_configured_is_ignored_and_counted() -> None:
    desk = opened("BNBBTC")
    assert desk.feed(trade(1, symbol="ETHBTC")) == []
    assert desk.adapter.counters.ignored == 1


def test_a_name_that_cannot_be_a_symbol_is_rejected() -> None:
    desk = Desk()
    desk.recorded(trade(1, symbol="*"))
    desk.recorded(trade(1, symbol="x" * 65))
    assert [reject.cause for reject in desk.rejects] == ["value", "value"]


def test_many_instruments_keep_apart() -> None:
    desk, many = Desk(), 300
    for ident in (1, 2):
        records = desk.feed(*(trade(ident, symbol=f"S{n}USDT") for n in range(many)))
        assert [record.symbol for record in records] == [f"S{n}USDT" for n in range(many)]
    assert desk.adapter.counters.gaps == 0
    assert desk.adapter.counters.fallbacks == many


# Connections and subscriptions.


def test_each_address_is_one_connection_and_an_override_puts_everything_on_one() -> None:
    spot = Desk(("BNBBTC",))
    spot.bootstrap()
    (connection,) = spot.links
    assert connection.url == "wss://stream.binance.com:9443/stream?timeUnit=MICROSECOND"
    assert connection.send_interval_s >= 0.2
    futures = Desk(("BTCUSDT",), futures=True)
    futures.bootstrap()
    urls = {connection.name: connection.url for connection in futures.links}
    assert urls == {
        "market": "wss://fstream.binance.com/market/stream",
        "public": "wss://fstream.binance.com/public/stream",
    }
    simulated = Desk(("BTCUSDT",), futures=True, ws_url="ws://127.0.0.1:9999/")
    simulated.bootstrap()
    assert [connection.url for connection in simulated.links] == ["ws://127.0.0.1:9999/stream"]


def test_subscriptions_go_out_in_requests_and_connections_of_bounded_size() -> None:
    desk = Desk([f"S{n}" for n in range(1000)], ws_url=URL, channels=("trade", "book"))
    desk.bootstrap()
    names = [connection.name for connection in desk.links]
    assert names == ["stream", "stream-2"]
    subscribed = []
    for name in names:
        desk.open(name)
        requests = [json.loads(action.payload) for action in desk.actions if action.link == name]
        streams = [stream for request in requests for stream in request["params"]]
        assert len(streams) <= 1024
        assert all(len(request["params"]) <= 200 and request["method"] == "SUBSCRIBE" for request in requests)
        subscribed += streams
    assert sorted(subscribed) == sorted(f"s{n}@{kind}" for n in range(1000) for kind in ("trade", "depth@100ms"))
    assert len({json.loads(action.payload)["id"] for action in desk.actions}) == len(desk.actions)


def test_a_first_connection_says_connected_and_nothing_about_instruments() -> None:
    desk = Desk(("BNBBTC",), ws_url=URL)
    desk.bootstrap()
    records = desk.open(ts=5)
    assert statuses(records) == [("*", StatusCode.CONNECTED)]
    assert records[0].flags == Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK | Flag.LAST
    assert gaps(desk.feed(trade(500), quote(500))) == []


def test_a_refused_subscription_is_recorded_counted_and_kept() -> None:
    desk = opened()
    ident = json.loads(desk.actions[0].payload)["id"]
    records = desk.feed({"code": 2, "msg": "Invalid request", "id": ident})
    assert statuses(records) == [("*", StatusCode.SUBSCRIPTION_REFUSED)]
    assert desk.adapter.counters.refused == 1
    (reject,) = desk.rejects
    assert (reject.cause, reject.raw[:8]) == ("subscription refused", b'{"code":')
    assert "bnbbtc@trade" in reject.detail
    assert desk.timer(100 * SECOND) == []
    assert not any(isinstance(action, Resubscribe) for action in desk.actions)


def test_an_unanswered_subscription_replaces_the_connection_once() -> None:
    desk = opened()
    desk.timer(9 * SECOND)
    assert not any(isinstance(action, Resubscribe) for action in desk.actions)
    for now in (11, 12, 13):
        desk.timer(now * SECOND)
    (reconnect,) = [action for action in desk.actions if isinstance(action, Resubscribe)]
    assert "no answer" in reconnect.reason


def test_an_acknowledged_but_silent_book_is_recorded_and_the_connection_replaced_with_overlap() -> None:
    desk = opened(silent_s=60.0)
    acknowledged(desk)
    desk.feed(quote(1), ts=1)
    assert desk.timer(59 * SECOND) == []
    records = desk.timer(60 * SECOND)
    assert statuses(records) == [("BNBBTC", StatusCode.SUBSCRIPTION_SILENT)]
    assert records[0].flags & Flag.ON_BOOK
    (reconnect,) = desk.actions
    assert reconnect == Resubscribe("stream", "acknowledged but silent: bnbbtc@depth@100ms", overlap=True)


def test_silent_trades_are_no_failure() -> None:
    desk = opened(silent_s=60.0)
    acknowledged(desk)
    desk.feed(quote(1), diff(1, 1, LEVEL_A), ts=1)
    assert desk.timer(1000 * SECOND) == []
    assert desk.actions == []


def test_a_symbol_that_stays_silent_is_given_ever_more_time() -> None:
    desk = opened(silent_s=60.0)
    now, waits = 0, []
    for _ in range(3):
        acknowledged(desk, ts=now)
        started = now
        while not any(isinstance(action, Resubscribe) for action in desk.actions):
            now += SECOND
            desk.timer(now)
        waits.append((now - started) // SECOND)
        desk.actions.clear()
        desk.open(ts=now)
        desk.close(ts=now)
    assert waits == [60, 120, 240]


def test_a_shutdown_notice_is_recorded_and_answered_with_a_replacement() -> None:
    desk = opened()
    desk.actions.clear()
    records = desk.feed(wrapped("!serverShutdown", {"e": "serverShutdown", "E": 1_788_264_005_000}))
    assert statuses(records) == [("*", StatusCode.SHUTDOWN_NOTICE)]
    assert records[0].ts_event == 1_788_264_005_000_000_000
    desk.feed({"e": "serverShutdown", "E": 1_788_264_005_000})
    assert desk.actions == [Resubscribe("stream", "the venue is shutting it down", overlap=True)]


# Interruptions.


def test_after_a_reconnect_every_stream_says_what_is_missing() -> None:
    desk = opened()
    desk.feed(trade(10), quote(10), diff(10, 12, LEVEL_A))
    desk.rest(snapshot(12, LEVEL_A))
    records = desk.close(ts=5)
    assert statuses(records) == [("BNBBTC", StatusCode.DISCONNECTED)]
    assert kinds(records) == [Kind.STATUS]
    assert records[0].flags == Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK | Flag.LAST
    assert statuses(desk.open(ts=6)) == [("*", StatusCode.CONNECTED)]
    assert gaps(desk.feed(trade(13), trade(14))) == [(GapCause.DISCONNECT, 2, 10, 13, Flag.ON_TRADE)]
    assert gaps(desk.feed(quote(19), quote(20))) == [(GapCause.DISCONNECT, UNKNOWN, 10, 19, Flag.ON_QUOTE)]
    assert statuses(desk.feed(diff(40, 42, LEVEL_A))) == [("BNBBTC", StatusCode.RESYNC)]
    records = desk.rest(snapshot(42, LEVEL_A))
    assert kinds(records) == [Kind.LEVEL, Kind.GAP, Kind.CLEAR, Kind.LEVEL]
    assert gaps(records) == [(GapCause.DISCONNECT, UNKNOWN, 12, 42, Flag.ON_BOOK)]
    assert desk.adapter.counters.gaps == 3
    assert desk.adapter.counters.resyncs == 1


def test_a_reconnect_without_missing_trades_leaves_no_gap() -> None:
    desk = opened()
    desk.feed(trade(10))
    desk.close()
    desk.open()
    assert kinds(desk.feed(trade(10), trade(11))) == [Kind.TRADE]


def test_quotes_that_start_a_new_count_after_a_reconnect_are_recorded() -> None:
    desk = opened()
    desk.feed(quote(1000))
    desk.close()
    desk.open()
    assert desk.feed(quote(1000)) == []
    records = desk.feed(quote(5), quote(6))
    assert gaps(records) == [(GapCause.DISCONNECT, UNKNOWN, 1000, 5, Flag.ON_QUOTE)]
    assert kinds(records) == [Kind.GAP] + [Kind.QUOTE] * 4


def test_what_is_held_when_the_connection_is_lost_is_recorded_before_it_says_so() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A), ts=3)
    assert kinds(desk.close(ts=5)) == [Kind.LEVEL, Kind.STATUS]


def test_two_overlapping_connections_record_everything_once() -> None:
    desk = opened()
    desk.feed(trade(1), quote(1), diff(10, 12, LEVEL_A))
    desk.rest(snapshot(12, LEVEL_A))
    assert statuses(desk.open(ts=7)) == [("*", StatusCode.CONNECTED)]
    frames = [trade(2), quote(2), diff(13, 14, LEVEL_A)]
    assert len(desk.feed(*frames)) == 4
    assert desk.feed(*frames) == []
    assert desk.adapter.counters.duplicates == 3
    assert statuses(desk.close(ts=8)) == [("*", StatusCode.HANDOVER)]
    records = desk.feed(trade(3), quote(3), diff(15, 16, LEVEL_A))
    assert kinds(records) == [Kind.TRADE, Kind.QUOTE, Kind.QUOTE, Kind.LEVEL]
    assert desk.adapter.counters.gaps == 0


def test_overlapping_futures_connections_may_cut_their_diffs_at_different_ids() -> None:
    desk = opened("BTCUSDT", futures=True)
    desk.feed(diff(5, 10, LEVEL_A, symbol="BTCUSDT", previous=4))
    desk.rest(snapshot(10, LEVEL_A), symbol="BTCUSDT")
    desk.feed(diff(11, 20, LEVEL_A, symbol="BTCUSDT", previous=10))
    desk.open()
    straddling = diff(16, 25, LEVEL_A, symbol="BTCUSDT", previous=15)
    assert kinds(desk.feed(straddling)) == [Kind.LEVEL]
    desk.close()
    assert kinds(desk.feed(diff(22, 30, LEVEL_A, symbol="BTCUSDT", previous=21)))[0] == Kind.GAP


def test_a_lost_connection_that_carries_no_book_makes_no_book_stale() -> None:
    desk = Desk(("BTCUSDT",), futures=True)
    desk.bootstrap()
    for name in ("public", "market"):
        desk.open(name)
    book = FoldedBook("BTCUSDT")
    desk.feed(diff(5, 10, LEVEL_A, symbol="BTCUSDT", previous=4), name="public")
    book.apply(desk.rest(snapshot(10, LEVEL_A), symbol="BTCUSDT"))
    desk.feed(trade(1, symbol="BTCUSDT"), name="market")
    records = desk.close("market")
    book.apply(records)
    assert book.live
    assert statuses(records) == [("BTCUSDT", StatusCode.DISCONNECTED)]
    assert records[0].flags == Flag.ON_TRADE | Flag.LAST
    records = desk.close("public")
    book.apply(records)
    assert not book.live
    assert statuses(records) == [("BTCUSDT", StatusCode.DISCONNECTED)]


def test_a_lost_connection_that_carries_some_of_the_books_makes_those_stale_at_once() -> None:
    symbols = [f"S{n}" for n in range(1025)]
    desk = Desk(symbols, ws_url=URL, channels=("book",))
    desk.bootstrap()
    books = {symbol: FoldedBook(symbol) for symbol in ("S0", "S1024")}
    for name, symbol in (("stream", "S0"), ("stream-2", "S1024")):
        desk.open(name)
        desk.feed(diff(10, 12, LEVEL_A, symbol=symbol), name=name)
        books[symbol].apply(desk.rest(snapshot(12, LEVEL_A), symbol=symbol))
    records = desk.close("stream-2")
    for book in books.values():
        book.apply(records)
    assert (books["S0"].live, books["S1024"].live) == (True, False)
    assert kinds(records) == [Kind.STATUS]
    assert statuses(records) == [("S1024", StatusCode.DISCONNECTED)]
    desk.open("stream-2")
    desk.feed(diff(20, 22, LEVEL_A, symbol="S1024"), name="stream-2")
    assert gaps(desk.rest(snapshot(22, LEVEL_A), symbol="S1024")) == [
        (GapCause.DISCONNECT, UNKNOWN, 12, 22, Flag.ON_BOOK)
    ]


# Captures.


def test_a_link_that_closed_in_a_capture_interrupts_the_streams_that_its_name_says() -> None:
    desk = Desk(futures=True, live=False)
    for name in ("public", "market"):
        desk.open(name)
    desk.feed(trade(1, symbol="BTCUSDT"), name="market")
    desk.feed(quote(5, symbol="BTCUSDT") | {"T": 7}, name="public")
    records = desk.close("public", ts=9)
    (lost,) = [record for record in records if record.kind is Kind.STATUS]
    assert (lost.symbol, lost.price) == ("BTCUSDT", StatusCode.DISCONNECTED)
    assert lost.flags == Flag.ON_QUOTE | Flag.ON_BOOK | Flag.LAST
    assert gaps(desk.feed(trade(2, symbol="BTCUSDT"), name="market")) == []
    desk.open("public")
    assert gaps(desk.feed(quote(9, symbol="BTCUSDT"), name="public")) == [
        (GapCause.DISCONNECT, UNKNOWN, 5, 9, Flag.ON_QUOTE)
    ]


def test_a_capture_that_begins_while_a_link_is_open_tells_of_its_end() -> None:
    desk = Desk(live=False)
    desk.feed(trade(1), quote(1))
    assert statuses(desk.close("stream", ts=9)) == [("BNBBTC", StatusCode.DISCONNECTED)]
    assert desk.actions == []
