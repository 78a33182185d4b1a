"""What a feed's sources share: their interface, and the pipeline from an adapter to the ring.

A source is the live venue (`runner`) or a recording (`file_feed`). Replay from the store runs in a process of the
store, since it needs no adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.feeds.clock_offset import ClockOffset
from tickplant.feeds.contract import Adapter, Answer, Effect, Ended, Event, Frames, Notice, Reject, Resolver
from tickplant.feeds.notices import Anomalies
from tickplant.feeds.rejections import Pacer
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.ages import Ages
from tickplant.records.batch import TickBatch, rows_of
from tickplant.records.layouts import UNKNOWN, GapCause, Kind, StatusCode
from tickplant.records.notes import make_gaps, make_statuses
from tickplant.runtime import accounts
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import Counters

Records = NDArray[np.void]


class Source(Protocol):
    """Where a feed's records come from."""

    async def run(self) -> None:
        """Publish until the source ends or this is cancelled; on return everything decoded is in the ring.

        Raises FeedError if the source cannot be used at all.
        """
        ...

    def counters(self) -> Counters:
        """Counts since the start."""
        ...

    def accounts(self, feed: str) -> list[Account]:
        """What must add up, at the same moment as a `counters()` call with no await in between."""
        ...

    def resync(self, symbol: str) -> None:
        """Fetch this book again, all books for an empty symbol; does nothing where the source cannot."""
        ...

    def change_symbols(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Start or stop recording these symbols; does nothing where the source cannot."""
        ...


_TOLD: Final = {
    "duplicates": "duplicates dropped",
    "rejected": "frames rejected",
    "backfilled": "missed trades fetched",
    "unfilled": "missed trades not available",
}
"""Adapter counters that have no STATUS or GAP of their own, and the log message for an increase."""


ACCOUNT_NS: Final = 10 * 10**9
"""Receive time between two accounts: at most this much of a killed feed is unaccounted for."""


AGES_EVERY_NS: Final = 10**7
"""Receive time between two measurements of the age of records."""


class FeedPipeline:
    """Connects an adapter to the ring and adds the feed's own STATUS, GAP and account records.

    Every ACCOUNT_NS of receive time `is_due`; then `write_account` comes before what is received next. So the positions
    of accounts in the stream depend on the stream alone.
    """

    def __init__(
        self,
        adapter: Adapter,
        publisher: FeedPublisher,
        rejects: RejectLog,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
    ) -> None:
        self.adapter = adapter
        self.publisher = publisher
        self.rejects = rejects
        self.anomalies = Anomalies(symbol_of)
        self._ages = Ages(AGES_EVERY_NS)
        self._clock_offset = ClockOffset()
        self._told = dict.fromkeys(_TOLD, 0)
        # For records that concern the whole feed. Resolved now: at the end the supervisor may be gone.
        self._feed = resolve(FEED_SYMBOL, 0, 0).id
        self._own = TickBatch(16)
        self._failures = 0  # exceptions raised by the adapter, which promises to raise none
        self._failed = 0  # frames of those that the adapter had counted as received only
        self._malformed = 0  # bad lines of a recording
        self._untold = Pacer()  # frames of both kinds
        self._left_out = 0  # records taken that are not to be published
        self._accounts = 0  # records
        self._last_ns = 0  # newest receive time
        self._due_ns = 0
        self._accounted = (0, 0)  # frames and ticks when the last account was written
        self.log: Any = structlog.get_logger()

    # -- from what is received to what follows

    def deliver(self, event: Event, now_ns: int) -> None:
        """Hand an event to the adapter. A bug there costs this event (see the reject log), not the feed."""
        try:
            self.adapter.on_event(event, now_ns)
        except Exception:
            raw: Sequence[bytes] = ()
            if isinstance(event, Frames):
                raw = event.frames
            elif isinstance(event, Answer) and not event.request.secret:
                raw = (event.body,)
            self._adapter_failed(raw, now_ns)

    def take(self) -> tuple[Records, Sequence[Effect]]:
        """What has resulted from the events: the adapter's records, then the feed's own; and the effects."""
        ticks, effects, rejects = self.adapter.take()
        if self._last_ns:
            self._clock_offset.see(self._ages.at_receipt(ticks, self._last_ns), self._last_ns)
        if rejects:
            self.rejects.add(rejects)
        if self._own.length:
            ticks = np.concatenate([ticks, self._own.take()])
        self.anomalies.note(ticks)
        if effects:
            for effect in effects:
                if isinstance(effect, Notice):
                    self.log.warning(effect.event, **effect.fields)
        return ticks, effects

    def status(self, code: StatusCode, instruments: Sequence[int] = (), flags: int = 0) -> None:
        """Add a STATUS for each of these instruments, else for the whole feed, to the next `take`."""
        now_ns = time.time_ns()
        statuses = make_statuses(list(instruments) or [self._feed], code, ts_recv=now_ns, flags=flags)
        self._own.extend(rows_of(statuses), Kind.STATUS)

    def _adapter_failed(self, raw: Sequence[bytes], ts_recv_ns: int) -> None:
        self._failures += 1
        if self._failures <= 10 or self._failures % 1000 == 0:
            self.log.exception("the adapter failed", failures=self._failures)
        self.rejects.add([Reject("adapter failure", frame, ts_recv_ns) for frame in raw])
        counters = self.adapter.counters
        left = counters.frames - counters.parsed - counters.ignored - counters.rejected - self._failed
        self._failed += min(max(0, left), len(raw))
        self._tell_rejected(self._untold.add(ts_recv_ns, len(raw)), ts_recv_ns)

    def malformed(self, line: bytes, reason: str) -> None:
        """Reject a line that does not belong in a recording as a frame, at the last known receive time."""
        self._malformed += 1
        self.rejects.add([Reject("not a line of a recording", line, self._last_ns, reason)])
        if self._last_ns:
            self._tell_rejected(self._untold.add(self._last_ns), self._last_ns)
        else:
            self._untold.waiting += 1  # until there is a receive time

    def leave_out(self, count: int) -> None:
        """Note that this many of the records taken are stored already."""
        self._left_out += count

    def end(self) -> None:
        """End the input: all that is held back goes into the last `take`."""
        self.deliver(Ended(), self._last_ns)
        self._tell_rejected(self._untold.rest(), self._last_ns)

    def _tell_rejected(self, frames: int, ts_recv_ns: int) -> None:
        if frames and ts_recv_ns:
            missing = frames if frames > 1 else UNKNOWN
            gaps = make_gaps(self._feed, GapCause.REJECTED, missing=missing, ts_recv=ts_recv_ns)
            self._own.extend(rows_of(gaps), Kind.GAP)

    def on_second(self) -> None:
        """Log what has only been counted over the last second."""
        self.anomalies.on_second()
        counters = self.adapter.counters
        for name in _TOLD:
            total = getattr(counters, name)
            if total > self._told[name]:
                self.log.warning(_TOLD[name], number=total - self._told[name], total=total)
                self._told[name] = total

    # -- accounts

    def is_due(self, ts_recv_ns: int) -> bool:
        """Whether an account is due before what was received at this time."""
        return ts_recv_ns >= self._due_ns > 0

    def seen(self, ts_recv_ns: int) -> None:
        """Note that something was received at this time; the next account includes it."""
        self._last_ns = ts_recv_ns
        if self._untold.waiting:
            self._tell_rejected(self._untold.due(ts_recv_ns), ts_recv_ns)
        if not self._due_ns:
            self._next_period()

    def write_account(self) -> bool:
        """Publish an account of everything so far, if anything has happened since the last one.

        All records taken must be published first. Returns False if the ring has no room: try again.
        """
        publisher = self.publisher
        if not publisher.settle():
            return False
        received, parsed, ignored, rejected = self._frames()
        made = self._made()
        if self._last_ns and (received, made) != self._accounted:
            pair = make_statuses([self._feed] * 2, StatusCode.ACCOUNT_FRAMES, ts_recv=self._last_ns)
            pair["price"] = StatusCode.ACCOUNT_FRAMES, StatusCode.ACCOUNT_TICKS
            pair["size"] = received, made + len(pair)
            pair["venue_seq"] = parsed + ignored, publisher.published + len(pair)
            pair["order_id"] = rejected, publisher.dropped
            if not publisher.publish_now(pair):
                return False
            self._accounts += len(pair)
            self._accounted = received, made + len(pair)
        self._next_period()
        return True

    def skip_account(self) -> None:
        """Write no account for the time until now."""
        self._next_period()

    def accounts(self, feed: str) -> list[Account]:
        """The equations of this feed (`tickplant.runtime.accounts`), with the numbers of this moment."""
        publisher = self.publisher
        received, parsed, ignored, rejected = self._frames()
        published = publisher.position - publisher.began
        return [
            accounts.frames(feed, received, parsed=parsed, ignored=ignored, rejected=rejected),
            accounts.ticks(
                feed, self._made(), published=published, dropped=publisher.dropped, waiting=publisher.waiting
            ),
            accounts.drops(feed, publisher.dropped, told=publisher.told, untold=publisher.untold),
        ]

    def counters(self) -> Counters:
        """Counters of the whole feed. ticks + accounts + ring_gaps = published + ring_dropped + ring_waiting."""
        publisher, own = self.publisher, self._own.kinds
        counters = self.adapter.counters
        received, _, _, rejected = self._frames()
        kinds = dict(counters.kinds)
        causes = dict(self.anomalies.gap_causes)
        if publisher.gaps:
            causes["ring_full"] = publisher.gaps
        for kind in (Kind.STATUS, Kind.GAP):
            if own[kind]:
                kinds[kind.name.lower()] = kinds.get(kind.name.lower(), 0) + own[kind]
        return {
            **msgspec.structs.asdict(counters),
            "frames": received,
            "rejected": rejected,
            "ticks": counters.ticks + sum(own),
            "kinds": kinds,
            "gaps": counters.gaps + own[Kind.GAP],
            "accounts": self._accounts,
            "published": publisher.published,
            "ring_dropped": publisher.dropped,
            "ring_gaps": publisher.gaps,
            "ring_waiting": publisher.waiting,
            "adapter_failures": self._failures,
            "rejects": dict(self.rejects.seen),
            "statuses": dict(self.anomalies.statuses),
            "gap_causes": causes,
            "age_received": self._ages.report(),
            "age_received_s": self._ages.sum_s,
            "clock_offset_s": self._clock_offset.estimate_s,
            "trouble": self.adapter.trouble,
        }

    # -- inner

    def _frames(self) -> tuple[int, int, int, int]:
        """Frames received, parsed, ignored, rejected."""
        counters, more = self.adapter.counters, self._malformed
        rejected = counters.rejected + more + self._failed
        return counters.frames + more, counters.parsed, counters.ignored, rejected

    def _made(self) -> int:
        """Records taken from the adapter, or made here or by the publisher, minus those left out."""
        return (
            self.adapter.counters.ticks + sum(self._own.kinds) + self._accounts + self.publisher.gaps - self._left_out
        )

    def _next_period(self) -> None:
        self._due_ns = (self._last_ns // ACCOUNT_NS + 1) * ACCOUNT_NS
