"""An engine's topics and their recent messages: the memory that `message_kernels` works in."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.engine import message_kernels as k
from tickplant.engine import retention
from tickplant.engine.native_send import Native
from tickplant.engine.retention import Origin, Past, Source
from tickplant.records.arrays import grown, resident
from tickplant.records.layouts import DTYPES, Schema
from tickplant.wire import HEADER_BYTES, MESSAGE_RECORDS, TopicInfo, pack_header, unpack_header

Records = NDArray[np.void]

_FIRST: Final = 64
"""Initial room for topics and routes."""
_RECORD_BYTES: Final = [dtype.itemsize for dtype in DTYPES.values()]
_MESSAGE_WORDS: Final = k.HEADER_WORDS + MESSAGE_RECORDS * max(_RECORD_BYTES) // 8
_FOUND: Final = 1 << 14
"""How many messages are found at once: a reply of 1 MiB has no more, even with one record each."""


class Kept(NamedTuple):
    """One message that can be sent again."""

    first: int
    last: int
    header: bytes
    payload: bytes
    origin: int  # number of its origin; 0: the message is not in the store


class Begin(NamedTuple):
    """The first stored record that a topic carries in this life of the engine: its producer and seq."""

    producer: str
    seq: int


class Topic:
    """One topic and its kept messages."""

    __slots__ = ("_begin_producer", "_memory", "_past", "info", "place")

    def __init__(self, info: TopicInfo, place: int, memory: MessageMemory) -> None:
        self.info = info  # as of its last message, except `next_seq`: see `now`
        self.place = place
        self._memory = memory
        self._past = Past()
        self._begin_producer = ""

    @property
    def _row(self) -> np.void:
        return self._memory.row(self.place)

    @property
    def next_seq(self) -> int:
        """Topic sequence of the next record."""
        return int(self._row["next_seq"])

    @property
    def oldest(self) -> int:
        """Topic sequence of the first kept record."""
        return int(self._row["oldest"])

    @property
    def begin(self) -> Begin | None:
        """The first published record that is in a store; None if there is none yet."""
        seq = int(self._row["begin_seq"])
        return Begin(self._begin_producer, seq) if seq >= 0 else None

    @property
    def past(self) -> Past:
        """What is no longer kept."""
        row = self._row
        self._past.settle(int(row["past_end"]), int(row["past_seq"]))
        return self._past

    def now(self) -> TopicInfo:
        """The topic's current facts."""
        info = self.info
        return TopicInfo(info.topic, info.schema, info.instrument, info.price_scale, info.size_scale, self.next_seq)

    def carry(self, info: TopicInfo, route: int, origin: Origin | None, producer: str, begin: Begin | None) -> None:
        """Let the next records be of this instrument and origin; see `Publisher` for the other arguments."""
        self.info = info
        memory, row = self._memory, self._row
        row["route"], row["origin"] = route, origin.number if origin else 0
        memory.headers[self.place] = memory.header(info, producer if origin else "")
        if row["begin_seq"] < 0:
            if begin:
                row["begin_seq"] = begin.seq
            self._begin_producer = begin.producer if begin else producer

    def messages(self, first: int, last: int, most_bytes: int) -> list[Kept]:
        """The kept messages with records from `first` to `last`, up to the one that reaches `most_bytes`."""
        memory = self._memory
        numbers = np.empty(_FOUND, np.int64)
        newest, oldest = int(self._row["newest"]), int(memory.state[k.OLDEST])
        found = k.find(memory.messages, newest, oldest, first, last, numbers)
        kept: list[Kept] = []
        size = 0
        for at in range(found - 1, max(-1, found - 1 - _FOUND), -1):
            if size >= most_bytes:
                break
            kept.append(memory.message(int(numbers[at % _FOUND])))
            size += len(kept[-1].payload)
        return kept

    def last_records(self, count: int) -> Records:
        """Up to `count` of the last records; at most two, which make a quote."""
        memory, row = self._memory, self._row
        if row["newest"] >= 0:
            payload = memory.message(int(row["newest"])).payload
        else:
            payload = memory.tails[self.place, : row["tail_words"]].tobytes()
        return np.frombuffer(payload, DTYPES[Schema(self.info.schema)])[-count:]


