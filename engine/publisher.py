"""The PUB side of an engine: batches of records become messages, topic by topic.

It never waits for a subscriber, unless it is `lossless`. A slow subscriber loses messages, detects the loss by the
topic sequence, and requests the messages (`router.py`). So recent messages are kept here, bounded in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.derive.series_sorter import SeriesSorter
from tickplant.engine import message_kernels as k
from tickplant.engine.message_memory import Begin, MessageMemory, Topic
from tickplant.engine.native_send import native
from tickplant.engine.retention import Origin
from tickplant.instruments import Instrument
from tickplant.records import fanout
from tickplant.records.arrays import grown
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.schemas import FACTS
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.client_sockets import open_stream, subscriptions
from tickplant.runtime.config import ClientLimits
from tickplant.wire import TICK_CHANNELS, TopicInfo, make_topic

Records = NDArray[np.void]

STALL_S: Final = 30.0
"""A lossless publisher that could send nothing for this long drops messages from then on, and says so."""

SUBSCRIPTIONS_PER_TURN: Final = 100  # few, so that ticks do not wait while somebody sends thousands
_NOBODY: Final = np.zeros(0, np.bool_)


class _Stream:
    """Topics of one schema; `numbers`: the series of each channel, if the schema has series."""

    def __init__(self, schema: Schema, channels: Sequence[str], numbers: Sequence[int] = ()) -> None:
        self.schema = schema
        self.channels = tuple(channels)
        self.sorter = SeriesSorter(schema, numbers)
        self.route_of = np.full(0, -1, k.PLACE_TYPE)  # by instrument id * channels + channel
        self.keys = np.zeros(0, k.KEY_TYPE)  # of each record of a batch
        self._slots = np.full(0, -1, k.PLACE_TYPE)
        self._masks = np.zeros(0, k.KEY_TYPE)
        self.highest = 0  # for ticks, there is room for instrument ids up to this one
        self._carried = np.zeros(1, k.KEY_TYPE)  # by instrument id, see `tick_channels`
        words = np.zeros(k.STREAM_WORDS, np.int64)
        words[k.WIDTH], words[k.CHANNELS] = DTYPES[schema].itemsize // 8, 1
        if schema is Schema.TICK:
            words[k.CHANNELS] = len(channels)
        self._words = words
        self.address: int = words.ctypes.data
        """Address of the words that `k.publish` works in."""
        self.make_room(64)

    def reserve(self, keys: int) -> None:
        """Make room for this many keys."""
        if keys > len(self._slots):
            self._grow(2 * keys)

    def _grow(self, keys: int) -> None:
        self._slots = np.full(keys, -1, k.PLACE_TYPE)
        old, self.route_of = self.route_of, np.full(keys, -1, k.PLACE_TYPE)
        self.route_of[: len(old)] = old
        self._note_addresses()

    def reserve_ticks(self, count: int, highest: int) -> None:
        """Make room for a batch of `count` ticks whose instrument ids do not exceed `highest`."""
        if count > len(self.keys):
            self.make_room(2 * count)
        if highest > self.highest:
            self.highest = 2 * highest
            self._carried = grown(self._carried, self.highest + 1)
            self._grow(max(len(self._slots), (self.highest + 1) * len(self.channels)))

    def make_room(self, count: int) -> None:
        """Make room for a batch of `count` records."""
        self.keys, self._masks = np.zeros(count, k.KEY_TYPE), np.ones(count, k.KEY_TYPE)
        self._note_addresses()

    def _note_addresses(self) -> None:
        """Tell the kernel where the arrays are now."""
        words = self._words
        words[[k.KEYS, k.MASKS]] = self.keys.ctypes.data, self._masks.ctypes.data
        words[[k.SLOTS, k.ROUTE_OF]] = self._slots.ctypes.data, self.route_of.ctypes.data
        words[k.KEY_COUNT] = len(self._slots)
        if self.schema is Schema.TICK:
            words[[k.CARRIED, k.CARRIED_COUNT]] = self._carried.ctypes.data, len(self._carried)


class Publisher:
    """Sends records to subscribers and keeps the recent ones. Not thread-safe.

    Args:
        context: the ZeroMQ context.
        address: the address to bind.
        instrument: returns the row of an instrument id; called once per topic.
        channels: channels of derived records, by schema and number of the series.
        recovery_bytes: bound on the messages kept for recovery, over all topics.
        high_water_messages: how many messages may wait for one slow subscriber.
        lossless: whether to wait for slow subscribers instead of dropping messages.
        while_waiting: called every few milliseconds while a lossless publisher waits.
        guard: learns of subscriptions, and decides who may have them.
        limits: limits on what a client may send.
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
        limits: ClientLimits = ClientLimits(),
    ) -> None:
        # Microseconds, not nanoseconds: below 2**53, so that JSON readers of any language keep it exact.
        self.epoch = time.time_ns() // 1000
        self.stalls = 0  # how often a lossless publisher has given up on subscribers
        self.by_name: dict[str, Topic] = {}
        self._instrument = instrument
        self.engine = engine
        self._guard = guard
        self._subscriptions = 0  # used if there is no guard
        self._while_waiting = while_waiting
        self._ticks = _Stream(Schema.TICK, TICK_CHANNELS)
        self._derived = {
            schema: _Stream(schema, list(names.values()), list(names)) for schema, names in (channels or {}).items()
        }
        self.socket = open_stream(context, address, limits, high_water_messages=high_water_messages, lossless=lossless)
        self._memory = MessageMemory(recovery_bytes, self.epoch, native(self.socket))
        self._publish = k.prepared()
        self._survey = fanout.prepared_survey()

    def publish_ticks(
        self, ticks: Records, origin: Origin | None = None, *, highest: int = 0, begin: Begin | None = None
    ) -> None:
        """Send TICK records. Every instrument must be known to `instrument`.

        Args:
            ticks: the records.
            origin: the stored stream that they continue; None if they are in no store.
            highest: an instrument id that none of them exceeds, if known.
            begin: without an origin, the stored records with which their topics will continue.
        """
        if not len(ticks):
            return
        highest = highest or self._survey(ticks, _NOBODY)[1]
        stream = self._ticks
        if highest > stream.highest or len(ticks) > len(stream.keys):
            stream.reserve_ticks(len(ticks), highest)
        self._send(stream, ticks, origin, begin)

    @property
    def memory_of_ticks(self) -> tuple[int, int, int, int]:
        """The two memories of `message_kernels.publish`, and the room: highest instrument id, number of ticks."""
        stream = self._ticks
        return stream.address, self._memory.address, stream.highest, len(stream.keys)

    def go_on_with_ticks(self, ticks: Records, origin: Origin, reason: int, publish_ns: int) -> None:
        """Send the rest of a batch of TICK records, after the kernel has stopped for this reason."""
        batch = self._ticks.address, self._memory.address, origin.number, 0, publish_ns
        self._go_on(reason, self._ticks, ticks, batch, origin, None)

    def publish_derived(
        self, schema: Schema, records: Records, origin: Origin | None = None, *, begin: Begin | None = None
    ) -> None:
        """Send derived records of the announced series, made from ticks of this origin; see `publish_ticks`."""
        if not len(records):
            return
        stream = self._derived[schema]
        if len(records) > len(stream.keys):
            stream.make_room(2 * len(records))
        stream.reserve(stream.sorter.find_keys(records, stream.keys) + 1)
        self._send(stream, records, origin, begin)

    @property
    def messages(self) -> int:
        """Messages sent so far."""
        return self._memory.counted(k.MESSAGES)

    @property
    def records(self) -> int:
        """Records sent so far."""
        return self._memory.counted(k.RECORDS)

    @property
    def published_bytes(self) -> int:
        """Bytes of headers and records sent so far."""
        return self._memory.counted(k.BYTES)

    @property
    def kept_bytes(self) -> int:
        """Bytes of messages that can be sent again."""
        return self._memory.counted(k.KEPT_BYTES)

    def has_channel(self, instrument_id: int, channel: str) -> bool:
        """Whether an instrument has a topic of TICK records in this channel."""
        key = instrument_id * len(self._ticks.channels) + self._ticks.channels.index(channel)
        return key < len(self._ticks.route_of) and bool(self._ticks.route_of[key] >= 0)

    def open_book(self, instrument_id: int) -> None:
        """Open the topic of a book that has no record yet."""
        key = self._book_key(instrument_id)
        self._ticks.reserve(key + 1)
        topic, info = self._open(self._ticks, key)
        topic.info = info

    def _book_key(self, instrument_id: int) -> int:
        channels = self._ticks.channels
        return instrument_id * len(channels) + channels.index("book")

    def close_book(self, instrument_id: int) -> None:
        """Close a topic that `open_book` opened and that has had no record: its book is a book of orders."""
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
        """Read new and ended subscriptions; returns how many are new. Reads at most `limit`, so ticks never starve."""
        come = 0
        for on in subscriptions(self.socket, self._guard, limit):
            come += on
            self._subscriptions += 1 if on else -1
        return come

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all clients together."""
        return self._guard.subscriptions if self._guard else self._subscriptions

    def close(self, linger_s: float) -> None:
        """Close the socket; what is queued for subscribers has this long to leave when the context is terminated."""
        self.socket.close(int(linger_s * 1000))

    def _send(self, stream: _Stream, records: Records, origin: Origin | None, begin: Begin | None) -> None:
        """Send records; see `k.publish`."""
        number = origin.number if origin else 0
        batch = stream.address, self._memory.address, number, 0 if begin is None else 1, time.time_ns()
        if reason := self._publish(records, *batch):
            self._go_on(reason, stream, records, batch, origin, begin)

    def _go_on(
        self,
        reason: int,
        stream: _Stream,
        records: Records,
        batch: tuple[int, int, int, int, int],
        origin: Origin | None,
        begin: Begin | None,
    ) -> None:
        """Do what the kernel has stopped for and call it again, until all is sent."""
        state = self._memory.state
        stalled_s: tuple[int, float] | None = None  # messages sent when the wait began, and its time
        try:
            while reason:
                key = int(state[k.KEY])
                if reason == k.CARRY:
                    self._carry(stream, key, origin, begin)
                elif reason == k.PAST:
                    self._memory.forget()
                elif reason == k.SCATTERED:
                    records = records.copy()
                elif reason == k.FULL:
                    if stalled_s is None or stalled_s[0] != self.messages:
                        stalled_s = self.messages, time.monotonic()
                    self._wait(stalled_s[1] + STALL_S)
                else:
                    raise zmq.ZMQError(key)
                reason = self._publish(records, *batch)
        finally:
            state[k.STOPPED] = 0  # whatever failed, the next batch starts afresh

    def _carry(self, stream: _Stream, key: int, origin: Origin | None, begin: Begin | None) -> None:
        """Let a key's next records be of this origin."""
        if stream.route_of[key] < 0:
            self._open(stream, key)
        route = int(stream.route_of[key])
        topic, info = self._memory.routes[route]
        producer = origin.feed if origin and stream is self._ticks else self.engine
        topic.carry(info, route, origin, producer, begin)

    def _wait(self, deadline_s: float) -> None:
        """Wait a little for a subscriber without room; after the deadline, stop waiting for any subscriber."""
        self._while_waiting()
        time.sleep(0.002)
        if time.monotonic() > deadline_s:
            self.stalls += 1
            self.socket.set(zmq.XPUB_NODROP, 0)

    def _open(self, stream: _Stream, key: int) -> tuple[Topic, TopicInfo]:
        """The topic of an instrument and channel. A new id of the same symbol, with other scales, continues it."""
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
    """Compile the kernels for these derived records."""
    fanout.prepared_survey()
    k.prepared()
    for schema, names in channels.items():
        if names:
            records = np.zeros(1, DTYPES[schema])
            if FACTS[schema].series:
                records[FACTS[schema].series] = next(iter(names))
            SeriesSorter(schema, list(names)).keys(records)
