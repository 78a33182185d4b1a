"""An external file as the source of a feed: see `importers.py`.

Its records have no consecutive ids. So if the store has a past of the feed, receive times show what is stored already
(`stored_spans.py`), and a GAP says where a file begins after the stored part of a stream, since what lies between is
unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from tickplant.feeds.contract import Adapter, Resolver
from tickplant.feeds.importers import Import
from tickplant.feeds.past import Life, Past, Records
from tickplant.feeds.past_feed import PastFeed
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.stored_spans import StoredSpans, flags_of, instrument_of, keys_of
from tickplant.records.layouts import GapCause
from tickplant.records.notes import make_gaps


class ImportedFeed(PastFeed):
    """An external file, as fast as its readers take it, without loss."""

    def __init__(
        self,
        make_adapter: Callable[[], Adapter],
        publisher: FeedPublisher,
        rejects: RejectLog,
        source: Import,
        *,
        resolve: Resolver,
        symbol_of: Callable[[int], str],
        past: Past | None = None,
    ) -> None:
        super().__init__(make_adapter, publisher, rejects, resolve=resolve, symbol_of=symbol_of, past=past)
        self._source = source
        self._spans: StoredSpans | None = None  # the stored stretches; empty if the file begins after them
        self._reaches_back = False
        self._joined: set[int] = set()  # streams that have come, or that are known to be stored

    @property
    def damage(self) -> str:
        """See PastFeed."""
        return self._source.damage

    def _begin(self, life: Life) -> None:
        super()._begin(life)
        self._spans = None
        self._joined = set()
        self._late = 0

    async def _read(self) -> None:
        for ts_ns, frames in self._source.pieces():
            self._taken += 1
            if self._pipeline.is_due(ts_ns):
                await self._account()
            if self._spans is None and self._past and self._life.first_seq:
                # The first times of a file are those of its metadata, which precede all of its records.
                self._spans, self._reaches_back = StoredSpans(), ts_ns <= self._life.before_ns
                if self._reaches_back:
                    self._spans = await asyncio.to_thread(self._past.spans, self._life)
            self._pipeline.seen(ts_ns)
            self._pipeline.deliver(frames, ts_ns)
            await self._publish()
            await asyncio.sleep(0)  # gives heartbeats and signals their turn
        await self._end()

    def _fresh(self, ticks: Records) -> Records:
        if self._spans is None or not len(ticks):
            return ticks
        stored, late = self._spans.sort(ticks)
        self._late += int(np.count_nonzero(late))
        keys = keys_of(ticks)
        self._joined |= set(np.unique(keys[stored]).tolist())
        old = stored | late
        places, gaps = [], []
        for key in np.unique(keys[~old & (keys != 0)]).tolist():
            if key in self._joined:
                continue
            self._joined.add(key)
            if (flags := flags_of(key)) and self._is_stored(key, self._spans):
                place = int(np.flatnonzero(~old & (keys == key))[0])
                ts_recv = int(ticks["ts_recv"][place])
                gaps.append(make_gaps(instrument_of(key), GapCause.RESTART, ts_recv=ts_recv, flags=flags))
                places.append(place - int(np.count_nonzero(old[:place])))
        new = ticks[~old] if old.any() else ticks
        return np.insert(new, places, np.concatenate(gaps)) if gaps else new

    def _is_stored(self, key: int, spans: StoredSpans) -> bool:
        """Whether anything of this stream is stored; if the store was not read, anything of its instrument."""
        return spans.knows(key) if self._reaches_back else instrument_of(key) <= self._life.instruments
