"""How an engine comes back: the state of one feed made anew from the journal and the ring.

What the writer has not stored yet is still in the feed's ring, since the writer gates it. So stored ticks are folded,
as the restore process plays them, until the ring holds all that comes next; from there on it is read, up to where it
stands at that moment. Nothing of that is published; derived records that were never stored are stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.engine.core import Engine, Feed
from tickplant.engine.derived_sink import Key, Stored
from tickplant.errors import RingError
from tickplant.records.arrays import joined
from tickplant.records.layouts import BBO, Schema
from tickplant.runtime.control import Restoring
from tickplant.shm.ring import OLDEST, Consumer, Mode, Ring

Records = NDArray[np.void]

BATCH_RECORDS: Final = 8192
DRY_S: Final = 1.0


class Outlet(Protocol):
    """What takes derived records."""

    def __call__(self, records: Records, *, patient: bool) -> tuple[Records, int]:
        """Store them."""


class Rebuild:
    """One feed's past, until it is recovered.

    Args:
        engine: whose feed it is.
        old: the feed as subscribers see it meanwhile.
        ring: of the feed.
        label: of the engine, in rings.
        run_dir: of the doorbells.
        stored: how far the engine's rings say that derived records are stored.
        store_bbo: takes those that are not.
        store_bars: likewise.
        mode: how the ring is read afterwards.
        give_up_s: an engine that is played nothing new for this long goes on with the ring alone, its books stale.
        ask: asks for a restore process.
        release: says that it may end.
    """

    def __init__(
        self,
        engine: Engine,
        old: Feed,
        ring: Ring,
        label: str,
        run_dir: Path,
        *,
        stored: dict[Key, int],
        store_bbo: Outlet,
        store_bars: Outlet,
        mode: Mode = Mode.LOSSY,
        give_up_s: float = 60.0,
        ask: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self.old = old
        self.feed = engine.sketch(old)
        self.live: Consumer | None = None  # of the feed's ring, once it holds all that is missing
        self.past: Consumer | None = None  # of the restore process's ring
        self.lost = 0
        self._engine = engine
        self._ring = ring
        self._label = label
        self._run_dir = run_dir
        self._stored = Stored()
        for (instrument, interval_s), source_seq in stored.items():
            self._stored.know(instrument, interval_s, source_seq)
        self._store = store_bbo, store_bars
        self._bbo: dict[int, Records] = {}  # by instrument: the last one
        self._mode = mode
        self._give_up_s = give_up_s
        self._ask = ask
        self._release = release
        self._offer: Restoring | None = None
        self._checkpoint_records = 0  # that come before the ticks
        self._next = 0
        self._furthest = 0  # that any restore process has got
        self._until = 0
        self._log = structlog.get_logger()
        self._heard_s = time.monotonic()
        ask()

    @property
    def consumer(self) -> Consumer | None:
        """What it reads now."""
        return self.live or self.past

    @property
    def finished(self) -> bool:
        """Whether the feed is where its ring was when it was joined."""
        return self.live is not None and self.live.position >= self._until

    def offer(self, message: Restoring) -> None:
        """A restore process is ready. It may be another one than before, whose predecessor died."""
        self._offer = message

    def turn(self) -> bool:
        """Take one batch. Returns whether there was any; after the last one look at `finished`."""
        if self.live is not None:
            return self._read_live(self.live)
        if self._offer is not None:
            self._begin(self._offer)
            self._offer = None
        silent_s = time.monotonic() - self._heard_s
        if silent_s > self._give_up_s:
            self._log.error("no stored ticks arrive: continuing without them; books are stale", ring=self._ring.name)
            self._join(OLDEST)
            return True
        if self.past is None:
            return False
        ticks = self.past.read(BATCH_RECORDS)
        if len(ticks):
            self._fold(self._load(ticks))
            if self._next > self._furthest:
                # One that dies again and again at the same place gets nowhere, however often it begins.
                self._furthest, self._heard_s = self._next, time.monotonic()
            self.past.commit(self.past.position)
        if self._may_join(patient=silent_s < DRY_S):
            self._join(self._next)
            return True
        return len(ticks) > 0

    def last_bbo(self) -> list[Records]:
        """The last best bid and offer of each instrument."""
        return list(self._bbo.values())

    def close(self) -> None:
        """Let go of what it reads."""
        for consumer in (self.live, self.past):
            if consumer is not None:
                consumer.close()

    # ------------------------------------------------------------------------------------------------ steps

    def _begin(self, offer: Restoring) -> None:
        """Start from nothing with the ticks of this restore process."""
        if self.past is not None:
            self.past.close()
            self.past = None
        try:
            with Ring.attach(offer.ring.name, Schema.TICK, self._run_dir) as ring:
                self.past = ring.consumer(self._label, Mode.GATING)
        except RingError as error:
            self._log.warning("a restore process ended too soon", why=str(error))
            return
        for mark in offer.stored:
            self._stored.know(mark.instrument, mark.interval_s, mark.source_seq)
        self._engine.discard(self.feed)
        self.feed = self._engine.sketch(self.old)
        self._engine.announce(mark.instrument for mark in offer.stored if not mark.interval_s)
        self._bbo.clear()
        self._checkpoint_records = offer.checkpoint_records
        self._next = offer.first_seq

    def _may_join(self, *, patient: bool) -> bool:
        """Whether the ring holds what comes next, and, unless patience is at an end, so safely that it can be read."""
        if self._checkpoint_records or self._next > self._ring.head:
            return False
        capacity = self._ring.capacity_records
        margin = capacity // 8 if patient else 0
        return self._next >= self._ring.oldest and self._next >= self._ring.head - capacity + margin

    def _join(self, position: int) -> None:
        """Read the feed's ring from now on."""
        if self.past is not None:
            self.past.close()
            self.past = None
        self.live = self._ring.consumer(self._label, self._mode, start=position)
        self.lost = self.live.lost
        self._until = self._ring.head
        self._release()

    def _read_live(self, live: Consumer) -> bool:
        ticks = live.read(min(BATCH_RECORDS, max(0, self._until - live.position)))
        if live.lost != self.lost:
            # Overtaken all the same: once more, from the beginning.
            live.close()
            self.live = None
            self._heard_s = time.monotonic()
            self._ask()
            return False
        self._fold(ticks)
        return len(ticks) > 0

    def _load(self, ticks: Records) -> Records:
        """Take in what is of checkpoints yet; returns the ticks behind it.

        What is derived from ticks before a checkpoint is stored, so the best bids and offers that it leads to are told
        when the feed is back, but not stored.
        """
        count = min(self._checkpoint_records, len(ticks))
        if count:
            self._checkpoint_records -= count
            self._remember(self._engine.load(self.feed, ticks[:count]))
        return ticks[count:]

    def _fold(self, ticks: Records) -> None:
        """Take in ticks; a hole between them, where the journal is damaged, makes the books stale."""
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
            bbo, bars = self._engine.fold(self.feed, part)
            self._remember(bbo)
            for store, records in zip(self._store, (bbo, bars), strict=True):
                missing = self._stored.missing(records)
                if len(missing):
                    store(missing, patient=True)
            self._next = int(seqs[stop - 1]) + 1

    def _remember(self, bbo: Records) -> None:
        for place in np.unique(bbo["instrument"][::-1], return_index=True)[1].tolist():
            row = len(bbo) - 1 - place
            self._bbo[int(bbo[row]["instrument"])] = joined([bbo[row : row + 1]], BBO)