class MessageMemory:
    """Topics, routes to them, and the recent messages of all topics, bounded in bytes. Not thread-safe.

    Args:
        most_bytes: bound on the kept messages: headers, records, and a table row each.
        epoch: the engine's epoch.
        native: addresses of the socket that sends messages.
    """

    def __init__(self, most_bytes: int, epoch: int, native: Native) -> None:
        self.by_place: list[Topic] = []
        self.routes: list[tuple[Topic, TopicInfo]] = []
        self.topics = np.zeros(_FIRST, k.TOPIC)
        self.headers = np.zeros((_FIRST, k.HEADER_WORDS), np.int64)
        self.tails = np.zeros((_FIRST, k.TAIL_WORDS), np.int64)
        self._topic_of = np.zeros(_FIRST, k.PLACE_TYPE)
        self._names = np.zeros(_FIRST, np.uint8)
        self._names_bytes = 0
        # Kept messages, the next one, and the unused space at the end where the buffer wraps around.
        self._memory = resident(most_bytes // 8 + 3 * _MESSAGE_WORDS, np.dtype(np.int64))
        least = HEADER_BYTES + min(_RECORD_BYTES) + k.MESSAGE_BYTES
        self.messages = resident(most_bytes // least + 2, k.MESSAGE)
        self.state = np.zeros(k.STATE_SIZE, np.int64)
        self.state[[k.MOST_BYTES, k.STRIDE]] = most_bytes, retention.STRIDE_RECORDS
        self.state[[k.SEND, k.ERROR, k.SOCKET]] = native
        self.address: int = self.state.ctypes.data
        """Address of the state that `message_kernels.publish` works in."""
        self._epoch = epoch
        self._note_addresses()

    def _note_addresses(self) -> None:
        """Tell the kernel where the arrays are now."""
        by_topic = self.topics, self.headers, self.tails
        state = self.state
        state[[k.TOPIC_OF, k.ROUTES]] = self._topic_of.ctypes.data, len(self._topic_of)
        state[[k.TOPICS, k.HEADERS, k.TAILS]] = [array.ctypes.data for array in by_topic]
        state[k.TOPIC_ROWS] = len(self.topics)
        state[k.NAMES] = self._names.ctypes.data
        state[[k.TABLE, k.TABLE_ROWS]] = self.messages.ctypes.data, len(self.messages)
        state[[k.MEMORY, k.MEMORY_WORDS]] = self._memory.ctypes.data, len(self._memory)

    def counted(self, place: int) -> int:
        """One number of the state."""
        return int(self.state[place])

    def row(self, place: int) -> np.void:
        """A topic's row of TOPIC."""
        row: np.void = self.topics[place]
        return row

    def add_topic(self, info: TopicInfo) -> Topic:
        """Add a topic, which has carried nothing yet."""
        place, name = len(self.by_place), info.topic.encode()
        if place == len(self.topics):
            self.topics, self.tails = grown(self.topics, 2 * place), grown(self.tails, 2 * place)
            self.headers = grown(self.headers, 2 * place)
        if self._names_bytes + len(name) > len(self._names):
            self._names = grown(self._names, 2 * (self._names_bytes + len(name)))
        row = self.topics[place]
        row["name"], row["name_bytes"] = self._names_bytes, len(name)
        row["newest"] = row["begin_seq"] = row["route"] = -1
        self._names[self._names_bytes :][: len(name)] = np.frombuffer(name, np.uint8)
        self._names_bytes += len(name)
        self._note_addresses()
        self.by_place.append(Topic(info, place, self))
        return self.by_place[place]

    def add_route(self, topic: Topic, info: TopicInfo) -> int:
        """Add a route to a topic. Returns its number."""
        number = len(self.routes)
        if number == len(self._topic_of):
            self._topic_of = grown(self._topic_of, 2 * number)
            self._note_addresses()
        self._topic_of[number] = topic.place
        self.routes.append((topic, info))
        return number

    def header(self, info: TopicInfo, producer: str) -> NDArray[np.int64]:
        """The header shared by a topic's messages, without the fields that differ by message."""
        record_bytes = DTYPES[Schema(info.schema)].itemsize
        facts = info.instrument, info.price_scale, info.size_scale
        packed = pack_header(info.schema, record_bytes, 0, self._epoch, 0, 0, *facts, producer.encode("ascii"))
        return np.frombuffer(packed, np.int64)

    def message(self, number: int) -> Kept:
        """A kept message."""
        row = self.messages[number % len(self.messages)]
        begin, first = int(row["begin"]), int(row["first"])
        payload = begin + k.HEADER_WORDS
        return Kept(
            first,
            first + int(row["records"]) - 1,
            self._memory[begin:payload].tobytes(),
            self._memory[payload : payload + int(row["words"])].tobytes(),
            int(row["origin"]),
        )

    def forget(self) -> None:
        """Forget the oldest message, after making its mark."""
        number = self.counted(k.OLDEST)
        message, route = self.message(number), self.messages[number % len(self.messages)]["route"]
        topic, info = self.routes[route]
        row, past = self.topics[topic.place], topic.past
        seqs = np.frombuffer(message.payload, DTYPES[Schema(info.schema)])["seq"]
        if row["past_origin"] != message.origin or row["past_route"] != route:
            past.begin(Source(info, unpack_header(message.header).producer), message.first, int(seqs[0]))
        row["past_mark"] = past.extend(message.last, int(seqs[-1]))
        k.forget(self.topics, self.messages, self._memory, self.tails, self.state, True)
