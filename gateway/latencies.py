"""How long messages take from an engine to this gateway: a histogram with the classes of all stages."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final

from tickplant.client.topic_message import Message
from tickplant.records.ages import BEYOND, BOUNDS_S

_CLASSES: Final = (*map(repr, BOUNDS_S), BEYOND)


class Deliveries:
    """Latencies of the messages that clients of this gateway want."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_CLASSES, 0)  # by class, as in `Ages.report`
        self.sum_s = 0.0

    def see(self, message: Message) -> None:
        """Take in a message as it arrives; only live messages count."""
        if message.kind == "live" and message.publish_ns:
            age_s = (time.time_ns() - message.publish_ns) / 1e9
            self.counts[_CLASSES[bisect_left(BOUNDS_S, age_s)]] += 1
            self.sum_s += age_s
