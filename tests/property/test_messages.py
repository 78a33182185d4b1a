"""What the kernel publishes and keeps is what looking at record by record gives."""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant import wire
from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import message_kernels
from tickplant.engine.message_memory import Begin, Kept
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.instruments import Instrument
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import BAR, BBO, DTYPES, TICK, Flag, Kind, Schema
from tickplant.wire import MESSAGE_RECORDS, TICK_CHANNELS

pytestmark = pytest.mark.kernels

CHANNELS = channels_of(Settings(bar_s=(1, 60)))
ROWS = {
    number: Instrument(number, "venue", f"S{number % 3}", number % 4, number % 5) for number in range(1, 8)
}  # 1, 4 and 7 are ids of one symbol
KINDS = (Kind.TRADE, Kind.LEVEL, Kind.QUOTE, Kind.GAP)
FLAGS = (0, Flag.AGGREGATE, Flag.ON_TRADE | Flag.ON_BOOK)
COST = wire.HEADER_BYTES + message_kernels.MESSAGE_BYTES
ALL = 1 << 40


@dataclasses.dataclass
class PlainTopic:
    """A topic."""

    next_seq: int = 0
    oldest: int = 0
    begin: Begin | None = None
    kept: deque[Kept] = dataclasses.field(default_factory=deque)
    last: bytes = b""


class PlainPublisher:
    """The reference of `message_kernels.publish`: one record after the other, Python's own containers."""

    def __init__(self, most_bytes: int, epoch: int) -> None:
        self.most_bytes = most_bytes
        self.epoch = epoch
        self.topics: dict[str, PlainTopic] = {}
        self.order: deque[PlainTopic] = deque()
        self.kept_bytes = 0
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.carried = np.zeros(16, np.uint32)

    def channels(self, schema: Schema, records: np.ndarray) -> list[list[str]]:
        """Of each record."""
        if schema is not Schema.TICK:
            column = records["interval_s"].tolist() if schema is Schema.BAR else [0] * len(records)
            return [[CHANNELS[schema][number]] for number in column]
        masks = np.zeros(len(records), np.uint32)
        tick_channels(records, masks, self.carried)
        return [[name for bit, name in enumerate(TICK_CHANNELS) if mask >> bit & 1] for mask in masks.tolist()]

    def publish(self, schema: Schema, records: np.ndarray, origin: Origin | None, begin: Begin | None) -> None:
        """A batch."""
        parts: dict[tuple[int, str], list[bytes]] = {}
        for record, channels in zip(records, self.channels(schema, records), strict=True):
            for channel in channels:
                parts.setdefault((int(record["instrument"]), channel), []).append(record.tobytes())
        producer = "" if origin is None else origin.feed if schema is Schema.TICK else "engine"
        for (id_, channel), part in parts.items():
            row = ROWS[id_]
            name = wire.make_topic(row.venue, row.symbol, channel)
            topic = self.topics.setdefault(name, PlainTopic())
            topic.begin = topic.begin or begin
            if origin:
                seq = int.from_bytes(part[0][-8:], "little")
                topic.begin = topic.begin or Begin(producer, seq)
            for at in range(0, len(part), MESSAGE_RECORDS):
                facts = row.id, row.price_scale, row.size_scale, producer.encode()
                self.send(name, topic, schema, part[at : at + MESSAGE_RECORDS], origin, *facts)

    def send(
        self, name: str, topic: PlainTopic, schema: Schema, part: list[bytes], origin: Origin | None, *facts: object
    ) -> None:
        """A message."""
        place = topic.next_seq
        header = wire.pack_header(schema, len(part[0]), len(part), self.epoch, place, 0, *facts)  # type: ignore[arg-type]
        payload = b"".join(part)
        self.sent.append((name, header, payload))
        topic.next_seq = place + len(part)
        topic.kept.append(Kept(place, topic.next_seq - 1, header, payload, origin.number if origin else 0))
        topic.last = b"".join(part[-2:])
        self.order.append(topic)
        self.kept_bytes += len(payload) + COST
        while self.kept_bytes > self.most_bytes:
            oldest = self.order.popleft()
            message = oldest.kept.popleft()
            oldest.oldest = message.last + 1
            self.kept_bytes -= len(message.payload) + COST


