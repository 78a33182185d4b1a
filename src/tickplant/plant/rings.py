"""The rings of a plant as their owner sees them: created, inspected, unlinked; those of a dead plant are found again.

Only the supervisor creates and unlinks rings; its children attach.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from tickplant.errors import RingError
from tickplant.plant.plans import RingPlan
from tickplant.records.layouts import Schema
from tickplant.runtime.control import RingStatus
from tickplant.runtime.job_specs import RingRef
from tickplant.shm.view import Mode, RingView


class Rings:
    """The rings that one supervisor has created."""

    def __init__(self, plant_id: str, run_dir: Path) -> None:
        self._prefix = f"tickplant-{plant_id}-"
        self._run_dir = run_dir
        self._open: dict[str, tuple[RingPlan, RingView]] = {}  # by segment name

    def create(self, plan: RingPlan, start: int) -> None:
        """Create a ring whose first record has seq `start`. Raises RingError."""
        ref = plan.ref
        ring = RingView.create(
            ref.name,
            Schema(ref.schema),
            plan.capacity_records,
            start=start,
            epoch=time.time_ns(),
            doorbell_dir=self._run_dir,
        )
        self._open[ref.name] = plan, ring

    def unlink(self, name: str) -> None:
        """Remove a ring, if it exists."""
        if name in self._open:
            _, ring = self._open.pop(name)
            ring.unlink()
            ring.close()

    def unlink_stored(self) -> dict[str, int]:
        """Remove all rings except those with records that the store lacks; returns these counts by name of the ring."""
        kept = {name: behind for name, (plan, ring) in self._open.items() if plan.stored and (behind := _behind(ring))}
        for name in kept:
            self._open.pop(name)[1].close()
        for name in list(self._open):
            self.unlink(name)
        return kept

    def behind(self) -> bool:
        """Whether a reader that must not lose anything has not taken everything."""
        return any(_behind(ring) for _, ring in self._open.values())

    def behind_of(self, writer: str) -> int:
        """Records of stored rings that this writer has not stored."""
        return sum(
            consumer.lag
            for plan, ring in self._open.values()
            for consumer in ring.statistics().consumers
            if plan.stored and consumer.mode is Mode.GATING and consumer.label == writer
        )

    def status(self, plans: Iterable[RingPlan], most: Mapping[str, Mapping[str, int]]) -> list[RingStatus]:
        """The status of these rings, without those not created yet. `most`: greatest lag by reader and segment."""
        return [_status(*self._open[plan.ref.name], most) for plan in plans if plan.ref.name in self._open]

    def left_over(self, warn: Callable[[str], object]) -> list[RingRef]:
        """Rings that a dead plant of this data directory left to be stored; those that cannot be are unlinked."""
        found = []
        for name in RingView.list_names(self._prefix):
            producer, _, schema = name.removeprefix(self._prefix).rpartition("-")
            try:
                ref = RingRef(name=name, schema=int(Schema[schema.upper()]), producer=producer)
                RingView.attach(name, Schema(ref.schema), self._run_dir).close()
            except (RingError, KeyError) as error:
                warn(f"ring {name} of the last run is incomplete and unlinked: {error}")
                RingView.unlink_name(name)
                continue
            found.append(ref)
        return found


_REPLAY: Final = re.compile(r"[0-9a-f]{8}r\d+\Z")


def unlink_unstored(plant_id: str) -> None:
    """Remove the rings of a dead replay, which hold nothing that the store lacks."""
    if _REPLAY.match(plant_id):
        for name in RingView.list_names(f"tickplant-{plant_id}-"):
            RingView.unlink_name(name)


def _behind(ring: RingView) -> int:
    """Records that some gating consumer has not committed."""
    return max((c.lag for c in ring.statistics().consumers if c.mode is Mode.GATING), default=0)


def _status(plan: RingPlan, ring: RingView, most: Mapping[str, Mapping[str, int]]) -> RingStatus:
    numbers = ring.statistics()
    found = {consumer.label: most.get(consumer.label, {}).get(plan.ref.name, 0) for consumer in numbers.consumers}
    return RingStatus(
        producer=plan.ref.producer,
        schema=Schema(plan.ref.schema).name.lower(),
        head=numbers.head,
        capacity=numbers.capacity,
        lag={consumer.label: consumer.lag for consumer in numbers.consumers},
        lost={consumer.label: consumer.lost for consumer in numbers.consumers},
        most={consumer.label: max(consumer.lag, found[consumer.label]) for consumer in numbers.consumers},
    )
