"""One stream of events for all clients that want the same topics in the same way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tickplant.client.follower import SNAPSHOT_CHANNELS
from tickplant.client.topic_message import Message
from tickplant.client.topic_patterns import Pattern, filters
from tickplant.gateway.conflation import Conflation, Gathered
from tickplant.gateway.event_text import Event, gap_event
from tickplant.gateway.stream_cursor import Position, Positions
from tickplant.gateway.stream_member import Member
from tickplant.records.layouts import UNKNOWN
from tickplant.wire import split_topic

if TYPE_CHECKING:  # the hub holds the streams
    from tickplant.gateway.engine_link import EngineLink
    from tickplant.gateway.live_hub import LiveHub

SHORT_CURSOR: Final = 512
"""Longest cursor, in bytes, that accompanies each event; a longer one is sent every CURSOR_S."""
CURSOR_S: Final = 0.25


class SharedStream:
    """Topics of some patterns, in one order, with each event made once.

    Attributes:
        positions: of all topics, after the last event given to members.
        members: clients.
    """

    def __init__(self, hub: LiveHub, topics: tuple[str, ...], conflate_ms: int) -> None:
        self.hub = hub
        self.topics = topics
        self.conflate_ms = conflate_ms
        self.positions = Positions()
        self.members: set[Member] = set()
        self.opening = 0  # clients that are joining
        self.links: dict[str, EngineLink] = {}
        self.prefixes = filters([Pattern(text) for text in topics])
        self._patterns = [Pattern(text) for text in topics]
        self._loop = asyncio.get_running_loop()
        self._restarted: set[str] = set()  # topics whose clients know that their epoch has ended
        self._cursor_s = 0.0
        self._conflation = Conflation(self._hurry) if conflate_ms else None
        self._timer: asyncio.TimerHandle | None = None

    def wants(self, topic: str) -> bool:
        """Whether the topic matches one of the patterns."""
        return any(pattern.matches(topic) for pattern in self._patterns)

    def close(self) -> None:
        """Stop: no client is left."""
        if self._timer:
            self._timer.cancel()

    def add_topic(self, link: EngineLink, topic: str, position: Position) -> None:
        """Follow a topic from here on: from 0 if it begins."""
        if topic in self.positions:
            return
        self.links[topic] = link
        self.positions.move(topic, position)
        for member in self.members:
            member.join(topic, fresh=position[1] == 0)

    def on_message(self, link: EngineLink, message: Message, event: Event) -> None:
        """Handle the next message of a topic; `event` is made from it, unless it is a loss."""
        topic = message.topic
        if topic not in self.positions:
            return
        if message.kind == "lost":
            self._lose(message, message.lost)
            return
        if message.epoch != self.positions[topic][0]:
            if topic not in self._restarted:
                self._lose(message, UNKNOWN)
            self._restarted.discard(topic)
        if self._conflation:
            self._conflation.add(message)
        else:
            self._deliver(event, message)

    def _lose(self, message: Message, lost: int) -> None:
        """Report lost records; UNKNOWN after a restart, where the next message shows the topic's position."""
        topic = message.topic
        if self._conflation:
            for gathered in self._conflation.flush_topic(topic):
                self._pass_on(gathered)
        epoch, seq = self.positions[topic]
        if lost == UNKNOWN:
            self._restarted.add(topic)
        else:
            epoch, seq = message.epoch, message.first_seq
            self.positions.move(topic, (epoch, seq + lost))
        event = gap_event(topic, epoch, seq, lost, "engine")
        for member in self.members:
            member.give_bare(event)
            if is_state(topic):
                member.join(topic)

    def _deliver(self, event: Event, message: Message | None) -> None:
        self.positions.move(event.topic, (event.epoch, event.end_seq))
        cursor = self._cursor()
        for member in self.members:
            member.offer(event, cursor, message)

    def _cursor(self) -> str:
        """The present cursor if one is due; else empty."""
        text = self.positions.text
        if len(text) <= SHORT_CURSOR:
            return text
        now_s = self._loop.time()
        if now_s < self._cursor_s:
            return ""
        self._cursor_s = now_s + CURSOR_S
        return text

    # ------------------------------------------------------------------------------------------------ conflation

    def _hurry(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self.conflate_ms / 1000, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._conflation:
            for gathered in self._conflation.flush():
                self._pass_on(gathered)

    def _pass_on(self, gathered: Gathered) -> None:
        topic, epoch, end_seq, event = gathered
        if event is not None:
            self._deliver(event, None)
            return
        self.positions.move(topic, (epoch, end_seq))
        for member in self.members:
            member.join(topic)


def is_state(topic: str) -> bool:
    """Whether a topic has a state for snapshots to show."""
    return split_topic(topic)[2] in SNAPSHOT_CHANNELS
