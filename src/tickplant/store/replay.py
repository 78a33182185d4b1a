"""The replay process: a feed whose venue is the store.

`python -m tickplant.store.replay`, its stdin being a job_specs.ReplaySpec. Publishes stored ticks, with their stored
`seq`, into a ring in the order of `Store.scan`, as far apart as they were received, or at `speed` times that, or as
fast as the ring's readers take them. Exits 0 at the end of the data or when stopped; 1 with a sentence where the
store is damaged: a replay that leaves something out in silence would be worse than none. With `skip_damage` it goes
on and names what it left out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError, TickplantError
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import GapCause
from tickplant.records.notes import make_gaps
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import ReplaySpec
from tickplant.store.reader import SKIP_HINT, Store
from tickplant.store.stored_source import Stopped, StoredSource, run_source
from tickplant.writer.index import Damage

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


class Pacer:
    """Says when records are due: as far apart as they were received, divided by the speed."""

    def __init__(self, speed: float | Literal["max"], clock: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._clock = clock
        self._first_ns: int | None = None
        self._started_s = 0.0

    def due(self, times: NDArray[np.int64]) -> int:
        """How many of these receive times, in order, have come. The first one ever asked for has come at once."""
        if self._speed == "max":
            return len(times)
        if self._first_ns is None:
            self._first_ns, self._started_s = int(times[0]), self._clock()
        played_ns = int((self._clock() - self._started_s) * 1e9 * self._speed)
        return int(np.searchsorted(times, self._first_ns + played_ns, side="right"))

    def wait_s(self, time_ns: int) -> float:
        """How long until a receive time comes, 0 where it has."""
        if self._speed == "max" or self._first_ns is None:
            return 0.0
        due_s = self._started_s + (time_ns - self._first_ns) / 1e9 / self._speed
        return max(0.0, due_s - self._clock())


class ReplayProcess(StoredSource):
    """Plays one selection once."""

    def __init__(self, spec: ReplaySpec, resources: contextlib.ExitStack) -> None:
        super().__init__(spec, resources)
        self.spec = spec
        self._pacer = Pacer(spec.speed)
        self._ids: list[int] = []  # instruments that are played
        self._left_out: dict[str, int] = {}  # damage that was passed over, with its bytes
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Play until the end of the data or until stopped."""
        on_damage = self._leave_out if self.spec.skip_damage else None
        store = Store(self.spec.plant.data_dir, on_damage=on_damage, while_reading=self.beat)
        ids = wanted_ids(store, self.spec.venue, self.spec.symbols)
        self._ids = [
            row.id for row in store.instruments if row.symbol != FEED_SYMBOL and (ids is None or row.id in ids)
        ]
        self.loop.client.hello()
        try:
            for records in store.scan(ids=ids, start_ns=self.spec.start_ns, end_ns=self.spec.end_ns):
                self._play(records)
        except Stopped:
            pass
        except DamageError as error:
            raise TickplantError(f"{error}; {SKIP_HINT}") from error
        self.loop.done()

    def counters(self) -> Counters:
        """What the supervisor shows."""
        return {**super().counters(), "left_out": self._left_out}

    def _leave_out(self, damage: Damage) -> None:
        """Name it, and play a GAP of every instrument: books are stale from here to their next CLEAR."""
        self._log.error("damage in the journal: left out", damage=str(damage))
        if len(self._left_out) < LEFT_OUT_TOLD:
            self._left_out[str(damage)] = damage.length_bytes
        seq = damage.first_seq or 0
        gaps = make_gaps(self._ids, GapCause.DAMAGE, ts_recv=self._ts_recv, flags=ALL_STREAMS, seq=seq)
        self.publish_all(gaps)

    def _play(self, records: NDArray[np.void]) -> None:
        # A step back in time is played without delay.
        times = np.maximum.accumulate(records["ts_recv"])
        done = 0
        while done < len(records):
            due = self._pacer.due(times)
            if due > done:
                done += self.publish(records[done:due])
            else:
                self.loop.nap(self._pacer.wait_s(int(times[done])))
                self.beat()


def main() -> None:
    """Run one replay; ends the process."""
    run_source(ReplayProcess)


if __name__ == "__main__":
    main()
