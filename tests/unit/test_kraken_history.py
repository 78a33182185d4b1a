"""What Kraken's adapter records beside the stream: trades that were missed, from REST, and bars."""

from __future__ import annotations

import json
from typing import Any

from kraken_tools import KrakenDesk, trade, trades
from venue_desk import SECOND

from tickplant.feeds.contract import Request
from tickplant.records.layouts import Flag, GapCause, Kind, Side
from tickplant.records.venue_bars import venue_bars

BTC = "BTC/USD"
TIME_S = 1_788_264_000  # 2026-09-01T12:00:00Z
MINUTE = 60 * SECOND


def opened(**options: Any) -> KrakenDesk:
    desk = KrakenDesk((BTC,), **options)
    desk.begin()
    desk.take()
    return desk


def rest(*ids: int) -> bytes:
    """Trades as REST has them, each at as many ns as its id says."""
    rows = ",".join(f'["45283.5","0.25",{TIME_S}.{ident:09d},"s","l","",{ident}]' for ident in ids)
    return f'{{"error":[],"result":{{"BTC/USD":[{rows}],"last":"{TIME_S}000000000"}}}}'.encode()


def backfills(desk: KrakenDesk) -> list[Request]:
    return [request for request in desk.take_requests() if request.key.startswith("trades ")]


def test_trades_that_do_not_come_late_are_asked_for_by_the_time_before_the_hole() -> None:
    desk = opened()
    desk.feed(trades(trade(900, time_us=1)), trades(trade(906, time_us=9)))
    desk.feed(trades(trade(903, time_us=5)))  # late, so not asked for
    assert backfills(desk) == []
    desk.timer(SECOND)
    assert backfills(desk) == []
    desk.timer(2 * SECOND)
    first, second = backfills(desk)
    since = TIME_S * SECOND + 1000 - 1
    assert first.path == f"/0/public/Trades?pair=BTC%2FUSD&count=1000&since={since}"
    assert [first.key, second.key] == ["trades BTC/USD trade 901 902", "trades BTC/USD trade 904 905"]
    assert desk.feed(trades(trade(902))) == [], "asked for: it comes once"
    desk.answer(first, 200, rest(900, 901, 902, 903, 904), 3 * SECOND)
    records = desk.take()
    assert [(each.kind, each.venue_seq, each.flags) for each in records] == [
        (Kind.TRADE, ident, Flag.LAST | Flag.BACKFILL) for ident in (901, 902)
    ]
    assert (records[0].side, records[0].size, records[0].ts_event) == (Side.SELL, 25000000, TIME_S * SECOND + 901)
    desk.answer(second, 200, rest(906), 3 * SECOND)
    counters = desk.adapter.counters
    assert (counters.backfilled, counters.unfilled) == (3, 2)
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected


def test_a_long_hole_is_fetched_page_by_page() -> None:
    desk = opened()
    desk.feed(trades(trade(1)), trades(trade(2003)))
    desk.timer(3 * SECOND)
    (request,) = backfills(desk)
    seen = []
    for first, last in ((2, 1001), (1002, 2001), (2002, 2002)):
        desk.answer(request, 200, rest(*range(first, last + 1)), 4 * SECOND)
        seen += [record.venue_seq for record in desk.take()]
        requests = backfills(desk)
        if last < 2002:
            (request,) = requests
            assert request.path.endswith(f"&since={TIME_S * SECOND + last - 1}")
    assert seen == [*range(2, 2003)]
    assert requests == []


def test_an_answer_of_errors_is_rejected_and_asked_for_again() -> None:
    desk = opened()
    desk.feed(trades(trade(1)), trades(trade(3)))
    desk.timer(3 * SECOND)
    (request,) = backfills(desk)
    desk.answer(request, 200, b'{"error":["EAPI:Rate limit exceeded"]}', 4 * SECOND)
    (reject,) = desk.rejects
    assert (reject.cause, reject.detail) == ("refused", "EAPI:Rate limit exceeded")
    (request,) = backfills(desk)
    desk.answer(request, 200, rest(2), 6 * SECOND)
    assert [record.venue_seq for record in desk.take()] == [2]


# Bars.


def bar(minute: int, *, close: str = "45283.5", count: int = 3, vwap: str = "45283.1") -> dict[str, Any]:
    begin = f"2026-09-01T12:{minute:02d}:00.000000000Z"
    numbers = {"open": "45283.4", "high": "45283.6", "low": "45283.0", "close": close, "volume": "0.50000000"}
    return {"symbol": BTC, **numbers, "vwap": vwap, "trades": count, "interval_begin": begin, "interval": 1}


def ohlc(*bars: dict[str, Any], kind: str = "update") -> str:
    return json.dumps({"channel": "ohlc", "type": kind, "data": bars})


def bars_of(desk: KrakenDesk, *frames: str) -> list[tuple[int, int, bool, int]]:
    """Minute, close, whether it is over, trades."""
    desk.take_ticks()
    for frame in frames:
        desk.frames("public+venue_bar", [frame.encode()], 0)
    ticks = desk.take_ticks()
    bars = venue_bars(ticks[ticks["kind"] == Kind.VENUE_BAR])
    minutes = (bars["ts_open"] - TIME_S * SECOND) // MINUTE
    over = bars["flags"] & Flag.PARTIAL == 0
    return [*zip(minutes.tolist(), bars["close"].tolist(), over.tolist(), bars["trades"].tolist(), strict=True)]


def test_a_bar_is_over_when_the_next_one_begins() -> None:
    desk = opened(channels=("venue_bar",), link="public+venue_bar")
    first, now, later = 45283_50000000, 45283_60000000, 45283_70000000
    assert bars_of(desk, ohlc(bar(0), bar(2), bar(1), kind="snapshot")) == [
        *((minute, first, True, 3) for minute in (0, 1)),
        (2, first, False, 3),
    ]
    assert bars_of(desk, ohlc(bar(2, close="45283.6", count=4))) == [(2, now, False, 4)]
    assert bars_of(desk, ohlc(bar(4, close="45283.7"))) == [(2, now, True, 4), (4, later, False, 3)]
    assert bars_of(desk, ohlc(bar(3))) == [], "older than what is recorded"


def test_after_an_interruption_only_what_is_new_is_recorded() -> None:
    desk = opened(channels=("venue_bar",), link="public+venue_bar")
    bars_of(desk, ohlc(bar(0), bar(1), kind="snapshot"))
    desk.close()
    (gap,) = [record for record in desk.open() if record.kind is Kind.GAP]
    assert (gap.price, gap.flags) == (GapCause.DISCONNECT, Flag.ON_OTHER | Flag.LAST)
    found = bars_of(desk, ohlc(bar(0), bar(1, count=9), bar(2), bar(3), kind="snapshot"))
    assert [(minute, over, count) for minute, _, over, count in found] == [
        *[(1, True, 9), (2, True, 3)],
        (3, False, 3),
    ]


def test_a_bar_that_does_not_fit_costs_no_other_and_an_average_never_does() -> None:
    desk = opened(channels=("venue_bar",), link="public+venue_bar")
    found = bars_of(desk, ohlc(bar(0, vwap="45283.123456789"), bar(1, close="1.123456789"), bar(2), kind="snapshot"))
    assert [minute for minute, *_ in found] == [0, 2]
    assert [reject.cause for reject in desk.rejects] == ["scale"]
