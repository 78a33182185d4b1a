"""What `verify --deep` reports for a feed, and the derived records that it checks, in the order of their ticks."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

Records = NDArray[np.void]

FLAWS: Final = 100


class Flaw(msgspec.Struct, frozen=True):
    """A stored record that does not follow from its feed's ticks."""

    engine: str
    schema: str
    seq: int  # of the stored record
    text: str


class DeepSummary(msgspec.Struct):
    """What was proved about the records that engines derived from one feed."""

    feed: str
    ticks: int = 0
    checkpoints: int = 0  # books that agree
    bbo: int = 0
    bars: int = 0
    trade_bars: int = 0
    values: int = 0
    states: int = 0  # states of series that agree
    unproved: int = 0  # records that are neither proved nor refuted
    lacking: int = 0  # records that follow from the ticks, before the last stored one, but are not stored
    wrong: int = 0
    stopped: str = ""  # the damage after which nothing was checked
    flaws: list[Flaw] = []  # the first FLAWS wrong records


class StoredDerived:
    """Derived records of one engine and feed, taken in the order of the ticks that made them."""

    def __init__(self, store: Store, engine: str, schema: Schema, ids: frozenset[int]) -> None:
        self.engine = engine
        self._blocks = store.read(engine, schema, Selection(ids=ids)) if ids else iter(())
        self._held: Records | None = next(self._blocks, None)

    def until(self, last: int) -> Records | None:
        """The stored records made by ticks up to this seq; None if there are none."""
        taken = []
        while self._held is not None:
            place = int(np.searchsorted(np.maximum.accumulate(self._held["source_seq"]), last, side="right"))
            taken.append(self._held[:place])
            if place < len(self._held):
                self._held = self._held[place:]
                break
            self._held = next(self._blocks, None)
        return join_records(taken) if any(map(len, taken)) else None

    @property
    def ended(self) -> bool:
        """Whether no records are left."""
        return self._held is None

    def rest(self) -> int:
        """How many records were not taken."""
        count = 0
        while self._held is not None:
            count += len(self._held)
            self._held = next(self._blocks, None)
        return count
