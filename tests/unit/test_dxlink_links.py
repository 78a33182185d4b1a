"""dxLink: handshake and signs of life."""

from __future__ import annotations

import pytest
from dxlink_desk import (
    AUTHORIZED,
    KEEPALIVE,
    UNAUTHORIZED,
    config,
    data,
    make,
    opened,
    replaced,
    running,
    sent,
    setup,
    types,
)
from venue_desk import SECOND

from tickplant.errors import FeedError
from tickplant.feeds.contract import Resubscribe, Send, Symbols
from tickplant.feeds.last_ids import LastIds
from tickplant.records.layouts import Flag, GapCause, Kind

# Handshake.


def test_terms_then_channels_then_subscriptions_each_when_the_one_before_is_answered() -> None:
    desk = make("AAPL", "MSFT", channels=("trade", "quote", "statistic"))
    desk.start()
    assert [(link.name, link.url) for link in desk.links] == [("feed+statistic", "wss://demo.dxfeed.com/dxlink-ws")]
    desk.link = "feed+statistic"
    desk.open(ts=SECOND)
    (first,) = sent(desk)
    assert (first["type"], first["keepaliveTimeout"], first["acceptKeepaliveTimeout"]) == ("SETUP", 60, 60)
    desk.feed(setup(), ts=SECOND)
    assert sent(desk) == []
    desk.feed(AUTHORIZED, AUTHORIZED, ts=SECOND)
    requests = sent(desk)
    assert [(each["type"], each["channel"], each["parameters"]["contract"]) for each in requests] == [
        ("CHANNEL_REQUEST", 1, "STREAM"),
        ("CHANNEL_REQUEST", 3, "STREAM"),
        ("CHANNEL_REQUEST", 5, "AUTO"),
    ]
    desk.feed(opened(3), opened(3), opened(77), ts=SECOND)
    how, what = sent(desk)
    assert (how["type"], how["acceptDataFormat"], list(how["acceptEventFields"])) == (
        *("FEED_SETUP", "COMPACT"),
        ["TimeAndSale"],
    )
    assert what["add"] == [{"type": "TimeAndSale", "symbol": "AAPL"}, {"type": "TimeAndSale", "symbol": "MSFT"}]
    desk.feed(opened(5), ts=SECOND)
    assert [entry["type"] for entry in sent(desk)[1]["add"]] == ["Greeks", "Summary"] * 2


def test_lists_are_split_to_bounded_messages() -> None:
    symbols = [f"S{number}" for number in range(250)]
    desk = running(make(*symbols, channels=("quote",)))
    desk.feed(opened(1), ts=SECOND)
    adds = [message["add"] for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert [len(add) for add in adds] == [100, 100, 50]
    assert [entry["symbol"] for add in adds for entry in add] == symbols


def test_bars_are_asked_for_from_now_on() -> None:
    desk = running(make(channels=("venue_bar",)))
    desk.feed(opened(5), ts=1_788_264_000 * SECOND)
    assert sent(desk)[1]["add"] == [{"type": "Candle", "symbol": "AAPL{=m}", "fromTime": 1_788_264_000_000}]


def test_the_first_unauthorized_is_answered_with_the_token_which_is_secret() -> None:
    desk = make(secrets={"token": "planted-token"})
    desk.start()
    desk.open(ts=SECOND)
    desk.actions.clear()
    desk.feed(setup(), UNAUTHORIZED, ts=SECOND)
    (auth,) = desk.actions
    assert auth == Send("feed", b'{"type":"AUTH","channel":0,"token":"planted-token"}', secret=True)
    with pytest.raises(FeedError, match="dxlink: the server refuses the token"):
        desk.feed(UNAUTHORIZED, ts=2 * SECOND)


def test_an_error_after_the_token_ends_the_feed_as_well() -> None:
    desk = make(secrets={"token": "planted-token"})
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(), UNAUTHORIZED, ts=SECOND)
    with pytest.raises(FeedError, match="refuses"):
        desk.feed({"type": "ERROR", "channel": 0, "error": "UNAUTHORIZED", "message": "no"}, ts=2 * SECOND)


