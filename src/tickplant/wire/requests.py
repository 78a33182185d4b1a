"""Requests of a subscriber and the replies of an engine, as JSON; docs/wire.md describes them for other languages.

Integers are below 2**53, so every reader gets them exactly. Each request and reply says its wire version; those of
version 1 did not.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tickplant.wire.header import VERSION, other_version


class GetTopics(msgspec.Struct, frozen=True, tag="topics"):
    """Which topics are there, and how far are they?"""

    id: int = 0
    prefix: str = ""
    version: int = VERSION


class GetSnapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The book as it is now, or the last values of another topic."""

    topic: str
    id: int = 0
    version: int = VERSION


class GetRange(msgspec.Struct, frozen=True, tag="recover"):
    """The messages that hold the records `first` to `last` of a topic, both included."""

    topic: str
    epoch: int
    first: int
    last: int
    id: int = 0
    version: int = VERSION


class GetHistory(msgspec.Struct, frozen=True, tag="history"):
    """What is stored of a topic: the records of this producer whose seqs are `first_seq` to `last_seq`, both included.

    Whether they were ever published makes no difference, nor which life of an engine did.
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
    next_seq: int  # topic sequence that its next record will have


class Topics(msgspec.Struct, frozen=True, tag="topics"):
    """All topics that begin with the prefix and have had a record."""

    id: int
    epoch: int
    topics: list[TopicInfo]
    version: int = VERSION


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
    version: int = VERSION


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
    version: int = VERSION


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """The first requested record is no longer available. Continue at `oldest`, or at `next_seq`, the end of the topic.

    A different `epoch` than the one asked for means: another life of the engine, and `oldest` counts in that one. What
    this life has published of the topic begins with seq `begin_seq` of `producer`; what is stored before it, `history`
    tells. -1: no record of a store has been published yet, or several feeds record the symbol.
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
    """Two raw frames a message follow, header and payload: all that is stored of the topic up to `last_seq`.

    Headers have `epoch` and `publish_ns` 0, and `first_seq` counts the records of this reply from 0 on. `last_seq` may
    be less than was asked for, since a reply is bounded: ask again from `resume_seq` on. Where that is not the next
    seq, the records between them are not stored, or damaged. `last_seq` less than the `first_seq` asked for: nothing of
    that is stored, yet or any more.
    """

    id: int
    topic: str
    producer: str
    last_seq: int
    resume_seq: int
    messages: int
    version: int = VERSION


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Not understood, or no such topic."""

    id: int
    reason: str
    version: int = VERSION


Reply = Topics | Snapshot | Range | Gone | History | Refused


class _Any(msgspec.Struct):
    """What every request and reply of any version says."""

    id: int = 0
    version: int = 1


class OtherVersionError(ValueError):
    """A request of another wire version; `id` is its own."""

    def __init__(self, id_: int, version: int) -> None:
        older = "your client" if version < VERSION else "this engine"
        super().__init__(
            f"this engine speaks wire version {VERSION}, the request is of version {version}: {older} is the older "
            "side, and is to be updated (docs/wire.md says what changed)"
        )
        self.id = id_


_ANY: Final = msgspec.json.Decoder(_Any)
_REQUEST: Final = msgspec.json.Decoder(Request)
_REPLY: Final = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One frame of JSON."""
    return msgspec.json.encode(message)


def decode_request(frame: bytes) -> Request:
    """A request. Raises OtherVersionError; ValueError for anything that is none."""
    try:
        head = _ANY.decode(frame)
        if head.version == VERSION:
            request: Request = _REQUEST.decode(frame)
            return request
    except msgspec.DecodeError as error:
        raise ValueError(f"not a request: {error}") from None
    raise OtherVersionError(head.id, head.version)


def decode_reply(frame: bytes) -> Reply:
    """A reply. Raises ValueError for anything else, and for another wire version."""
    try:
        version = _ANY.decode(frame).version
        if version == VERSION:
            reply: Reply = _REPLY.decode(frame)
            return reply
    except msgspec.DecodeError as error:
        raise ValueError(f"not a reply: {error}") from None
    raise ValueError(other_version(version))
