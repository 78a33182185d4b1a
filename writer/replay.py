"""The replay process: a feed whose venue is the store. Imports shm, the store reader and shared modules.

`python -m tickplant.writer.replay`, its stdin being a control.ReplaySpec. Publishes stored ticks, with
their stored `seq`, into a ring in the order of `Store.scan`, as far apart as they were received, or at `speed` times
that, or as fast as the ring's readers take them. Exits 0 at the end of the data or when stopped; 1 with a sentence
where the store is damaged: a replay that leaves something out in silence would be worse than none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tickplant.control import ControlClient, ReplaySpec
from tickplant.errors import StoreError
from tickplant.instruments import FEED_SYMBOL
from tickplant.shm.ring import Producer
from tickplant.writer.source import StoredSource, run_source
from tickplant.writer.store import Store


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

    def __init__(self, spec: ReplaySpec, producer: Producer, client: ControlClient) -> None:
        super().__init__(spec.plant.heartbeat_s, producer, client)
        self.spec = spec
        self._pacer = Pacer(spec.speed)

    def run(self) -> None:
        """Play until the end of the data or until stopped."""
        store = Store(self.spec.plant.data_dir)
        ids = wanted_ids(store, self.spec.venue, self.spec.symbols)
        self._client.hello()
        for records in store.scan(ids=ids, start_ns=self.spec.start_ns, end_ns=self.spec.end_ns):
            self._play(records)
            if self.stopping:
                break
        self._client.done(self.counters())

    def _play(self, records: NDArray[np.void]) -> None:
        # A step back in time is played without delay.
        times = np.maximum.accumulate(records["ts_recv"])
        done = 0
        while done < len(records) and not self.stopping:
            due = self._pacer.due(times)
            if due > done:
                done += self.publish(records[done:due])
            else:
                self.wait(self._pacer.wait_s(int(times[done])))
            self.beat()


def main() -> None:
    """Run one replay; ends the process."""
    run_source(ReplaySpec, ReplayProcess)


if __name__ == "__main__":
    main()
