"""The PUB side of an engine: batches of records become messages, topic by topic.

Never waits for a subscriber, unless it was made `lossless`: a slow one loses messages, sees so by the topic sequence,
and asks for them (`router.py`), which is why recent messages are kept here, bounded in bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.derive.series_sorter import SeriesSorter
from tickplant.engine.client_sockets import bind, descriptor, restrict
from tickplant.engine.guard import Guard
from tickplant.engine.retention import Origin, Past, Source, first_seq_of
from tickplant.errors import ConfigError
from tickplant.instruments import Instrument
from tickplant.kernels import direct
from tickplant.records import fanout
from tickplant.records.arrays import grown
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import DTYPES, TICK, Schema
from tickplant.records.schemas import FACTS
from tickplant.runtime.config import EngineConfig
from tickplant.wire import (
    HEADER_BYTES,
    MESSAGE_RECORDS,
    TICK_CHANNELS,
    TopicInfo,
    make_topic,
    pack_header,
)

Records = NDArray[np.void]

STALL_S: Final = 30.0
"""A lossless publisher that no subscriber has taken anything from for this long drops from then on, and says so."""

_MORE: Final = int(zmq.SNDMORE)  # an enumeration's `|` costs as much as a send
_MORE_NOW: Final = int(zmq.SNDMORE | zmq.NOBLOCK)
_KEPT_OVERHEAD_BYTES: Final = HEADER_BYTES + 240  # sizes of the Python objects around a payload
_TAIL_RECORDS: Final = 2  # a quote is two
SUBSCRIPTIONS_PER_TURN: Final = 100  # few, so that ticks do not wait while somebody sends thousands
HANDSHAKE_BYTES: Final = 1024  # the longest frame that a client needs besides: its identity and properties
_NOBODY: Final = np.zeros(0, np.bool_)


class Kept(msgspec.Struct, frozen=True, gc=False):
    """One message that can be sent again. There are 100,000 of them, at which the collector need not look."""

    first: int
    last: int
    header: bytes
    payload: bytes
    source: Source | None  # None: the store does not have it


class Begin(NamedTuple):
    """From which seq of whom on the records of a store are published on a topic in this life of the engine."""

    producer: str
    seq: int


class Topic:
    """One topic and what is kept of it."""

    __slots__ = ("begin", "info", "kept", "name", "next_seq", "past", "source", "tail")

    def __init__(self, info: TopicInfo) -> None:
        self.name = info.topic.encode()
        self.info = info  # as of its last message, but for `next_seq`: see `now`
        self.next_seq = 0
        self.source: Source | None = None  # of its last message
        self.kept: deque[Kept] = deque()
        self.past = Past()  # what is not kept any more
        self.tail = b""  # last records, where no message is kept
        self.begin: Begin | None = None

    @property
    def oldest(self) -> int:
        """Topic sequence of the first record that is remembered."""
        return self.kept[0].first if self.kept else self.next_seq

    def now(self) -> TopicInfo:
        """What there is to say of it."""
        info = self.info
        return TopicInfo(info.topic, info.schema, info.instrument, info.price_scale, info.size_scale, self.next_seq)

    def carry(self, info: TopicInfo, origin: Origin | None, producer: str) -> None:
        """What comes next is of this instrument and origin; `producer` counts its seqs."""
        if origin is None:
            self.source = None
        elif self.source is None or self.source.origin is not origin or self.source.info is not info:
            self.source = Source(origin, info, producer)
        self.info = info

    def last_records(self, count: int) -> Records:
        """Up to `count` of the last records; a quote is two, and no more are asked for."""
        payload = self.kept[-1].payload if self.kept else self.tail
        return np.frombuffer(payload, DTYPES[Schema(self.info.schema)])[-count:]


class _Stream:
    """Topics of one schema; `numbers`: of the series that each channel is of, where the schema has series."""

    def __init__(self, schema: Schema, channels: Sequence[str], numbers: Sequence[int] = ()) -> None:
        self.schema = schema
        self.channels = tuple(channels)
        self.sorter = SeriesSorter(schema, numbers)
        self.routes: dict[int, tuple[Topic, TopicInfo]] = {}  # by instrument id * channels + channel
        self.slots = np.full(0, -1, np.int32)

    def reserve(self, instrument_id: int) -> None:
        wanted = (instrument_id + 1) * len(self.channels)
        if wanted > len(self.slots):
            self.slots = np.full(2 * wanted, -1, np.int32)


def _words(ticks: Records) -> fanout.Words:
    """TICK records as rows of 64-bit words: the same memory, which must be contiguous."""
    return np.ndarray((len(ticks), TICK.itemsize // 8), np.uint64, ticks)


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
        self.recovery_bytes = recovery_bytes
        self.kept_bytes = 0
        self.messages = 0
        self.records = 0
        self.stalls = 0  # subscribers given up by a lossless publisher
        self.published_bytes = 0
        self.by_name: dict[str, Topic] = {}
        self._instrument = instrument
        self.engine = engine
        self._kept: deque[Topic] = deque()  # topic of every kept message, oldest first
        self._lossless = lossless
        self._guard = guard
        self._subscriptions = 0  # where nobody guards
        self._while_waiting = while_waiting
        self._carried = np.zeros(64, np.uint32)
        self._ticks = _Stream(Schema.TICK, TICK_CHANNELS)
        some, masks = np.zeros(2, TICK), np.zeros(2, np.uint32)
        self._tick_channels = direct(tick_channels, some, masks, self._carried)
        self._group = direct(fanout.group, _words(some), some["instrument"], masks, 1, self._ticks.slots)
        self._derived = {
            schema: _Stream(schema, list(names.values()), list(names)) for schema, names in (channels or {}).items()
        }
        # XPUB: a PUB that tells of subscriptions, and that can be asked to wait.
        self.socket: zmq.Socket[bytes] = context.socket(zmq.XPUB)
        self.socket.set(zmq.SNDHWM, high_water_messages)
        self.socket.set(zmq.RCVHWM, 1000)
        self.socket.set(zmq.XPUB_NODROP, int(lossless))
        self.socket.set(zmq.XPUB_VERBOSER, 1)  # each client's own, so that they can be counted
        restrict(self.socket, limits, max_frame_bytes=HANDSHAKE_BYTES + limits.max_topic_bytes)
        try:
            bind(self.socket, address)
        except ConfigError:
            self.socket.close(0)
            raise

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
        masks, stream = np.empty(len(ticks), np.uint32), self._ticks
        self._tick_channels(ticks, masks, self._carried)
        stream.reserve(highest)
        sorted_ = self._group(_words(ticks), ticks["instrument"], masks, len(stream.channels), stream.slots)
        self._send_sorted(stream, *sorted_, origin, begin)

    def publish_derived(
        self, schema: Schema, records: Records, origin: Origin | None = None, *, begin: Begin | None = None
    ) -> None:
        """Send derived records of the series that were announced, made of ticks of this origin; see `publish_ticks`."""
        if not len(records):
            return
        stream = self._derived[schema]
        words, keys, starts = stream.sorter.sort(records)
        self._send_sorted(stream, words, keys, starts, origin, begin)

    def has_channel(self, instrument_id: int, channel: str) -> bool:
        """Whether there is such a topic of TICK records."""
        return instrument_id * len(self._ticks.channels) + self._ticks.channels.index(channel) in self._ticks.routes

    def open_book(self, instrument_id: int) -> None:
        """Have the topic of a book, though it has no record yet."""
        topic, info = self._open(self._ticks, self._book_key(instrument_id))
        topic.info = info

    def _book_key(self, instrument_id: int) -> int:
        channels = self._ticks.channels
        return instrument_id * len(channels) + channels.index("book")

    def close_book(self, instrument_id: int) -> None:
        """Take back a topic that `open_book` has opened and that no record came to: its book is one of orders."""
        topic, _ = self._ticks.routes.get(self._book_key(instrument_id), (None, None))
        if topic and not topic.next_seq:
            del self.by_name[topic.info.topic]
            for key in [key for key, (known, _) in self._ticks.routes.items() if known is topic]:
                del self._ticks.routes[key]

    def read_subscriptions(self, limit: int = SUBSCRIPTIONS_PER_TURN) -> int:
        """Take note of subscriptions that have come or gone; returns how many have come. Bounded, so never starves."""
        come = 0
        for _ in range(limit):
            try:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            message = frame.bytes
            on = message[:1] == b"\x01"
            come += on
            if self._guard is None:
                self._subscriptions += 1 if on else -1
                continue
            if (fd := descriptor(frame)) >= 0:  # else: what a client that is gone had subscribed to
                self._guard.served(fd, (len(message),))
                if on or message[:1] == b"\0":
                    self._guard.subscribed(fd, message[1:], on=on)
        return come

    @property
    def subscriptions(self) -> int:
        """Of all clients together."""
        return self._guard.subscriptions if self._guard else self._subscriptions

    def close(self, linger_s: float) -> None:
        """Let go of the socket; what is queued for subscribers has this long to leave when the context is ended."""
        self.socket.close(int(linger_s * 1000))

    def _send_sorted(
        self,
        stream: _Stream,
        rows: fanout.Words,
        keys: NDArray[np.int64],
        starts: NDArray[np.int64],
        origin: Origin | None,
        begin: Begin | None,
    ) -> None:
        record_bytes = 8 * rows.shape[1]
        data = rows.tobytes()
        publish_ns = time.time_ns()
        producer = origin.feed if origin and stream is self._ticks else self.engine
        bounds = starts.tolist()
        for i, key in enumerate(keys.tolist()):
            topic, info = stream.routes.get(key) or self._open(stream, key)
            topic.carry(info, origin, producer)
            if begin:
                topic.begin = topic.begin or begin
            for start in range(bounds[i], bounds[i + 1], MESSAGE_RECORDS):
                end = min(start + MESSAGE_RECORDS, bounds[i + 1])
                self._send(topic, data[start * record_bytes : end * record_bytes], end - start, publish_ns)

    def _send(self, topic: Topic, payload: bytes, count: int, publish_ns: int) -> None:
        info = topic.info
        first = topic.next_seq
        source = topic.source
        header = pack_header(
            info.schema,
            len(payload) // count,
            count,
            self.epoch,
            first,
            publish_ns,
            info.instrument,
            info.price_scale,
            info.size_scale,
            source.producer if source else b"",
        )
        send = self.socket.send
        try:
            send(topic.name, _MORE_NOW)
        except zmq.Again:
            self._wait(topic.name)
        send(header, _MORE)
        send(payload)
        topic.next_seq = first + count
        self.messages += 1
        self.records += count
        self.published_bytes += len(payload) + HEADER_BYTES
        if topic.begin is None and source:
            topic.begin = Begin(source.producer.decode("ascii"), first_seq_of(payload, count))
        topic.kept.append(Kept(first, first + count - 1, header, payload, source))
        self._kept.append(topic)
        self.kept_bytes += len(payload) + _KEPT_OVERHEAD_BYTES
        while self.kept_bytes > self.recovery_bytes:
            self._forget()

    def _wait(self, frame: bytes) -> None:
        """Send the first frame of a message when every subscriber has room for it."""
        deadline = time.monotonic() + STALL_S
        while True:
            self._while_waiting()
            time.sleep(0.002)
            if time.monotonic() > deadline:
                self.stalls += 1
                self._lossless = False
                self.socket.set(zmq.XPUB_NODROP, 0)
            try:
                self.socket.send(frame, zmq.SNDMORE | zmq.NOBLOCK)
            except zmq.Again:
                continue
            return

    def _forget(self) -> None:
        """Drop the oldest kept message."""
        topic = self._kept.popleft()
        kept = topic.kept.popleft()
        first, last, payload, source = kept.first, kept.last, kept.payload, kept.source
        topic.past.forget(source, first, last, payload)
        self.kept_bytes -= len(payload) + _KEPT_OVERHEAD_BYTES
        if not topic.kept:
            topic.tail = payload[-_TAIL_RECORDS * DTYPES[Schema(topic.info.schema)].itemsize :]

    def _open(self, stream: _Stream, key: int) -> tuple[Topic, TopicInfo]:
        """The topic of an instrument and channel; a new id of the same symbol, with other scales, continues it."""
        instrument_id, channel = divmod(key, len(stream.channels))
        row = self._instrument(instrument_id)
        name = make_topic(row.venue, row.symbol, stream.channels[channel])
        info = TopicInfo(name, int(stream.schema), row.id, row.price_scale, row.size_scale, 0)
        topic = self.by_name.setdefault(name, Topic(info))
        stream.routes[key] = topic, info
        return topic, info


def warm_up(channels: Mapping[Schema, Mapping[int, str]]) -> None:
    """Compile the kernels, as they are used for these derived records."""
    for count in (1, 2):  # a column of one record is contiguous, which is another type
        ticks = np.zeros(count, TICK)
        fanout.survey(ticks["instrument"], _NOBODY)
        fanout.group(_words(ticks), ticks["instrument"], np.ones(count, np.uint32), 1, np.full(2, -1, np.int32))
    for schema, names in channels.items():
        if names:
            records = np.zeros(1, DTYPES[schema])
            if FACTS[schema].series:
                records[FACTS[schema].series] = next(iter(names))
            SeriesSorter(schema, list(names)).sort(records)
    tick_channels(np.zeros(1, TICK), np.zeros(1, np.uint32), np.zeros(1, np.uint32))
