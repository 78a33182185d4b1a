"""A recording as the source of a feed: sends every line through the adapter, as fast as the ring's readers allow.

If the store has a past of this feed (`past.py`), the recording continues it: records that an earlier ingest of the same
lines stored are made again and left out; anything else continues by its ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from tickplant.errors import FeedError
from tickplant.feeds.capture_lines import parse_line, why_not
from tickplant.feeds.contract import Adapter, Ended, Resolver
from tickplant.feeds.past import Covered, Life, Past, Records
from tickplant.feeds.past_feed import PastFeed
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.runtime.recorded_lines import Recording

LINES: Final = 2048
"""Lines between two publishes: many enough to make both cheap, few enough that heartbeats go out in time."""

DAY_NS: Final = 86_400 * 10**9
"""A receive time is refused if it precedes the newest one, or follows it or this machine's clock, by more than this."""


class RecordedFeed(PastFeed):
    """A recording. A line that does not belong in a recording counts as a rejected frame."""

    def __init__(
        self,
        make_adapter: Callable[[], Adapter],
        publisher: FeedPublisher,
        rejects: RejectLog,
        path: Path,
        *,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
        past: Past | None = None,
    ) -> None:
        super().__init__(make_adapter, publisher, rejects, resolve=resolve, symbol_of=symbol_of, past=past)
        self._recording = Recording(path)
        self._covered: Covered | None = None  # what is stored of the time that the recording shares with the store
        self._bad_lines = 0
        self._first_bad = ""  # why the first bad line is bad
        self._newest_ns = 0

    @property
    def damage(self) -> str:
        """See PastFeed."""
        return self._recording.damage

    # -- one pass over the recording

    def _begin(self, life: Life) -> None:
        super()._begin(life)
        self._bad_lines = 0
        self._newest_ns = 0
        self._covered = None

    async def _finish(self) -> None:
        if self._taken and self._taken == self._bad_lines:
            raise FeedError(f"{self._recording.files[0]}: not a recording: its first line {self._first_bad}")
        if self._covered:
            await self._look_for_late(self._covered)

    async def _read(self) -> None:
        last: list[bytes] = []  # the last line of a block: the next line shows whether its time is plausible
        for block in self._recording.blocks():
            lines = [*last, *block]
            last = lines[-1:]
            for start in range(0, len(lines) - 1, LINES):
                for step in self._feed(lines, start, min(start + LINES, len(lines) - 1)):
                    await step()
                await self._publish()
            await asyncio.sleep(0)  # gives heartbeats and signals their turn
        for step in self._feed([*last, b""], 0, len(last)):
            await step()
        await self._end()

    def _feed(self, lines: list[bytes], start: int, stop: int) -> Iterator[Callable[[], Awaitable[None]]]:
        """Read lines from start to stop; yields what to await in between. `lines` has one more line after `stop`."""
        pipeline, ends = self._pipeline, self._life.ends
        latest_ns = time.time_ns() + DAY_NS
        for place in range(start, stop):
            line = lines[place]
            if not line or line == b"\r":
                continue
            self._taken += 1
            parsed = parse_line(line) if type(line) is bytes else None
            reason = ""
            if parsed is None:
                reason = why_not(line)
            elif not self._newest_ns - DAY_NS <= parsed[0] <= min(self._newest_ns + DAY_NS, latest_ns):
                reason = self._why_not_then(parsed[0], lines[place + 1], latest_ns)
            if parsed is None or reason:
                self._bad_lines += 1
                self._first_bad = self._first_bad or reason
                pipeline.malformed(line, reason)
            else:
                ts_recv_ns, event = parsed
                if pipeline.is_due(ts_recv_ns):
                    yield self._account
                if not self._newest_ns and ts_recv_ns <= self._life.before_ns:
                    yield self._look_back
                self._newest_ns = max(self._newest_ns, ts_recv_ns)
                pipeline.seen(ts_recv_ns)
                if event is not None:
                    pipeline.deliver(event, ts_recv_ns)
            if self._taken in ends:
                yield self._pause

    def _why_not_then(self, ts_recv_ns: int, following: bytes, latest_ns: int) -> str:
        """Why a receive time a day away from the newest one is wrong, or an empty string."""
        if ts_recv_ns > latest_ns:
            return "the receive time lies in the future"
        if ts_recv_ns < self._newest_ns:
            return "the receive time steps back by more than a day"
        after = parse_line(following)
        if after and after[0] < ts_recv_ns - DAY_NS:
            return "the receive time lies more than a day ahead of the line behind it"
        return ""

    def _fresh(self, ticks: Records) -> Records:
        return self._covered.untold(ticks, first=not self._publisher.published) if self._covered else ticks

    # -- what is older than the store

    async def _look_back(self) -> None:
        if self._past:
            self._covered = await asyncio.to_thread(self._past.covered, self._life)

    async def _look_for_late(self, covered: Covered) -> None:
        """Count the events that were skipped as stored, because their ids are old, but are not stored."""
        adapter = self._make_adapter()
        for block in self._recording.blocks():
            for line in block:
                parsed = parse_line(line) if type(line) is bytes else None
                if parsed and parsed[1] and parsed[0] <= self._life.before_ns:
                    adapter.on_event(parsed[1], parsed[0])
            self._count_late(covered, adapter)
            await asyncio.sleep(0)
        adapter.on_event(Ended(), self._life.before_ns)
        self._count_late(covered, adapter)

    def _count_late(self, covered: Covered, adapter: Adapter) -> None:
        self._late += covered.lacking(adapter.take().ticks)
