"""A follower: what the user of one topic is given, whatever arrives in whatever order."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant import wire
from tickplant.client import follower as follower_module
from tickplant.client.follower import Follower
from tickplant.client.topic_message import Message, decimals
from tickplant.client.topic_patterns import Pattern, filters
from tickplant.records.layouts import BBO, NO_PRICE, TICK, UNKNOWN, Schema

EPOCH = 1000


def records(first: int, count: int) -> np.ndarray:
    made = np.zeros(count, TICK)
    made["seq"] = made["price"] = np.arange(first, first + count)
    return made


def header(first: int, count: int = 1, epoch: int = EPOCH, producer: str = "") -> wire.Header:
    return wire.Header(1, 64, count, epoch, first, 77, 5, 2, 8, producer)


def live(follower: Follower, first: int, count: int = 1, epoch: int = EPOCH) -> list[Message]:
    return follower.on_message(header(first, count, epoch), records(first, count).tobytes())


def given(messages: list[Message]) -> list[tuple[str, int, int]]:
    """Kind, first sequence, number; and that the records are those of the numbers."""
    for message in messages:
        if message.kind in ("live", "recovered"):
            numbers = range(message.first_seq, message.first_seq + len(message.records))
            assert message.records["seq"].tolist() == list(numbers)
    return [(m.kind, m.first_seq, m.lost if m.kind == "lost" else len(m.records)) for m in messages]


def info(next_seq: int, topic: str = "binance.X.trade") -> wire.TopicInfo:
    return wire.TopicInfo(topic, 1, 5, 2, 8, next_seq)


def snapshot(next_seq: int, epoch: int = EPOCH, *, stale: bool = False) -> tuple[wire.Snapshot, list[bytes]]:
    reply = wire.Snapshot(1, epoch, info(next_seq, "binance.X.book"), 2, stale)
    return reply, [records(500, 2).tobytes()]


def range_of(*parts: tuple[int, int], epoch: int = EPOCH) -> tuple[wire.Range, list[bytes]]:
    frames = []
    for first, count in parts:
        frames += [wire.pack_header(1, 64, count, epoch, first, 77, 5, 2, 8), records(first, count).tobytes()]
    reply = wire.Range(1, epoch, "binance.X.trade", parts[0][0], sum(parts[-1]) - 1, len(parts))
    return reply, frames


def events(**options: bool) -> Follower:
    return Follower("binance.X.trade", **{"snapshot": True, "recover": True} | options)


def book(**options: bool) -> Follower:
    return Follower("binance.X.book", **{"snapshot": True, "recover": True} | options)


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


# --------------------------------------------------------------------------------- another life of the engine


def stored(first_seq: int, count: int, *, resume: int = 0) -> tuple[wire.History, list[bytes]]:
    """What the store has of the feed from a seq on."""
    last = first_seq + count - 1
    frames = [wire.pack_header(1, 64, count, 0, 0, 0, 5, 2, 8, b"feed"), records(first_seq, count).tobytes()]
    return wire.History(1, "binance.X.trade", "feed", last, resume or last + 1, 1), frames if count else []


def another(first_seq: int, count: int) -> tuple[wire.History, list[bytes]]:
    """Likewise, but other records have these seqs."""
    reply, (head, payload) = stored(first_seq, count)
    made = np.frombuffer(payload, TICK).copy()
    made["price"] += 1
    return reply, [head, made.tobytes()]


def of_feed(follower: Follower, first: int, first_seq: int, count: int = 1, epoch: int = EPOCH) -> list[Message]:
    return follower.on_message(header(first, count, epoch, "feed"), records(first_seq, count).tobytes())


def seqs(messages: list[Message]) -> list[tuple[str, int, list[int]]]:
    return [(message.kind, message.epoch, message.records["seq"].tolist()) for message in messages]


def restarted(*, begin_seq: int, **options: bool) -> tuple[Follower, list[Message]]:
    """A follower that has had seqs 20 and 21, and then the first record of another life, which is 30."""
    follower = events(**options)
    of_feed(follower, 0, 20, 2)
    assert of_feed(follower, 0, 30, epoch=EPOCH + 1) == []
    assert follower.take_request() == wire.GetRange("binance.X.trade", EPOCH, 2, 2), "the engine knows where it began"
    gone = wire.Gone(1, EPOCH + 1, "binance.X.trade", 0, 1, "feed", begin_seq)
    return follower, follower.on_reply(gone, [])


def test_what_was_stored_between_two_lives_of_an_engine_is_recovered() -> None:
    follower, out = restarted(begin_seq=30)
    assert out == []
    assert follower.take_request() == wire.GetHistory("binance.X.trade", "feed", 21, 29)
    assert seqs(follower.on_reply(*stored(21, 4))) == [("recovered", EPOCH, [22, 23, 24])]
    assert follower.take_request() == wire.GetHistory("binance.X.trade", "feed", 25, 29)
    assert seqs(follower.on_reply(*stored(25, 5)) + of_feed(follower, 1, 33, epoch=EPOCH + 1)) == [
        ("recovered", EPOCH, [25, 26, 27, 28, 29]),
        ("live", EPOCH + 1, [30]),
        ("live", EPOCH + 1, [33]),
    ]


def test_where_nothing_was_stored_between_two_lives_nothing_is_recovered() -> None:
    follower, out = restarted(begin_seq=22)
    assert out == []
    assert follower.take_request() == wire.GetHistory("binance.X.trade", "feed", 21, 21)
    assert seqs(follower.on_reply(*stored(21, 1))) == [("live", EPOCH + 1, [30])]


def test_a_book_goes_on_without_a_snapshot_where_all_between_two_lives_is_stored() -> None:
    follower = book(from_start=True)
    of_feed(follower, 0, 20, 2)
    of_feed(follower, 7, 33, epoch=EPOCH + 1)
    follower.take_request()
    follower.on_reply(wire.Gone(1, EPOCH + 1, "binance.X.book", 0, 8, "feed", 30), [])
    follower.take_request()
    assert seqs(follower.on_reply(*stored(21, 9))) == [("recovered", EPOCH, [22, 23, 24, 25, 26, 27, 28, 29])]
    assert follower.take_request() == wire.GetRange("binance.X.book", EPOCH + 1, 0, 6)


@pytest.mark.parametrize(
    "gone",
    [
        wire.Gone(1, EPOCH + 1, "binance.X.trade", 0, 1),  # it has published no stored record yet
        wire.Gone(1, EPOCH + 1, "binance.X.trade", 0, 1, "another", 30),
        wire.Gone(1, EPOCH + 1, "binance.X.trade", 0, 1, "feed", 21),  # after a power cut, seqs are used again
    ],
)
def test_where_the_lives_of_an_engine_do_not_fit_the_loss_is_told(gone: wire.Gone) -> None:
    follower = events()
    of_feed(follower, 0, 20, 2)
    of_feed(follower, 0, 30, epoch=EPOCH + 1)
    follower.take_request()
    out = follower.on_reply(gone, [])
    assert [(m.kind, m.lost) for m in out] == [("lost", UNKNOWN), ("live", 0)]


@pytest.mark.parametrize(
    ("reply", "recovered"),
    [
        (stored(21, 3, resume=27), [22, 23]),  # 24 to 26 are damaged
        ((wire.History(1, "binance.X.trade", "feed", 20, 21, 0), []), []),  # nothing is stored yet
        (another(21, 9), []),  # after a power cut, seqs that were not durable are used again
        (stored(22, 8), []),  # and then of another topic
        ((wire.Refused(1, "this engine has no store to read"), []), []),
    ],
)
def test_what_the_store_lacks_between_two_lives_is_lost(
    reply: tuple[wire.Reply, list[bytes]], recovered: list[int]
) -> None:
    follower, _ = restarted(begin_seq=30)
    follower.take_request()
    out = follower.on_reply(*reply)
    assert [seq for message in out if message.kind == "recovered" for seq in message.records["seq"]] == recovered
    assert [(m.kind, m.epoch) for m in out][-2:] == [("lost", EPOCH), ("live", EPOCH + 1)]


def test_history_that_is_not_answered_is_asked_for_again_and_then_lost() -> None:
    follower, _ = restarted(begin_seq=30)
    for _ in range(follower_module.TRIES):
        assert isinstance(follower.take_request(), wire.GetHistory)
        out = follower.on_timeout()
    assert [(m.kind, m.lost) for m in out] == [("lost", UNKNOWN), ("live", 0)]


def test_a_question_where_a_life_of_the_engine_begins_that_is_not_answered_is_a_loss_of_unknown_size() -> None:
    follower = events()
    of_feed(follower, 0, 20, 2)
    of_feed(follower, 0, 30, epoch=EPOCH + 1)
    for _ in range(follower_module.TRIES):
        assert isinstance(follower.take_request(), wire.GetRange)
        out = follower.on_timeout()
    assert [(m.kind, m.lost) for m in out] == [("lost", UNKNOWN), ("live", 0)]
    assert follower.take_request() is None


@pytest.mark.parametrize(
    "early",
    [
        wire.Refused(1, "binance.X.trade: no such topic, or it has had no record yet"),
        wire.Gone(1, EPOCH + 2, "binance.X.trade", 0, 0),
    ],
)
@pytest.mark.parametrize("hole", [False, True])
def test_an_engine_that_was_killed_once_more_is_asked_again_when_it_has_something(
    early: wire.Reply, *, hole: bool
) -> None:
    follower = events()
    of_feed(follower, 0, 20, 2)
    if hole:
        of_feed(follower, 5, 25)
    else:
        of_feed(follower, 0, 26, epoch=EPOCH + 1)
    request = follower.take_request()
    assert follower.on_reply(early, []) == []
    assert follower.take_request() is None, "nobody would know yet"
    assert follower.on_progress(EPOCH + 2, info(0)) == []
    assert of_feed(follower, 0, 30, epoch=EPOCH + 2) == []
    assert follower.take_request() is None
    assert follower.on_progress(EPOCH + 2, info(1)) == []
    assert follower.take_request() == request
    follower.on_reply(wire.Gone(1, EPOCH + 2, "binance.X.trade", 0, 1, "feed", 30), [])
    assert follower.take_request() == wire.GetHistory("binance.X.trade", "feed", 21, 29)
    assert seqs(follower.on_reply(*stored(21, 9))) == [
        ("recovered", EPOCH, list(range(22, 30))),
        ("live", EPOCH + 2, [30]),
    ]


def test_an_engine_that_refuses_again_and_again_is_not_asked_for_ever() -> None:
    follower = events()
    of_feed(follower, 0, 20, 2)
    of_feed(follower, 0, 30, epoch=EPOCH + 1)
    out: list[Message] = []
    asked = 0
    while not out:
        assert isinstance(follower.take_request(), wire.GetRange)
        asked += 1
        out = follower.on_reply(wire.Refused(1, "no"), [])
        follower.on_progress(EPOCH + 1, info(1))
    assert asked == follower_module.TRIES
    assert [(m.kind, m.lost) for m in out] == [("lost", UNKNOWN), ("live", 0)]


def test_where_two_feeds_count_the_seqs_of_a_topic_another_life_is_a_loss() -> None:
    """What the one had in between would say nothing of the other."""
    follower = events()
    of_feed(follower, 0, 20)
    follower.on_message(header(1, producer="other"), records(70, 1).tobytes())
    of_feed(follower, 2, 21)
    out = of_feed(follower, 0, 22, epoch=EPOCH + 1)
    assert [(m.kind, m.lost) for m in out] == [("lost", UNKNOWN), ("live", 0)]
    of_feed(follower, 0, 30, epoch=EPOCH + 2)
    assert isinstance(follower.take_request(), wire.GetRange), "in this life there was one"


@pytest.mark.parametrize("option", ["recover", "across_lives"])
def test_without_recovery_another_life_of_the_engine_is_a_loss(option: str) -> None:
    follower = events(**{option: False})
    of_feed(follower, 0, 20, 2)
    assert [m.kind for m in of_feed(follower, 0, 30, epoch=EPOCH + 1)] == ["lost", "live"]


def test_an_engine_that_comes_back_is_waited_for_until_it_has_published() -> None:
    follower = events()
    of_feed(follower, 0, 20, 2)
    assert follower.on_progress(EPOCH + 1, info(0)) == []
    assert follower.take_request() is None
    assert follower.on_progress(EPOCH + 1, info(1)) == []
    assert isinstance(follower.take_request(), wire.GetRange)
