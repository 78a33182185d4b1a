"""An input of an engine: one ring of ticks, preceded by its stored ticks while the engine recovers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.engine.derived_feed import Feed
from tickplant.engine.recovery import BATCH_RECORDS, Rebuild
from tickplant.runtime import accounts
from tickplant.runtime.accounts import Account
from tickplant.runtime.job_specs import RingRef
from tickplant.shm.ring import Consumer, Ring

Records = NDArray[np.void]


class Input:
    """One ring of ticks and the feed derived from it."""

    def __init__(self, ref: RingRef, ring: Ring, feed: Feed) -> None:
        self.ref = ref
        self.ring = ring
        self.feed = feed
        self.rebuild: Rebuild | None = None  # while earlier ticks are recovered
        self.lost = 0  # includes what a predecessor with the same label lost and accounted for
        self.until: int | None = None  # position at which to stop
        self.consumer: Consumer | None = None  # reads the ring, once attached
        self._most_behind = 0  # of earlier consumers
        self._taken = 0  # records read since `attach`
        self._began = (0, 0)  # position and records lost at `attach`

    @property
    def reading(self) -> Consumer | None:
        """The consumer that is read now."""
        return self.rebuild.live if self.rebuild else self.consumer

    @property
    def most_behind(self) -> int:
        """The highest number of unread records found when the ring was read."""
        return max(self._most_behind, self.consumer.most_behind if self.consumer else 0)

    def attach(self, consumer: Consumer, lost: int) -> None:
        """Read the ring directly from now on."""
        self.consumer, self.lost, self.rebuild = consumer, lost, None
        self._taken, self._began = 0, (consumer.position, consumer.lost)

    def read(self, consumer: Consumer) -> Records:
        """The ring's next batch."""
        ticks = consumer.read(BATCH_RECORDS)
        self._taken += len(ticks)
        return ticks

    def account(self, engine: str) -> Account | None:
        """The balance of published, read and lost records; None unless the ring itself is read."""
        consumer = self.consumer
        if consumer is None or self.rebuild:
            return None
        position, behind = consumer.position, max(0, consumer.lag)
        published, lost = position + behind - self._began[0], consumer.lost - self._began[1]
        return accounts.reading(engine, self.ref.producer, published, taken=self._taken, lost=lost, behind=behind)

    def detach(self) -> None:
        """Stop reading."""
        if self.rebuild:
            self.rebuild.close()
        if self.consumer:
            self._most_behind = self.most_behind
            self.consumer.close()
        self.consumer = None
