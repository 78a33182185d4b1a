"""The kernel that publishes a batch: it writes headers, keeps and sends messages, and forgets the oldest ones.

A *topic* is a row of TOPIC. A *route* maps an instrument id and a channel to a topic and to the instrument's facts that
headers state; all ids of one symbol lead to one topic. A kept message is a header and records in `memory`, a circular
buffer of 8-byte words, and a row of MESSAGE. The kernel stops where it needs Python and says why; called again, it
continues there.

Only the records are passed as an array. The kernel's other arrays are listed, by address and length, in two arrays of
words (see `kernels.array_at`): those of the memory, `state`, and those of the schema, of `STREAM_WORDS`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import NDArray

from tickplant.engine.native_send import send_frame
from tickplant.kernel_calls import pointer
from tickplant.kernels import ANY_STRIDED_RECORDS, array_at, direct, inlined, kernel
from tickplant.records import fanout
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import DTYPES, TICK
from tickplant.wire import HEADER_BYTES, MESSAGE_RECORDS

Records = NDArray[np.void]
Words = NDArray[np.int64]

TOPIC: Final = np.dtype(
    [
        ("name", "<i8"),  # offset in the names, and length
        ("name_bytes", "<i8"),
        ("next_seq", "<i8"),
        ("oldest", "<i8"),  # topic sequence of the first kept record
        ("newest", "<i8"),  # number of the last message; -1 if none is kept
        ("origin", "<i8"),  # origin of the next records; 0: they are in no store
        ("begin_seq", "<i8"),  # `seq` of the first record that is in a store; -1: none so far
        ("past_origin", "<i8"),  # origin of the last forgotten message
        ("past_end", "<i8"),  # of the last forgotten message in a store: topic sequence and seq at its end, route
        ("past_seq", "<i8"),
        ("past_mark", "<i8"),  # seq of the last fixed mark, see `retention`
        ("past_route", "<i4"),
        ("route", "<i4"),  # route of the next records
        ("tail_words", "<i8"),  # words of the last records, if no message is kept
    ]
)
MESSAGE: Final = np.dtype(
    [
        ("begin", "<i8"),  # offset of the header in the memory, in words; the records follow
        ("first", "<i8"),  # topic sequence of the first record
        ("previous", "<i8"),  # number of the topic's previous message, which may be forgotten
        ("origin", "<i8"),
        ("topic", "<i4"),
        ("route", "<i4"),
        ("records", "<i4"),
        ("words", "<i4"),  # length of the records
    ]
)
"""Indexed by message number modulo the table's length; numbers count from 0."""

NEXT, OLDEST, HEAD, KEPT_BYTES, MOST_BYTES, STRIDE, MESSAGES, RECORDS, BYTES, SEND, ERROR, SOCKET = range(12)
"""Indices in `state`: numbers of the next message and of the oldest kept one; where the next one is written; bytes
kept, and their bound; the distance between marks; counts of what was sent so far; and see `native_send`."""
TOPIC_OF, ROUTES, TOPICS, HEADERS, TAILS, TOPIC_ROWS, NAMES, TABLE, TABLE_ROWS, MEMORY, MEMORY_WORDS = range(12, 23)
"""Addresses and lengths: topics by route; TOPIC rows, headers and last records by topic; the concatenated names of the
topics; MESSAGE rows; and the memory."""
STOPPED, PLACE, ROW, KEY = range(23, 27)
"""Whether `publish` has stopped within a batch; at which topic, in order of first appearance, and at which of its
records; the key of that topic, or, with FAILED, an errno."""
STATE_SIZE: Final = 27

WIDTH, CHANNELS, SLOTS, ROUTE_OF, KEY_COUNT, KEYS, MASKS, ROOM, CARRIED, CARRIED_COUNT = range(10)
"""Words of a schema: words per record; number of channels; scratch of `fanout.order`; the route by key * channels +
channel, -1 if unknown; the key of each record (the instrument id, or id and series) and its channels as bits; room for
records. CARRIED, see `tick_channels`: 0 except for ticks, whose keys and channels the kernel computes itself."""
STREAM_WORDS: Final = 10

DONE: Final = 0
CARRY: Final = 1
"""A topic's route or origin changes, or its route is not known yet."""
PAST: Final = 2
"""A mark must be made before the oldest message may be forgotten."""
FULL: Final = 3
"""A subscriber has no room, and the publisher must wait."""
FAILED: Final = 4
SCATTERED: Final = 5
"""The records are not contiguous."""

