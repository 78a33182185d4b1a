"""What a feed's sources have in common: their interface, and the pump between an adapter and the ring.

May import shm and the feeds' own modules. A source is the live venue (`runner`) or a recording (`recorded`). Replay
from the store is a process of the writer's, since it needs no adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from tickplant.control import Counters
from tickplant.feeds.adapter import Adapter, Reject
from tickplant.feeds.anomalies import Anomalies
from tickplant.feeds.publisher import FeedPublisher
from tickplant.feeds.rejects import RejectLog


class Source(Protocol):
    """Where a feed's records come from."""

    async def run(self) -> None:
        """Publish until the source ends or this is cancelled; everything decoded is in the ring on return.

        Raises FeedError where the source cannot be used at all.
        """
        ...

    def counters(self) -> Counters:
        """What has been counted since the start."""
        ...

    def resync(self, symbol: str) -> None:
        """Fetch this book again, all books for an empty symbol; nothing where the source cannot."""
        ...


_TOLD: Final = {
    "duplicates": "duplicates dropped",
    "rejected": "frames rejected",
    "backfilled": "missed trades fetched",
    "unfilled": "missed trades not to be had",
}
"""Counters of the adapter that leave no STATUS or GAP of their own, and what the log says when they have grown."""


class Pump:
    """An adapter, its way out, and the counters of both."""

    def __init__(
        self, adapter: Adapter, publisher: FeedPublisher, rejects: RejectLog, symbol_of: Callable[[int], str]
    ) -> None:
        self.adapter = adapter
        self.publisher = publisher
        self.rejects = rejects
        self.anomalies = Anomalies(symbol_of)
        self._told = dict.fromkeys(_TOLD, 0)
        self.failures = 0  # exceptions out of the adapter, which promises to raise none
        self.log: Any = structlog.get_logger()

    def failed(self, raw: Sequence[bytes], ts_recv_ns: int) -> None:
        """Call it in `except`: a bug in the adapter costs what it was given (see the reject log), not the feed."""
        self.failures += 1
        if self.failures <= 10 or self.failures % 1000 == 0:
            self.log.exception("the adapter failed", failures=self.failures)
        self.rejects.add([Reject("adapter failure", frame, ts_recv_ns) for frame in raw])

    def tick(self) -> None:
        """A second has passed: say in the log what is only counted as it happens."""
        self.anomalies.tick()
        counters = self.adapter.counters
        for name in _TOLD:
            total = getattr(counters, name)
            if total > self._told[name]:
                self.log.warning(_TOLD[name], number=total - self._told[name], total=total)
                self._told[name] = total

    def take_rejects(self) -> None:
        """Move the adapter's rejects to the log."""
        if rejects := self.adapter.take_rejects():
            self.rejects.add(rejects)

    def counters(self) -> Counters:
        """Of adapter and publisher together. ticks + ring_gaps = published + ring_dropped + ring_waiting."""
        publisher = self.publisher
        return {
            **msgspec.structs.asdict(self.adapter.counters),
            "published": publisher.published,
            "ring_dropped": publisher.dropped,
            "ring_gaps": publisher.gaps,
            "ring_waiting": publisher.waiting,
            "adapter_failures": self.failures,
            "rejects": dict(self.rejects.seen),
            "statuses": dict(self.anomalies.statuses),
            "gap_causes": dict(self.anomalies.gap_causes),
        }
