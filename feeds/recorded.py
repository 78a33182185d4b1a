"""A recording as the source of a feed: every line through the adapter, as fast as the ring's readers allow.

May import shm and the feeds' own modules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tickplant.accounts import Account
from tickplant.control import Counters
from tickplant.errors import FeedError
from tickplant.feeds.adapter import Adapter, Resolver
from tickplant.feeds.publisher import FeedPublisher
from tickplant.feeds.recording import Recording, parse_line
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.source import Pump

LINES: Final = 2048
"""Lines between two publishes: enough to make both cheap, few enough that heartbeats go out in time."""

ROOM_PAUSE_S: Final = 0.001
"""Between two looks whether the ring has room for an account."""


class RecordedFeed:
    """A recording, as fast as its readers take it, without loss."""

    def __init__(
        self,
        adapter: Adapter,
        publisher: FeedPublisher,
        rejects: RejectLog,
        path: Path,
        *,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
    ) -> None:
        self._pump = Pump(adapter, publisher, rejects, resolve, symbol_of)
        self._adapter = adapter
        self._recording = Recording(path)
        self._lines = 0
        self._bad_lines = 0

    async def run(self) -> None:
        """See Source. Raises FeedError where the file cannot be read, or holds no line of a recording."""
        adapter = self._adapter
        for block in self._recording.blocks():
            for start in range(0, len(block), LINES):
                for _ in self._feed(block[start : start + LINES]):
                    await self._account()
                await self._publish()
                # A recording holds the answers to what would be asked.
                adapter.take_requests()
                adapter.take_actions()
                await asyncio.sleep(0)  # heartbeats and signals have their turn
        self._pump.release()
        await self._account()
        self._pump.tick()
        if self._recording.damage:
            self._pump.log.error("the recording is damaged: what precedes that was read", where=self._recording.damage)
        if self._lines and self._lines == self._bad_lines:
            raise FeedError(f"{self._recording.path}: not a recording: no line begins with a time in nanoseconds")

    def counters(self) -> Counters:
        """See Source. A line that is not one of a recording counts as a rejected frame."""
        return self._pump.counters() | {"damage": self._recording.damage}

    def accounts(self, feed: str) -> list[Account]:
        """See Source."""
        return self._pump.accounts(feed)

    def resync(self, symbol: str) -> None:
        """See Source: a recording cannot."""

    async def _publish(self) -> None:
        await self._pump.publisher.publish_lossless(self._pump.take_ticks())
        self._pump.take_rejects()

    async def _account(self) -> None:
        """Write an account behind all that was made so far."""
        while True:
            await self._publish()
            if self._pump.write_account():
                return
            await asyncio.sleep(ROOM_PAUSE_S)

    def _feed(self, lines: Sequence[bytes]) -> Iterator[None]:
        """Read lines; yields where an account is due."""
        pump, on_recorded = self._pump, self._adapter.on_recorded
        for line in lines:
            if not line:
                continue
            self._lines += 1
            if (parsed := parse_line(line)) is None:
                self._bad_lines += 1
                pump.malformed(line)
                continue
            ts_recv_ns, body = parsed
            if pump.is_due(ts_recv_ns):
                yield
            pump.seen(ts_recv_ns)
            try:
                on_recorded(body, ts_recv_ns)
            except Exception:
                pump.failed((body,), ts_recv_ns)
