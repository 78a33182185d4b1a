"""The follower across lives of the engine."""

from __future__ import annotations

import numpy as np
import pytest
from followed import EPOCH, book, events, header, info, records

from tickplant import wire
from tickplant.client import follower as follower_module
from tickplant.client.follower import Follower
from tickplant.client.topic_message import Message
from tickplant.records.layouts import TICK, UNKNOWN

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
