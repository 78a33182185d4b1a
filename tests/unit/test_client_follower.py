"""The follower: events, states, patterns."""

from __future__ import annotations

import numpy as np
import pytest
from followed import EPOCH, book, events, given, info, live, range_of, snapshot

from tickplant import wire
from tickplant.client import follower as follower_module
from tickplant.client.follower import Follower
from tickplant.client.topic_message import decimals
from tickplant.client.topic_patterns import Pattern, filters, nearest
from tickplant.records.layouts import BBO, NO_PRICE, UNKNOWN, Schema

# ---------------------------------------------------------------------------------------------------- events


def test_live_messages_are_given_as_they_come() -> None:
    follower = events()
    assert given(live(follower, 7, 2) + live(follower, 9)) == [("live", 7, 2), ("live", 9, 1)]
    assert follower.take_request() is None


def test_a_message_tells_what_it_is() -> None:
    (message,) = live(events(), 7)
    assert (message.topic, message.venue, message.symbol, message.channel) == (
        "binance.X.trade",
        "binance",
        "X",
        "trade",
    )
    assert (message.schema, message.instrument, message.price_scale, message.size_scale) == (Schema.TICK, 5, 2, 8)
    assert (message.epoch, message.publish_ns) == (EPOCH, 77)
    assert message.prices() == ["0.07"]
    assert message.sizes() == ["0.00000000"]


def test_what_was_missed_is_recovered_before_what_came_after() -> None:
    follower = events()
    live(follower, 0, 2)
    assert live(follower, 5) == []
    assert live(follower, 6) == []
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 2, 4)
    assert follower.take_request() is None, "it is asked once"
    assert given(follower.on_reply(*range_of((1, 3), (4, 3)))) == [
        ("recovered", 2, 2),
        ("recovered", 4, 3),
    ], "whole messages come, the known part of the first is cut off, and what came live meanwhile is not given twice"
    assert given(live(follower, 7)) == [("live", 7, 1)]


def test_a_range_that_comes_in_pieces_is_asked_for_again() -> None:
    follower = events()
    live(follower, 0)
    live(follower, 10)
    follower.take_request()
    assert given(follower.on_reply(*range_of((1, 4)))) == [("recovered", 1, 4)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 5, 9)
    assert given(follower.on_reply(*range_of((5, 5)))) == [("recovered", 5, 5), ("live", 10, 1)]


def test_what_is_gone_is_told_and_the_rest_is_recovered() -> None:
    follower = events()
    live(follower, 0)
    live(follower, 10)
    follower.take_request()
    assert given(follower.on_reply(wire.Gone(1, EPOCH, "binance.X.trade", 6, 11), [])) == [("lost", 1, 5)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 6, 9)
    assert given(follower.on_reply(*range_of((6, 4)))) == [("recovered", 6, 4), ("live", 10, 1)]


@pytest.mark.parametrize(
    "reply",
    [
        wire.Gone(1, EPOCH, "binance.X.trade", 11, 11),
        wire.Gone(1, EPOCH + 1, "binance.X.trade", 0, 4),
        wire.Refused(1, "no"),
        wire.Range(1, EPOCH, "binance.X.trade", 1, 1, 0),
    ],
)
def test_a_range_that_does_not_come_is_lost(reply: wire.Reply) -> None:
    follower = events()
    live(follower, 0)
    live(follower, 10)
    assert given(follower.on_reply(reply, [])) == [("lost", 1, 9), ("live", 10, 1)]


def test_a_range_that_is_not_answered_is_lost() -> None:
    follower = events()
    live(follower, 0)
    live(follower, 10)
    follower.take_request()
    for _ in range(follower_module.TRIES - 1):
        assert follower.on_timeout() == [], "it may have got lost with a process that was killed"
        assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 1, 9)
    assert given(follower.on_timeout()) == [("lost", 1, 9), ("live", 10, 1)]


def test_without_recovery_the_loss_is_told_at_once() -> None:
    follower = events(recover=False)
    live(follower, 0)
    assert given(live(follower, 4)) == [("lost", 1, 3), ("live", 4, 1)]
    assert follower.take_request() is None


def test_what_comes_twice_is_given_once() -> None:
    follower = events()
    live(follower, 0, 5)
    assert live(follower, 0, 5) == []
    assert given(live(follower, 3, 4)) == [("live", 5, 2)]