HEADER_WORDS: Final = HEADER_BYTES // 8
TAIL_RECORDS: Final = 2  # a quote is two records
TAIL_WORDS: Final = TAIL_RECORDS * max(dtype.itemsize for dtype in DTYPES.values()) // 8
MESSAGE_BYTES: Final = MESSAGE.itemsize
_COUNT_SHIFT: Final = 32  # position of the number of records in word 1 of a header
_COUNT_WORD: Final = 1
_FIRST_WORD: Final = 3
_TIME_WORD: Final = 4
_PUBLISHED: Final = (ANY_STRIDED_RECORDS, 0, 0, 0, 0, 0)
WORD: Final = np.dtype(np.int64)
KEY_TYPE: Final = np.dtype(np.uint32)
PLACE_TYPE: Final = np.dtype(np.int32)
_MORE: Final = int(zmq.SNDMORE)
_MORE_NOW: Final = int(zmq.SNDMORE | zmq.NOBLOCK)
_AGAIN: Final = -errno.EAGAIN


@kernel
def forget(topics: Records, messages: Records, memory: Words, tails: Words, state: Words, noted: bool) -> bool:
    """Forget the oldest message. Returns False, and does nothing, if a mark is due first and not yet `noted`."""
    number = state[OLDEST]
    message = messages[number % len(messages)]
    topic = topics[message["topic"]]
    last = message["first"] + message["records"] - 1
    end = message["begin"] + HEADER_WORDS + message["words"]
    seq = memory[end - 1]
    origin = message["origin"]
    if not noted and origin != 0:
        same = origin == topic["past_origin"] and message["route"] == topic["past_route"]
        if not same or seq - topic["past_mark"] >= state[STRIDE]:
            return False
    topic["past_origin"] = origin
    if origin != 0:
        topic["past_route"] = message["route"]
        topic["past_end"] = last
        topic["past_seq"] = seq
    topic["oldest"] = last + 1
    if topic["newest"] == number:
        topic["newest"] = -1
        count = message["words"] // message["records"] * min(TAIL_RECORDS, message["records"])
        topic["tail_words"] = count
        for k in range(count):
            tails[message["topic"], k] = memory[end - count + k]
    state[KEPT_BYTES] -= 8 * (HEADER_WORDS + message["words"]) + MESSAGE_BYTES
    state[OLDEST] = number + 1
    return True


@inlined
def sorted_records(records: Records, stream: Words, again: bool) -> Any:
    """The order of a batch's records by topic; see `fanout.order`."""
    count = len(records)
    keys = array_at(stream[KEYS], (count,), KEY_TYPE)
    masks = array_at(stream[MASKS], (count,), KEY_TYPE)
    if stream[CARRIED] and not again:
        ticks = array_at(records.ctypes.data, (count,), TICK)
        tick_channels(ticks, masks, array_at(stream[CARRIED], (stream[CARRIED_COUNT],), KEY_TYPE))
        for i in range(count):
            keys[i] = ticks[i]["instrument"]
    return fanout.order(keys, masks, stream[CHANNELS], array_at(stream[SLOTS], (stream[KEY_COUNT],), PLACE_TYPE))


@inlined
def stopped(state: Words, reason: int, place: int, row: int, key: int) -> int:
    """Note where `publish` has stopped."""
    state[STOPPED] = 1
    state[PLACE], state[ROW], state[KEY] = place, row, key
    return reason


