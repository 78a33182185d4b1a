"""Recovery of an engine: rebuilds the state of one feed from the journal and the ring.

What the writer has not stored yet is still in the feed's ring, since the writer gates the ring. So stored ticks are
folded until the ring holds all later ones; then the ring is read, up to its position at that moment. None of this is
published, but derived records that were never stored are stored.

The past is read in turns of one batch, and between turns the engine does everything else. A single read of a large
store may take long: meanwhile the store calls back, and the engine may end the read by raising `Stopped` there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.derive.registry import BY_SCHEMA
from tickplant.engine.core import Engine
from tickplant.engine.derived_feed import Feed
from tickplant.engine.derived_sink import Key, Stored
from tickplant.errors import StoreError
from tickplant.records.arrays import joined
from tickplant.records.layouts import TICK, Schema
from tickplant.runtime.child_loop import Stopped
from tickplant.shm.ring import OLDEST, Consumer, Mode, Ring
from tickplant.store.restore import FeedPast

Records = NDArray[np.void]

BATCH_RECORDS: Final = 8192
DRY_S: Final = 1.0


Outlet = Callable[[Records], object]
"""Stores derived records."""


class Rebuild:
    """The recovery of one feed's past.

    Args:
        engine: the engine that the feed belongs to.
        old: the feed as subscribers see it meanwhile.
        ring: the feed's ring.
        label: the engine's name in rings.
        past: what is stored of the feed.
        stored: by schema, how far derived records are stored according to the engine's rings.
        outlets: by schema, what stores the others.
        settled: whether all that the engine's rings hold is in the journal, so that the journal can be read.
        mode: how the ring is read afterwards.
        give_up_s: an engine that finds nothing new for this long continues with the ring alone, with stale books.
    """

    def __init__(
        self,
        engine: Engine,
        old: Feed,
        ring: Ring,
        label: str,
        past: FeedPast,
        *,
        stored: Mapping[Schema, Mapping[Key, int]],
        outlets: Mapping[Schema, Outlet],
        settled: Callable[[], bool] = lambda: True,
        mode: Mode = Mode.LOSSY,
        give_up_s: float = 60.0,
    ) -> None:
        self.old = old
        self.feed = engine.sketch(old)
        self.live: Consumer | None = None  # of the feed's ring, once the ring holds all that is missing
        self.lost = 0
        self._engine = engine
        self._ring = ring
        self._label = label
        self._past = past
        self._stored = {schema: Stored(schema) for schema in outlets}
        for schema, known in stored.items():
            for key, source_seq in known.items():
                self._stored[schema].know(*key, source_seq)
        self._outlets = outlets
        self._settled = settled
        self._last: dict[tuple[Schema, int], Records] = {}  # by schema and instrument: what subscribers get again
        self._mode = mode
        self._give_up_s = give_up_s
        self._begun = False
        self._trouble = ""  # why the store could not be read, as last logged
        self._reading: Iterator[Records] | None = None  # what is stored from `_next` on
        self._ticks = np.zeros(0, TICK)  # read but not yet folded
        self._next = 0
        self._until = 0
        self._log = structlog.get_logger()
        self._heard_s = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the feed has reached the head that the ring had when the rebuild joined it."""
        return self.live is not None and self.live.position >= self._until

    def turn(self) -> bool:
        """Take one batch. Returns whether there was one; check `finished` afterwards."""
        if self.live is not None:
            return self._read_live(self.live)
        silent_s = time.monotonic() - self._heard_s
        if silent_s > self._give_up_s:
            self._log.error("no stored ticks arrive: continuing without them; books are stale", ring=self._ring.name)
            self._join(OLDEST)
            return True
        try:
            if not self._begun:
                if not self._settled():
                    return False
                self._begin()
            ticks = self._read()
        except Stopped:
            return False
        except StoreError as error:
            if str(error) != self._trouble:  # log once, not each turn
                self._trouble = str(error)
                self._log.warning("the store cannot be read", why=self._trouble)
            self._reading = None
            return False
        if len(ticks):
            self._fold(ticks)
            self._heard_s = time.monotonic()
        if self._may_join(patient=silent_s < DRY_S):
            self._join(self._next)
            return True
        return len(ticks) > 0

    def last(self) -> list[tuple[Schema, Records]]:
        """The last record of each instrument, for the schemas whose last record is the current state."""
        return [(schema, records) for (schema, _), records in self._last.items()]

    def close(self) -> None:
        """Close what is being read."""
        self._reading = None
        if self.live is not None:
            self.live.close()

    # ------------------------------------------------------------------------------------------------ steps

    def _begin(self) -> None:
        """Start afresh from the stored checkpoints. Raises StoreError, Stopped."""
        beginning, stored = self._past.beginning(self._ring.start)
        count = len(beginning.checkpoints)
        self._log.info("restoring", feed=self._past.feed, first_seq=beginning.first_seq, checkpoint_records=count)
        for mark in stored:
            self._stored[mark.schema].know(mark.instrument, mark.series, mark.source_seq)
        self._engine.discard(self.feed)
        self.feed = self._engine.sketch(self.old)
        self._engine.announce(mark.instrument for mark in stored if mark.of_books)
        self._last.clear()
        if count:
            # Records derived from ticks before a checkpoint are stored already: the best offers that the checkpoint
            # gives are published when the feed is back, but not stored.
            for schema, records in self._engine.load(self.feed, beginning.checkpoints):
                self._remember(schema, records)
        if beginning.states:
            self._engine.restore(self.feed, beginning.states)
        self._next = beginning.first_seq
        self._ticks = self._ticks[:0]
        self._begun, self._heard_s = True, time.monotonic()

    def _read(self) -> Records:
        """The next batch of stored ticks; empty if the writer has not stored more. Raises like `_begin`."""
        if not len(self._ticks):
            self._reading = self._reading or self._past.ticks(self._next)
            found = next(self._reading, None)
            if found is None:
                self._reading = None  # look again later
            else:
                self._ticks = found
        batch, self._ticks = self._ticks[:BATCH_RECORDS], self._ticks[BATCH_RECORDS:]
        return batch

    def _may_join(self, *, patient: bool) -> bool:
        """Whether the ring holds the next ticks; while `patient`, with a margin, so that they are not overwritten."""
        if self._next > self._ring.head:
            return False
        capacity = self._ring.capacity_records
        margin = capacity // 8 if patient else 0
        return self._next >= self._ring.oldest and self._next >= self._ring.head - capacity + margin

    def _join(self, position: int) -> None:
        """Read the feed's ring from now on."""
        self._reading = None
        self.live = self._ring.consumer(self._label, self._mode, start=position)
        self.lost = self.live.lost
        self._until = self._ring.head

    def _read_live(self, live: Consumer) -> bool:
        ticks = live.read(min(BATCH_RECORDS, max(0, self._until - live.position)))
        if live.lost != self.lost:
            # Overtaken nonetheless: start again from the beginning.
            live.close()
            self.live = None
            self._begun, self._heard_s = False, time.monotonic()
            return False
        self._fold(ticks)
        return len(ticks) > 0

    def _fold(self, ticks: Records) -> None:
        """Fold ticks; a hole between them, where the journal is damaged, makes the books stale."""
        seqs = ticks["seq"].astype(np.int64)
        cuts = [0, *(np.flatnonzero(np.diff(seqs) != 1) + 1).tolist(), len(ticks)]
        for start, stop in pairwise(cuts):
            if start == stop:
                continue
            part = ticks[start:stop]
            first = int(seqs[start])
            if first != self._next:
                self._log.error("ticks are missing", ring=self._ring.name, first=self._next, count=first - self._next)
                self._engine.mistrust(self.feed, first, int(part[0]["ts_recv"]))
            for schema, records in self._engine.fold(self.feed, part):
                if BY_SCHEMA[schema].restated:
                    self._remember(schema, records)
                missing = self._stored[schema].missing(records)
                if len(missing):
                    self._outlets[schema](missing)
            self._next = int(seqs[stop - 1]) + 1

    def _remember(self, schema: Schema, records: Records) -> None:
        for place in np.unique(records["instrument"][::-1], return_index=True)[1].tolist():
            row = len(records) - 1 - place
            last = joined([records[row : row + 1]], records.dtype)
            self._last[schema, int(records[row]["instrument"])] = last
