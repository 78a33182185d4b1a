"""A range that memory has forgotten comes back from the store exactly as it was published, or is said to be gone."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant import wire
from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import retention
from tickplant.engine.history_line import HistoryLine
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.engine.router import Router
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import BAR, BBO, DTYPES, TICK, Flag, Kind, Schema, StatusCode
from tickplant.runtime.control import Passage
from tickplant.store import topic_history
from tickplant.store.topic_history import TopicHistory
from tickplant.writer.journal import Journal

CHANNELS = channels_of(Settings(bar_s=(1, 60)))
ROWS = {
    1: Instrument(1, "binance", "BTCUSDT", 2, 8),
    2: Instrument(2, "binance", "ETHUSDT", 2, 8),
    3: Instrument(3, "binance", "ETHUSDT", 3, 8),
}
NAMES = {Schema.TICK: "feed", Schema.BBO: "engine", Schema.BAR: "engine"}
KINDS = (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.STATUS, Kind.GAP)
ASKED = {Schema.TICK: ("book", "quote"), Schema.BBO: ("bbo",), Schema.BAR: ("bar_1s", "bar_1m")}
FLAGS = (0, Flag.AGGREGATE, Flag.ON_TRADE, Flag.ON_TRADE | Flag.ON_BOOK, Flag.ON_QUOTE, Flag.ON_BOOK)


class Bench:
    """An engine's sockets, the store, and a subscriber's line; nothing waits, nothing is a process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publisher = Publisher(
            self.context, "inproc://publish", ROWS.__getitem__, channels=CHANNELS, recovery_bytes=10_000
        )
        self.asked = 0
        self.line = HistoryLine(self.context, "inproc://history", want=self.want_service)
        self.router = Router(self.context, "inproc://requests", self.publisher, {}, history=self.line)
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.subscribe(b"")
        self.subscriber.connect("inproc://publish")
        assert self.publisher.socket.poll(5000)
        assert self.publisher.read_subscriptions()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.connect("inproc://requests")
        self.service = self.context.socket(zmq.ROUTER)
        self.service.bind("inproc://history")
        self.folder = folder
        self.history = TopicHistory(folder)
        self.journals = {schema: Journal(folder, schema, name, rotate_bytes=20_000) for schema, name in NAMES.items()}
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.next_seq = dict.fromkeys(Schema, 0)
        self.random = np.random.default_rng(seed)
        self.origin = Origin("feed")
        self.sent: dict[str, list[tuple[bytes, bool]]] = defaultdict(list)  # every record, and whether it is stored

    def want_service(self) -> None:
        self.asked += 1

    def close(self) -> None:
        for journal in self.journals.values():
            journal.close()
        for socket in (self.subscriber, self.dealer, self.service):
            socket.close(0)
        self.line.close()
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()

    # ------------------------------------------------------------------------------------------------ publishing

    def made(self, schema: Schema, count: int) -> np.ndarray:
        records = np.zeros(count, DTYPES[schema])
        records["instrument"] = self.random.integers(1, 4, count)
        records["ts_recv"] = self.next_seq[schema]
        records["seq"] = self.next_seq[schema] + np.arange(count)
        if schema is Schema.TICK:
            records["kind"] = self.random.choice(KINDS, count)
            records["flags"] = self.random.choice(FLAGS, count)
            records["price"] = self.random.integers(0, 4, count)
        if schema is Schema.BAR:
            records["interval_s"] = self.random.choice((1, 60), count)
        return records

    def publish(self, schema: Schema, records: np.ndarray, *, stored: bool = True, plain: bool = True) -> None:
        if not len(records):
            return
        origin = self.origin if plain else None
        if schema is Schema.TICK:
            self.publisher.publish_ticks(records, origin)
        else:
            self.publisher.publish_derived(schema, records, origin)
        while self.subscriber.poll(0):
            name, head, payload = self.subscriber.recv_multipart()
            size = wire.unpack_header(head).record_bytes
            parts = [payload[at : at + size] for at in range(0, len(payload), size)]
            self.sent[name.decode()] += [(part, stored) for part in parts]

    def keep(self, schema: Schema, records: np.ndarray) -> None:
        self.next_seq[schema] += len(records)
        if len(records):
            self.journals[schema].append(records)

    def live(self, schema: Schema, count: int) -> None:
        """Stored and published."""
        records = self.made(schema, count)
        self.keep(schema, records)
        self.publish(schema, records)

    def overrun(self, schema: Schema, count: int) -> None:
        """Stored, but the engine has not seen it; afterwards it says so and goes on anew."""
        self.keep(schema, self.made(schema, count))
        self.origin = Origin("feed")
        self.publish(Schema.TICK, self.made(Schema.TICK, 5), stored=False, plain=False)
        self.publish(Schema.BBO, self.made(Schema.BBO, 3), stored=False, plain=False)
        self.origin = Origin("feed")

    def dropped(self, schema: Schema, count: int) -> None:
        """Derived, published, and no room for it in the ring: the next ones get the same seqs."""
        if schema is not Schema.TICK:
            self.publish(schema, self.made(schema, min(count, 9)), stored=False, plain=False)

    # ------------------------------------------------------------------------------------------------ asking

    def recover(self, topic: str) -> dict[int, bytes]:
        """What a subscriber who missed everything gets, by topic sequence."""
        size = len(self.sent[topic][0][0])
        got: dict[int, bytes] = {}
        first, last = 0, len(self.sent[topic]) - 1
        while first <= last:
            self.dealer.send(wire.encode(wire.GetRange(topic, self.publisher.epoch, first, last)))
            assert self.router.socket.poll(5000)
            self.router.serve()
            if not self.dealer.poll(0):
                self.answer_from_store()
            head, *frames = self.dealer.recv_multipart()
            reply = wire.decode_reply(head)
            if isinstance(reply, wire.Gone):
                assert first < reply.oldest <= last + 1
                first = reply.oldest
                continue
            assert isinstance(reply, wire.Range)
            assert reply.first <= first <= reply.last
            for header, payload in zip(frames[::2], frames[1::2], strict=True):
                fields = wire.unpack_header(header)
                assert fields.epoch == self.publisher.epoch
                for i in range(fields.records):
                    record = payload[i * size : (i + 1) * size]
                    got[fields.first_seq + i] = record
                    assert fields.instrument == int(
                        np.frombuffer(record, DTYPES[Schema(fields.schema)])["instrument"][0]
                    )
            first = reply.last + 1
        return got

    def stored_of(self, topic: str, producer: str, first: int, last: int) -> bytes:
        """What `history` gives, reply by reply."""
        got = b""
        while first <= last:
            self.dealer.send(wire.encode(wire.GetHistory(topic, producer, first, last)))
            assert self.router.socket.poll(5000)
            self.router.serve()
            self.answer_from_store()
            head, *frames = self.dealer.recv_multipart()
            reply = wire.decode_reply(head)
            assert isinstance(reply, wire.History)
            assert reply.messages == len(frames) // 2
            got += b"".join(frames[1::2])
            assert first <= reply.resume_seq == reply.last_seq + 1
            first = reply.resume_seq
        return got

    def answer_from_store(self) -> None:
        assert self.service.poll(5000)
        *way, question = self.service.recv_multipart()
        asked = msgspec.msgpack.decode(question, type=Passage | wire.GetHistory)
        answer = self.history.passage if isinstance(asked, Passage) else self.history.history
        self.service.send_multipart([*way, *answer(asked)])  # type: ignore[operator]
        assert self.line.socket.poll(5000)
        self.router.pass_on_history()


