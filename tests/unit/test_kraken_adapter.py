"""What the Kraken adapter makes of messages, and what it asks of the venue."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from folded_book import FoldedBook
from kraken_tools import KrakenDesk, book, checksum, pair, pairs, ticker, trade, trades
from venue_desk import SECOND, Record

from tickplant.errors import FeedError
from tickplant.feeds.contract import Resubscribe
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.last_ids import LastIds
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, Side, StatusCode

BIDS = [("45283.5", "0.10000000"), ("45283.4", "1.54582015")]
ASKS = [("45285.2", "0.00100000"), ("45286.4", "1.54571953")]
BTC, ETH = "BTC/USD", "ETH/USD"


@pytest.fixture(params=[True, False], ids=["shapes", "reference"])
def shapes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def opened(*symbols: str, **options: Any) -> KrakenDesk:
    desk = KrakenDesk(symbols or (BTC,), **options)
    desk.begin()
    desk.take()
    return desk


def gaps(records: list[Record]) -> list[tuple[Any, ...]]:
    return [
        (r.symbol, GapCause(r.price), r.size, r.order_id, r.venue_seq, r.flags & ~Flag.LAST)
        for r in records
        if r.kind is Kind.GAP
    ]


def statuses(records: list[Record]) -> list[tuple[str, StatusCode]]:
    return [(record.symbol, StatusCode(record.price)) for record in records if record.kind is Kind.STATUS]


def snapshot(bids: Any = BIDS, asks: Any = ASKS, *, symbol: str = BTC) -> str:
    return book(bids, asks, checksum(bids, asks), symbol=symbol, kind="snapshot")


# Starting.


def test_instrument_data_comes_first_then_all_streams_in_a_request_for_each_channel() -> None:
    desk = KrakenDesk((BTC, ETH), depth=100)
    desk.start()
    (link,) = desk.links
    assert (link.name, link.url) == ("public", "wss://ws.kraken.com/v2")
    desk.open()
    (request,) = desk.sent()
    assert request["params"] == {"channel": "instrument", "snapshot": True}
    desk.feed(pairs(pair(BTC, price=1), pair(ETH, price=2), pair("XRP/USD")))
    requests = desk.sent()
    assert [request["params"] for request in requests] == [
        {"channel": "trade", "snapshot": True, "symbol": [BTC, ETH]},
        {"channel": "ticker", "snapshot": True, "symbol": [BTC, ETH], "event_trigger": "bbo"},
        {"channel": "book", "snapshot": True, "symbol": [BTC, ETH], "depth": 100},
    ]
    assert len({request["req_id"] for request in requests}) == 3
    assert [(one.symbol, one.price_scale) for one in desk.instruments if one.symbol != "*"] == [(BTC, 1), (ETH, 2)]


def test_after_a_reconnect_everything_is_subscribed_at_once() -> None:
    desk = opened()
    desk.close()
    desk.open()
    assert [request["params"]["channel"] for request in desk.sent()] == ["instrument", "trade", "ticker", "book"]


def test_a_pair_that_the_venue_lacks_ends_the_feed_with_the_likely_one() -> None:
    desk = KrakenDesk(("BTC/USB",))
    desk.start()
    desk.open()
    with pytest.raises(FeedError, match="kraken: unknown symbol BTC/USB; did you mean BTC/USD"):
        desk.feed(pairs(pair(BTC), pair("NEW/USD", status="work_in_progress")))


def test_each_symbol_is_acknowledged_and_one_that_is_not_replaces_the_connection() -> None:
    desk = KrakenDesk((BTC, ETH), channels=("book",))
    desk.start()
    desk.open()
    desk.feed(pairs(pair(BTC), pair(ETH)))
    instrument, request = desk.sent()
    answer = {"method": "subscribe", "success": True}
    desk.feed(answer | {"req_id": instrument["req_id"], "result": {"channel": "instrument"}})
    result = {"channel": "book", "depth": 10, "symbol": BTC}
    desk.feed(answer | {"req_id": request["req_id"], "result": result})
    desk.timer(9 * SECOND)
    assert desk.actions == []
    desk.timer(11 * SECOND)
    (replacement,) = desk.actions
    assert isinstance(replacement, Resubscribe)
    assert "no answer" in replacement.reason


def test_a_subscription_that_the_venue_bears_already_is_ended_before_the_next_try() -> None:
    desk = opened()
    desk.close()
    desk.open()
    book_request = desk.sent()[-1]
    refusal = {"method": "subscribe", "error": "Already subscribed", "success": False, "symbol": BTC}
    desk.feed(refusal | {"req_id": book_request["req_id"]}, ts=SECOND)
    (end,) = desk.sent()
    assert (end["method"], end["params"]["channel"], end["params"]["symbol"]) == ("unsubscribe", "book", [BTC])
    desk.timer(2 * SECOND)
    (again,) = desk.sent()
    assert (again["method"], again["params"]) == ("subscribe", book_request["params"])


def test_of_the_rejected_parts_of_a_frame_the_one_that_no_gap_tells_of_comes_first() -> None:
    told = RejectError("scale", "too fine")
    told.accounted = True
    parts = [told, RejectError("value", "no number"), RejectError("time", "no time")]

    def record(part: RejectError | None) -> bool:
        if part is not None:
            raise part
        return True

    adapter = opened().adapter
    assert adapter.each([None], record)
    with pytest.raises(RejectError) as raised:
        adapter.each([None, *parts], record)
    assert (raised.value.cause, raised.value.accounted) == ("value", False)
    assert raised.value.detail == "no number; scale: too fine; time: no time"


def test_a_refused_symbol_is_recorded_and_asked_for_again_alone() -> None:
    desk = KrakenDesk((BTC, ETH), channels=("book",))
    desk.start()
    desk.open()
    desk.feed(pairs(pair(BTC), pair(ETH)))
    request = desk.sent()[-1]
    desk.feed({"method": "subscribe", "req_id": request["req_id"], "result": {"symbol": BTC}, "success": True})
    records = desk.feed(
        {
            "error": "depth not supported",
            "method": "subscribe",
            "req_id": request["req_id"],
            "success": False,
            "symbol": ETH,
        }
    )
    assert statuses(records) == [("*", StatusCode.SUBSCRIPTION_REFUSED)]
    (reject,) = desk.rejects
    assert "depth not supported book ETH/USD" in reject.detail
    desk.timer(2 * SECOND)
    assert [again["params"]["symbol"] for again in desk.sent()] == [[ETH]]


# Trades.


def test_trades_have_their_takers_side_and_a_hole_in_their_ids_is_a_gap(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    first, second = desk.feed(trades(trade(7), trade(8, side="sell", price="45283.4")))
    assert (first.side, second.side, first.venue_seq, second.venue_seq) == (Side.BUY, Side.SELL, 7, 8)
    assert (first.price, first.size) == (45283_50000000, 10000000)
    records = desk.feed(trades(trade(11)))
    assert gaps(records) == [(BTC, GapCause.SEQUENCE, 2, 8, 11, Flag.ON_TRADE)]


def test_a_late_trade_of_one_instant_fills_the_gap_before_it(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    desk.feed(trades(trade(900)))
    records = desk.feed(trades(trade(904)))
    assert gaps(records) == [(BTC, GapCause.SEQUENCE, 3, 900, 904, Flag.ON_TRADE)]
    (late,) = desk.feed(trades(trade(903)))
    assert (late.venue_seq, late.flags) == (903, Flag.LAST | Flag.BACKFILL)
    assert desk.feed(trades(trade(903))) == []
    assert desk.adapter.counters.backfilled == 1
    assert desk.adapter.counters.duplicates == 1


def test_past_trades_after_a_subscription_are_recorded_once_and_fill_what_was_missed(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    records = desk.feed(trades(trade(10), trade(9), kind="snapshot"))
    assert [(record.venue_seq, record.flags) for record in records] == [
        (9, Flag.LAST | Flag.SNAPSHOT),
        (10, Flag.LAST | Flag.SNAPSHOT),
    ]
    assert [record.venue_seq for record in desk.feed(trades(trade(10), trade(11)))] == [11]
    desk.close()
    desk.open()
    records = desk.feed(trades(trade(10), trade(11), trade(12), trade(13), kind="snapshot"))
    assert [(record.kind, record.venue_seq) for record in records] == [(Kind.TRADE, 12), (Kind.TRADE, 13)]
    desk.close()
    desk.open()
    records = desk.feed(trades(trade(20), kind="snapshot"))
    assert gaps(records) == [(BTC, GapCause.DISCONNECT, 6, 13, 20, Flag.ON_TRADE)]


def test_a_restarted_feed_says_which_trades_are_missing() -> None:
    desk = KrakenDesk((BTC,))
    desk.resume({BTC: LastIds(trade=(100, 5), quote=(0, 5), book=(0, 5))}, 1)
    desk.begin()
    assert gaps(desk.begun) == [(BTC, GapCause.RESTART, UNKNOWN, 0, 0, Flag.ON_QUOTE)]
    records = desk.feed(trades(trade(103)), snapshot())
    assert gaps(records) == [
        (BTC, GapCause.RESTART, 2, 100, 103, Flag.ON_TRADE),
        (BTC, GapCause.RESTART, UNKNOWN, 0, 0, Flag.ON_BOOK),
    ]


# Quotes.


def test_a_ticker_is_two_quotes_and_an_interruption_a_gap(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    bid, ask = desk.feed(ticker())
    assert (bid.price, bid.size, bid.side, bid.flags) == (150000000, 100000000, Side.BID, 0)
    assert (ask.price, ask.size, ask.side, ask.flags) == (250000000, 200000000, Side.ASK, Flag.LAST)
    assert gaps(desk.close()) == []
    assert gaps(desk.open()) == [(BTC, GapCause.DISCONNECT, UNKNOWN, 0, 0, Flag.ON_QUOTE)]


def test_good_quotes_end_the_trouble_of_rejected_ones(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    for _ in range(3):
        desk.feed(ticker(bid="1.123456789"))
    assert "every quote message of BTC/USD is rejected" in desk.adapter.trouble
    desk.feed(ticker())
    assert desk.adapter.trouble == ""


# Books.


def test_a_book_is_checked_cut_to_its_depth_and_the_fold_of_its_records(shapes: bool) -> None:
    desk = opened(use_shapes=shapes)
    fold = FoldedBook(BTC)
    bids = [(f"{45283 - n}.0", "1.00000000") for n in range(10)]
    fold.apply(desk.feed(snapshot(bids)))
    assert fold.live
    better = [("45284.0", "2.00000000"), *bids[:9]]
    records = desk.feed(book([better[0]], [], checksum(better, ASKS)))
    fold.apply(records)
    assert [(record.kind, record.size) for record in records] == [
        (Kind.LEVEL, 2_00000000),
        (Kind.LEVEL, 0),
        (Kind.CHECKSUM, checksum(better, ASKS)),
    ]
    assert [bool(record.flags & Flag.LAST) for record in records] == [False, False, True]
    assert records[-1].order_id == 1 << 8 | 8
    assert sorted(fold.levels[Side.BID], reverse=True) == [int(float(price) * 10**8) for price, _ in better]
    assert (desk.adapter.counters.checksums_ok, desk.adapter.counters.checksums_failed) == (2, 0)


def test_a_wrong_checksum_resyncs_that_pair_and_only_that_pair(shapes: bool) -> None:
    desk = opened(BTC, ETH, use_shapes=shapes)
    desk.sent()
    folds = {symbol: FoldedBook(symbol) for symbol in (BTC, ETH)}
    records = desk.feed(snapshot(), snapshot(symbol=ETH))
    for fold in folds.values():
        fold.apply(records)
        assert fold.live
    records = desk.feed(book([("45283.5", "7.00000000")], [], 1))
    folds[BTC].apply(records)
    assert gaps(records) == [(BTC, GapCause.CHECKSUM, UNKNOWN, 0, 0, Flag.ON_BOOK)]
    assert (BTC, StatusCode.RESYNC) in statuses(records)
    assert not folds[BTC].live
    requests = desk.sent()
    assert [(one["method"], one["params"]["symbol"]) for one in requests] == [
        ("unsubscribe", [BTC]),
        ("subscribe", [BTC]),
    ]
    # Updates until the snapshot are recorded and touch nothing; the other pair goes on.
    records = desk.feed(book([("45283.5", "8.00000000")], [], 2), book([], [ASKS[0]], checksum(BIDS, ASKS), symbol=ETH))
    assert gaps(records) == []
    assert {record.symbol for record in records if record.kind is Kind.LEVEL} == {BTC, ETH}
    folds[BTC].apply(records)
    assert not folds[BTC].live
    folds[BTC].apply(desk.feed(snapshot()))
    assert folds[BTC].live
    assert desk.adapter.counters.checksums_failed == 1
    assert desk.adapter.counters.resyncs == 1


def test_a_book_that_fails_again_and_again_is_renewed_after_ever_longer_pauses() -> None:
    desk = opened()
    desk.sent()
    times: list[int] = []
    now = 1000 * SECOND
    for _ in range(4):
        desk.feed(snapshot(), ts=now)
        desk.feed(book([], [], 1), ts=now)
        while not (sent := desk.sent()):
            now += SECOND // 2
            desk.timer(now)
        assert [one["method"] for one in sent] == ["unsubscribe", "subscribe"]
        times.append(now)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 2 * SECOND


def test_a_lost_link_makes_books_stale_and_the_next_snapshot_comes_after_a_gap() -> None:
    desk = opened()
    desk.feed(snapshot())
    records = desk.close()
    assert (BTC, StatusCode.DISCONNECTED) in statuses(records)
    desk.open()
    assert gaps(desk.feed(snapshot())) == [(BTC, GapCause.DISCONNECT, UNKNOWN, 0, 0, Flag.ON_BOOK)]


def test_an_update_that_cannot_be_recorded_makes_its_book_stale_at_once_and_leaves_the_rest_of_the_frame(
    shapes: bool,
) -> None:
    desk = opened(BTC, ETH, use_shapes=shapes)
    desk.feed(snapshot(), snapshot(symbol=ETH))
    bad = json.loads(book([("1.123456789", "1.0")], [], 1))["data"][0]
    text = book([], [ASKS[0]], checksum(BIDS, ASKS), symbol=ETH).replace('"data":[', f'"data":[{json.dumps(bad)},')
    records = desk.feed(text)
    assert gaps(records) == [(BTC, GapCause.REJECTED, UNKNOWN, 0, 0, Flag.ON_BOOK)]
    assert [record.symbol for record in records if record.kind is Kind.LEVEL] == [ETH]
    assert desk.adapter.counters.rejected == 1


def test_a_book_is_fetched_again_on_request_without_a_gap() -> None:
    desk = opened()
    desk.feed(snapshot())
    desk.sent()
    desk.resync(BTC, 5 * SECOND)
    assert [one["method"] for one in desk.sent()] == ["unsubscribe", "subscribe"]
    assert gaps(desk.feed(snapshot())) == []


# Instruments and the venue.


def test_a_pair_that_is_halted_and_trades_again_says_so() -> None:
    desk = opened()
    desk.feed(pairs(pair(BTC)))
    records = desk.feed(pairs(pair(BTC, status="cancel_only"), kind="update"))
    assert statuses(records) == [(BTC, StatusCode.HALTED)]
    assert [notice.fields["status"] for notice in desk.take_notices()] == ["cancel_only"]
    records = desk.feed(pairs(pair(BTC), kind="update"))
    assert statuses(records) == [(BTC, StatusCode.TRADING)]


def test_a_finer_price_leads_to_a_new_id_whose_book_begins_with_a_snapshot() -> None:
    desk = KrakenDesk((BTC,))
    desk.begin(pair(BTC, price=1))
    desk.take()
    desk.feed(snapshot())
    desk.sent()
    records = desk.feed(pairs(pair(BTC, price=2), kind="update"))
    assert statuses(records) == [
        (BTC, StatusCode.DISCONNECTED),
        (BTC, StatusCode.INSTRUMENT_CHANGED),
        (BTC, StatusCode.INSTRUMENT_CHANGED),
        (BTC, StatusCode.RESYNC),
    ]
    assert [one.price_scale for one in desk.instruments if one.symbol == BTC] == [1, 2]
    assert [one["method"] for one in desk.sent()] == ["unsubscribe", "subscribe"]


def test_the_state_of_the_venues_system_is_recorded_when_it_changes() -> None:
    desk = opened()
    state = {"channel": "status", "type": "update", "data": [{"system": "online", "connection_id": 2**64 - 1}]}
    assert desk.feed(state) == []
    state["data"][0]["system"] = "maintenance"  # type: ignore[index]
    assert statuses(desk.feed(state)) == [("*", StatusCode.HALTED)]
    assert desk.feed(state) == []
    state["data"][0]["system"] = "online"  # type: ignore[index]
    assert statuses(desk.feed(state)) == [("*", StatusCode.TRADING)]


def test_a_message_of_nothing_known_is_rejected_and_others_are_ignored() -> None:
    desk = opened()
    counters = desk.adapter.counters
    desk.feed(
        '{"channel":"heartbeat"}', {"method": "pong", "req_id": 1}, {"channel": "ohlc", "type": "update", "data": []}
    )
    desk.feed('{"a":1}', '{"channel":"trade","type":"odd","data":[]}', '{"channel":', '{"Error":"Exceeded msg rate"}')
    after = desk.adapter.counters
    assert after.ignored - counters.ignored == 3
    assert [reject.cause for reject in desk.rejects] == [
        "unknown message",
        "unknown message",
        "not json",
        "subscription refused",
    ]
    assert after.frames == after.parsed + after.ignored + after.rejected
