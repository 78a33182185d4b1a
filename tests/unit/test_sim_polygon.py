"""The simulated Polygon and Alpha Vantage: login, second login, topics; answers and the limit of a key."""

from __future__ import annotations

import json
import time
from typing import Any
from unittest import mock

import pytest
from venue_samples import SAMPLES
from venue_session import SECOND, VenueSession

from tickplant.errors import FeedError
from tickplant.feeds.contract import Closed
from tickplant.records.layouts import Kind
from tickplant.sim.conversation import Close, Get, Refusal, Refused, Reply, Session, Text
from tickplant.sim.dialects.alpha_vantage import venue as alpha_vantage
from tickplant.sim.dialects.polygon import venue as polygon
from tickplant.sim.spec import SimSpec


def words(replies: list[Reply]) -> list[tuple[str, str]]:
    """Status events, and the end as `close`."""
    found = []
    for reply in replies:
        if isinstance(reply, Text):
            found += [(event["status"], event["message"]) for event in json.loads(reply.text)]
        else:
            found.append(("close", reply.reason))
    return found


def say(session: Session, action: str, params: str) -> list[tuple[str, str]]:
    return words(session.on_text(json.dumps({"action": action, "params": params}).encode()))


@pytest.fixture
def venue() -> polygon.Polygon:
    return polygon.Polygon(SimSpec(venue="polygon", symbols=("MSFT", "AAPL"), max_streams=3))


def connect(venue: polygon.Polygon, refuse: Any = lambda: None) -> Session:
    session = venue.accept("/stocks", {}, refuse)
    assert not isinstance(session, Refusal)
    return session


def test_it_greets_and_gives_nothing_before_the_login(venue: polygon.Polygon) -> None:
    session = connect(venue)
    assert words(session.greetings()) == [("connected", "Connected Successfully")]
    assert say(session, "subscribe", "T.MSFT") == [("auth_required", "not authenticated")]
    assert say(session, "auth", "any") == [("auth_success", "authenticated")]
    assert say(session, "subscribe", "T.MSFT,Q.*") == [
        ("success", "subscribed to: T.MSFT"),
        ("success", "subscribed to: Q.*"),
    ]
    assert session.names() == ["T.MSFT", "Q.MSFT", "Q.AAPL"]
    assert say(session, "unsubscribe", "Q.*") == [("success", "unsubscribed to: Q.*")]
    assert session.names() == ["T.MSFT"]


@pytest.mark.parametrize("key", ["", "refused"])
def test_a_key_that_is_not_good_ends_the_connection(venue: polygon.Polygon, key: str) -> None:
    session = connect(venue)
    (failed, close) = say(session, "auth", key)
    assert (failed[0], close[0]) == ("auth_failed", "close")
    assert session.names() == []


def test_a_second_login_with_a_key_throws_the_first_one_out(venue: polygon.Polygon) -> None:
    first, second, other = connect(venue), connect(venue), connect(venue)
    heard: list[Reply] = []
    first.say = heard.extend
    for session in (first, other):
        say(session, "auth", "other" if session is other else "same")
        say(session, "subscribe", "T.MSFT")
    say(second, "auth", "same")
    assert [word for word, _ in words(heard)] == ["force_disconnect", "close"]
    assert isinstance(heard[-1], Close)
    assert (first.names(), other.names()) == ([], ["T.MSFT"])


def test_errors_name_their_topic(venue: polygon.Polygon) -> None:
    session = connect(venue, lambda: Refused(0, "not authorized to subscribe to"))
    say(session, "auth", "any")
    assert say(session, "subscribe", "T.MSFT") == [("error", "not authorized to subscribe to T.MSFT")]
    session = connect(venue)
    say(session, "auth", "another")
    answers = [word for word, _ in say(session, "subscribe", "X.MSFT,T.A,T.B,T.C,T.D")]
    assert answers == ["error", *["success"] * 3, "error"]
    assert [word for word, _ in say(session, "dance", "")] == ["error"]
    assert words(session.on_text(b"\xff")) == [("error", "invalid request")]


