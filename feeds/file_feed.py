"""A recording as the source of a feed: every line through the adapter, as fast as the ring's readers allow.

Where the store has a past of this feed (`past.py`), the recording continues it: what an earlier ingest of the same
lines has stored is made again and left out, anything else goes on by its ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tickplant.errors import FeedError
from tickplant.feeds.capture_lines import parse_line, why_not
from tickplant.feeds.capture_reader import Recording
from tickplant.feeds.contract import Adapter, Continued, Ended, Resolver
from tickplant.feeds.past import Covered, Life, OtherRecordingError, Past, Repetition
from tickplant.feeds.pipeline import FeedPipeline
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import Counters

LINES: Final = 2048
"""Lines between two publishes: enough to make both cheap, few enough that heartbeats go out in time."""

ROOM_PAUSE_S: Final = 0.001
"""Between two looks whether the ring has room for an account."""

DAY_NS: Final = 86_400 * 10**9
"""A receive time that lies further before another one, or ahead of this machine's clock, is refused."""

NOTHING_BEFORE: Final = Life(first_seq=0, before={}, before_ns=0)


class RecordedFeed:
    """A recording, as fast as its readers take it, without loss."""

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
        self._make_adapter = make_adapter
        self._publisher = publisher
        self._rejects = rejects
        self._resolve = resolve
        self._symbol_of = symbol_of
        self._pipeline = self._make_pipeline()
        self._recording = Recording(path)
        self._past = past
        self._life = NOTHING_BEFORE
        self._covered: Covered | None = None  # where the recording reaches back into what is stored
        self._repetition: Repetition | None = None
        self._begun = False  # in this process
        self._lines = 0
        self._bad_lines = 0
        self._newest_ns = 0
        self._late = 0

    async def run(self) -> None:
        """See Source. Raises FeedError where the file cannot be read, or holds no line of a recording."""
        lives = iter(self._past.lives() if self._past else [NOTHING_BEFORE])
        while life := await asyncio.to_thread(next, lives, None):  # it reads the store: heartbeats go on meanwhile
            self._begin(life)
            try:
                await self._read()
                break
            except OtherRecordingError:
                self._pipeline = self._make_pipeline()
        if self._lines and self._lines == self._bad_lines:
            raise FeedError(f"{self._recording.path}: not a recording: no line begins with a time in nanoseconds")
        if self._covered:
            await self._look_for_late(self._covered)
        self._pipeline.on_second()
        if self._recording.damage:
            self._pipeline.log.error(
                "the recording is damaged: what precedes that was read", where=self._recording.damage
            )

    def counters(self) -> Counters:
        """See Source. A line that is not one of a recording counts as a rejected frame."""
        repeated = self._life.count - self._repetition.left if self._repetition else 0
        return self._pipeline.counters() | {
            "damage": self._recording.damage,
            "repeated": repeated,  # records that an earlier ingest of these lines has stored
            "added": self._publisher.published - repeated,
            "late": self._late,  # events older than what is stored, and not stored
        }

    def accounts(self, feed: str) -> list[Account]:
        """See Source."""
        return self._pipeline.accounts(feed)

    def resync(self, symbol: str) -> None:
        """See Source: a recording cannot."""

    def change_symbols(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """See Source: a recording cannot, but for what it says itself."""

    # -- one reading of the recording

    def _make_pipeline(self) -> FeedPipeline:
        return FeedPipeline(self._make_adapter(), self._publisher, self._rejects, self._resolve, self._symbol_of)

    def _begin(self, life: Life) -> None:
        self._life = life
        self._repetition = Repetition(life, self._past.records(life)) if self._past and life.count else None
        self._publisher.repeat(self._repetition)
        self._pipeline.deliver(Continued(life.before), 0)
        self._lines = self._bad_lines = 0
        self._newest_ns = 0
        self._covered = None

    async def _read(self) -> None:
        last: list[bytes] = []  # line of a block: whether its time stands alone, the next one tells
        for block in self._recording.blocks():
            lines = [*last, *block]
            last = lines[-1:]
            for start in range(0, len(lines) - 1, LINES):
                for step in self._feed(lines, start, min(start + LINES, len(lines) - 1)):
                    await step()
                await self._publish()
            await asyncio.sleep(0)  # heartbeats and signals have their turn
        for step in self._feed([*last, b""], 0, len(last)):
            await step()
        await self._publish()
        ended = self._keep_end()
        await self._pause()
        if not ended:
            self._keep_end()

    def _keep_end(self) -> bool:
        """Keep that the recording has ended here, if this is its life: before anything of the end is published."""
        its_own = self._begun or (self._repetition is not None and not self._repetition.left)
        if its_own and self._past:
            self._past.end(self._life, self._lines)
        return its_own

    def _feed(self, lines: list[bytes], start: int, stop: int) -> Iterator[Callable[[], Awaitable[None]]]:
        """Read lines from one to another; yields what is to be awaited between two of them. One more line is there."""
        pipeline, ends = self._pipeline, self._life.ends
        latest_ns = time.time_ns() + DAY_NS
        for place in range(start, stop):
            line = lines[place]
            if not line or line == b"\r":
                continue
            self._lines += 1
            parsed = parse_line(line) if type(line) is bytes else None
            reason = ""
            if parsed is None:
                reason = why_not(line)
            elif not self._newest_ns - DAY_NS <= parsed[0] <= min(self._newest_ns + DAY_NS, latest_ns):
                reason = self._why_not_then(parsed[0], lines[place + 1], latest_ns)
            if parsed is None or reason:
                self._bad_lines += 1
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
            if self._lines in ends:
                yield self._pause

    def _why_not_then(self, ts_recv_ns: int, following: bytes, latest_ns: int) -> str:
        """What is wrong with a receive time a day away from the one before, if anything."""
        if ts_recv_ns > latest_ns:
            return "the receive time lies in the future"
        if ts_recv_ns < self._newest_ns:
            return "the receive time steps back by more than a day"
        after = parse_line(following)
        if after and after[0] < ts_recv_ns - DAY_NS:
            return "the receive time lies more than a day ahead of the line behind it"
        return ""

    async def _publish(self) -> None:
        ticks, _ = self._pipeline.take()  # a recording holds the answers to what would be asked
        if self._covered:
            new = self._covered.untold(ticks, first=not self._publisher.published)
            self._pipeline.leave_out(len(ticks) - len(new))
            ticks = new
        if len(ticks) and self._past and not self._life.count and not self._begun:
            self._past.begin(self._life)
            self._begun = True
        await self._publisher.publish_lossless(ticks)

    async def _account(self) -> None:
        """Write an account behind all that was made so far.

        While a recording only repeats what is stored there is nothing to account for.
        """
        while True:
            await self._publish()
            if self._life.before and not self._publisher.published:
                self._pipeline.skip_account()
                return
            if self._pipeline.write_account():
                return
            await asyncio.sleep(ROOM_PAUSE_S)

    async def _pause(self) -> None:
        """The recording has ended here, or an earlier ingest of it had: nothing is held back any more."""
        self._pipeline.end()
        await self._account()

    # -- what is older than the store

    async def _look_back(self) -> None:
        if self._past:
            self._covered = await asyncio.to_thread(self._past.covered, self._life)

    async def _look_for_late(self, covered: Covered) -> None:
        """Count the events that were passed over as stored already, since their ids are old, but are not stored."""
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