def test_a_server_that_wants_a_token_ends_a_feed_without_one() -> None:
    desk = make()
    desk.start()
    desk.open(ts=SECOND)
    with pytest.raises(FeedError, match="wants a token"):
        desk.feed(setup(), UNAUTHORIZED, ts=SECOND)


def test_an_authorization_that_is_withdrawn_is_asked_for_on_a_new_connection() -> None:
    desk = running(make())
    desk.feed(UNAUTHORIZED, ts=5 * SECOND)
    assert replaced(desk) == ["the server has withdrawn the authorization"]


@pytest.mark.parametrize(
    ("frames", "what"),
    [((), "SETUP"), ((setup(),), "AUTH_STATE"), ((setup(), AUTHORIZED), "CHANNEL_REQUEST 1")],
)
def test_an_answer_that_does_not_come_has_the_connection_replaced(frames: tuple, what: str) -> None:
    desk = make()
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(*frames, KEEPALIVE, ts=SECOND)
    desk.timer(10 * SECOND)
    assert replaced(desk) == []
    desk.timer(11 * SECOND)
    desk.timer(12 * SECOND)
    assert replaced(desk) == [f"no answer to {what}"]


# Signs of life.


def test_something_is_sent_at_least_every_30_seconds() -> None:
    desk = running(make(channels=("trade",)), 3)
    for second in range(2, 100):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert types(desk) == [("KEEPALIVE", 0)] * 3


def test_a_server_that_accepts_less_silence_hears_more() -> None:
    desk = make(channels=("quote",))
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(accepts_s=10), AUTHORIZED, opened(1), ts=SECOND)
    desk.actions.clear()
    for second in range(2, 32):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert types(desk) == [("KEEPALIVE", 0)] * 6


def test_a_server_that_is_silent_for_its_own_time_is_dead() -> None:
    desk = make(channels=("agg_trade",))
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(keepalive_s=20), AUTHORIZED, opened(5), ts=SECOND)
    desk.timer(21 * SECOND)
    assert replaced(desk) == []
    desk.timer(22 * SECOND)
    assert replaced(desk) == ["the server has been silent for 21 s"]


def test_a_subscription_that_delivers_nothing_has_failed() -> None:
    desk = running(make("AAPL", "NOSUCH", channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize"), ts=SECOND)
    for second in range(2, 62):
        desk.feed(data(1, "Quote", ["AAPL", 1.5, 1.75, 1, 2]), ts=second * SECOND)
        desk.timer(second * SECOND)
    assert replaced(desk) == ["acknowledged but silent: Quote NOSUCH"]


def test_a_symbol_that_is_added_is_subscribed_to_and_needs_no_answer() -> None:
    desk = running(make(channels=("trade",)), 3)
    desk.event(Symbols(added=("MSFT",)), 2 * SECOND)
    for second in range(2, 40):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert not any(isinstance(action, Resubscribe) for action in desk.actions)
    subscribed = [message["add"] for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert subscribed == [[{"type": "TimeAndSale", "symbol": "MSFT"}]]


def test_a_symbol_that_is_added_before_a_channel_is_there_is_subscribed_to_over_it() -> None:
    desk = running(make(channels=("trade", "quote")), 3)
    desk.event(Symbols(added=("MSFT",)), 2 * SECOND)
    desk.timer(2 * SECOND)
    (now,) = [message for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert (now["channel"], now["add"]) == (3, [{"type": "TimeAndSale", "symbol": "MSFT"}])
    desk.feed(opened(1), ts=3 * SECOND)
    (later,) = [message for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert (later["channel"], [each["symbol"] for each in later["add"]]) == (1, ["AAPL", "MSFT"])


def test_what_was_recorded_before_is_followed_by_a_gap() -> None:
    desk = make("AAPL")
    desk.resume({"AAPL": LastIds(trade=(7, 8), quote=(0, 9))}, ts=SECOND)
    desk.start()
    records = [record for record in desk.open(ts=SECOND) if record.kind == Kind.GAP]
    assert [(record.price, record.flags & ~Flag.LAST) for record in records] == [
        (GapCause.RESTART, Flag.ON_QUOTE),
        (GapCause.RESTART, Flag.ON_TRADE),
    ]