def test_other_paths_and_recordings_are_refused(venue: polygon.Polygon) -> None:
    assert isinstance(venue.accept("/crypto", {}, lambda: None), Refusal)
    for made in (polygon, alpha_vantage):
        with pytest.raises(FeedError, match="plays no recordings"):
            made.dialect(SimSpec(venue="polygon", symbols=("MSFT",), recording="x"))


def test_bars_and_bands_are_made_of_the_trades() -> None:
    sample = SAMPLES["polygon"]
    channels = ("trade", "venue_bar", "statistic")
    with VenueSession(sample, messages_per_s=40.0, channels=channels) as session:
        session.run(130.0, step_ms=100)
        records = session.feed.of("MSFT")
    trades = records[records["kind"] == Kind.TRADE]
    bars = records[records["kind"] == Kind.VENUE_BAR]
    assert (records["kind"] == Kind.STATISTIC).sum() >= 2
    for length, least in ((SECOND, 50), (60 * SECOND, 1)):
        mine = bars[bars["ts_event"] - bars["venue_seq"].astype("i8") == length]
        starts = sorted(set(mine["venue_seq"].tolist()))
        assert len(starts) >= least
        start = starts[-1]
        inside = trades[(trades["ts_event"] >= start) & (trades["ts_event"] < start + length)]["price"]
        opened, high, low, close, _ = mine[mine["venue_seq"] == start]["price"].tolist()
        assert (opened, high, low, close) == (inside[0], inside.max(), inside.min(), inside[-1])


def test_a_feed_that_another_login_throws_out_stays_away() -> None:
    sample = SAMPLES["polygon"]
    with VenueSession(sample) as session:
        session.run(2.0)
        assert session.venue is not None
        other = session.venue.dialect.accept("/stocks", {}, lambda: None)
        assert not isinstance(other, Refusal)
        say(other, "auth", sample.secrets["key"])
        session.run(0.02)
        reasons = [what.reason for _, what in session.happened if isinstance(what, Closed)]
    assert reasons == ["replaced"]


# Alpha Vantage.


def ask(venue: alpha_vantage.AlphaVantage, **query: str) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in ({"apikey": "good", "symbol": "IBM"} | query).items())
    answer = venue._rest.answer(Get(f"/query?{text}", {}, ""))
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_errors_come_with_status_200_and_a_key_has_its_limit() -> None:
    venue = alpha_vantage.AlphaVantage(SimSpec(venue="alpha-vantage", symbols=("IBM",), weight_per_minute=3))
    assert "apikey" in ask(venue, apikey="refused")["Error Message"]
    assert "Invalid API call" in ask(venue, function="TIME_SERIES_DAILY", symbol="NOPE")["Error Message"]
    assert "does not exist" in ask(venue, function="NOPE")["Error Message"]
    assert "Time Series (Daily)" in ask(venue, function="TIME_SERIES_DAILY")
    limited = ask(venue, function="TIME_SERIES_DAILY")["Information"]
    assert "good" in limited
    assert "3 requests per day" in limited
    with mock.patch.object(time, "time", return_value=time.time() + 86_401):
        assert "Time Series (1min)" in ask(venue, function="TIME_SERIES_INTRADAY", interval="1min")
    assert venue._rest.answer(Get("/other", {}, "")).status == 404


def test_a_feed_records_the_bars_of_its_simulated_venue() -> None:
    sample = SAMPLES["alpha-vantage"]
    free = {"key": sample.secrets["key"]}
    with VenueSession(sample, messages_per_s=40.0, secrets=free) as session:
        session.run(200.0, step_ms=500)
        bars = session.feed.of("IBM")
        assert session.answered == 5  # the burst
    lengths = (bars["ts_event"] - bars["venue_seq"].astype("i8"))[bars["kind"] == Kind.VENUE_BAR]
    assert set(lengths.tolist()) == {60 * SECOND, 86_400 * SECOND}
