"""The rings in which an engine stores its derived records, one for each schema that its settings produce."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tickplant.derive.derivation import Settings
from tickplant.derive.registry import BY_SCHEMA, wanted
from tickplant.engine.derived_sink import Key, Output
from tickplant.engine.moments import MomentOutput
from tickplant.engine.recovery import Outlet
from tickplant.records.layouts import Schema
from tickplant.records.schemas import FACTS
from tickplant.runtime.accounts import Account
from tickplant.runtime.job_specs import RingRef
from tickplant.shm.ring import Ring


class Outputs:
    """All outputs of an engine. A schema without a ring is stored nowhere, but numbered as if it were.

    Args:
        refs: the rings.
        settings: what is derived.
        label: the engine's name in rings.
        run_dir: the folder with the doorbells.
        resources: closes what is opened here.
        lossless: whether the source can wait for a writer.
        resumes: whether to skip records that the rings already hold from a predecessor.
        while_waiting: called while waiting for a writer.
    """

    def __init__(
        self,
        refs: Sequence[RingRef],
        settings: Settings,
        label: str,
        run_dir: Path,
        resources: contextlib.ExitStack,
        *,
        lossless: bool,
        resumes: bool,
        while_waiting: Callable[[], None],
    ) -> None:
        self.streams: dict[Schema, Output] = {}
        self.moments: dict[Schema, MomentOutput] = {}
        self._rings: dict[Schema, Ring] = {}
        names = {Schema(ref.schema): ref.name for ref in refs}
        for schema in wanted(settings):
            ring = None
            if schema in names:
                ring = resources.enter_context(Ring.attach(names[schema], schema, run_dir))
                self._rings[schema] = ring
            if BY_SCHEMA[schema].make:
                output = Output(schema, ring, label, lossless=lossless, resumes=resumes, while_waiting=while_waiting)
                resources.callback(output.close)
                self.streams[schema] = output
            elif ring and settings.checkpoint_s:
                moment = MomentOutput(ring, lossless=lossless, while_waiting=while_waiting)
                resources.callback(moment.close)
                self.moments[schema] = moment

    @property
    def waiting(self) -> bool:
        """Whether records wait that `flush` might store."""
        for moment in self.moments.values():  # noqa: SIM110  # at every wake-up, where `any` takes ten times as long
            if moment.waiting:
                return True
        return False

    def flush(self) -> None:
        """Store what waits for room, as far as there is room."""
        for moment in self.moments.values():
            if moment.waiting:
                moment.flush()

    def in_rings(self) -> Mapping[Schema, Mapping[Key, int]]:
        """How far each series is stored, as far as the rings still show it."""
        return {schema: output.in_ring() for schema, output in self.streams.items()}

    def outlets(self) -> dict[Schema, Outlet]:
        """What stores the records that a recovery makes, waiting for the writer."""
        return {schema: partial(output.store, patient=True) for schema, output in self.streams.items()}

    def are_settled(self, next_seq: Callable[[Schema], int]) -> bool:
        """Whether a predecessor's states, and the values before them, are in the journal.

        Args:
            next_seq: returns the seq that continues a schema's journal.
        """
        kept = [schema for schema in self._rings if BY_SCHEMA[schema].kept]
        return all(next_seq(schema) >= self._rings[schema].head for schema in kept)

    def counters(self) -> dict[str, int]:
        """What the supervisor shows."""
        counted = {
            "derived_dropped": sum(output.dropped for output in self.streams.values()),
            "derived_repeated": sum(output.repeated for output in self.streams.values()),
        }
        for schema in BY_SCHEMA:
            if not FACTS[schema].published:
                moment = self.moments.get(schema)
                counted[f"{FACTS[schema].name}s"] = moment.stored if moment else 0
                counted[f"{FACTS[schema].name}s_dropped"] = moment.dropped if moment else 0
        return counted

    def accounts(self) -> list[Account]:
        """The balances of all rings, which must add up."""
        return [account for output in self.streams.values() if (account := output.account())]
