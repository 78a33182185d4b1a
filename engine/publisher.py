"""The PUB side of an engine: batches of records become messages, topic by topic.

Never waits for a subscriber, unless it was made `lossless`: a slow one loses messages, sees so by the topic sequence,
and asks for them (`router.py`), which is why recent messages are kept here, bounded in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.derive.series_sorter import SeriesSorter
from tickplant.engine import message_kernels
from tickplant.engine.message_memory import Begin, MessageMemory, Topic
from tickplant.engine.native_send import native
from tickplant.engine.retention import Origin
from tickplant.instruments import Instrument
from tickplant.kernels import direct
from tickplant.records import fanout
from tickplant.records.arrays import grown
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import DTYPES, TICK, Schema
from tickplant.records.schemas import FACTS
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.client_sockets import open_stream, subscriptions
from tickplant.runtime.config import EngineConfig
from tickplant.wire import TICK_CHANNELS, TopicInfo, make_topic

Records = NDArray[np.void]

STALL_S: Final = 30.0
"""A lossless publisher that no subscriber has taken anything from for this long drops from then on, and says so."""

SUBSCRIPTIONS_PER_TURN: Final = 100  # few, so that ticks do not wait while somebody sends thousands
_NOBODY: Final = np.zeros(0, np.bool_)


class _Stream:
    """Topics of one schema; `numbers`: of the series that each channel is of, where the schema has series."""

    def __init__(self, schema: Schema, channels: Sequence[str], numbers: Sequence[int] = ()) -> None:
        self.schema = schema
        self.channels = tuple(channels)
        self.sorter = SeriesSorter(schema, numbers)
        self.record_words = DTYPES[schema].itemsize // 8
        self.route_of = np.full(0, -1, np.int32)  # by instrument id * channels + channel
        self.slots = np.full(0, -1, np.int32)

    def reserve(self, keys: int) -> None:
        """Have room for so many of these."""
        if keys > len(self.slots):
            self.slots = np.full(2 * keys, -1, np.int32)
            old, self.route_of = self.route_of, np.full(2 * keys, -1, np.int32)
            self.route_of[: len(old)] = old


class Publisher:
    """Sends records to subscribers and keeps the recent ones. Not thread-safe.

    Args:
        context: of ZeroMQ.
        address: to bind.
        instrument: gives the row of an instrument id; called once a topic.
        channels: of derived records: by schema and number of the series, the channel.
        recovery_bytes: bound on the messages kept for recovery, of all topics together.
        high_water_messages: messages that may wait for one slow subscriber.
        lossless: wait for slow subscribers instead of dropping.
        while_waiting: called every few milliseconds while a lossless publisher waits.
        guard: is told of subscriptions, and decides who may have them.
        limits: on what a client may send.
        engine: name of the engine, the producer of derived records.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        instrument: Callable[[int], Instrument],
        *,
        engine: str = "engine",
        channels: Mapping[Schema, Mapping[int, str]] | None = None,
        recovery_bytes: int = 64 << 20,
        high_water_messages: int = 10_000,
        lossless: bool = False,
        while_waiting: Callable[[], None] = lambda: None,
        guard: Guard | None = None,
        limits: EngineConfig = EngineConfig(),  # noqa: B008  # frozen
    ) -> None:
        # Microseconds, not nanoseconds: below 2**53, so that JSON readers of any language keep it exact.
        self.epoch = time.time_ns() // 1000
        self.stalls = 0  # subscribers given up by a lossless publisher
        self.by_name: dict[str, Topic] = {}
        self._instrument = instrument
        self.engine = engine
        self._guard = guard
        self._subscriptions = 0  # where nobody guards
        self._while_waiting = while_waiting
        self._carried = np.zeros(64, np.uint32)
        self._ticks = _Stream(Schema.TICK, TICK_CHANNELS)
        self._masks, self._ones = np.zeros(2, np.uint32), np.ones(2, np.uint32)
        self._tick_channels = direct(tick_channels, np.zeros(2, TICK), self._masks, self._carried)
        self._derived = {
            schema: _Stream(schema, list(names.values()), list(names)) for schema, names in (channels or {}).items()
        }
        self.socket = open_stream(context, address, limits, high_water_messages=high_water_messages, lossless=lossless)
        self._memory = MessageMemory(recovery_bytes, self.epoch, native(self.socket))
        self._publish = message_kernels.prepared()

    def publish_ticks(
        self, ticks: Records, origin: Origin | None = None, *, highest: int = 0, begin: Begin | None = None
    ) -> None:
        """Send TICK records. Every instrument must be known to `instrument`.

        Args:
            ticks: the records.
            origin: whose stream they are the next part of, so that the store has them; None where it has not.
            highest: instrument id that none of them exceeds, where that is known.
            begin: without an origin, with which records of a store their topics will go on.
        """
        if not len(ticks):
            return
        highest = highest or fanout.survey(ticks["instrument"], _NOBODY)[1]
        if highest >= len(self._carried):
            self._carried = grown(self._carried, 2 * highest)
        if len(ticks) > len(self._masks):
            self._masks = np.zeros(2 * len(ticks), np.uint32)
        stream = self._ticks
        self._tick_channels(ticks, self._masks, self._carried)
        stream.reserve((highest + 1) * len(stream.channels))
        self._send(stream, ticks, ticks["instrument"], self._masks, len(stream.channels), origin, begin)

    def publish_derived(
        self, schema: Schema, records: Records, origin: Origin | None = None, *, begin: Begin | None = None
    ) -> None:
        """Send derived records of the series that were announced, made of ticks of this origin; see `publish_ticks`."""
        if not len(records):
            return
        stream = self._derived[schema]
        keys, highest = stream.sorter.keys(records)
        if len(records) > len(self._ones):
            self._ones = np.ones(2 * len(records), np.uint32)
        stream.reserve(highest + 1)
        self._send(stream, records, keys, self._ones, 1, origin, begin)

    @property
    def messages(self) -> int:
        """Sent so far."""
        return self._memory.counted(message_kernels.MESSAGES)

    @property
    def records(self) -> int:
        """Sent so far."""
        return self._memory.counted(message_kernels.RECORDS)

    @property
    def published_bytes(self) -> int:
        """Of headers and records, sent so far."""
        return self._memory.counted(message_kernels.BYTES)

    @property
    def kept_bytes(self) -> int:
        """Of messages that can be sent again."""
        return self._memory.counted(message_kernels.KEPT_BYTES)

    def has_channel(self, instrument_id: int, channel: str) -> bool:
        """Whether there is such a topic of TICK records."""
        key = instrument_id * len(self._ticks.channels) + self._ticks.channels.index(channel)
        return key < len(self._ticks.route_of) and bool(self._ticks.route_of[key] >= 0)

    def open_book(self, instrument_id: int) -> None:
        """Have the topic of a book, though it has no record yet."""
        key = self._book_key(instrument_id)
        self._ticks.reserve(key + 1)
        topic, info = self._open(self._ticks, key)
        topic.info = info

    def _book_key(self, instrument_id: int) -> int:
        channels = self._ticks.channels
        return instrument_id * len(channels) + channels.index("book")

    def close_book(self, instrument_id: int) -> None:
        """Take back a topic that `open_book` has opened and that no record came to: its book is one of orders."""
        key, route_of = self._book_key(instrument_id), self._ticks.route_of
        if key >= len(route_of) or route_of[key] < 0:
            return
        topic, _ = self._memory.routes[route_of[key]]
        if not topic.next_seq:
            del self.by_name[topic.info.topic]
            for other in np.flatnonzero(route_of >= 0).tolist():
                if self._memory.routes[route_of[other]][0] is topic:
                    route_of[other] = -1

    def read_subscriptions(self, limit: int = SUBSCRIPTIONS_PER_TURN) -> int:
        """Take note of subscriptions that have come or gone; returns how many have come. Bounded, so never starves."""
        come = 0
        for on in subscriptions(self.socket, self._guard, limit):
            come += on
            self._subscriptions += 1 if on else -1
        return come

    @property
    def subscriptions(self) -> int:
        """Of all clients together."""
        return self._guard.subscriptions if self._guard else self._subscriptions

    def close(self, linger_s: float) -> None:
        """Let go of the socket; what is queued for subscribers has this long to leave when the context is ended."""
        self.socket.close(int(linger_s * 1000))

    def _send(
        self,
        stream: _Stream,
        records: Records,
        keys: NDArray[np.uint32],
        masks: NDArray[np.uint32],
        channels: int,
        origin: Origin | None,
        begin: Begin | None,
    ) -> None:
        """Send records of these keys and channels, as `message_kernels.publish` has it."""
        words, publish_ns, number = np.frombuffer(records, np.int64), time.time_ns(), origin.number if origin else 0
        place = row = 0
        stalled_s: tuple[int, float] | None = None  # since when the next message waits: how many were sent, the time
        while True:
            reason, place, row, key = self._publish(
                *(words, stream.record_words, keys, masks, channels, stream.slots, stream.route_of),
                *self._memory.tables(),
                *(number, begin is not None, publish_ns, place, row),
            )
            if reason == message_kernels.DONE:
                return
            if reason == message_kernels.CARRY:
                self._carry(stream, key, origin, begin)
            elif reason == message_kernels.PAST:
                self._memory.forget()
            elif reason == message_kernels.FULL:
                if stalled_s is None or stalled_s[0] != self.messages:
                    stalled_s = self.messages, time.monotonic()
                self._wait(stalled_s[1] + STALL_S)
            else:
                raise zmq.ZMQError(key)

    def _carry(self, stream: _Stream, key: int, origin: Origin | None, begin: Begin | None) -> None:
        """What comes next of a key is of this origin."""
        if stream.route_of[key] < 0:
            self._open(stream, key)
        route = int(stream.route_of[key])
        topic, info = self._memory.routes[route]
        producer = origin.feed if origin and stream is self._ticks else self.engine
        topic.carry(info, route, origin, producer, begin)

    def _wait(self, deadline_s: float) -> None:
        """Wait a little for the subscriber who has no room; after the deadline none is waited for any more."""
        self._while_waiting()
        time.sleep(0.002)
        if time.monotonic() > deadline_s:
            self.stalls += 1
            self.socket.set(zmq.XPUB_NODROP, 0)

    def _open(self, stream: _Stream, key: int) -> tuple[Topic, TopicInfo]:
        """The topic of an instrument and channel; a new id of the same symbol, with other scales, continues it."""
        instrument_id, channel = divmod(key, len(stream.channels))
        row = self._instrument(instrument_id)
        name = make_topic(row.venue, row.symbol, stream.channels[channel])
        info = TopicInfo(name, int(stream.schema), row.id, row.price_scale, row.size_scale, 0)
        topic = self.by_name.get(name)
        if topic is None:
            topic = self.by_name[name] = self._memory.add_topic(info)
        stream.route_of[key] = self._memory.add_route(topic, info)
        return topic, info


def warm_up(channels: Mapping[Schema, Mapping[int, str]]) -> None:
    """Compile the kernels, as they are used for these derived records."""
    for count in (1, 2):  # a column of one record is contiguous, which is another type
        ticks = np.zeros(count, TICK)
        fanout.survey(ticks["instrument"], _NOBODY)
    message_kernels.prepared()
    for schema, names in channels.items():
        if names:
            records = np.zeros(1, DTYPES[schema])
            if FACTS[schema].series:
                records[FACTS[schema].series] = next(iter(names))
            SeriesSorter(schema, list(names)).keys(records)
    tick_channels(np.zeros(1, TICK), np.zeros(1, np.uint32), np.zeros(1, np.uint32))
