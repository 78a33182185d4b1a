"""Processes that read the store for an engine's subscribers, started when the engine asks for one."""

from __future__ import annotations

from tickplant.plant.child import Child
from tickplant.plant.plans import Plan
from tickplant.plant.pool import Pool
from tickplant.runtime.control import Recall


class StoreHelpers:
    """Those of one plant. They are children of its pool while they run."""

    def __init__(self, plan: Plan, pool: Pool) -> None:
        self._plan = plan
        self._pool = pool
        self._recalls = {recall.name: recall for recall in plan.recalls.values()}

    def recall(self, message: Recall) -> None:
        """An engine needs somebody who reads the store for it; it may ask often."""
        plan = self._plan.recalls[message.engine]
        if plan.name not in self._pool.children and not self._pool.stopping:
            child = self._pool.children[plan.name] = Child(plan, self._plan.settings)
            self._pool.start(child)

    def is_optional(self, name: str) -> bool:
        """Whether a plant is well without this process: it comes and goes with the requests for it."""
        return name in self._recalls

    def ended(self, child: Child, *, in_order: bool, why: str) -> bool:
        """Whether this child was one of them: nothing depends on it, and an engine that still needs one asks again."""
        if child.name not in self._recalls:
            return False
        del self._pool.children[child.name]
        if not in_order:
            self._pool.tell("warning", f"{child.name} ended with {why}")
        return True
