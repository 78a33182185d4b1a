"""Polygon: login and links."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from polygon_desk import CHANNELS, KEY, Desk, trade
from venue_desk import SECOND, VenueDesk

from tickplant.errors import FeedError
from tickplant.feeds.contract import Effect, Fail, Followed, Frames, Hold, Resubscribe, Send, Symbols
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.venues.polygon import adapter
from tickplant.feeds.venues.polygon import venue as facts
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, StatusCode
from tickplant.venues import VENUES

# The login.


def test_it_logs_in_when_greeted_and_subscribes_when_let_in() -> None:
    desk = Desk("MSFT", "AAPL")
    desk.open()
    assert desk.actions == []
    desk.status("connected", "Connected Successfully")
    (login,) = desk.actions
    assert login == Send("stream", msgspec.json.encode({"action": "auth", "params": KEY}), secret=True)
    desk.actions.clear()
    desk.status("auth_success", "authenticated")
    assert desk.sent() == [
        {"action": "subscribe", "params": "T.MSFT,T.AAPL"},
        {"action": "subscribe", "params": "Q.MSFT,Q.AAPL"},
        {"action": "subscribe", "params": "AM.MSFT,A.MSFT,AM.AAPL,A.AAPL"},
        {"action": "subscribe", "params": "LULD.MSFT,LULD.AAPL"},
    ]
    link = desk.adapter.subscriptions.links["stream"]
    assert (desk.links[0].url, desk.links[0].overlap) == ("wss://socket.massive.com/stocks", False)
    desk.feed(
        [{"ev": "status", "status": "success", "message": f"subscribed to: T.{symbol}"} for symbol in ("MSFT", "AAPL")]
    )
    assert len(link.pending) == 3


def test_other_addresses_of_the_venue_can_be_chosen() -> None:
    assert Desk(ws_url="wss://socket.polygon.io/").links[0].url == "wss://socket.polygon.io/stocks"
    assert Desk(ws_url="wss://delayed.massive.com").links[0].url == "wss://delayed.massive.com/stocks"


def test_each_connection_logs_in_anew() -> None:
    desk = Desk().logged_in()
    desk.sent()
    desk.close()
    desk.open()
    assert desk.sent() == []
    desk.status("connected")
    assert [each["action"] for each in desk.sent()] == ["auth"]
    desk.status("auth_success")
    assert {each["action"] for each in desk.sent()} == {"subscribe"}


@pytest.mark.parametrize("greeted", [False, True])
def test_a_login_without_answer_needs_another_connection(greeted: bool) -> None:
    desk = Desk()
    desk.open()
    if greeted:
        desk.status("connected")
    desk.actions.clear()
    desk.timer(9 * SECOND)
    assert desk.actions == []
    desk.timer(10 * SECOND)
    desk.timer(11 * SECOND)
    (again,) = desk.actions
    assert isinstance(again, Resubscribe)
    assert "no answer" in again.reason


def test_a_key_that_is_refused_ends_the_feed_and_is_named_nowhere() -> None:
    desk = Desk()
    desk.open()
    desk.status("connected")
    with pytest.raises(FeedError, match="refuses the key") as failed:
        desk.status("auth_failed", "authentication failed")
    assert KEY not in str(failed.value)


def test_without_a_key_there_is_nothing_to_open() -> None:
    with pytest.raises(FeedError, match="has no key"):
        Desk(secrets={})


def test_more_quotes_of_options_than_a_connection_carries_are_refused() -> None:
    symbols = [f"O:SPY261218C{strike:08d}" for strike in range(1001)]
    desk = VenueDesk("polygon-options", adapter.options, symbols, channels=("quote",), secrets={"key": KEY})
    with pytest.raises(FeedError, match="1001 symbols"):
        desk.start()
    for channels, count in ((("trade",), 1001), (("quote",), 1000)):
        VenueDesk("polygon-options", adapter.options, symbols[:count], channels=channels, secrets={"key": KEY}).start()


def effects_of(desk: Desk, word: str, ts: int) -> list[Effect]:
    desk.adapter.on_event(_frame([{"ev": "status", "status": word, "message": "m"}]), ts)
    return list(desk.adapter.take().effects)


def _frame(events: list[dict[str, Any]]) -> Frames:
    return Frames("stream", [json.dumps(events).encode()])


@pytest.mark.parametrize("word", ["max_connections", "force_disconnect"])
def test_a_link_that_another_login_throws_out_rests_ever_longer_then_the_feed_ends(word: str) -> None:
    desk, now = Desk(), 0
    for pause_s in facts.PAUSES_S:
        desk.logged_in(now)
        (hold,) = effects_of(desk, word, now)
        assert isinstance(hold, Hold)
        assert (hold.name, hold.until_ns) == ("stream", now + pause_s * SECOND)
        desk.close(ts=now)
        now = hold.until_ns
        assert desk.timer(now) == []
    desk.logged_in(now)
    (fail,) = effects_of(desk, word, now)
    assert isinstance(fail, Fail)


def test_a_login_that_lasted_begins_the_pauses_anew() -> None:
    desk, now = Desk(), 0
    for _ in range(2 * len(facts.PAUSES_S)):
        desk.logged_in(now)
        now += facts.CALM_S * SECOND + 1
        (hold,) = effects_of(desk, "force_disconnect", now)
        assert isinstance(hold, Hold)
        assert hold.until_ns == now + facts.PAUSES_S[0] * SECOND
        desk.close(ts=now)


def test_a_slow_reader_is_connected_again_and_told_of_its_gap() -> None:
    desk = Desk().logged_in()
    desk.feed([trade()])
    (again,) = effects_of(desk, "slow_consumer", 1)
    assert isinstance(again, Resubscribe)
    desk.close()
    gaps = [record for record in desk.open() if record.kind == Kind.GAP]
    assert {(each.price, each.size) for each in gaps} == {(GapCause.DISCONNECT, UNKNOWN)}
    assert {int(each.flags & ~Flag.LAST) for each in gaps} == {Flag.ON_TRADE, Flag.ON_QUOTE}


def test_a_restarted_feed_says_so_on_each_stream_when_its_link_opens() -> None:
    desk = VenueDesk("polygon", adapter.stocks, ["MSFT"], channels=CHANNELS, secrets={"key": KEY})
    desk.resume({"MSFT": LastIds(trade=(5, 6), quote=(7, 8))}, 1)
    desk.start()
    gaps = [record for record in desk.open() if record.kind == Kind.GAP]
    assert [each.price for each in gaps] == [GapCause.RESTART] * 2


def test_a_symbol_can_be_added_and_removed_while_the_feed_runs() -> None:
    desk = Desk().logged_in(ts=SECOND)
    desk.sent()
    desk.event(Symbols(added=("AAPL",)), SECOND)  # the venue has no instrument data, and none are awaited
    desk.timer(2 * SECOND)
    assert desk.sent() == [
        {"action": "subscribe", "params": topics} for topics in ("T.AAPL", "Q.AAPL", "AM.AAPL,A.AAPL", "LULD.AAPL")
    ]
    assert [each.symbol for each in desk.feed([trade(sym="AAPL")])] == ["AAPL"]
    desk.event(Symbols(removed=("AAPL",)), 20 * SECOND)
    assert {each["action"] for each in desk.sent()} == {"unsubscribe"}
    desk.take()
    assert desk.feed([trade(sym="AAPL", q=10)]) == []


def test_a_symbol_that_is_added_before_the_login_is_subscribed_to_behind_it() -> None:
    desk = Desk(channels=("trade",))
    desk.open(ts=SECOND)
    desk.event(Symbols(added=("AAPL",)), SECOND)
    desk.timer(2 * SECOND)
    assert desk.sent() == []
    desk.status("connected", ts=2 * SECOND)
    assert [each["action"] for each in desk.sent()] == ["auth"]
    desk.status("auth_success", ts=3 * SECOND)
    assert desk.sent() == [{"action": "subscribe", "params": "T.MSFT,T.AAPL"}]


def test_no_symbol_is_added_beyond_the_quotes_that_a_connection_carries() -> None:
    contracts = [f"O:SPY261218C{strike:08d}" for strike in range(1001)]
    most = VENUES["polygon-options"]
    options = {"channels": ("quote",), "secrets": {"key": KEY}}
    desk = VenueDesk(most.name, adapter.options, contracts[:999], **options)
    desk.start()
    desk.open(ts=SECOND)
    desk.event(Symbols(added=tuple(contracts[999:])), SECOND)
    desk.timer(2 * SECOND)
    followed = [action for action in desk.actions if isinstance(action, Followed)]
    assert {each.symbol: each.problem for each in followed}[contracts[1000]] == (
        "one connection carries the quotes of 1000 symbols"
    )
    (link,) = desk.adapter.subscriptions.links.values()
    assert [stream.symbol for stream in link.streams] == contracts[:1000]


def test_a_refused_topic_is_asked_for_again_later() -> None:
    desk = Desk("MSFT", "AAPL").logged_in()
    desk.sent()
    (status,) = desk.status("error", "not authorized to subscribe to Q.AAPL")
    assert status.price == StatusCode.SUBSCRIPTION_REFUSED
    desk.timer(2 * SECOND)
    assert desk.sent() == [{"action": "subscribe", "params": "Q.AAPL"}]
