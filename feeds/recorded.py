"""A recording as the source of a feed: every line through the adapter, as fast as the ring's readers allow.

May import shm and the feeds' own modules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tickplant.control import Counters
from tickplant.errors import FeedError
from tickplant.feeds.adapter import Adapter, Reject
from tickplant.feeds.publisher import FeedPublisher
from tickplant.feeds.recording import Recording, parse_line
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.source import Pump

LINES: Final = 2048
"""Lines between two publishes: enough to make both cheap, few enough that heartbeats go out in time."""


class RecordedFeed:
    """A recording, as fast as its readers take it, without loss."""

    def __init__(
        self,
        adapter: Adapter,
        publisher: FeedPublisher,
        rejects: RejectLog,
        path: Path,
        *,
        symbol_of: Callable[[int], str],
    ) -> None:
        self._pump = Pump(adapter, publisher, rejects, symbol_of)
        self._adapter = adapter
        self._recording = Recording(path)
        self._lines = 0
        self._bad_lines = 0

    async def run(self) -> None:
        """See Source. Raises FeedError where the file cannot be read, or holds no line of a recording."""
        adapter = self._adapter
        for block in self._recording.blocks():
            for start in range(0, len(block), LINES):
                self._feed(block[start : start + LINES])
                await self._publish()
                # A recording holds the answers to what would be asked.
                adapter.take_requests()
                adapter.take_actions()
                await asyncio.sleep(0)  # heartbeats and signals have their turn
        adapter.release()
        await self._publish()
        self._pump.tick()
        if self._recording.damage:
            self._pump.log.error("the recording is damaged: what precedes that was read", where=self._recording.damage)
        if self._lines and self._lines == self._bad_lines:
            raise FeedError(f"{self._recording.path}: not a recording: no line begins with a time in nanoseconds")

    def counters(self) -> Counters:
        """See Source. A line that is not one of a recording counts as a rejected frame."""
        counters = self._pump.counters()
        counters["frames"] = self._adapter.counters.frames + self._bad_lines
        counters["rejected"] = self._adapter.counters.rejected + self._bad_lines
        counters["damage"] = self._recording.damage
        return counters

    def resync(self, symbol: str) -> None:
        """See Source: a recording cannot."""

    async def _publish(self) -> None:
        ticks = self._adapter.take_ticks()
        self._pump.anomalies.note(ticks)
        await self._pump.publisher.publish_lossless(ticks)
        self._pump.take_rejects()

    def _feed(self, lines: Sequence[bytes]) -> None:
        on_recorded = self._adapter.on_recorded
        for line in lines:
            if not line:
                continue
            self._lines += 1
            if (parsed := parse_line(line)) is None:
                self._bad_lines += 1
                self._pump.rejects.add([Reject("not a line of a recording", line, 0)])
                continue
            ts_recv_ns, body = parsed
            try:
                on_recorded(body, ts_recv_ns)
            except Exception:
                self._pump.failed((body,), ts_recv_ns)
