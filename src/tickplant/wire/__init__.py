"""The wire format between an engine and its subscribers: topics, the header of a message, requests and replies.

docs/wire.md describes the format for other languages; a test keeps the two equal. In short:

PUB socket. A message has three frames:

    topic    UTF-8, `venue.SYMBOL.channel`. Only the symbol may contain dots: split at the first and the last one
    header   `WIRE_HEADER`, 96 bytes, little-endian
    payload  `records` records of `record_bytes` each, laid out by `records/layouts.py`: `np.frombuffer(payload, TICK)`

The records of a topic are numbered 0, 1, 2 … within one `epoch`, which is one life of the engine. A message holds the
numbers `first_seq` to `first_seq + records - 1`, so a subscriber sees what it missed. Within a topic, records come in
the order of the store. A batch is sent topic by topic; the records' `seq` gives the order between topics.

ROUTER socket, for DEALER and REQ sockets of any language. A request is one frame of JSON, a struct of `Request` below.
The reply is one frame of JSON, a struct of `Reply`, followed by the raw frames that it announces. The requester chooses
`id`, which comes back unchanged. Integers are below 2**53, so every JSON reader gets them exactly.

Imports numpy, msgspec and the names of channels: a subscriber needs nothing else.
"""

from tickplant.records.channels import BBO_CHANNEL, TICK_CHANNELS, bar_channel
from tickplant.wire.header import (
    HEADER_BYTES,
    MAGIC,
    MESSAGE_RECORDS,
    PRODUCER_BYTES,
    VERSION,
    WIRE_HEADER,
    Header,
    other_version,
    pack_header,
    unpack_header,
)
from tickplant.wire.requests import (
    GetHistory,
    GetRange,
    GetSnapshot,
    GetTopics,
    Gone,
    History,
    OtherVersionError,
    Range,
    Refused,
    Reply,
    Request,
    Snapshot,
    TopicInfo,
    Topics,
    decode_reply,
    decode_request,
    encode,
)
from tickplant.wire.topics import make_topic, split_topic

__all__ = [
    "BBO_CHANNEL",
    "HEADER_BYTES",
    "MAGIC",
    "MESSAGE_RECORDS",
    "PRODUCER_BYTES",
    "TICK_CHANNELS",
    "VERSION",
    "WIRE_HEADER",
    "GetHistory",
    "GetRange",
    "GetSnapshot",
    "GetTopics",
    "Gone",
    "Header",
    "History",
    "OtherVersionError",
    "Range",
    "Refused",
    "Reply",
    "Request",
    "Snapshot",
    "TopicInfo",
    "Topics",
    "bar_channel",
    "decode_reply",
    "decode_request",
    "encode",
    "make_topic",
    "other_version",
    "pack_header",
    "split_topic",
    "unpack_header",
]
