"""A range that memory has forgotten comes back from the store exactly as it was published, or is said to be gone."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import zmq
from history_bench import ASKED, NAMES, ROWS, bench, flush
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant import wire
from tickplant.engine.history_line import HistoryLine
from tickplant.records.layouts import BAR, BBO, TICK, Flag, Kind, Schema, StatusCode
from tickplant.store.topic_history import TopicHistory

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["live"] * 6 + ["overrun", "dropped"]), st.sampled_from(list(NAMES)), st.integers(0, 120)
    ),
    min_size=3,
    max_size=40,
)


@settings(max_examples=30)
@given(STEPS, st.integers(0, 2**32))
def test_every_range_that_is_answered_is_what_was_published(steps: list[tuple[str, Schema, int]], seed: int) -> None:
    with bench(seed, STRIDE_RECORDS=32, MARKS=8, STRETCHES=1000) as made:
        for step, schema, count in steps:
            getattr(made, step)(schema, count)
        flush(made)
        for name, records in made.sent.items():
            got = made.recover(name)
            assert all(got[i] == records[i][0] for i in got)
            topic = made.publisher.by_name[name]
            stored = {i for i, (_, stored) in enumerate(records) if stored}
            assert set(got) == stored | set(range(topic.oldest, len(records)))


def test_marks_are_bounded_and_what_is_long_past_is_found_all_the_same() -> None:
    with bench(STRIDE_RECORDS=8, MARKS=16, STRETCHES=2) as made:
        for _ in range(100):
            made.live(Schema.TICK, 50)
        flush(made)
        for name in ("binance.BTCUSDT.book", "binance.BTCUSDT.trade", "binance.BTCUSDT.quote"):
            topic = made.publisher.by_name[name]
            (stretch,) = topic.past._stretches
            assert len(stretch.seqs) == len(stretch.sequences) <= 16
            near = np.diff(np.array(stretch.seqs))
            assert near[0] > 4 * near[-2], "the longer ago, the wider apart"
            assert list(made.recover(name).values()) == [record for record, _ in made.sent[name]]


def test_of_many_stretches_the_oldest_is_gone() -> None:
    with bench(STRETCHES=2) as made:
        for _ in range(4):
            made.live(Schema.TICK, 200)
            made.overrun(Schema.TICK, 10)
        made.live(Schema.TICK, 400)
        flush(made)
        name = "binance.BTCUSDT.book"
        got = made.recover(name)
        first = min(got)
        assert 0 < first < made.publisher.by_name[name].oldest
        missing = {i for i in range(first, len(made.sent[name])) if i not in got}
        assert missing == {i for i, (_, stored) in enumerate(made.sent[name]) if i > first and not stored}


def test_what_is_not_durable_yet_is_gone_and_nothing_wrong_is_given() -> None:
    with bench() as made:
        made.live(Schema.TICK, 300)
        flush(made)
        for _ in range(10):
            made.live(Schema.TICK, 300)
        for name, topic in made.publisher.by_name.items():
            got = made.recover(name)
            assert set(got) == set(range(topic.oldest, topic.next_seq))
            assert all(got[i] == made.sent[name][i][0] for i in got)


def test_a_service_is_wanted_once_a_second_while_an_answer_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as made:
        for _ in range(5):
            made.live(Schema.TICK, 300)
        flush(made)
        name = "binance.BTCUSDT.book"
        for _ in range(3):
            made.dealer.send(wire.encode(wire.GetRange(name, made.publisher.epoch, 0, 10)))
            assert made.router.socket.poll(90_000)
            made.router.serve()
        assert made.asked == 1
        made.line.remind()
        assert made.asked == 2, "nobody has answered"
        made.answer_from_store()
        made.line.remind()
        assert made.asked == 2, "it is there"
        made.dealer.send(wire.encode(wire.GetRange(name, made.publisher.epoch, 0, 10)))
        assert made.router.socket.poll(90_000)
        made.router.serve()
        monkeypatch.setattr("tickplant.engine.history_line.REMIND_S", -1.0)
        made.line.remind()
        assert made.asked == 2, "whoever asked has given up by now"


def test_whichever_life_of_the_service_is_asked_gives_the_same_answer() -> None:
    with bench() as made:
        for _ in range(5):
            made.live(Schema.TICK, 300)
        flush(made)
        name = "binance.BTCUSDT.book"
        answers = []
        for _ in range(2):
            made.dealer.send(wire.encode(wire.GetRange(name, made.publisher.epoch, 3, 9)))
            assert made.router.socket.poll(90_000)
            made.router.serve()
            made.history = TopicHistory(made.folder)
            made.answer_from_store()
            answers.append(made.dealer.recv_multipart())
        head, header, payload = answers[0]
        reply = wire.decode_reply(head)
        assert isinstance(reply, wire.Range)
        assert (reply.first, reply.last) == (3, 9)
        assert payload == b"".join(record for record, _ in made.sent[name][3:10])
        assert (wire.unpack_header(header).producer, wire.unpack_header(header).publish_ns) == ("feed", 0)
        assert answers[0] == answers[1]


def test_questions_for_which_there_is_no_room_are_gone_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickplant.engine.history_line.QUESTIONS", 4)
    with bench() as made:
        for _ in range(5):
            made.live(Schema.TICK, 300)
        line = HistoryLine(made.context, "inproc://nobody", want=made.want_service)
        made.line.close()
        made.line = made.router._history = line
        name, epoch = "binance.BTCUSDT.book", made.publisher.epoch
        replies = []
        while len(replies) < 2:  # as soon as the queue of the line is full
            made.dealer.send(wire.encode(wire.GetRange(name, epoch, 0, 9)))
            made.dealer.send(wire.encode(wire.GetHistory(name, "feed", 0, 9)))
            for _ in range(2):
                assert made.router.socket.poll(90_000)
                made.router.serve(1)
            while made.dealer.poll(20):
                replies.append(wire.decode_reply(made.dealer.recv()))
        assert {type(reply) for reply in replies} == {wire.Gone, wire.Refused}


@settings(max_examples=15)
@given(STEPS, st.integers(0, 2**32), st.data())
def test_history_has_every_stored_record_of_a_topic_whatever_was_published(
    steps: list[tuple[str, Schema, int]], seed: int, data: st.DataObject
) -> None:
    """The records that the engine missed, too; and those of a book may be asked for in parts."""
    with bench(seed) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tickplant.store.topic_history.REPLY_BYTES", 1000)
        stored: dict[Schema, list[np.ndarray]] = defaultdict(list)
        keep = made.keep

        def note(schema: Schema, records: np.ndarray) -> None:
            stored[schema].append(records)
            keep(schema, records)

        made.keep = note  # type: ignore[method-assign]
        for step, schema, count in steps:
            getattr(made, step)(schema, count)
        flush(made)
        for row in list(ROWS.values()):
            made.table.register(row.venue, row.symbol, row.price_scale, row.size_scale)
        for schema, parts in stored.items():
            records = np.concatenate(parts)
            if not len(records):
                continue
            first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(records) - 1)] * 2)))
            for channel in ASKED[schema]:
                wanted = expected(records[first : last + 1], schema, channel)
                assert made.stored_of(f"binance.ETHUSDT.{channel}", NAMES[schema], first, last) == wanted


def expected(records: np.ndarray, schema: Schema, channel: str) -> bytes:
    """Those of instruments 2 and 3 that belong to a channel, by the rules in words."""
    chosen = np.isin(records["instrument"], (2, 3))
    if schema is Schema.BAR:
        chosen &= records["interval_s"] == {"bar_1s": 1, "bar_1m": 60}[channel]
    elif schema is Schema.TICK:
        flag = {"book": Flag.ON_BOOK, "quote": Flag.ON_QUOTE}[channel]
        kinds = {"book": (Kind.LEVEL, Kind.CLEAR), "quote": (Kind.QUOTE,)}[channel]
        concerns = np.isin(records["kind"], (Kind.GAP, Kind.STATUS) if channel == "book" else (Kind.GAP,))
        concerns &= (records["kind"] == Kind.GAP) | (records["price"] == StatusCode.DISCONNECTED)
        chosen &= np.isin(records["kind"], kinds) | (concerns & (records["flags"] & flag != 0))
    return records[chosen].tobytes()


@pytest.mark.parametrize("dtype", [TICK, BBO, BAR])
def test_seq_is_the_last_field_of_every_record_that_is_published(dtype: np.dtype[np.void]) -> None:
    record = np.zeros(1, dtype)
    record["seq"] = 0x0102030405060708
    assert record.view(np.int64)[-1] == 0x0102030405060708


def test_a_line_to_the_service_is_there_while_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a service that does not run would be looked for all the time."""
    with bench() as made:
        made.live(Schema.TICK, 300)
        name, epoch = "binance.BTCUSDT.book", made.publisher.epoch
        for _ in range(2):
            assert not made.line.socket.poll(0, zmq.POLLOUT)
            made.dealer.send(wire.encode(wire.GetRange(name, epoch, 0, 9)))
            assert made.router.socket.poll(90_000)
            made.router.serve(1)
            assert made.line.socket.poll(0, zmq.POLLOUT)
            made.line.remind()
            assert made.line.socket.poll(0, zmq.POLLOUT)
            with monkeypatch.context() as patch:
                patch.setattr("tickplant.engine.history_line.REMIND_S", -1.0)
                made.line.remind()
