"""At most one event per topic and interval: what is kept of the messages in between.

For `quote`, `bbo`, bars and values, the last record of each kind and side (`records/latest.py`); for `book`, the last
size of each level; for all other topics, every record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.client.topic_message import Message
from tickplant.gateway.event_text import Event, levels_event, records_event
from tickplant.records.latest import latest_ones
from tickplant.records.layouts import Kind, Schema, Side
from tickplant.records.merge import join_records

Records = NDArray[np.void]

_LEVELS: Final = frozenset(map(int, (Kind.LEVEL, Kind.CHECKSUM)))
_BID: Final = int(Side.BID)


class Gathered(NamedTuple):
    """What has come of a topic: an event, or None if only a new snapshot can show its state."""

    topic: str
    epoch: int
    end_seq: int
    event: Event | None


class Conflation:
    """The messages of one stream since the last flush; no clock. `hurry` is called when the first one has come."""

    def __init__(self, hurry: Callable[[], object]) -> None:
        self._hurry = hurry
        self._held: dict[str, list[Message]] = {}

    def add(self, message: Message) -> None:
        """Take in the next records of a topic."""
        if not self._held:
            self._hurry()
        self._held.setdefault(message.topic, []).append(message)

    def flush(self) -> Iterator[Gathered]:
        """What has come since the last flush, one topic at a time."""
        held, self._held = self._held, {}
        for topic, messages in held.items():
            yield self._gathered(topic, messages)

    def flush_topic(self, topic: str) -> Iterator[Gathered]:
        """The same for one topic."""
        messages = self._held.pop(topic, None)
        if messages:
            yield self._gathered(topic, messages)

    def _gathered(self, topic: str, messages: list[Message]) -> Gathered:
        first, last = messages[0], messages[-1]
        end_seq = last.first_seq + len(last.records)
        channel = last.channel
        if channel == "book":
            return Gathered(topic, last.epoch, end_seq, _levels(messages))
        records = join_records([message.records for message in messages])
        if channel == "quote" or last.schema is not Schema.TICK:
            records = latest_ones(records)
        whole = msgspec.structs.replace(last, records=records, first_seq=first.first_seq)
        return Gathered(topic, last.epoch, end_seq, records_event(whole, end_seq - first.first_seq))


def _levels(messages: list[Message]) -> Event | None:
    """None if the book was cleared or became stale, which levels alone cannot express."""
    sides: tuple[dict[int, int], dict[int, int]] = {}, {}
    for message in messages:
        for kind, side, price, size in message.records[["kind", "side", "price", "size"]].tolist():
            if kind not in _LEVELS:
                return None
            if kind == Kind.LEVEL:
                sides[side != _BID][price] = size
    return levels_event(messages[-1], messages[0].first_seq, sides)
