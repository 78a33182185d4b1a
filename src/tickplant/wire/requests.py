"""Requests of a subscriber and the replies of an engine, as JSON.

Integers are below 2**53, so every reader gets them exactly.
"""

from __future__ import annotations

from typing import Final

import msgspec


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
    """The first requested record is no longer available. Continue at `oldest`, or at `next_seq`, the end of the topic.

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
