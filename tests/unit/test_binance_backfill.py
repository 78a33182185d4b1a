"""Missed trades fetched over REST: what is asked for, what is recorded, and when it is given up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from binance_tools import SECOND, Desk, Record, agg_trade, diff, snapshot, trade
from hypothesis import given
from hypothesis import strategies as st

from tickplant.feeds.contract import Request
from tickplant.feeds.kit import trade_backfill as backfill
from tickplant.records.layouts import Flag, GapCause, Kind, Side

PAST = {"price": "0.5", "qty": "2", "time": 1_788_264_000_123_456, "isBuyerMaker": True}


def past(ident: int) -> dict[str, Any]:
    """A trade as REST gives it."""
    return {"id": ident} | PAST


def past_agg(ident: int) -> dict[str, Any]:
    return {"a": ident, "p": "0.5", "q": "2", "f": 70, "l": 71, "T": PAST["time"], "m": False, "M": True}


def opened(**options: Any) -> Desk:
    desk = Desk(("BNBBTC",), ws_url="ws://venue", **options)
    desk.bootstrap()
    desk.open()
    return desk


def asked(desk: Desk) -> Request:
    """The request that came last; there is none twice."""
    assert len({request.key for request in desk.requests}) == len(desk.requests)
    return desk.requests[-1]


def answer(desk: Desk, body: Any, *, ts: int = 0, status: int = 200, request: Request | None = None) -> list[Record]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    desk.answer(request or asked(desk), status, raw, ts)
    return desk.take()


def ids(records: list[Record]) -> list[int]:
    assert all(record.kind == Kind.TRADE and record.flags & Flag.BACKFILL for record in records)
    return [record.venue_seq for record in records]


@pytest.mark.parametrize("disconnected", [False, True])
def test_missed_trades_are_fetched_and_recorded_with_their_own_ids(disconnected: bool) -> None:
    desk = opened()
    desk.feed(trade(10))
    if disconnected:
        desk.close()
        desk.open()
    gap, newer = desk.feed(trade(14), ts=5)
    assert (gap.kind, gap.price, gap.size) == (
        Kind.GAP,
        GapCause.DISCONNECT if disconnected else GapCause.SEQUENCE,
        3,
    )
    assert newer.venue_seq == 14
    request = asked(desk)
    assert request.path == "/api/v3/historicalTrades?symbol=BNBBTC&fromId=11&limit=3"
    assert request.headers == {"X-MBX-TIME-UNIT": "MICROSECOND"}
    records = answer(desk, [past(11), past(12), past(13)], ts=9)
    assert ids(records) == [11, 12, 13]
    assert records[0] == Record(
        Kind.TRADE,
        "BNBBTC",
        50_000_000,
        200_000_000,
        Side.SELL,
        11,
        0,
        Flag.LAST | Flag.BACKFILL,
        1_788_264_000_123_456_000,
        9,
    )
    counters = desk.adapter.counters
    assert (counters.backfilled, counters.unfilled, counters.gaps) == (3, 0, 1)
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected
    assert [record.venue_seq for record in desk.feed(trade(15))] == [15]


def test_aggregates_and_futures_are_asked_for_where_the_venue_has_them() -> None:
    desk = opened(channels=("agg_trade",))
    desk.feed(agg_trade(10, 68), agg_trade(12, 72))
    assert asked(desk).path == "/api/v3/aggTrades?symbol=BNBBTC&fromId=11&limit=1"
    (record,) = answer(desk, [past_agg(11)])
    assert (record.venue_seq, record.order_id, record.side) == (11, 70, Side.BUY)
    assert record.flags == Flag.LAST | Flag.BACKFILL | Flag.AGGREGATE
    desk = opened(futures=True)
    desk.feed(trade(10), trade(14))
    assert asked(desk).path == "/fapi/v1/trades?symbol=BNBBTC&limit=1000"
    # Only the newest are to be had: what is older than those is lost.
    assert ids(answer(desk, [past(ident) for ident in range(12, 20)])) == [12, 13]
    assert (desk.adapter.counters.backfilled, desk.adapter.counters.unfilled) == (2, 1)
    assert len(desk.requests) == 1


def test_a_long_hole_is_fetched_page_by_page() -> None:
    desk = opened()
    desk.feed(trade(10), trade(2511))
    found: list[int] = []
    for first, last in ((11, 1010), (1011, 2010), (2011, 2510)):
        assert asked(desk).path.endswith(f"fromId={first}&limit={last - first + 1}")
        found += ids(answer(desk, [past(ident) for ident in range(first, last + 1)]))
    assert found == list(range(11, 2511))
    assert len(desk.requests) == 3


def test_a_hole_without_measure_is_fetched_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "MOST_TRADES", 5)
    desk = opened()
    desk.feed(trade(10), trade(21))
    assert ids(answer(desk, [past(ident) for ident in range(11, 16)])) == [11, 12, 13, 14, 15]
    assert (desk.adapter.counters.unfilled, len(desk.requests)) == (5, 1)


def test_what_the_venue_has_not_got_yet_is_asked_for_again_ever_later_and_given_up_in_the_end() -> None:
    desk = opened()
    desk.feed(trade(10), trade(13))
    waits = []
    for body, status in (([], 200), (b"busy", 500), ([], 200), ([], 200), ([], 200)):
        request = asked(desk)
        desk.requests.clear()
        assert answer(desk, body, status=status, ts=1000 * SECOND, request=request) == []
        waits.append((asked(desk).not_before_ns - 1000 * SECOND) / SECOND)
    assert waits == [1, 2, 4, 8, 16]
    request = asked(desk)
    desk.requests.clear()
    assert answer(desk, [], request=request) == []
    assert desk.requests == []
    assert desk.adapter.counters.unfilled == 2


def test_what_the_venue_skips_is_not_waited_for() -> None:
    desk = opened()
    desk.feed(trade(10), trade(15))
    assert ids(answer(desk, [past(12), past(15)])) == [12]
    assert (desk.adapter.counters.backfilled, desk.adapter.counters.unfilled) == (1, 3)
    assert len(desk.requests) == 1


def test_an_answer_that_cannot_be_read_is_rejected_and_asked_for_again() -> None:
    desk = opened()
    desk.feed(trade(10), trade(12))
    request = asked(desk)
    desk.requests.clear()
    assert answer(desk, b"<html>", request=request) == []
    assert [reject.cause for reject in desk.rejects] == ["not json"]
    assert ids(answer(desk, [past(11)])) == [11]


def test_a_past_trade_whose_value_does_not_fit_is_kept_out_and_counted() -> None:
    desk = opened(scale=1)
    desk.feed(trade(10, price="0.5"), trade(13, price="0.5"))
    assert ids(answer(desk, [past(11) | {"price": "0.55"}, past(12)])) == [12]
    assert (desk.adapter.counters.backfilled, desk.adapter.counters.unfilled) == (1, 1)
    assert [reject.cause for reject in desk.rejects] == ["scale"]


def test_a_trade_that_was_rejected_is_not_fetched_to_be_rejected_again() -> None:
    desk = opened(scale=1)
    desk.feed(trade(10, price="0.5"), trade(11, price="0.55"), trade(12, price="0.5"))
    assert [request.key for request in desk.requests] == ["exchangeInfo"]


def test_a_recording_asks_for_nothing() -> None:
    desk = Desk()
    desk.recorded(trade(10))
    desk.recorded(trade(12))
    assert desk.requests == []


def test_requests_stay_within_what_snapshots_leave() -> None:
    desk = opened()
    desk.feed(*[trade(10 + 2 * number) for number in range(300)])
    times = sorted(request.not_before_ns for request in desk.requests)
    assert len(times) == 299
    # A snapshot weighs as much as ten of these: five at once, then one in three seconds.
    per_minute = max(sum(start <= time < start + 60 * SECOND for time in times) for start in times)
    assert 25 * per_minute <= 6300


def test_a_snapshot_that_is_put_off_holds_up_nobody_else() -> None:
    desk = opened(futures=True)
    desk.feed(diff(10, 12, [("1", "2")], previous=9), trade(10))
    now = 0
    for _ in range(8):
        now = desk.requests[-1].not_before_ns
        desk.rest(snapshot(5), ts=now)
    assert desk.requests[-1].not_before_ns >= now + 60 * SECOND
    desk.feed(trade(12), ts=now)
    assert desk.requests[-1].path.startswith("/fapi/v1/trades")
    assert desk.requests[-1].not_before_ns == now


@given(st.lists(st.integers(1, 60), min_size=1, unique=True), st.randoms(use_true_random=False))
def test_every_trade_is_recorded_once_whatever_arrives_and_whatever_the_venue_gives(
    received: list[int], chance: Any
) -> None:
    desk = opened()
    records = desk.feed(trade(0), *[trade(ident) for ident in sorted(received)])
    while desk.requests:
        request = desk.requests.pop(chance.randrange(len(desk.requests)))
        first = int(request.path.partition("fromId=")[2].partition("&")[0])
        limit = int(request.path.rpartition("=")[2])
        rows = [past(ident) for ident in range(first, first + limit) if ident % 7 and chance.random() < 0.9]
        records += answer(desk, chance.sample(rows, len(rows)), request=request, status=chance.choice((200, 200, 500)))
    recorded = [record.venue_seq for record in records if record.kind == Kind.TRADE]
    assert len(recorded) == len(set(recorded))
    holes = set(range(max(received))) - set(received) - {0}
    told = {
        ident for record in records if record.kind == Kind.GAP for ident in range(record.order_id + 1, record.venue_seq)
    }
    assert told == holes
    backfilled = {record.venue_seq for record in records if record.flags & Flag.BACKFILL}
    assert backfilled <= holes
    counters = desk.adapter.counters
    assert (counters.backfilled, counters.backfilled + counters.unfilled) == (len(backfilled), len(holes))
