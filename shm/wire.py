"""The wire format between an engine and its subscribers: topics, the header of a message, requests and replies.

PUB socket. A message has three frames:

    topic    UTF-8, `venue.SYMBOL.channel`. Venue and channel hold no dot, a symbol may: split at first and last
    header   `WIRE_HEADER`, 64 bytes, little-endian
    payload  `records` records of `record_bytes` each, exactly as in `records.py`: `np.frombuffer(payload, TICK)`

The records of a topic are numbered 0, 1, 2 … within one `epoch`, one life of the engine: a message holds the numbers
`first_seq` to `first_seq + records - 1`, so a subscriber sees what it missed. Within a topic, order is that of the
store. A batch is sent topic by topic; the order between topics is that of the records' `seq`.

ROUTER socket, for DEALER and REQ sockets of any language. A request is one frame of JSON, a struct of `Request` below;
the reply is one frame of JSON, a struct of `Reply`, followed by the raw frames it announces. `id` is the requester's
own and comes back unchanged. Integers are below 2**53, so every JSON reader gets them exactly.

Imports numpy and msgspec only: a subscriber needs nothing else.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np

MAGIC: Final = int.from_bytes(b"TPWM", "little")
VERSION: Final = 1

WIRE_HEADER: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("version", "<u2"),
        ("header_bytes", "<u2"),
        ("schema", "<u2"),  # a records.Schema value
        ("record_bytes", "<u2"),
        ("records", "<u4"),  # in this message
        ("epoch", "<u8"),  # microseconds since the Unix epoch when the engine started: a later life has a greater one
        ("first_seq", "<u8"),  # topic sequence of the first record
        ("publish_ns", "<i8"),  # wall clock of the engine; 0: made anew from the store, for somebody who missed it
        ("instrument", "<u4"),
        ("price_scale", "u1"),
        ("size_scale", "u1"),
        ("reserved_0", "<u2"),  # all reserved fields are 0
        ("reserved_1", "<u8"),
        ("reserved_2", "<u8"),
    ]
)
"""Second frame of every message."""

HEADER_BYTES: Final = WIRE_HEADER.itemsize

_HEADER: Final = struct.Struct("<IHHHHIQQqIBB18x")  # the same layout; test_wire.py holds them equal

MESSAGE_RECORDS: Final = 256
"""A message holds no more records than this, so a bound on messages bounds bytes."""

TICK_CHANNELS: Final = ("trade", "agg_trade", "quote", "book", "status")
"""Channels of TICK records. A GAP goes to each channel that it concerns."""

BBO_CHANNEL: Final = "bbo"


class Header(msgspec.Struct, frozen=True, gc=False):
    """A header, taken apart."""

    schema: int
    record_bytes: int
    records: int
    epoch: int
    first_seq: int
    publish_ns: int
    instrument: int
    price_scale: int
    size_scale: int


def pack_header(
    schema: int,
    record_bytes: int,
    records: int,
    epoch: int,
    first_seq: int,
    publish_ns: int,
    instrument: int,
    price_scale: int,
    size_scale: int,
) -> bytes:
    """The header frame."""
    return _HEADER.pack(
        MAGIC,
        VERSION,
        HEADER_BYTES,
        schema,
        record_bytes,
        records,
        epoch,
        first_seq,
        publish_ns,
        instrument,
        price_scale,
        size_scale,
    )


def unpack_header(frame: bytes) -> Header:
    """A header frame, taken apart. Raises ValueError where it is none, or of a version that this one cannot read."""
    if len(frame) < HEADER_BYTES:
        raise ValueError(f"a header of {len(frame)} bytes; {HEADER_BYTES} were expected")
    magic, version, _, *fields = _HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise ValueError(f"not a tickplant message: it begins with {frame[:4]!r}")
    if version != VERSION:
        raise ValueError(f"wire version {version}; this tickplant reads version {VERSION}")
    return Header(*fields)


def bar_channel(interval_s: int) -> str:
    """Channel of the bars of one length: `bar_1s`, `bar_90s`, `bar_1m`, `bar_1h`."""
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if interval_s % unit_s == 0:
            return f"bar_{interval_s // unit_s}{letter}"
    return f"bar_{interval_s}s"


def make_topic(venue: str, symbol: str, channel: str) -> str:
    """`venue.SYMBOL.channel`. Raises ValueError where it could not be taken apart again."""
    if "." in venue or "." in channel or not (venue and symbol and channel):
        raise ValueError(f"{venue!r}, {symbol!r}, {channel!r} do not make a topic: a dot or a part too few")
    return f"{venue}.{symbol}.{channel}"


def split_topic(topic: str) -> tuple[str, str, str]:
    """Venue, symbol and channel. Raises ValueError where it is no topic."""
    venue, _, rest = topic.partition(".")
    symbol, _, channel = rest.rpartition(".")
    if not (venue and symbol and channel):
        raise ValueError(f"{topic!r} is not a topic such as binance.BTCUSDT.trade")
    return venue, symbol, channel


# ---------------------------------------------------------------------------------------------------------------
# Requests.


class GetTopics(msgspec.Struct, frozen=True, tag="topics"):
    """Which topics are there, and how far are they?"""

    id: int = 0
    prefix: str = ""


class GetSnapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The book as it is now, or the last values of another topic."""

    topic: str
    id: int = 0


