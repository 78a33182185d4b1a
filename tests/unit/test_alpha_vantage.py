"""Alpha Vantage: what is asked when, what its answers become, what its errors cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from venue_desk import SECOND, Record, VenueDesk

from tickplant.errors import FeedError
from tickplant.feeds.contract import Request
from tickplant.feeds.last_ids import Continuity, LastIds, by_symbol
from tickplant.feeds.venues.alpha_vantage import venue as facts
from tickplant.feeds.venues.alpha_vantage.adapter import AlphaVantageAdapter
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.records.venue_bars import BarField

KEY = "A-PLANTED-KEY"
NOW = 1_788_267_600 * SECOND  # 2026-09-01T13:00:00Z, 09:00 in New York
MINUTE = 60 * SECOND


def desk(*symbols: str, live: bool = True, **secrets: str) -> VenueDesk:
    made = VenueDesk(
        facts.VENUE,
        AlphaVantageAdapter,
        symbols or ("IBM",),
        scale=4,
        channels=("venue_bar",),
        live=live,
        secrets={"key": KEY} | secrets,
    )
    made.adapter.start(NOW)
    return made


def bar(close: str = "1.5", volume: str = "100") -> dict[str, str]:
    return {"1. open": "1.5", "2. high": "2", "3. low": "1", "4. close": close, "5. volume": volume}


def intraday(rows: dict[str, Any], symbol: str = "IBM", zone: str = "US/Eastern", interval: str = "1min") -> bytes:
    meta = {"1. Information": "x", "2. Symbol": symbol, "4. Interval": interval, "6. Time Zone": zone}
    return msgspec.json.encode({"Meta Data": meta, f"Time Series ({interval})": rows})


def daily(rows: dict[str, Any], symbol: str = "IBM") -> bytes:
    return msgspec.json.encode(
        {"Meta Data": {"2. Symbol": symbol, "5. Time Zone": "US/Eastern"}, "Time Series (Daily)": rows}
    )


def asked(made: VenueDesk) -> Request:
    (request,) = made.take_requests()
    return request


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def closes(records: list[Record]) -> list[Record]:
    return [each for each in records if each.kind == Kind.VENUE_BAR and each.order_id & 0xFF == BarField.CLOSE]


def intraday_turn(made: VenueDesk, ts: int = NOW) -> Request:
    """Past the daily series of one symbol, to the request for minutes."""
    made.answer(asked(made), 200, daily({}), ts)
    made.timer(ts)
    return asked(made)


def test_days_are_asked_for_first_then_minutes_with_the_key_as_a_secret() -> None:
    made = desk()
    first = asked(made)
    assert first.secret
    assert first.path == (f"/query?function=TIME_SERIES_DAILY&symbol=IBM&outputsize=compact&datatype=json&apikey={KEY}")
    made.timer(NOW + SECOND)
    assert made.take_requests() == []  # one at a time
    made.answer(first, 200, daily({}), NOW + SECOND)
    made.timer(NOW + 2 * SECOND)
    second = asked(made)
    assert second.path == (
        "/query?function=TIME_SERIES_INTRADAY&symbol=IBM&interval=1min&extended_hours=true&adjusted=false"
        f"&outputsize=full&datatype=json&apikey={KEY}"
    )
    assert second.not_before_ns == NOW + facts.SPACING_S * SECOND


def test_a_day_has_no_more_requests_than_the_plan_allows() -> None:
    for per_day, made in ((25, desk()), (75, desk(requests_per_day="75")), (1, desk(requests_per_day="1"))):
        times = []
        now = NOW
        while now < NOW + 3 * 86_400 * SECOND:
            for request in made.take_requests():
                times.append(max(request.not_before_ns, now))
                now = times[-1]
                made.answer(request, 200, daily({}) if "DAILY" in request.path else intraday({}), now)
            now += 600 * SECOND
            made.timer(now)
        windows = [sum(start <= each < start + 86_400 * SECOND for each in times) for start in times]
        assert max(windows) <= per_day
        assert len(times) > 2 * per_day - 2


def test_minutes_become_bars_at_their_time_in_utc_once_and_again_where_they_changed() -> None:
    made = desk()
    request = intraday_turn(made)
    rows = {"2026-09-01 08:58:00": bar(), "2026-09-01 08:57:00": bar("1.25")}
    made.answer(request, 200, intraday(rows), NOW)
    first, second = closes(made.take())
    assert (first.venue_seq, first.ts_event) == (ns("2026-09-01T12:57:00+00:00"), ns("2026-09-01T12:58:00+00:00"))
    assert (first.price, first.size, second.price) == (12_500, 1_000_000, 15_000)
    assert first.flags & Flag.PARTIAL == 0
    made.timer(NOW + 2 * 3600 * SECOND)
    rows |= {"2026-09-01 08:58:00": bar("1.75"), "2026-09-01 08:59:00": bar()}
    made.answer(asked(made), 200, intraday(rows), NOW)
    assert [(each.venue_seq, each.price) for each in closes(made.take())] == [
        (ns("2026-09-01T12:58:00+00:00"), 17_500),
        (ns("2026-09-01T12:59:00+00:00"), 15_000),
    ]


def test_a_bar_that_is_not_over_is_partial_and_recorded_again_when_it_is() -> None:
    made = desk()
    request = intraday_turn(made)
    made.answer(request, 200, intraday({"2026-09-01 09:00:00": bar()}), NOW + 1)
    (partial,) = closes(made.take())
    assert partial.flags & Flag.PARTIAL
    made.timer(NOW + 2 * 3600 * SECOND)
    made.answer(asked(made), 200, intraday({"2026-09-01 09:00:00": bar()}), NOW + MINUTE)
    (whole,) = closes(made.take())
    assert not whole.flags & Flag.PARTIAL


@pytest.mark.parametrize(
    ("day", "start", "hours"),
    [
        ("2026-03-06", "2026-03-06T05:00:00+00:00", 24),
        ("2026-03-08", "2026-03-08T05:00:00+00:00", 23),
        ("2026-07-01", "2026-07-01T04:00:00+00:00", 24),
        ("2026-11-01", "2025-11-01T04:00:00+00:00", 25),
    ],
)
def test_days_are_those_of_new_york(day: str, start: str, hours: int) -> None:
    made = desk()
    made.answer(asked(made), 200, daily({day: bar()}), 2_000_000_000 * SECOND)
    (record,) = closes(made.take())
    expected = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    assert record.venue_seq == int(expected.timestamp()) * SECOND
    assert record.venue_seq % (86_400 * SECOND) == ns(start) % (86_400 * SECOND)
    assert record.ts_event - record.venue_seq == hours * 3600 * SECOND


def test_too_many_requests_wait_ever_longer_and_reject_nothing() -> None:
    made = desk()
    limited = f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day."
    body = msgspec.json.encode({"Information": limited})
    waits = []
    now = NOW
    for _ in range(3):
        request = asked(made)
        now = max(now, request.not_before_ns)
        made.answer(request, 200, body, now)
        asked_at = now
        while not (found := made.take_requests()):
            now += SECOND
            made.timer(now)
        made.requests = found
        waits.append((max(found[0].not_before_ns, now) - asked_at) // SECOND)
    assert waits[0] >= 60
    assert waits == sorted(waits)
    assert waits[-1] >= 240
    counters = made.adapter.counters
    assert (counters.ignored, counters.rejected, counters.refused) == (3, 0, 0)
    assert made.rejects == []
    assert all(KEY not in str(notice) for notice in made.notices)


def test_a_refused_symbol_is_a_status_and_left_alone_for_a_day() -> None:
    made = desk("NOPE", "IBM")
    first = asked(made)
    assert "NOPE" in first.path
    made.answer(first, 200, b'{"Error Message":"Invalid API call. Please retry."}', NOW)
    (status,) = made.take()
    assert status.price == StatusCode.SUBSCRIPTION_REFUSED
    assert made.adapter.counters.refused == 1
    for hour in range(1, 23):
        made.timer(NOW + hour * 3600 * SECOND)
        for request in made.take_requests():
            assert "DAILY&symbol=NOPE" not in request.path
            made.answer(request, 200, intraday({}), NOW + hour * 3600 * SECOND)


@pytest.mark.parametrize(
    "text", ["the parameter apikey is invalid or missing.", "The **demo** API key is for demo purposes only."]
)
def test_a_key_that_is_refused_ends_the_feed(text: str) -> None:
    made = desk()
    with pytest.raises(FeedError, match="key of the credential"):
        made.answer(asked(made), 200, msgspec.json.encode({"Error Message": text}), NOW)


def test_without_a_key_there_is_nothing_to_ask() -> None:
    made = desk(key="")
    with pytest.raises(FeedError, match="has no key"):
        made.take()


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_failure_is_asked_for_again(status: int) -> None:
    made = desk()
    first = asked(made)
    made.answer(first, status, b"", NOW)
    made.timer(NOW + 59 * SECOND)
    (other,) = made.take_requests()  # the minutes meanwhile
    made.answer(other, 200, intraday({}), NOW + 59 * SECOND)
    made.timer(NOW + 61 * SECOND)
    assert asked(made).key == first.key


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        intraday({"2026-09-01 25:00:00": bar()}),
        intraday({"2026-09-01 08:00:00": bar()}, zone="Mars/Olympus"),
        intraday({"2026-09-01 08:00:00": bar()}, interval="7min"),
        intraday({"2026-09-01 08:00:00": bar("x")}),
        intraday({"2026-09-01 08:00:00": bar("1.00001")}),
        intraday({"2026-09-01 08:00:00": {"1. open": "1"}}),
    ],
)
def test_what_cannot_be_read_is_a_reject_with_a_gap_and_without_the_key(body: bytes) -> None:
    made = desk()
    request = intraday_turn(made)
    made.take()
    made.answer(request, 200, body + (b" " + KEY.encode() if body == b"<html>" else b""), NOW)
    assert [record.price for record in made.take() if record.kind == Kind.GAP] == [GapCause.REJECTED]
    (reject,) = made.rejects
    assert KEY.encode() not in reject.raw


def test_one_bar_that_cannot_be_read_costs_no_other() -> None:
    made = desk()
    request = intraday_turn(made)
    rows = {"2026-09-01 08:57:00": bar("x"), "2026-09-01 08:58:00": bar()}
    made.answer(request, 200, intraday(rows), NOW)
    assert [each.venue_seq for each in closes(made.take())] == [ns("2026-09-01T12:58:00+00:00")]


def test_bars_that_do_not_connect_come_behind_a_gap() -> None:
    made = desk()
    request = intraday_turn(made)
    made.answer(request, 200, intraday({"2026-09-01 08:00:00": bar()}), NOW)
    made.take()
    made.timer(NOW + 9 * 3600 * SECOND)
    made.answer(asked(made), 200, intraday({"2026-09-01 17:00:00": bar()}), NOW + 9 * 3600 * SECOND)
    gap, *_ = made.take()
    assert (gap.kind, gap.price, gap.flags & Flag.ON_OTHER) == (Kind.GAP, GapCause.SEQUENCE, Flag.ON_OTHER)


def test_bodies_that_were_kept_elsewhere_are_recorded() -> None:
    made = desk(live=False)
    made.requests.clear()
    records = made.feed(intraday({"2026-09-01 08:00:00": bar()}), ts=NOW)
    assert len(closes(records)) == 1


def test_a_feed_that_comes_back_records_no_bar_twice_and_tells_what_it_cannot_reach() -> None:
    newest = ns("2026-09-01T12:58:00+00:00")
    for first, gaps in (("08:57", []), ("09:05", [GapCause.RESTART])):
        made = desk()
        made.resume({"IBM": LastIds(bars={MINUTE: newest, 86_400 * SECOND: ns("2026-08-31T04:00:00+00:00")})}, NOW)
        request = asked(made)
        made.answer(request, 200, daily({"2026-08-31": bar("9"), "2026-08-28": bar()}), NOW + 900 * SECOND)
        made.timer(NOW + 900 * SECOND)
        minutes = asked(made)
        assert "outputsize=compact" in minutes.path
        rows = {f"2026-09-01 {time}:00": bar() for time in (first, "08:58", "09:06") if time >= first}
        made.answer(minutes, 200, intraday(rows), NOW + 900 * SECOND)
        records = made.take()
        assert [each.price for each in records if each.kind == Kind.GAP] == gaps
        assert [each.venue_seq for each in closes(records)][-1] == ns("2026-09-01T13:06:00+00:00")
        assert all(each.venue_seq > newest for each in closes(records))


def test_the_newest_bars_of_a_feed_are_read_from_its_records() -> None:
    made = desk()
    request = intraday_turn(made)
    rows = {"2026-09-01 08:57:00": bar(), "2026-09-01 08:58:00": bar(), "2026-09-01 09:00:00": bar()}
    made.answer(request, 200, intraday(rows), NOW)  # the last one is not over
    continuity = Continuity()
    continuity.add(made.take_ticks())
    last = by_symbol(continuity.last, made.instruments)
    assert last["IBM"].bars == {MINUTE: ns("2026-09-01T12:58:00+00:00")}
