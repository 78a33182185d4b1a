"""The adapter's behaviour: instruments, subscriptions, gaps, duplicates, reconnects, watchdogs, snapshots, rejects."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from binance_tools import (
    SECOND,
    Desk,
    Record,
    agg_trade,
    diff,
    quote,
    snapshot,
    trade,
    wrapped,
)
from folded_book import FoldedBook

from tickplant.errors import FeedError
from tickplant.feeds.contract import FeedContext, Resubscribe, Send
from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.shape_kernels import walk
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Flag, GapCause, Kind, Side, StatusCode
from tickplant.venues import VENUES, find_venue, warm_up

LEVEL_A = [("1.00", "2")]
URL = "ws://venue"


def opened(*symbols: str, **options) -> Desk:
    desk = Desk(symbols or ("BNBBTC",), ws_url=URL, **options)
    desk.bootstrap()
    desk.open()
    return desk


def acknowledged(desk: Desk, ts: int = 0) -> None:
    for action in desk.actions:
        if isinstance(action, Send):
            desk.feed({"result": None, "id": json.loads(action.payload)["id"]}, ts=ts)
    desk.actions.clear()


def kinds(records: list[Record]) -> list[Kind]:
    return [record.kind for record in records]


def gaps(records: list[Record]) -> list[tuple]:
    return [
        (GapCause(r.price), r.size, r.order_id, r.venue_seq, r.flags & ~Flag.LAST)
        for r in records
        if r.kind == Kind.GAP
    ]


def statuses(records: list[Record]) -> list[tuple[str, StatusCode]]:
    return [(record.symbol, StatusCode(record.price)) for record in records if record.kind == Kind.STATUS]


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
    with pytest.raises(FeedError, match="there is no symbol bnbusdt; did you mean BNBUSDT?"):
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


# Books.


def test_a_book_starts_with_held_diffs_then_the_snapshot() -> None:
    desk = opened()
    assert desk.feed(diff(10, 12, [("1", "5")]), ts=100) == []
    (request,) = desk.requests
    assert request.key == "depth BNBBTC"
    assert request.path == "/api/v3/depth?symbol=BNBBTC&limit=5000"
    assert desk.feed(diff(13, 15, [("2", "6")], [("3", "1")]), ts=200) == []
    records = desk.rest(snapshot(12, [("1", "5")], [("4", "1")]), ts=300)
    assert kinds(records) == [Kind.LEVEL, Kind.CLEAR, Kind.LEVEL, Kind.LEVEL, Kind.LEVEL, Kind.LEVEL]
    assert [record.ts_recv for record in records] == [100, 300, 300, 300, 200, 200]
    assert [record.venue_seq for record in records] == [12, 12, 12, 12, 15, 15]
    snap = Flag.SNAPSHOT
    assert [r.flags for r in records] == [Flag.LAST, snap, snap, snap | Flag.LAST, Flag(0), Flag.LAST]
    assert [record.side for record in records[4:]] == [Side.BID, Side.ASK]
    assert desk.adapter.counters.resyncs == 0


def test_a_snapshot_that_is_empty_is_one_record() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A))
    records = desk.rest(snapshot(-1))
    assert kinds(records) == [Kind.CLEAR, Kind.LEVEL]
    assert (records[0].flags, records[0].venue_seq) == (Flag.SNAPSHOT | Flag.LAST, 0)


def test_a_diff_without_levels_moves_the_book_and_leaves_no_record() -> None:
    desk = opened()
    desk.feed(diff(10, 12))
    desk.rest(snapshot(12))
    assert desk.feed(diff(13, 15)) == []
    assert kinds(desk.feed(diff(16, 16, LEVEL_A))) == [Kind.LEVEL]
    assert desk.adapter.counters.gaps == 0
    assert desk.adapter.counters.parsed == 4


def test_a_gap_resyncs_its_own_book_while_the_others_run_on() -> None:
    desk = opened("BNBBTC", "ETHBTC")
    for symbol in ("BNBBTC", "ETHBTC"):
        desk.feed(diff(10, 12, LEVEL_A, symbol=symbol))
        desk.rest(snapshot(12, LEVEL_A), symbol=symbol)
    desk.requests.clear()
    records = desk.feed(diff(15, 16, LEVEL_A), diff(13, 14, LEVEL_A, symbol="ETHBTC"), ts=50)
    assert [(record.kind, record.symbol) for record in records] == [
        (Kind.GAP, "BNBBTC"),
        (Kind.STATUS, "BNBBTC"),
        (Kind.LEVEL, "ETHBTC"),
    ]
    assert gaps(records) == [(GapCause.SEQUENCE, 2, 12, 15, Flag.ON_BOOK)]
    assert statuses(records) == [("BNBBTC", StatusCode.RESYNC)]
    assert [request.key for request in desk.requests] == ["depth BNBBTC"]
    records = desk.rest(snapshot(16, LEVEL_A))
    assert kinds(records) == [Kind.LEVEL, Kind.CLEAR, Kind.LEVEL]
    assert desk.adapter.counters.resyncs == 1


def test_a_diff_that_is_rejected_makes_the_book_stale_at_once() -> None:
    desk = opened(scale=2)
    desk.feed(diff(10, 12, LEVEL_A))
    book = FoldedBook("BNBBTC")
    book.apply(desk.rest(snapshot(12, LEVEL_A)))
    assert book.live
    records = desk.feed(diff(13, 14, [("1.001", "1")]))
    assert gaps(records) == [(GapCause.REJECTED, UNKNOWN, 12, 15, Flag.ON_BOOK)]
    book.apply(records)
    assert not book.live
    records = desk.feed(diff(15, 16, LEVEL_A))
    assert gaps(records) == [(GapCause.REJECTED, 2, 12, 15, Flag.ON_BOOK)]


def test_snapshot_requests_are_spaced_ever_further_and_start_again_after_calm() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A), ts=0)
    for _ in range(9):
        desk.rest(snapshot(5), ts=desk.requests[-1].not_before_ns)
    times = [request.not_before_ns / SECOND for request in desk.requests]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    calm = 1000 * SECOND
    desk.rest(snapshot(5), ts=calm)
    assert desk.requests[-1].not_before_ns == calm


def test_a_snapshot_that_is_asked_for_again_while_it_waits_keeps_its_time() -> None:
    throttle = SnapshotThrottle(RequestBudget(0.0, 1))
    assert throttle.next_ns("A", 0) == 0
    assert [throttle.next_ns("A", now) for now in (1, 2, 3)] == [SECOND // 2] * 3
    assert throttle.next_ns("A", SECOND // 2) == SECOND // 2 + SECOND


def test_many_books_at_once_stay_within_the_venues_request_limit() -> None:
    symbols = [f"S{n}" for n in range(20)]
    desk = opened(*symbols)
    desk.feed(*(diff(1, 2, LEVEL_A, symbol=symbol) for symbol in symbols), ts=0)
    times = sorted(request.not_before_ns for request in desk.requests)
    assert len(times) == 20
    per_minute = max(sum(start <= time < start + 60 * SECOND for time in times) for start in times)
    assert 250 * per_minute <= 6000
    assert times.count(0) > 1


def test_a_failed_request_is_repeated_and_retry_after_holds_every_symbol_back() -> None:
    desk = opened("BNBBTC", "ETHBTC")
    desk.feed(diff(10, 12, LEVEL_A))
    desk.rest(b"slow down", status=429, ts=SECOND, retry_after_s=30.0)
    desk.feed(diff(10, 12, LEVEL_A, symbol="ETHBTC"), ts=SECOND)
    assert [request.key for request in desk.requests] == ["depth BNBBTC", "depth BNBBTC", "depth ETHBTC"]
    assert all(request.not_before_ns >= 31 * SECOND for request in desk.requests[1:])


def test_an_unreadable_snapshot_is_rejected_and_asked_for_again() -> None:
    desk = opened(scale=2)
    desk.feed(diff(10, 12, LEVEL_A))
    for body in ("<html>", snapshot(12, [("1.001", "1")]), '{"lastUpdateId":12,"bids":[]}'):
        assert statuses(desk.rest(body)) == [("BNBBTC", StatusCode.RESYNC)]
    assert [reject.cause for reject in desk.rejects] == ["not json", "scale", "schema"]
    assert len([request for request in desk.requests if request.key.startswith("depth")]) == 4
    counters = desk.adapter.counters
    assert (counters.rejected, counters.gaps) == (3, 0)


def test_a_snapshot_in_any_json_spacing_is_read() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A))
    body = json.dumps(snapshot(12, [("1e0", "5")], [("4", "1")]), indent=1)
    assert kinds(desk.rest(body)) == [Kind.LEVEL, Kind.CLEAR, Kind.LEVEL, Kind.LEVEL]


def test_a_partial_book_is_flagged_and_touches_nothing() -> None:
    desk = opened()
    stream = wrapped("bnbbtc@depth5@100ms", snapshot(175, [("1", "2")], [("3", "4")]))
    records = desk.feed(stream)
    partial = Flag.PARTIAL | Flag.SNAPSHOT
    assert [record.flags for record in records] == [partial, partial, partial | Flag.LAST]
    assert kinds(records) == [Kind.CLEAR, Kind.LEVEL, Kind.LEVEL]
    assert {record.symbol for record in records} == {"BNBBTC"}
    assert desk.requests == []


def test_a_recorded_snapshot_belongs_to_the_book_that_waits_for_it() -> None:
    desk = Desk(futures=True)
    desk.recorded(diff(10, 12, LEVEL_A, symbol="AAA"))
    desk.recorded(diff(100, 112, LEVEL_A, symbol="BBB"))
    assert {record.symbol for record in desk.recorded(snapshot(105))} == {"BBB"}
    assert {record.symbol for record in desk.recorded(snapshot(11))} == {"AAA"}


def test_a_recorded_snapshot_that_fits_no_book_or_several_is_rejected() -> None:
    desk = Desk()
    desk.recorded(snapshot(11))
    for symbol in ("AAA", "BBB"):
        desk.recorded(diff(10, 12, LEVEL_A, symbol=symbol))
    desk.recorded(snapshot(11))
    assert [reject.cause for reject in desk.rejects] == ["snapshot of no known symbol"] * 2


def captured(key: str, answer: dict | list) -> bytes:
    """As captures of the first version have an answer."""
    return json.dumps({"rest": key, "data": answer}).encode()


def test_a_captured_answer_says_what_it_answers_whatever_its_ids() -> None:
    desk = Desk()
    desk.recorded(diff(10, 12, LEVEL_A, symbol="AAA"))
    desk.recorded(diff(100, 112, LEVEL_A, symbol="BBB"))
    records = desk.recorded(captured("depth AAA", snapshot(500, LEVEL_A)))
    assert {record.symbol for record in records} <= {"AAA"}
    records += desk.recorded(diff(500, 501, LEVEL_A, symbol="AAA"))
    assert {record.symbol for record in records if record.kind is Kind.CLEAR} == {"AAA"}
    assert Kind.CLEAR in kinds(desk.recorded(captured("depth BBB", snapshot(105, LEVEL_A))))
    assert desk.adapter.counters.rejected == 0


def test_trades_that_a_capture_says_were_fetched_are_recorded_as_such() -> None:
    desk = Desk()
    desk.recorded(trade(10))
    gap, _ = desk.recorded(trade(13))
    assert (gap.kind, gap.size) == (Kind.GAP, 2)
    past = [{"id": n, "price": "1", "qty": "2", "time": 1_788_264_000_123, "isBuyerMaker": True} for n in (11, 12, 13)]
    records = desk.recorded(captured("trades BNBBTC trade 11 12", past))
    assert [(record.venue_seq, record.flags) for record in records] == [
        (11, Flag.LAST | Flag.BACKFILL),
        (12, Flag.LAST | Flag.BACKFILL),
    ]
    assert desk.recorded(captured("newest BNBBTC trade", past[-1:])) == []
    assert desk.adapter.counters.rejected == 0


def test_changes_held_for_a_snapshot_that_never_comes_are_released_at_the_end() -> None:
    desk = Desk()
    assert desk.recorded(diff(10, 12, LEVEL_A)) == []
    desk.end()
    assert kinds(desk.take()) == [Kind.LEVEL]


def test_a_book_can_be_fetched_again_on_request_without_loss() -> None:
    desk = opened()
    desk.feed(diff(10, 12, LEVEL_A))
    book = FoldedBook("BNBBTC")
    book.apply(desk.rest(snapshot(12, LEVEL_A)))
    desk.resync("BNBBTC", 0)
    book.apply(desk.feed(diff(13, 14, [("2", "1")])))
    assert len(desk.requests) == 2
    book.apply(desk.rest(snapshot(14, [("7", "1")])))
    assert book.live
    assert book.levels[Side.BID] == {7 * 10**8: 10**8}
    assert desk.adapter.counters.gaps == 0


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
    with pytest.raises(FeedError, match="there are binance, binance-usdm"):
        find_venue("nasdaq")


def test_an_unknown_venue_is_named_with_the_likely_one() -> None:
    with pytest.raises(FeedError, match="there is no venue binanse; did you mean binance"):
        find_venue("binanse")


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
