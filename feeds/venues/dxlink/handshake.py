"""The dialogue of dxLink before and beside the data: terms, token, channels, signs of life. Pure.

    SETUP              → SETUP, AUTH_STATE
    AUTH               → AUTH_STATE
    CHANNEL_REQUEST    → CHANNEL_OPENED
    FEED_SETUP         → FEED_CONFIG, at the latest before the first event of a type

Covers one connection at a time. Methods return the messages to send.
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
"""A channel closed after this much calm is requested again after the shortest pause."""


class Handshake:
    """State of the connection."""

    def __init__(self, link: str, channels: Collection[int], now_ns: int) -> None:
        """Begin on a link whose socket is up. `channels`: numbers of those that the feed needs."""
        self.link = link
        self.token_sent = False
        self.authorized = False
        self.opened: set[int] = set()  # channels that accept subscriptions
        self._channels = sorted(channels)
        self._awaited: dict[str, int] = {}  # awaited answers and their deadlines
        self._again_at_ns: dict[int, int] = {}  # closed channels, and when to request them again
        self._closed: dict[int, tuple[int, int]] = {}  # by channel: consecutive closings, and the time of the last
        self._heard_ns = self._said_ns = now_ns
        self._timeout_ns = facts.TIMEOUT_S * SECOND_NS
        self._interval_ns = facts.KEEPALIVE_S * SECOND_NS

    def begin(self, now_ns: int) -> Send:
        """The first message."""
        terms = {"keepaliveTimeout": facts.TIMEOUT_S, "acceptKeepaliveTimeout": facts.TIMEOUT_S}
        self._await("SETUP", now_ns)
        return self._message("SETUP", 0, now_ns, version=facts.VERSION, **terms)

    def on_setup(self, keepalive_s: float, accepts_s: float, now_ns: int) -> None:
        """Take in the server's terms."""
        self._timeout_ns = _bounded_ns(keepalive_s)
        self._interval_ns = min(facts.KEEPALIVE_S * SECOND_NS, _bounded_ns(accepts_s) // 2)
        if self._awaited.pop("SETUP", None) is not None:
            self._await("AUTH_STATE", now_ns)

    def authorize(self, token: str, now_ns: int) -> Send:
        """Send the token that the server wants."""
        self.token_sent = True
        self._await("AUTH_STATE", now_ns)
        return msgspec.structs.replace(self._message("AUTH", 0, now_ns, token=token), secret=True)

    def on_authorized(self, now_ns: int) -> list[Send]:
        """Ask for the channels, once, now that the connection may be used."""
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
        """Set up the format of events on an opened channel; nothing if it was not requested."""
        if self._awaited.pop(f"CHANNEL_REQUEST {channel}", None) is None:
            return []
        self.opened.add(channel)
        fields = {kind: names for kind, names in facts.FIELDS.items() if facts.NUMBER_OF[kind] == channel}
        setup = {"acceptAggregationPeriod": 0, "acceptDataFormat": "COMPACT", "acceptEventFields": fields}
        return [self._message("FEED_SETUP", channel, now_ns, **setup)]

    def on_closed(self, channel: int, now_ns: int) -> None:
        """Request a closed channel again, after a pause that doubles."""
        self.opened.discard(channel)
        if channel not in self._channels or not self.authorized:
            return
        self._awaited.pop(f"CHANNEL_REQUEST {channel}", None)
        times, last_ns = self._closed.get(channel, (0, -CALM_NS))
        times = times + 1 if now_ns - last_ns < CALM_NS else 0
        self._closed[channel] = min(times, 16), now_ns
        self._again_at_ns[channel] = now_ns + min(SECOND_NS << min(times, 16), LONGEST_PAUSE_NS)

    def on_fields(self, channel: int) -> None:
        """Note that the server has stated the order of values."""
        self._awaited.pop(f"FEED_CONFIG {channel}", None)

    def lacks_fields(self, channel: int, now_ns: int) -> None:
        """Note events without a stated order of values: a FEED_CONFIG must have been lost."""
        self._await(f"FEED_CONFIG {channel}", now_ns)

    # Time.

    def heard(self, now_ns: int) -> None:
        """Note that the server has sent something."""
        self._heard_ns = now_ns

    def said(self, now_ns: int) -> None:
        """Note that this side has sent something, or is about to."""
        self._said_ns = now_ns

    def on_second(self, now_ns: int) -> list[Send]:
        """The messages that are due: requests for closed channels, a sign of life."""
        due = [channel for channel, at_ns in self._again_at_ns.items() if at_ns <= now_ns]
        sends = [self.request(channel, now_ns) for channel in due]
        if now_ns - self._said_ns >= self._interval_ns:
            sends.append(self._message("KEEPALIVE", 0, now_ns))
        return sends

    def failure(self, now_ns: int) -> str:
        """Why the connection must be replaced; empty if it need not be."""
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
    # Hostile terms must neither flood the server nor keep a dead link alive.
    return int(min(max(seconds, 2.0), 600.0) * SECOND_NS)
