"""The replay process: a feed whose venue is the store.

`python -m tickplant.store.replay`, its stdin being a job_specs.ReplaySpec. Publishes stored ticks, with their stored
`seq`, into a ring in the order of `Store.scan`, as far apart as they were received, or at `speed` times that, or as
fast as the ring's readers take them. Exits 0 at the end of the data or when stopped; 1 with a sentence where the
store is damaged: a replay that leaves something out in silence would be worse than none. With `skip_damage` it goes
on and names what it left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError, TickplantError
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import GapCause, Schema
from tickplant.records.notes import make_gaps
from tickplant.runtime.child_loop import ChildLoop, Stopped
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import ReplaySpec
from tickplant.shm.ring import Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.store.pacing import Pacer
from tickplant.store.reader import SKIP_HINT, Store
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.index import Damage

BATCH_RECORDS: Final = 8192

LEFT_OUT_TOLD: Final = 1000
"""So many damaged stretches are reported one by one; all are in the log."""


def wanted_ids(store: Store, venue: str, symbols: Sequence[str]) -> list[int] | None:
    """Ids of what is to be played, with the feed-wide records of its venues; None for everything.

    Raises StoreError where nothing of that is stored.
    """
    if not venue and not symbols:
        return None
    rows = [row for row in store.instruments if not venue or row.venue == venue]
    found = [row for row in rows if not symbols or row.symbol in symbols]
    missing = set(symbols) - {row.symbol for row in found}
    if missing or not found:
        names = ", ".join(sorted(missing)) or "anything"
        raise StoreError(f"does not hold {names}{f' of {venue}' if venue else ''}", path=store.data_dir)
    venues = {row.venue for row in found}
    return [row.id for row in rows if row in found or (row.symbol == FEED_SYMBOL and row.venue in venues)]


class ReplayProcess:
    """Plays one selection once: the producer of a ring of stored ticks.

    Whatever may take longer than a heartbeat, reading the store above all, calls `go_on` of the loop meanwhile.
    """

    def __init__(self, spec: ReplaySpec, resources: contextlib.ExitStack) -> None:
        self.spec = spec
        self._records = 0
        self._ts_recv = 0
        self._loop = resources.enter_context(ChildLoop(spec.plant, spec.name, lambda: (self.counters(), [])))
        ring = resources.enter_context(Ring.attach(spec.ring.name, Schema.TICK, Path(spec.plant.run_dir)))
        self._producer = resources.enter_context(ring.producer())
        self._pacer = Pacer(spec.speed)
        self._ids: list[int] = []  # instruments that are played
        self._left_out: dict[str, int] = {}  # damage that was passed over, with its bytes
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Play until the end of the data or until stopped."""
        on_damage = self._leave_out if self.spec.skip_damage else None
        store = Store(self.spec.plant.data_dir, on_damage=on_damage, while_reading=self._loop.go_on)
        ids = wanted_ids(store, self.spec.venue, self.spec.symbols)
        self._ids = [
            row.id for row in store.instruments if row.symbol != FEED_SYMBOL and (ids is None or row.id in ids)
        ]
        self._loop.client.hello()
        try:
            for records in store.scan(ids=ids, start_ns=self.spec.start_ns, end_ns=self.spec.end_ns):
                self._play(records)
        except Stopped:
            pass
        except DamageError as error:
            raise TickplantError(f"{error}; {SKIP_HINT}") from error
        self._loop.done()

    def counters(self) -> Counters:
        """What the supervisor shows."""
        return {"records": self._records, "ts_recv": self._ts_recv, "left_out": self._left_out}

    def _leave_out(self, damage: Damage) -> None:
        """Name it, and play a GAP of every instrument: books are stale from here to their next CLEAR."""
        self._log.error("damage in the journal: left out", damage=str(damage))
        if len(self._left_out) < LEFT_OUT_TOLD:
            self._left_out[str(damage)] = damage.length_bytes
        seq = damage.first_seq or 0
        gaps = make_gaps(self._ids, GapCause.DAMAGE, ts_recv=self._ts_recv, flags=ALL_STREAMS, seq=seq)
        for start in range(0, len(gaps), BATCH_RECORDS):
            self._publish(gaps[start : start + BATCH_RECORDS])

    def _publish(self, records: NDArray[np.void]) -> int:
        """Publish a batch as there is room for it, always the first records; returns how many. Raises Stopped."""
        batch = records[:BATCH_RECORDS]
        published = self._producer.publish_all(batch, lambda _: self._loop.go_on())
        self._records += published
        self._ts_recv = int(batch[-1]["ts_recv"])
        self._loop.go_on()
        return published

    def _play(self, records: NDArray[np.void]) -> None:
        # A step back in time is played without delay.
        times = np.maximum.accumulate(records["ts_recv"])
        done = 0
        while done < len(records):
            due = self._pacer.due(times)
            if due > done:
                done += self._publish(records[done:due])
            else:
                self._loop.nap(self._pacer.wait_s(int(times[done])))
                self._loop.go_on()


def warm_up() -> None:
    """Compile or load the kernels of such a process."""
    prepare_ring()
    warm_up_codec()


def main() -> None:
    """Run one replay; ends the process with a sentence where it cannot work."""
    with child_process(ReplaySpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            ReplayProcess(spec, resources).run()


if __name__ == "__main__":
    main()
