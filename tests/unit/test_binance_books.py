"""Binance: books by snapshot and diffs."""

from __future__ import annotations

import json
from itertools import pairwise

from binance_records import LEVEL_A, gaps, kinds, opened, statuses
from binance_tools import (
    SECOND,
    Desk,
    diff,
    snapshot,
    trade,
    wrapped,
)
from folded_book import FoldedBook

from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, Side, StatusCode

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
