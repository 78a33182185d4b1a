"""Topics for which only the latest record is published: what is held, how it is numbered, which requests are answered.

No sockets and no clock. The published stream has an epoch and topic sequences of its own, so any client of the wire
format can follow it like an engine's stream. The contract is in docs/wire.md, "Conflated topics".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.client.topic_message import Message
from tickplant.records.latest import NOTES, latest_ones
from tickplant.records.layouts import DTYPES, Flag, Schema
from tickplant.records.merge import join_records
from tickplant.wire import (
    MESSAGE_RECORDS,
    GetHistory,
    GetRange,
    GetSnapshot,
    GetTopics,
    Gone,
    OtherVersionError,
    Range,
    Refused,
    Reply,
    Snapshot,
    TopicInfo,
    Topics,
    decode_request,
    encode,
    pack_header,
    split_topic,
)

Records = NDArray[np.void]

BOOKS: Final = frozenset(("book", "orders"))
"""Channels that are not carried: no change of a book replaces another."""

WHOLE: Final = frozenset(("status", "statistic", "venue_bar", "liquidation"))
"""Channels where every record counts, and records are few."""

_MESSAGES_HELD: Final = 64
"""Beyond this number, the held messages of a topic are reduced to the latest records."""


class _Sent(NamedTuple):
    """A message as it was published."""

    first: int
    last: int
    header: bytes
    payload: bytes


class _Topic:
    def __init__(self, name: str, message: Message) -> None:
        self.name = name
        self.whole = split_topic(name)[2] in WHOLE
        self.like = message  # the newest message, for instrument, schema and scales
        self.next_seq = 0
        self.held: list[Message] = []
        self.missed = 0  # records that this relay itself missed
        self.sent: list[_Sent] = []  # messages of the last flush
        self.state: Records = np.zeros(0, DTYPES[message.schema])

    @property
    def oldest(self) -> int:
        return self.sent[0].first if self.sent and self.sent[-1].last == self.next_seq - 1 else self.next_seq

    def info(self) -> TopicInfo:
        like = self.like
        schema = int(like.schema)
        return TopicInfo(self.name, schema, like.instrument, like.price_scale, like.size_scale, self.next_seq)

    def reduced(self) -> list[Message]:
        """Reduce what is held: one message per instrument and producer; all but the newest of these keep only notes."""
        groups: dict[tuple[int, str], list[Message]] = {}
        for message in self.held:
            key = message.instrument, message.producer
            groups[key] = [*groups.pop(key, []), message]
        left = []
        for place, messages in enumerate(groups.values()):
            records = join_records([message.records for message in messages])
            if not self.whole:
                records = latest_ones(records)
                if place < len(groups) - 1:
                    records = _notes(records, of=True)
            if len(records):
                left.append(msgspec.structs.replace(messages[-1], records=records))
        return left


class ConflatedTopics:
    """The state of all topics of a relay.

    Args:
        epoch: start of this life of the relay, microseconds since the Unix epoch.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.taken_records = 0
        self.published_records = 0
        self._topics: dict[str, _Topic] = {}
        self._waiting: dict[_Topic, None] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is something to publish."""
        return bool(self._waiting)

    def add(self, message: Message) -> None:
        """Take the next message of a topic."""
        if message.channel in BOOKS:
            return
        topic = self._topics.get(message.topic)
        if topic is None:
            topic = self._topics[message.topic] = _Topic(message.topic, message)
        self._waiting[topic] = None
        topic.like = message
        self.taken_records += len(message.records)
        if message.kind == "lost":
            topic.missed += max(1, message.lost)
            return
        topic.held.append(message)
        if len(topic.held) > _MESSAGES_HELD and not topic.whole:
            topic.held = topic.reduced()

    def flush(self, publish_ns: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        """The frames of the messages that are due: usually one message per topic with new records."""
        waiting, self._waiting = self._waiting, {}
        for topic in waiting:
            topic.next_seq += topic.missed
            topic.missed = 0
            messages, topic.held = topic.reduced(), []
            if messages:
                topic.sent = []
            for message in messages:
                self._remember(topic, message)
                for start in range(0, len(message.records), MESSAGE_RECORDS):
                    sent = self._message(topic, message, message.records[start : start + MESSAGE_RECORDS], publish_ns)
                    topic.sent.append(sent)
                    yield topic.name.encode(), sent.header, sent.payload

    def answer(self, frame: bytes) -> list[bytes]:
        """The frames of the reply to a request."""
        try:
            reply, frames = self._answer(frame)
        except OtherVersionError as error:
            reply, frames = Refused(error.id, str(error)), []
        except ValueError as error:
            reply, frames = Refused(0, str(error)), []
        return [encode(reply), *frames]

    def _remember(self, topic: _Topic, message: Message) -> None:
        """Keep the records that a snapshot shows."""
        values = _notes(message.records, of=False)
        if len(values):
            same = len(topic.state) and topic.state[-1]["instrument"] == values[-1]["instrument"]
            topic.state = latest_ones(join_records([topic.state, values]) if same else values)

    def _message(self, topic: _Topic, message: Message, records: Records, publish_ns: int) -> _Sent:
        first, count = topic.next_seq, len(records)
        topic.next_seq += count
        self.published_records += count
        header = pack_header(
            int(message.schema),
            records.dtype.itemsize,
            count,
            self.epoch,
            first,
            publish_ns,
            message.instrument,
            message.price_scale,
            message.size_scale,
            message.producer.encode("ascii"),
        )
        return _Sent(first, topic.next_seq - 1, header, records.tobytes())

    def _answer(self, frame: bytes) -> tuple[Reply, list[bytes]]:
        request = decode_request(frame)
        if isinstance(request, GetTopics):
            infos = [topic.info() for name, topic in self._topics.items() if name.startswith(request.prefix)]
            return Topics(request.id, self.epoch, [info for info in infos if info.next_seq]), []
        if isinstance(request, GetHistory):
            return Refused(request.id, "a relay of conflated topics has no store: ask the engine"), []
        topic = self._topics.get(request.topic)
        if topic is None or not topic.next_seq:
            return Refused(request.id, _no_such(request.topic)), []
        if isinstance(request, GetSnapshot):
            if not len(topic.state):
                return Refused(request.id, f"{request.topic}: no value has come yet"), []
            stale = topic.like.schema is Schema.BBO and bool(topic.state[-1]["flags"] & Flag.STALE)
            return Snapshot(request.id, self.epoch, topic.info(), len(topic.state), stale), [topic.state.tobytes()]
        if request.epoch != self.epoch or request.first < topic.oldest:
            return Gone(request.id, self.epoch, request.topic, topic.oldest, topic.next_seq), []
        if not request.first <= request.last < topic.next_seq:
            reason = f"{request.topic}: {request.first} to {request.last} is not a range below {topic.next_seq}"
            return Refused(request.id, reason), []
        return self._range(request, topic)

    def _range(self, request: GetRange, topic: _Topic) -> tuple[Reply, list[bytes]]:
        chosen = [sent for sent in topic.sent if sent.first <= request.last and sent.last >= request.first]
        frames = [frame for sent in chosen for frame in (sent.header, sent.payload)]
        return Range(request.id, self.epoch, topic.name, chosen[0].first, chosen[-1].last, len(chosen)), frames


def _notes(records: Records, *, of: bool) -> Records:
    """The records that say what happened to the topic; with `of` false, all the others."""
    if "kind" not in (records.dtype.names or ()):
        return records[:0] if of else records
    chosen: Records = records[np.isin(records["kind"], NOTES) == of]
    return chosen


def _no_such(topic: str) -> str:
    if topic.rpartition(".")[2] in BOOKS:
        return f"{topic}: books are not conflated, since no change of a book stands for another; ask the engine"
    return f"{topic}: no such topic, or it has had no record yet"