@contextmanager
def bench(seed: int = 1, **limits: int) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for name, value in limits.items():
            patch.setattr(retention, name, value)
        for name in ("READ_S", "PATIENCE_S"):  # for a machine that compiles kernels meanwhile
            patch.setattr(topic_history, name, 600.0)
        made = Bench(Path(folder), seed)
        try:
            yield made
        finally:
            made.close()


def flush(made: Bench) -> None:
    for journal in made.journals.values():
        journal.flush()


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
            assert made.router.socket.poll(5000)
            made.router.serve()
        assert made.asked == 1
        made.line.remind()
        assert made.asked == 2, "nobody has answered"
        made.answer_from_store()
        made.line.remind()
        assert made.asked == 2, "it is there"
        made.dealer.send(wire.encode(wire.GetRange(name, made.publisher.epoch, 0, 10)))
        assert made.router.socket.poll(5000)
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
            assert made.router.socket.poll(5000)
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
                assert made.router.socket.poll(5000)
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
            assert made.router.socket.poll(5000)
            made.router.serve(1)
            assert made.line.socket.poll(0, zmq.POLLOUT)
            made.line.remind()
            assert made.line.socket.poll(0, zmq.POLLOUT)
            with monkeypatch.context() as patch:
                patch.setattr("tickplant.engine.history_line.REMIND_S", -1.0)
                made.line.remind()
