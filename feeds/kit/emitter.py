"""The outgoing records of a feed, including the STATUS and GAP records that no venue message stands for."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.contract import Resolver
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.batch import TickBatch, rows_of
from tickplant.records.layouts import UNKNOWN, GapCause, Kind, StatusCode
from tickplant.records.notes import make_gaps, make_statuses

MAX_ID: Final = 2**63 - 1

NAMES: Final = 64
"""Number of venue-chosen names counted separately; further names share one count, so that a counter stays bounded."""


def count_name(counts: dict[str, int], name: str) -> None:
    """Count under a name that the venue chose."""
    name = name[:64] if name in counts or len(counts) < NAMES else "other"
    counts[name] = counts.get(name, 0) + 1


class Emitter:
    """Fills one batch."""

    def __init__(self, resolve: Resolver) -> None:
        self.batch = TickBatch()
        self.gaps = 0  # GAP records made here
        self.ts_recv = 0  # of the frame being read
        self._resolve = resolve
        self._feed: Instrument | None = None

    def status(
        self,
        code: StatusCode,
        ts_recv: int,
        instrument: Instrument | None = None,
        *,
        ts_event: int = 0,
        flags: int = 0,
        order_id: int = 0,
    ) -> None:
        """Record a STATUS, on the feed's pseudo-instrument if no other is given."""
        statuses = make_statuses(self._id(instrument), code, ts_event=ts_event, ts_recv=ts_recv, flags=flags)
        statuses["order_id"] = order_id
        self.batch.extend(rows_of(statuses), Kind.STATUS)

    def gap(
        self,
        instrument: Instrument | None,
        cause: GapCause,
        ts_event: int,
        ts_recv: int,
        *,
        missing: int = UNKNOWN,
        last_id: int = 0,
        next_id: int = 0,
        flags: int = 0,
    ) -> None:
        """Record a GAP, on the feed's pseudo-instrument if no other is given."""
        self.gaps += 1
        gaps = make_gaps(
            self._id(instrument),
            cause,
            missing=missing,
            last_id=max(last_id, 0),
            next_id=min(next_id, MAX_ID),
            ts_event=ts_event,
            ts_recv=ts_recv,
            flags=flags,
        )
        self.batch.extend(rows_of(gaps), Kind.GAP)

    def _id(self, instrument: Instrument | None) -> int:
        return (instrument or self.feed_instrument()).id

    def feed_instrument(self) -> Instrument:
        """The pseudo-instrument for feed-wide records, registered when it is first needed."""
        if self._feed is None:
            self._feed = self._resolve(FEED_SYMBOL, 0, 0)
        return self._feed
