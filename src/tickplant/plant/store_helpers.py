"""Processes that come and go: the history service and the compactor."""

from __future__ import annotations

import time
from typing import Final

from tickplant.plant.child import Child, ChildPlan
from tickplant.plant.plans import Plan
from tickplant.plant.pool import Pool
from tickplant.runtime.config import COMPACTOR, HISTORY

COMPACT_FIRST_S: Final = 60.0
"""A plant that has just started has more urgent work than compaction."""


class StoreHelpers:
    """The helper processes of one plant. They are children of its pool while they run."""

    def __init__(self, plan: Plan, pool: Pool) -> None:
        self._plan = plan
        self._pool = pool
        self._compact_s = time.monotonic() + COMPACT_FIRST_S  # when the next compaction is due
        if plan.compactor:
            self._compact_s = time.monotonic() + min(plan.compactor[1], COMPACT_FIRST_S)

    def want_history(self, plan: ChildPlan) -> None:
        """Start the history service of this plan if it does not run: an engine has questions. May be called often."""
        if not self._pool.stopping:
            self._start(plan)

    def compact(self) -> None:
        """Start the compactor once it is due; call this often."""
        if self._plan.compactor is None or self._pool.stopping or time.monotonic() < self._compact_s:
            return
        plan, every_s = self._plan.compactor
        self._compact_s = time.monotonic() + every_s
        self._start(plan)

    def _start(self, plan: ChildPlan) -> None:
        """Start a helper unless it is running."""
        if plan.name not in self._pool.children:
            child = self._pool.children[plan.name] = Child(plan, self._plan.settings)
            self._pool.start(child)

    def is_optional(self, name: str) -> bool:
        """Whether a plant is healthy without this process, which comes and goes."""
        return name in (HISTORY, COMPACTOR)

    def ended(self, child: Child, *, in_order: bool, why: str) -> bool:
        """Handle the end of a helper; returns whether the child was one. Nothing depends on it; clients ask again."""
        if not self.is_optional(child.name):
            return False
        del self._pool.children[child.name]
        if not in_order:
            self._pool.tell("warning", f"{child.name} ended with {why}")
        return True
