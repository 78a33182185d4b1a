"""Requests of a subscriber and the replies of an engine, as JSON; docs/wire.md describes them for other languages.

Integers are below 2**53, so every reader gets them exactly. Each request and reply carries its wire version; those of
version 1 did not.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tickplant.wire.header import VERSION, other_version


class GetTopics(msgspec.Struct, frozen=True, tag="topics"):
    """Which topics exist, and which sequence has each reached?"""

    id: int = 0
    prefix: str = ""
    version: int = VERSION


class GetSnapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The current book, or the last values of another topic."""

    topic: str
    id: int = 0
    version: int = VERSION


class GetRange(msgspec.Struct, frozen=True, tag="recover"):
    """The messages that hold the records `first` to `last` of a topic, inclusive."""

    topic: str
    epoch: int
    first: int
    last: int
    id: int = 0
    version: int = VERSION


class GetHistory(msgspec.Struct, frozen=True, tag="history"):
    """The stored records of a topic: those of this producer with seqs `first_seq` to `last_seq`, inclusive.

    It makes no difference whether the records were ever published, nor in which life of an engine.
    """

    topic: str
    producer: str
    first_seq: int
    last_seq: int
    id: int = 0
    version: int = VERSION


Request = GetTopics | GetSnapshot | GetRange | GetHistory


# ---------------------------------------------------------------------------------------------------------------
# Replies.


class TopicInfo(msgspec.Struct, frozen=True):
    """One topic."""

    topic: str
    schema: int
    instrument: int
    price_scale: int
    size_scale: int
    next_seq: int  # topic sequence of its next record


class Topics(msgspec.Struct, frozen=True, tag="topics"):
    """All topics that begin with the prefix and have had at least one record."""

    id: int
    epoch: int
    topics: list[TopicInfo]
    version: int = VERSION


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """One raw frame of records follows.

    For a book: a CLEAR and LEVELs, with flag SNAPSHOT, that give the book just before topic sequence `info.next_seq`.
    The last LEVEL has LAST, unless an atomic event is under way; a stale book ends with a GAP. For other topics: the
    last value, which for a quote is two records.
    """

    id: int
    epoch: int
    info: TopicInfo
    records: int
    stale: bool = False
    version: int = VERSION


class Range(msgspec.Struct, frozen=True, tag="recover"):
    """Two raw frames per message follow, header and payload.

    Messages from memory are whole, as they were published, so they may begin before the requested `first`. Messages
    from the store hold the same records, but may be divided differently. In both cases a reply is bounded and may end
    before the requested `last`: ask again from `last + 1`.
    """

    id: int
    epoch: int
    topic: str
    first: int
    last: int
    messages: int
    version: int = VERSION


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """The first requested record is no longer available. Continue at `oldest`, or at `next_seq`, the end of the topic.

    If `epoch` differs from the requested one, the engine is in another life, and `oldest` counts in that one. This
    life's records of the topic begin with seq `begin_seq` of `producer`; a `history` request fetches stored records
    before it. `begin_seq` is -1 if this life has not yet published a stored record, or if several feeds record the
    symbol.
    """

    id: int
    epoch: int
    topic: str
    oldest: int
    next_seq: int
    producer: str = ""
    begin_seq: int = -1
    version: int = VERSION


class History(msgspec.Struct, frozen=True, tag="history"):
    """Two raw frames per message follow, header and payload: all stored records of the topic up to `last_seq`.

    Headers have `epoch` and `publish_ns` 0, and `first_seq` counts the records of this reply from 0. A reply is
    bounded, so `last_seq` may be less than the requested one: ask again from `resume_seq`. If `resume_seq` is not the
    next seq, the records in between are damaged or not stored. If `last_seq` is less than the requested `first_seq`,
    none of the requested records are stored, not yet or no longer.
    """

    id: int
    topic: str
    producer: str
    last_seq: int
    resume_seq: int
    messages: int
    version: int = VERSION


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request was not understood, or names no known topic."""

    id: int
    reason: str
    version: int = VERSION


Reply = Topics | Snapshot | Range | Gone | History | Refused


class _Any(msgspec.Struct):
    """The fields that requests and replies of every version share."""

    id: int = 0
    version: int = 1


class OtherVersionError(ValueError):
    """A request of another wire version; `id` is that of the request."""

    def __init__(self, id_: int, version: int) -> None:
        older = "your client" if version < VERSION else "this engine"
        super().__init__(
            f"this engine speaks wire version {VERSION}, the request is of version {version}: {older} is the older "
            "side, and must be updated (docs/wire.md says what changed)"
        )
        self.id = id_


_ANY: Final = msgspec.json.Decoder(_Any)
_REQUEST: Final = msgspec.json.Decoder(Request)
_REPLY: Final = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One frame of JSON."""
    return msgspec.json.encode(message)


def decode_request(frame: bytes) -> Request:
    """Decode a request. Raises OtherVersionError; ValueError for anything that is not a request."""
    try:
        head = _ANY.decode(frame)
        if head.version == VERSION:
            request: Request = _REQUEST.decode(frame)
            return request
    except msgspec.DecodeError as error:
        raise ValueError(f"not a request: {error}") from None
    raise OtherVersionError(head.id, head.version)


def decode_reply(frame: bytes) -> Reply:
    """Decode a reply. Raises ValueError for anything else, and for another wire version."""
    try:
        version = _ANY.decode(frame).version
        if version == VERSION:
            reply: Reply = _REPLY.decode(frame)
            return reply
    except msgspec.DecodeError as error:
        raise ValueError(f"not a reply: {error}") from None
    raise ValueError(other_version(version))
