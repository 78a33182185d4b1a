"""The wire format between an engine and its subscribers: topics, the header of a message, requests and replies.

docs/wire.md describes it for other languages; a test holds both equal. In short:

PUB socket. A message has three frames:

    topic    UTF-8, `venue.SYMBOL.channel`. Venue and channel hold no dot, a symbol may: split at first and last
    header   `WIRE_HEADER`, 96 bytes, little-endian
    payload  `records` records of `record_bytes` each, as `records/layouts.py` has them: `np.frombuffer(payload, TICK)`

The records of a topic are numbered 0, 1, 2 … within one `epoch`, one life of the engine: a message holds the numbers
`first_seq` to `first_seq + records - 1`, so a subscriber sees what it missed. Within a topic, order is that of the
store. A batch is sent topic by topic; the order between topics is that of the records' `seq`.

ROUTER socket, for DEALER and REQ sockets of any language. A request is one frame of JSON, a struct of `Request` below;
the reply is one frame of JSON, a struct of `Reply`, followed by the raw frames it announces. `id` is the requester's
own and comes back unchanged. Integers are below 2**53, so every JSON reader gets them exactly.

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
