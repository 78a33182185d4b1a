"""How long messages take from stage to stage, as far as their times tell: histograms of constant size."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final

from tickplant.client.topic_message import Message
from tickplant.records.layouts import Flag, Kind, Schema

BOUNDS_S: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

STAGES: Final = {
    "stage_venue": "From the venue's time to the receive time: the clocks of two machines.",
    "stage_plant": "From the receive time to the engine's publication.",
    "stage_gateway": "From the engine's publication to this gateway.",
}

_LATE: Final = int(Flag.BACKFILL | Flag.SNAPSHOT)
_NOTES: Final = frozenset(map(int, (Kind.GAP, Kind.STATUS)))


class Histogram:
    """Counts by bound; the last one is of what is beyond."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.count += 1
        self.sum_s += seconds


class Latencies:
    """One histogram a stage."""

    def __init__(self) -> None:
        self._of = {stage: Histogram() for stage in STAGES}

    def __getitem__(self, stage: str) -> Histogram:
        return self._of[stage]

    def see(self, message: Message) -> None:
        """A live message, as it arrives: its last record counts."""
        if message.kind != "live" or not message.publish_ns:
            return
        self._of["stage_gateway"].add((time.time_ns() - message.publish_ns) / 1e9)
        record = message.records[-1]
        tick = message.schema is Schema.TICK
        if tick and (int(record["flags"]) & _LATE or int(record["kind"]) in _NOTES):
            return
        received = int(record["ts_recv"])
        self._of["stage_plant"].add((message.publish_ns - received) / 1e9)
        if tick and (event := int(record["ts_event"])):
            self._of["stage_venue"].add((received - event) / 1e9)
