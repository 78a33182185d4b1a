"""What an engine reads: one ring of ticks, or while it comes back, first what is stored of them."""

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
    """One ring of ticks and what is derived from it."""

    def __init__(self, ref: RingRef, ring: Ring, feed: Feed) -> None:
        self.ref = ref
        self.ring = ring
        self.feed = feed
        self.rebuild: Rebuild | None = None  # while earlier ticks are recovered
        self.lost = 0  # by a predecessor of the same label: it has accounted for it
        self.until: int | None = None  # position at which to stop
        self.consumer: Consumer | None = None  # of the ring itself
        self._most_behind = 0  # of those before it
        self._taken = 0  # since it was attached
        self._began = (0, 0)  # position and records lost when it was

    @property
    def reading(self) -> Consumer | None:
        """What is read now."""
        return self.rebuild.live if self.rebuild else self.consumer

    @property
    def most_behind(self) -> int:
        """Records that were not read yet, at most, when the ring came to be read."""
        return max(self._most_behind, self.consumer.most_behind if self.consumer else 0)

    def attach(self, consumer: Consumer, lost: int) -> None:
        """Read the ring itself."""
        self.consumer, self.lost, self.rebuild = consumer, lost, None
        self._taken, self._began = 0, (consumer.position, consumer.lost)

    def read(self, consumer: Consumer) -> Records:
        """The next batch of the ring."""
        ticks = consumer.read(BATCH_RECORDS)
        self._taken += len(ticks)
        return ticks

    def account(self, engine: str) -> Account | None:
        """What must add up, while the ring itself is read."""
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
