"""What the two sides of dxLink owe each other before and beside data: terms, token, channels, signs of life. Pure.

    SETUP              → SETUP, AUTH_STATE
    AUTH               → AUTH_STATE
    CHANNEL_REQUEST    → CHANNEL_OPENED
    FEED_SETUP         → FEED_CONFIG, at the latest before the first event of a type

Of one connection at a time: methods return what is to be sent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from tickplant.feeds.contract import Send
from tickplant.feeds.venues.dxlink import venue as facts

SECOND_NS: Final = 1_000_000_000
ANSWER_NS: Final = facts.ANSWER_S * SECOND_NS
LONGEST_PAUSE_NS: Final = 60 * SECOND_NS
CALM_NS: Final = 300 * SECOND_NS
"""A channel that was closed this long ago is asked for after the shortest pause."""


class Handshake:
    """State of the connection."""

    def __init__(self, link: str, channels: Collection[int], now_ns: int) -> None:
        """A socket of a link is up. `channels`: numbers of those that the feed needs."""
        self.link = link
        self.token_sent = False
        self.authorized = False
        self._channels = sorted(channels)
        self._awaited: dict[str, int] = {}  # answers, and until when
        self._again_at_ns: dict[int, int] = {}  # channels that were closed, and when to ask for them again
        self._closed: dict[int, tuple[int, int]] = {}  # by channel: how often in a row, and when last
        self._heard_ns = self._said_ns = now_ns
        self._timeout_ns = facts.TIMEOUT_S * SECOND_NS
        self._interval_ns = facts.KEEPALIVE_S * SECOND_NS

    def begin(self, now_ns: int) -> Send:
        """The first message."""
        terms = {"keepaliveTimeout": facts.TIMEOUT_S, "acceptKeepaliveTimeout": facts.TIMEOUT_S}
        self._await("SETUP", now_ns)
        return self._message("SETUP", 0, now_ns, version=facts.VERSION, **terms)

    def on_setup(self, keepalive_s: float, accepts_s: float, now_ns: int) -> None:
        """The server's terms."""
        self._timeout_ns = _bounded_ns(keepalive_s)
        self._interval_ns = min(facts.KEEPALIVE_S * SECOND_NS, _bounded_ns(accepts_s) // 2)
        if self._awaited.pop("SETUP", None) is not None:
            self._await("AUTH_STATE", now_ns)

    def authorize(self, token: str, now_ns: int) -> Send:
        """The server wants a token."""
        self.token_sent = True
        self._await("AUTH_STATE", now_ns)
        return msgspec.structs.replace(self._message("AUTH", 0, now_ns, token=token), secret=True)

    def on_authorized(self, now_ns: int) -> list[Send]:
        """The connection may be used: ask for the channels, once."""
        self._awaited.pop("AUTH_STATE", None)
        if self.authorized:
            return []
        self.authorized = True
        return [self.request(channel, now_ns) for channel in self._channels]

    def request(self, channel: int, now_ns: int) -> Send:
        """Ask for a channel."""
        self._again_at_ns.pop(channel, None)
        self._await(f"CHANNEL_REQUEST {channel}", now_ns)
        contract = {"contract": facts.CONTRACT_OF[channel]}
        return self._message("CHANNEL_REQUEST", channel, now_ns, service="FEED", parameters=contract)

    def on_opened(self, channel: int, now_ns: int) -> list[Send]:
        """A channel is there: say how its events are to come. None where it was not asked for."""
        if self._awaited.pop(f"CHANNEL_REQUEST {channel}", None) is None:
            return []
        fields = {kind: names for kind, names in facts.FIELDS.items() if facts.NUMBER_OF[kind] == channel}
        setup = {"acceptAggregationPeriod": 0, "acceptDataFormat": "COMPACT", "acceptEventFields": fields}
        return [self._message("FEED_SETUP", channel, now_ns, **setup)]

    def on_closed(self, channel: int, now_ns: int) -> None:
        """The server has closed a channel: it is asked for again after a pause that doubles."""
        if channel not in self._channels or not self.authorized:
            return
        self._awaited.pop(f"CHANNEL_REQUEST {channel}", None)
        times, last_ns = self._closed.get(channel, (0, -CALM_NS))
        times = times + 1 if now_ns - last_ns < CALM_NS else 0
        self._closed[channel] = min(times, 16), now_ns
        self._again_at_ns[channel] = now_ns + min(SECOND_NS << min(times, 16), LONGEST_PAUSE_NS)

    def on_fields(self, channel: int) -> None:
        """The server has said in which order values come."""
        self._awaited.pop(f"FEED_CONFIG {channel}", None)

    def lacks_fields(self, channel: int, now_ns: int) -> None:
        """Events have come whose order of values nobody has said: a FEED_CONFIG must have been lost."""
        self._await(f"FEED_CONFIG {channel}", now_ns)

    # Time.

    def heard(self, now_ns: int) -> None:
        """The server has sent something."""
        self._heard_ns = now_ns

    def said(self, now_ns: int) -> None:
        """This side has sent something, or will have."""
        self._said_ns = now_ns

    def on_second(self, now_ns: int) -> list[Send]:
        """What is due: channels that were closed, a sign of life."""
        due = [channel for channel, at_ns in self._again_at_ns.items() if at_ns <= now_ns]
        sends = [self.request(channel, now_ns) for channel in due]
        if now_ns - self._said_ns >= self._interval_ns:
            sends.append(self._message("KEEPALIVE", 0, now_ns))
        return sends

    def failure(self, now_ns: int) -> str:
        """Why the connection has to be replaced; empty where it has not."""
        if now_ns - self._heard_ns > self._timeout_ns:
            return f"the server has been silent for {(now_ns - self._heard_ns) // SECOND_NS} s"
        late = next((what for what, deadline_ns in self._awaited.items() if deadline_ns <= now_ns), "")
        return f"no answer to {late}" if late else ""

    # Inner.

    def _await(self, what: str, now_ns: int) -> None:
        self._awaited.setdefault(what, now_ns + ANSWER_NS)

    def _message(self, type_: str, channel: int, now_ns: int, **members: object) -> Send:
        self._said_ns = now_ns
        return Send(self.link, msgspec.json.encode({"type": type_, "channel": channel} | members))


def _bounded_ns(seconds: float) -> int:
    # Hostile terms must neither flood the server nor keep a dead link.
    return int(min(max(seconds, 2.0), 600.0) * SECOND_NS)
