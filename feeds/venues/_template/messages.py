"""The reference decoder of "example": from frames to typed messages. Numbers stay text, as on the wire."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from tickplant.feeds.kit.rejected import read_json


class Trade(msgspec.Struct, frozen=True, tag_field="type", tag="trade"):
    """One trade; `side` is the taker's."""

    product: str
    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    price: str
    size: str
    side: Literal["buy", "sell"]
    time: str  # RFC 3339


class Answer(msgspec.Struct, frozen=True, tag_field="type", tag="answer"):
    """The answer to a request to subscribe or unsubscribe; `error` is empty on success."""

    id: int
    error: str = ""


class Ignored(msgspec.Struct, frozen=True):
    """A message that is not recorded."""

    type: str


_TYPE: Final = msgspec.json.Decoder(Ignored)
_MESSAGE: Final = msgspec.json.Decoder(Trade | Answer)


def decode(frame: bytes) -> Trade | Answer | Ignored:
    """The message of a frame. Raises RejectError."""
    ignored = read_json(_TYPE, frame)
    return read_json(_MESSAGE, frame) if ignored.type in ("trade", "answer") else ignored