def test_a_hole_behind_a_hole_is_recovered_too() -> None:
    follower = events()
    live(follower, 0)
    live(follower, 2)
    live(follower, 5)
    assert given(follower.on_reply(*range_of((1, 1)))) == [("recovered", 1, 1), ("live", 2, 1)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 3, 4)
    assert given(follower.on_reply(*range_of((3, 2)))) == [("recovered", 3, 2), ("live", 5, 1)]


def test_a_restarted_engine_is_told_and_followed_from_its_first_record() -> None:
    follower = events()
    live(follower, 8)
    assert given(live(follower, 0, epoch=EPOCH + 1)) == [("lost", 9, UNKNOWN), ("live", 0, 1)]
    assert given(live(follower, 3, epoch=EPOCH + 2)) == [("lost", 1, UNKNOWN)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH + 2, 0, 2)
    reply = range_of((0, 3), epoch=EPOCH + 2)
    assert given(follower.on_reply(*reply)) == [("recovered", 0, 3), ("live", 3, 1)]
    assert live(follower, 99, epoch=EPOCH) == [], "a straggler of the old engine"


def test_records_between_joining_and_the_first_message_are_recovered() -> None:
    follower = events()
    follower.on_progress(EPOCH, info(100))
    live(follower, 103)
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 100, 102)


def test_without_recovery_what_came_between_joining_and_the_first_message_is_lost() -> None:
    follower = events(recover=False)
    follower.on_progress(EPOCH, info(100))
    assert given(live(follower, 103)) == [("lost", 100, 3), ("live", 103, 1)]


@pytest.mark.parametrize("heard_of", ["message", "progress"])
def test_a_life_of_the_engine_that_ends_before_its_first_message_is_a_loss(heard_of: str) -> None:
    follower = events()
    follower.on_progress(EPOCH, info(100))
    if heard_of == "progress":
        assert given(follower.on_progress(EPOCH + 1, info(2))) == [("lost", 100, UNKNOWN)]
    else:
        assert given(live(follower, 2, epoch=EPOCH + 1)) == [("lost", 100, UNKNOWN)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH + 1, 0, 1)


def test_messages_that_were_under_way_when_its_user_joined_are_given() -> None:
    follower = events()
    follower.on_progress(EPOCH, info(100))
    assert given(live(follower, 0) + live(follower, 1)) == [("live", 0, 1), ("live", 1, 1)]


def test_a_topic_that_begins_later_is_wanted_from_its_first_record() -> None:
    for follower in (events(from_start=True), book(from_start=True)):
        live(follower, 2)
        assert follower.take_request() == wire.GetRange(follower.topic, EPOCH, 0, 1)


def test_the_loss_of_the_last_messages_is_found_by_asking_how_far_the_topic_is() -> None:
    follower = events()
    live(follower, 0)
    assert follower.on_progress(EPOCH, info(3)) == []
    assert follower.take_request() is None, "the messages may be under way"
    assert follower.on_progress(EPOCH, info(4)) == []
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 1, 2)
    assert given(follower.on_reply(*range_of((1, 2)))) == [("recovered", 1, 2)]


def test_the_loss_of_everything_since_joining_is_found_as_well() -> None:
    joined, begun = events(), events(from_start=True)
    for follower, first in ((joined, 3), (begun, 0)):
        for next_seq in (3, 5, 6):
            follower.on_progress(EPOCH, info(next_seq))
        request = follower.take_request()
        assert isinstance(request, wire.GetRange)
        assert request.first == first
        assert request.last in (2, 4)


def test_a_restart_is_found_by_asking_too() -> None:
    follower = events()
    live(follower, 8)
    assert given(follower.on_progress(EPOCH + 1, info(2))) == [("lost", 9, UNKNOWN)]
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH + 1, 0, 1)
    assert follower.on_progress(EPOCH, info(9)) == []


# ---------------------------------------------------------------------------------------------------- states


def test_a_book_begins_with_a_snapshot_and_goes_on_without_a_hole() -> None:
    follower = book()
    assert live(follower, 40, 2) == []
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")
    assert live(follower, 42, 4) == []
    assert live(follower, 46) == []
    assert given(follower.on_reply(*snapshot(44))) == [("snapshot", 44, 2), ("live", 44, 2), ("live", 46, 1)]


def test_what_was_missed_between_snapshot_and_stream_is_recovered() -> None:
    follower = book()
    follower.on_progress(EPOCH, info(44))
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")
    assert given(follower.on_reply(*snapshot(44))) == [("snapshot", 44, 2)]
    assert live(follower, 46) == []
    assert follower.take_request() == wire.GetRange("binance.X.book", EPOCH, 44, 45)


