"""What sources share that read a file into a store with a possible past of the feed (`past.py`).

The records of an earlier ingest of the same content are made again and left out. For other content, each kind of source
has its own rule for what is stored already.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tickplant.feeds.contract import Adapter, Continued, Resolver
from tickplant.feeds.past import Life, OtherRecordingError, Past, Records, Repetition
from tickplant.feeds.pipeline import FeedPipeline
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import Counters

ROOM_PAUSE_S: Final = 0.001
"""Pause between two checks whether the ring has room for an account."""

NOTHING_BEFORE: Final = Life(first_seq=0, before={}, before_ns=0)


class PastFeed(abc.ABC):
    """A file, as fast as its readers take it, without loss. A Source, except for the hooks below."""

    def __init__(
        self,
        make_adapter: Callable[[], Adapter],
        publisher: FeedPublisher,
        rejects: RejectLog,
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
        self._past = past
        self._life = NOTHING_BEFORE
        self._repetition: Repetition | None = None
        self._begun = False  # in this process
        self._taken = 0  # lines or pieces of the file so far
        self._late = 0

    # What a kind of source defines.

    @property
    @abc.abstractmethod
    def damage(self) -> str:
        """Where the file was truncated or damaged, empty if it is sound."""

    @abc.abstractmethod
    async def _read(self) -> None:
        """Read the file from its beginning, for the life that has just begun. Raises FeedError."""

    @abc.abstractmethod
    def _fresh(self, ticks: Records) -> Records:
        """The records that are not stored yet, with GAPs between them where something is missing."""

    async def _finish(self) -> None:
        """Act on the end of the file. Nothing by default. Raises FeedError if it held nothing of use."""
        return

    # The source.

    async def run(self) -> None:
        """See Source. Raises FeedError if the file cannot be read, or holds nothing of use."""
        lives = iter(self._past.lives() if self._past else [NOTHING_BEFORE])
        while life := await asyncio.to_thread(next, lives, None):  # reads the store: heartbeats continue meanwhile
            self._begin(life)
            try:
                await self._read()
                break
            except OtherRecordingError:
                self._pipeline = self._make_pipeline()
        await self._finish()
        self._pipeline.on_second()
        if self.damage:
            self._pipeline.log.error("the recording is damaged: what precedes that was read", where=self.damage)

    def counters(self) -> Counters:
        """See Source."""
        repeated = self._life.count - self._repetition.left if self._repetition else 0
        return self._pipeline.counters() | {
            "damage": self.damage,
            "repeated": repeated,  # records that an earlier ingest of these lines stored
            "added": self._publisher.published - repeated,
            "late": self._late,  # events older than the stored ones, and not stored
        }

    def accounts(self, feed: str) -> list[Account]:
        """See Source."""
        return self._pipeline.accounts(feed)

    def resync(self, symbol: str) -> None:
        """See Source: a file has no venue to ask."""
        del symbol

    def change_symbols(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """See Source: the symbols of a file are fixed."""
        del added, removed

    # For the kinds.

    def _make_pipeline(self) -> FeedPipeline:
        return FeedPipeline(self._make_adapter(), self._publisher, self._rejects, self._resolve, self._symbol_of)

    def _begin(self, life: Life) -> None:
        self._life = life
        self._repetition = Repetition(life, self._past.records(life)) if self._past and life.count else None
        self._publisher.repeat(self._repetition)
        self._pipeline.deliver(Continued(life.before), 0)
        self._taken = 0

    def _keep_end(self) -> bool:
        """Note that the file has ended here, if this life is its own, before anything of the end is published."""
        its_own = self._begun or (self._repetition is not None and not self._repetition.left)
        if its_own and self._past:
            self._past.end(self._life, self._taken)
        return its_own

    async def _publish(self) -> None:
        ticks, _ = self._pipeline.take()  # a recording holds the answers to its requests
        new = self._fresh(ticks)
        self._pipeline.leave_out(len(ticks) - len(new))
        if len(new) and self._past and not self._life.count and not self._begun:
            self._past.begin(self._life)
            self._begun = True
        await self._publisher.publish_lossless(new)

    async def _account(self) -> None:
        """Write an account after all that was made so far.

        While a recording only repeats what is stored, there is nothing to account for.
        """
        while True:
            await self._publish()
            if self._life.first_seq and not self._publisher.published:
                self._pipeline.skip_account()
                return
            if self._pipeline.write_account():
                return
            await asyncio.sleep(ROOM_PAUSE_S)

    async def _pause(self) -> None:
        """End the file here, as it or an earlier ingest of it did: nothing is held back any more."""
        self._pipeline.end()
        await self._account()

    async def _end(self) -> None:
        """End the file."""
        await self._publish()
        ended = self._keep_end()
        await self._pause()
        if not ended:
            self._keep_end()
