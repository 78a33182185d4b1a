"""The reference decoder of dxLink: from frames to typed messages. Numbers with a fraction or exponent stay text."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tickplant.feeds.kit.rejected import RejectError


class Setup(msgspec.Struct, frozen=True):
    """The server's terms: it sends something every `keepalive_s` at least, and expects the same every `accepts_s`."""

    keepalive_s: float
    accepts_s: float


class AuthState(msgspec.Struct, frozen=True):
    """Whether the connection may be used."""

    authorized: bool


class ChannelOpened(msgspec.Struct, frozen=True):
    """A requested channel is open."""

    channel: int


class ChannelClosed(msgspec.Struct, frozen=True):
    """A channel is closed, with its subscriptions."""

    channel: int


class FeedConfig(msgspec.Struct, frozen=True):
    """The format of a channel's events: the order of values by type, for some types."""

    channel: int
    fields: dict[str, list[str]]


class FeedData(msgspec.Struct, frozen=True):
    """Events, in one of the forms that `event_fields` reads."""

    channel: int
    data: list[Any]


class Keepalive(msgspec.Struct, frozen=True):
    """A sign of life of the server."""


class Error(msgspec.Struct, frozen=True):
    """Something went wrong; the server may close the connection or the channel next."""

    channel: int
    code: str
    text: str


class Ignored(msgspec.Struct, frozen=True):
    """A message that is not recorded."""

    kind: str


Message = Setup | AuthState | ChannelOpened | ChannelClosed | FeedConfig | FeedData | Keepalive | Error | Ignored


class _Any(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    channel: int = 0
    data: msgspec.Raw = msgspec.Raw()
    keepalive_timeout: float = 60.0
    accept_keepalive_timeout: float = 60.0
    state: str = ""
    event_fields: dict[str, list[str]] | None = None
    error: str = ""
    message: str = ""


_MESSAGE: Final = msgspec.json.Decoder(_Any)
_DATA: Final = msgspec.json.Decoder(list[Any], float_hook=str)


def decode(frame: bytes) -> Message:
    """The message of a frame. Raises RejectError."""
    try:
        return _decode(_MESSAGE.decode(frame))
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None


def _decode(message: _Any) -> Message:
    match message.type:
        case "FEED_DATA":
            return FeedData(message.channel, _DATA.decode(message.data))
        case "KEEPALIVE":
            return Keepalive()
        case "FEED_CONFIG":
            return FeedConfig(message.channel, message.event_fields or {})
        case "SETUP":
            return Setup(message.keepalive_timeout, message.accept_keepalive_timeout)
        case "AUTH_STATE" if message.state in ("AUTHORIZED", "UNAUTHORIZED"):
            return AuthState(message.state == "AUTHORIZED")
        case "CHANNEL_OPENED":
            return ChannelOpened(message.channel)
        case "CHANNEL_CLOSED":
            return ChannelClosed(message.channel)
        case "ERROR":
            return Error(message.channel, message.error, message.message)
        case "AUTH_STATE":
            raise RejectError("schema", f"the state {message.state[:100]!r}")
        case _:
            return Ignored(message.type)