def test_a_stream_that_is_here_from_its_first_record_needs_no_snapshot() -> None:
    follower = book()
    assert given(live(follower, 0)) == [("live", 0, 1)]
    late = book()
    late.on_progress(EPOCH, info(44))
    live(late, 0, 30)
    live(late, 30, 20)
    assert given(late.on_reply(*snapshot(44))) == [("live", 0, 30), ("live", 30, 20)]


def test_a_stale_snapshot_says_so() -> None:
    follower = book()
    live(follower, 40)
    message = follower.on_reply(*snapshot(41, stale=True))[0]
    assert (message.kind, message.stale) == ("snapshot", True)


@pytest.mark.parametrize("channel", ["book", "orders"])
def test_a_book_that_lost_something_for_good_begins_anew(channel: str) -> None:
    topic = f"binance.X.{channel}"
    follower = Follower(topic, snapshot=True, recover=True)
    live(follower, 0)
    live(follower, 10)
    follower.take_request()
    assert given(follower.on_reply(wire.Gone(1, EPOCH, topic, 6, 11), [])) == [("lost", 1, 5)]
    assert follower.take_request() == wire.GetSnapshot(topic)
    live(follower, 11, 2)
    assert given(follower.on_reply(*snapshot(12))) == [("snapshot", 12, 2), ("live", 12, 1)]


def test_a_book_of_a_restarted_engine_begins_anew() -> None:
    follower = book()
    live(follower, 0)
    assert given(live(follower, 5, epoch=EPOCH + 1)) == [("lost", 1, UNKNOWN)]
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")
    assert given(follower.on_reply(*snapshot(6, EPOCH + 1))) == [("snapshot", 6, 2)]


def test_a_snapshot_of_a_newer_engine_puts_the_old_ones_messages_aside() -> None:
    follower = book()
    live(follower, 5)
    live(follower, 6)
    assert given(follower.on_reply(*snapshot(2, EPOCH + 1))) == [("snapshot", 2, 2)]
    assert given(live(follower, 2, epoch=EPOCH + 1)) == [("live", 2, 1)]


def test_a_snapshot_of_an_older_engine_is_asked_for_again() -> None:
    follower = book()
    live(follower, 0, epoch=EPOCH + 1)
    live(follower, 9, epoch=EPOCH + 1)
    follower.on_reply(wire.Gone(1, EPOCH + 1, "binance.X.book", 9, 10), [])
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")
    assert follower.on_reply(*snapshot(7, EPOCH)) == []
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")


def test_a_snapshot_that_is_refused_makes_what_was_held_back_a_loss() -> None:
    follower = book()
    live(follower, 40, 2)
    live(follower, 42)
    assert given(follower.on_reply(wire.Refused(1, "no such topic"), [])) == [("lost", 40, 3)]
    assert given(live(follower, 0, epoch=EPOCH + 1)) == [("live", 0, 1)]


def test_a_snapshot_that_is_not_answered_is_asked_for_again() -> None:
    follower = book()
    live(follower, 40)
    follower.take_request()
    assert follower.on_timeout() == []
    assert follower.take_request() == wire.GetSnapshot("binance.X.book")


def test_without_snapshots_a_book_is_followed_like_events() -> None:
    follower = book(snapshot=False)
    assert given(live(follower, 40)) == [("live", 40, 1)]


def test_what_is_held_back_is_bounded_and_what_went_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "BACKLOG_BYTES", 640)
    follower = book()
    for first in range(40, 70):
        live(follower, first)
    assert given(follower.on_reply(*snapshot(41))) == [("snapshot", 41, 2)]
    assert follower.take_request() == wire.GetRange("binance.X.book", EPOCH, 41, 59)
    given_now = given(follower.on_reply(*range_of((41, 19))))
    assert given_now == [("recovered", 41, 19), *(("live", first, 1) for first in range(60, 70))]


def test_a_reply_to_nothing_is_ignored() -> None:
    assert events().on_reply(*range_of((1, 1))) == []
    assert events().on_timeout() == []


def test_a_schema_of_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 99"):
        events().on_message(wire.Header(99, 64, 1, EPOCH, 0, 0, 1, 2, 8), bytes(64))


# ---------------------------------------------------------------------------------------------------- patterns, numbers