class GetRange(msgspec.Struct, frozen=True, tag="recover"):
    """The messages that hold the records `first` to `last` of a topic, both included."""

    topic: str
    epoch: int
    first: int
    last: int
    id: int = 0


Request = GetTopics | GetSnapshot | GetRange


# ---------------------------------------------------------------------------------------------------------------
# Replies.


class TopicInfo(msgspec.Struct, frozen=True):
    """One topic."""

    topic: str
    schema: int
    instrument: int
    price_scale: int
    size_scale: int
    next_seq: int  # topic sequence that its next record will have


class Topics(msgspec.Struct, frozen=True, tag="topics"):
    """All topics that begin with the prefix and have had a record."""

    id: int
    epoch: int
    topics: list[TopicInfo]


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """One raw frame follows: records.

    For a book: a CLEAR and LEVELs, flag SNAPSHOT, that fold into the book as it is just before topic sequence
    `info.next_seq`; LAST is on the last LEVEL unless an atomic event is under way, and a stale book ends with a GAP.
    For other topics: the last value, which is two records for a quote.
    """

    id: int
    epoch: int
    info: TopicInfo
    records: int
    stale: bool = False


class Range(msgspec.Struct, frozen=True, tag="recover"):
    """Two raw frames a message follow, header and payload.

    From memory they are as they were published, whole, and so may begin before `first`. From the store the records are
    the same, the messages are cut anew. Either way they may end before the `last` that was asked for, since a reply is
    bounded: ask again from `last + 1`.
    """

    id: int
    epoch: int
    topic: str
    first: int
    last: int
    messages: int


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """The first record that was asked for is not to be had any more. `oldest` is where to go on, `next_seq` at the end.

    A different `epoch` than the one asked for means: another life of the engine, and `oldest` counts in that one.
    """

    id: int
    epoch: int
    topic: str
    oldest: int
    next_seq: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Not understood, or no such topic."""

    id: int
    reason: str


Reply = Topics | Snapshot | Range | Gone | Refused

_REQUEST: Final = msgspec.json.Decoder(Request)
_REPLY: Final = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One frame of JSON."""
    return msgspec.json.encode(message)


def decode_request(frame: bytes) -> Request:
    """A request. Raises ValueError for anything else."""
    try:
        request: Request = _REQUEST.decode(frame)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a request: {error}") from None
    return request


def decode_reply(frame: bytes) -> Reply:
    """A reply. Raises ValueError for anything else."""
    try:
        reply: Reply = _REPLY.decode(frame)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a reply: {error}") from None
    return reply