@kernel
def publish(
    records: Records, stream_address: int, state_address: int, origin: int, begins: int, publish_ns: int
) -> int:
    """Publish records, topic by topic, in messages of at most MESSAGE_RECORDS records.

    Args:
        records: shape (n,), n at most ROOM; the last word of each is its seq.
        stream_address: address of the schema's words, see STREAM_WORDS. All keys are below KEY_COUNT.
        state_address: address of `state`, see above.
        origin: number of the records' origin; 0 if they are in no store.
        begins: 1 if the caller names the stored records with which topics begin, else 0.
        publish_ns: publication time for the headers, ns since 1970.

    Returns:
        DONE, or the reason for stopping, see STOPPED. Called again with the same records, the kernel continues.
    """
    stream = array_at(stream_address, (STREAM_WORDS,), WORD)
    state = array_at(state_address, (STATE_SIZE,), WORD)
    width = stream[WIDTH]
    if len(records) > 1 and records.strides[0] != 8 * width:
        return SCATTERED
    words = array_at(records.ctypes.data, (len(records) * width,), WORD)
    route_of = array_at(stream[ROUTE_OF], (stream[KEY_COUNT],), PLACE_TYPE)
    topic_of = array_at(state[TOPIC_OF], (state[ROUTES],), PLACE_TYPE)
    topics = array_at(state[TOPICS], (state[TOPIC_ROWS],), TOPIC)
    headers = array_at(state[HEADERS], (state[TOPIC_ROWS], HEADER_WORDS), WORD)
    messages = array_at(state[TABLE], (state[TABLE_ROWS],), MESSAGE)
    memory = array_at(state[MEMORY], (state[MEMORY_WORDS],), WORD)
    tails = array_at(state[TAILS], (state[TOPIC_ROWS], TAIL_WORDS), WORD)
    order, found, starts = sorted_records(records, stream, state[STOPPED] != 0)
    one, words_each = np.uint64(1), np.uint64(width)  # unsigned: see `kernel`
    place, row = 0, 0
    if state[STOPPED]:
        place, row = state[PLACE], state[ROW]
        state[STOPPED] = 0
    send, error, socket = state[SEND], state[ERROR], state[SOCKET]
    memory_address, names_address = state[MEMORY], state[NAMES]
    while place < len(found):
        key = found[place]
        route = route_of[key]
        if route < 0:
            return stopped(state, CARRY, place, row, key)
        topic_place = topic_of[route]
        topic = topics[topic_place]
        if topic["route"] != route or topic["origin"] != origin or (begins != 0 and topic["begin_seq"] < 0):
            return stopped(state, CARRY, place, row, key)
        while starts[place] + row < starts[place + 1]:
            while state[KEPT_BYTES] > state[MOST_BYTES]:
                if not forget(topics, messages, memory, tails, state, False):
                    return stopped(state, PAST, place, row, key)
            start = starts[place] + row
            count = min(MESSAGE_RECORDS, starts[place + 1] - start)
            first = topic["next_seq"]
            begin = state[HEAD]
            if begin + HEADER_WORDS + count * width > len(memory):
                begin = 0
            for k in range(HEADER_WORDS):
                memory[begin + k] = headers[topic_place, k]
            memory[begin + _COUNT_WORD] |= np.int64(count) << _COUNT_SHIFT
            memory[begin + _FIRST_WORD] = first
            memory[begin + _TIME_WORD] = publish_ns
            to = np.uint64(begin + HEADER_WORDS)
            for i in range(start, start + count):
                source = np.uint64(order[i] * width)
                word = np.uint64(0)
                while word < words_each:
                    memory[to + word] = words[source + word]
                    word += one
                to += words_each

            size = 8 * count * width
            sent = send_frame(send, error, socket, names_address + topic["name"], topic["name_bytes"], _MORE_NOW)
            if sent == _AGAIN:
                return stopped(state, FULL, place, row, key)
            if sent >= 0:
                sent = send_frame(send, error, socket, memory_address + 8 * begin, HEADER_BYTES, _MORE)
            if sent >= 0:
                sent = send_frame(send, error, socket, memory_address + 8 * begin + HEADER_BYTES, size, 0)
            if sent < 0:
                return stopped(state, FAILED, place, row, -sent)

            number = state[NEXT]
            message = messages[number % len(messages)]
            message["begin"] = begin
            message["first"] = first
            message["previous"] = topic["newest"]
            message["origin"] = origin
            message["topic"] = topic_place
            message["route"] = route
            message["records"] = count
            message["words"] = count * width
            topic["next_seq"] = first + count
            topic["newest"] = number
            if topic["begin_seq"] < 0 and origin != 0:
                topic["begin_seq"] = memory[begin + HEADER_WORDS + width - 1]
            state[NEXT] = number + 1
            state[HEAD] = to
            state[KEPT_BYTES] += HEADER_BYTES + size + MESSAGE_BYTES
            state[MESSAGES] += 1
            state[RECORDS] += count
            state[BYTES] += HEADER_BYTES + size
            row += count
        row = 0
        place += 1
    while state[KEPT_BYTES] > state[MOST_BYTES]:
        if not forget(topics, messages, memory, tails, state, False):
            return stopped(state, PAST, place, row, -1)
    return DONE


@kernel
def find(messages: Records, newest: int, oldest: int, first: int, last: int, numbers: Words) -> int:
    """Find a topic's messages with records from `first` to `last`, from the last one backwards.

    Args:
        messages: MESSAGE.
        newest: number of the topic's last message.
        oldest: number of the oldest kept message.
        first: topic sequence of the first record.
        last: topic sequence of the last record.
        numbers: filled circularly with the messages' numbers, so that the first messages remain if there are too many.

    Returns:
        How many messages were found.
    """
    count = 0
    while newest >= oldest:
        message = messages[newest % len(messages)]
        if message["first"] + message["records"] <= first:
            break
        if message["first"] <= last:
            numbers[count % len(numbers)] = newest
            count += 1
        newest = message["previous"]
    return count


def prepared() -> Callable[[Records, int, int, int, int, int], int]:
    """The machine code of `publish`; also compiles the other kernels before their first use."""
    words, rows = np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
    topics, messages = np.zeros(0, TOPIC), np.zeros(0, MESSAGE)
    direct(find, messages, 0, 0, 0, 0, words)
    direct(forget, topics, messages, words, rows, words, True)
    return direct(publish, *_PUBLISHED)


def publish_pointer() -> int:
    """The pointer to `publish` for `kernel_calls.invoke`."""
    return pointer(publish, *_PUBLISHED)
