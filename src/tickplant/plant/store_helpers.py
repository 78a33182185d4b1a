"""Processes that come and go: restore and recall, which read the store for an engine that asks, and the compactor."""

from __future__ import annotations

import time
from typing import Final

from tickplant.plant.child import Child
from tickplant.plant.plans import Plan
from tickplant.plant.pool import Pool
from tickplant.plant.rings import Rings
from tickplant.runtime.config import COMPACTOR
from tickplant.runtime.control import Recall, Restore, Restored, Restoring

COMPACT_FIRST_S: Final = 60.0
"""A plant that has just begun has better things to do."""


class StoreHelpers:
    """Those of one plant. They are children of its pool while they run, and after that only where they failed."""

    def __init__(self, plan: Plan, pool: Pool, rings: Rings) -> None:
        self._plan = plan
        self._pool = pool
        self._rings = rings
        self._restores = {restore.child.name: restore for restore in plan.restores}
        self._recalls = {recall.name: recall for recall in plan.recalls.values()}
        self._compact_s = time.monotonic() + COMPACT_FIRST_S  # when it is due
        if plan.compactor:
            self._compact_s = time.monotonic() + min(plan.compactor[1], COMPACT_FIRST_S)
        self._again: set[str] = set()  # restores that were killed to make place for another

    def start(self, child: Child) -> None:
        """Start a process of the plant; one that restores gets a new ring."""
        if child.name in self._restores:
            ring = self._restores[child.name].ring
            self._rings.unlink(ring.ref.name)
            self._rings.create(ring, 0)
        self._pool.start(child)

    def restore(self, message: Restore | Restored | Restoring) -> None:
        """An engine wants to be played stored ticks, is offered them, or has had what it needs."""
        restores = self._restores.values()
        plan = next((r for r in restores if (r.engine, r.feed) == (message.engine, message.feed)), None)
        if plan is None or self._pool.stopping:
            return
        child = self._pool.children.get(plan.child.name)
        if isinstance(message, Restoring):
            self._pool.board.tell(plan.engine, message)
        elif isinstance(message, Restored):
            if child is not None and child.alive:
                child.terminate()
            elif child is not None:
                self._end_restore(child)
        elif child is not None and child.alive:
            # It plays for the dead predecessor of this engine, or is about to end: a new one when it has.
            self._again.add(child.name)
            child.kill()
        else:
            child = self._pool.children[plan.child.name] = Child(plan.child, self._plan.settings)
            self.start(child)

    def recall(self, message: Recall) -> None:
        """An engine needs somebody who reads the store for it; it may ask often."""
        plan = self._plan.recalls[message.engine]
        if plan.name not in self._pool.children and not self._pool.stopping:
            child = self._pool.children[plan.name] = Child(plan, self._plan.settings)
            self.start(child)

    def compact(self) -> None:
        """Start the compactor where it is due; call it often."""
        if self._plan.compactor is None or self._pool.stopping or time.monotonic() < self._compact_s:
            return
        plan, every_s = self._plan.compactor
        self._compact_s = time.monotonic() + every_s
        if plan.name not in self._pool.children:
            child = self._pool.children[plan.name] = Child(plan, self._plan.settings)
            self.start(child)

    def is_optional(self, name: str) -> bool:
        """Whether a plant is well without this process: it comes and goes."""
        return name in self._recalls or name == COMPACTOR

    def ended(self, child: Child, *, in_order: bool, why: str) -> bool:
        """Whether the end of this child is a helper's that nothing has to be done about any more."""
        if self.is_optional(child.name):
            # Nothing depends on it: whoever still needs one asks again, and the next compaction goes on.
            del self._pool.children[child.name]
            if not in_order:
                self._pool.tell("warning", f"{child.name} ended with {why}")
            return True
        if child.name in self._restores and (in_order or child.name in self._again):
            self._end_restore(child)
            return True
        return False

    def _end_restore(self, child: Child) -> None:
        """One has ended in order, or to make place for another."""
        del self._pool.children[child.name]
        plan = self._restores[child.name]
        self._rings.unlink(plan.ring.ref.name)
        if child.name in self._again:
            self._again.discard(child.name)
            self.restore(Restore(plan.engine, plan.feed))