@pytest.mark.parametrize(
    ("pattern", "prefix", "wanted", "unwanted"),
    [
        ("binance.BTCUSDT.trade", b"binance.BTCUSDT.trade", ["binance.BTCUSDT.trade"], ["binance.BTCUSDT.trades"]),
        ("binance.BTCUSDT", b"binance.BTCUSDT", ["binance.BTCUSDT.book"], ["binance.BTCUSDT_240927.book"]),
        ("binance", b"binance", ["binance.BTCUSDT.book", "binance.*.status"], ["binance-usdm.BTCUSDT.book"]),
        ("binance.*.trade", b"binance.", ["binance.A.trade", "binance.BRK.B.trade"], ["binance.A.agg_trade"]),
        ("*.bar_1s", b"", ["binance.A.bar_1s"], ["binance.A.bar_1m"]),
        ("*", b"", ["binance.A.bar_1s"], []),
        ("binance.BTC*", b"binance.BTC", ["binance.BTCUSDT.book"], ["binance.ETHBTC.book"]),
        ("a.X+Y(1).trade", b"a.X+Y(1).trade", ["a.X+Y(1).trade"], ["a.XXY1.trade"]),
    ],
)
def test_a_pattern_is_a_topic_its_beginning_or_has_stars(
    pattern: str, prefix: bytes, wanted: list[str], unwanted: list[str]
) -> None:
    made = Pattern(pattern)
    assert made.prefix == prefix
    assert all(made.matches(topic) and topic.encode().startswith(prefix) for topic in wanted)
    assert not any(made.matches(topic) for topic in unwanted)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("binance.BTCUSD.trade", ["binance.BTCUSDT.trade", "binance.ETHUSDT.trade"]),
        ("binance.btcusdt.trade", ["binance.BTCUSDT.trade", "binance.ETHUSDT.trade"]),
        ("binanace.BTCUSD.trades", ["binance.BTCUSDT.trade", "binance.ETHUSDT.trade"]),
        ("binance.BTCUSDT.liquidation", ["binance.BTCUSDT.bar_1s", "binance.BTCUSDT.book", "binance.BTCUSDT.trade"]),
        ("binance.BTCUSD", ["binance.BTCUSDT", "binance.ETHUSDT"]),
        ("binance.*.trades", ["binance.*.trade"]),
        ("*.trades", ["*.*.trade"]),
        ("coinbase.BTCUSD.trade", ["binance.BTCUSDT.trade", "kraken.BTC/USD.trade", "binance.ETHUSDT.trade"]),
        ("kraken.BRK.A.trade", ["kraken.BRK.B.trade"]),
        ("nowhere", []),
        ("*", []),
    ],
)
def test_the_nearest_topics_of_one_that_there_is_not(wanted: str, expected: list[str]) -> None:
    topics = [f"binance.{symbol}.{name}" for symbol in ("BTCUSDT", "ETHUSDT") for name in ("trade", "book", "bar_1s")]
    assert nearest(wanted, [*topics, "kraken.BTC/USD.trade", "kraken.BRK.B.trade"]) == expected
    assert nearest(wanted, []) == []


def test_no_price_is_none_in_text() -> None:
    bbo = np.zeros(1, BBO)
    bbo["bid_price"] = NO_PRICE
    assert decimals(bbo["bid_price"], 2) == [None]
    assert decimals(np.array([-5, 12345]), 2) == ["-0.05", "123.45"]


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["*"], [b""]),
        (
            ["binance.BTCUSDT", "binance.BTCUSDT.trade", "binance.ETHUSDT.book"],
            [b"binance.BTCUSDT", b"binance.ETHUSDT.book"],
        ),
        (["binance." + "X" * 300], [b"binance." + b"X" * 120]),
        ([f"binance.S{number:04}.book" for number in range(500)], [b"binance.S%04d.book" % n for n in range(500)]),
        ([f"binance.S{number:04}.book" for number in range(501)] + ["okx.A.book"], [b"binance.", b"okx."]),
        ([f"venue{number:04}.S.book" for number in range(501)], [b""]),
    ],
)
def test_filters_are_few_and_short_and_let_every_wanted_topic_through(topics: list[str], expected: list[bytes]) -> None:
    found = filters([Pattern(topic) for topic in topics])
    assert found == expected
    assert all(any(topic.partition("*")[0].encode().startswith(prefix) for prefix in found) for topic in topics)