def timeless(header: bytes) -> bytes:
    """Without the time of publishing."""
    return header[:32] + bytes(8) + header[40:]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Schema, np.ndarray, int, int]:
    """Schema, records, which origin (0: none), and a seq where topics begin (-1: not said)."""
    schema = draw(st.sampled_from([Schema.TICK, Schema.TICK, Schema.BBO, Schema.BAR]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.sampled_from([0, 1, 2, 7, 40, 700]))
    records = np.zeros(count, DTYPES[schema])
    records["instrument"] = random.integers(1, 1 + draw(st.sampled_from([1, 7])), count)
    records["seq"] = draw(st.integers(0, 2**40)) + np.arange(count)
    if schema is Schema.TICK:
        records["kind"], records["flags"] = random.choice(KINDS, count), random.choice(FLAGS, count)
    if schema is Schema.BAR:
        records["interval_s"] = random.choice((1, 60), count)
    if draw(st.booleans()):
        records = np.repeat(records, 2)[::2]  # not one behind the other
    return schema, records, draw(st.integers(0, 2)), draw(st.sampled_from([-1, -1, 5]))


@settings(max_examples=60, deadline=None)
@given(st.lists(batches(), max_size=12), st.sampled_from([0, 1000, 9000, 70_000, 1 << 20]))
def test_messages_are_sent_kept_and_forgotten_as_one_by_one(
    steps: list[tuple[Schema, np.ndarray, int, int]], most_bytes: int
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, "inproc://p", ROWS.__getitem__, channels=CHANNELS, recovery_bytes=most_bytes)
    subscriber = context.socket(zmq.SUB)
    try:
        subscriber.connect("inproc://p")
        subscriber.subscribe(b"")
        assert publisher.socket.poll(90_000)
        assert publisher.read_subscriptions()
        plain = PlainPublisher(most_bytes, publisher.epoch)
        origins = None, Origin("feed"), Origin("other")
        for schema, records, number, seq in steps:
            origin, begin = origins[number], Begin("feed", seq) if seq >= 0 and schema is Schema.TICK else None
            if schema is Schema.TICK:
                publisher.publish_ticks(records, origin, begin=begin)
            else:
                publisher.publish_derived(schema, records, origin, begin=begin)
            plain.sent.clear()
            plain.publish(schema, records.copy(), origin, begin)
            for name, header, payload in plain.sent:
                assert subscriber.poll(90_000)
                topic, head, body = subscriber.recv_multipart()
                assert (topic.decode(), timeless(head), body) == (name, header, payload)
            assert not subscriber.poll(0)
            assert publisher.kept_bytes == plain.kept_bytes
            assert publisher.by_name.keys() == plain.topics.keys()
            for name, expected in plain.topics.items():
                found = publisher.by_name[name]
                kept = [each._replace(header=timeless(each.header)) for each in found.messages(0, ALL, ALL)]
                assert kept == list(expected.kept)
                assert (found.next_seq, found.oldest, found.begin) == (
                    expected.next_seq,
                    expected.oldest,
                    expected.begin,
                )
                assert found.last_records(2).tobytes() == expected.last
                first, last = expected.oldest + 3, max(expected.oldest + 3, expected.next_seq - 4)
                wanted = [each for each in kept if each.last >= first and each.first <= last]
                assert [each.first for each in found.messages(first, last, ALL)] == [each.first for each in wanted]
    finally:
        subscriber.close(0)
        publisher.close(0)
        context.term()


@pytest.mark.parametrize("dtype", [TICK, BBO, BAR])
def test_a_topic_grows_the_tables_as_symbols_come(dtype: np.dtype[np.void]) -> None:
    schema = next(schema for schema, each in DTYPES.items() if each is dtype)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(
        context, "inproc://p", lambda id_: Instrument(id_, "venue", f"S{id_}", 1, 2), channels=CHANNELS
    )
    try:
        records = np.zeros(300, dtype)
        records["instrument"] = np.arange(1, 301)
        if dtype is TICK:
            records["kind"] = Kind.TRADE
        if dtype is BAR:
            records["interval_s"] = 60
        for _ in range(2):
            publisher.publish_ticks(records) if dtype is TICK else publisher.publish_derived(schema, records)
        assert len(publisher.by_name) == 300
        assert publisher.messages == publisher.records == 600
        for id_, topic in enumerate(publisher.by_name.values(), 1):
            assert topic.info.instrument == id_
            assert [wire.unpack_header(each.header).instrument for each in topic.messages(0, 1, ALL)] == [id_, id_]
    finally:
        publisher.close(0)
        context.term()
