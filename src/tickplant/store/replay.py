"""The replay process: a feed whose venue is the store.

`python -m tickplant.store.replay` reads a job_specs.ReplaySpec from stdin. It publishes stored ticks, with their stored
`seq`, into a ring; several feeds are merged by either clock. Ticks come at their original intervals, at `speed` times
that, or as fast as the ring's readers take them. A replay may be paused, stepped, sought and looped
(`runtime.control.Playback`). When the time jumps, every instrument gets a STATUS SOUGHT and a DISCONNECTED. After a
jump, and at the start of a replay from a given time, the books of that time come as snapshots, followed by everything
recorded since. Exits 0 at the end of the data or when stopped. If the store is damaged, it prints a sentence and exits
1: a replay that skips records silently would be worse than none. With `skip_damage` it continues, and names what it
left out.
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
from tickplant.records.layouts import GapCause, Schema, StatusCode
from tickplant.records.merge import merge_by_receive_time
from tickplant.records.notes import make_gaps, make_statuses
from tickplant.runtime.child_loop import ChildLoop, Stopped
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import Counters, Message, Playback
from tickplant.runtime.job_specs import ReplaySpec
from tickplant.shm.ring import Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.store.reader import SKIP_HINT, Store
from tickplant.store.selection import Selection
from tickplant.store.stored_books import begins_at, fold_at
from tickplant.store.tape import Tape
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.index import Damage

BATCH_RECORDS: Final = 8192

LEFT_OUT_TOLD: Final = 1000
"""How many damaged stretches are reported one by one; the log has all of them."""


def wanted_ids(store: Store, venue: str, symbols: Sequence[str]) -> list[int] | None:
    """Ids to play, including the feed-wide records of their venues; None for everything.

    Raises StoreError for a venue or symbol that is not stored.
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
    """Plays one selection: the producer of a ring of stored ticks.

    Work that may take longer than a heartbeat, above all reading the store, calls the loop's `go_on` meanwhile.
    """

    def __init__(self, spec: ReplaySpec, resources: contextlib.ExitStack) -> None:
        self.spec = spec
        self._records = 0
        self._ts_recv = 0
        self._tape = Tape(spec.speed, paused=spec.paused, loop=spec.loop)
        self._loop = resources.enter_context(
            ChildLoop(spec.plant, spec.name, lambda: (self.counters(), []), hear=self._hear)
        )
        ring = resources.enter_context(Ring.attach(spec.ring.name, Schema.TICK, Path(spec.plant.run_dir)))
        self._producer = resources.enter_context(ring.producer())
        self._ids: list[int] = []  # instruments to play
        self._left_out: dict[str, int] = {}  # damage that was skipped, with its size in bytes
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Play until the end of the data or until stopped."""
        on_damage = self._leave_out if self.spec.skip_damage else None
        store = Store(self.spec.plant.data_dir, on_damage=on_damage, while_reading=self._loop.go_on)
        ids = wanted_ids(store, self.spec.venue, self.spec.symbols)
        self._ids = [
            row.id for row in store.instruments if row.symbol != FEED_SYMBOL and (ids is None or row.id in ids)
        ]
        self._loop.hello()
        try:
            self._play_all(store, None if ids is None else frozenset(ids))
        except Stopped:
            pass
        except DamageError as error:
            raise TickplantError(f"{error}; {SKIP_HINT}") from error
        self._loop.done()

    def counters(self) -> Counters:
        """Counters for the supervisor."""
        tape = self._tape
        return {
            "records": self._records,
            "ts_recv": self._ts_recv,
            "ts": tape.time_ns or 0,
            "speed": tape.speed,
            "paused": tape.paused,
            "loop": tape.loop,
            "left_out": self._left_out,
        }

    def _hear(self, message: Message) -> None:
        if isinstance(message, Playback):
            self._tape.hear(message)
            self._loop.report()

    def _play_all(self, store: Store, ids: frozenset[int] | None) -> None:
        """Play from the beginning to the end, and again from each time that is sought. Raises Stopped."""
        clock, tape = self.spec.clock, self._tape
        start_ns, jumped = self.spec.start_ns, False
        while True:
            begins = self._begin(store, ids, start_ns, jumped=jumped)
            selection = Selection(ids=ids, end_ns=self.spec.end_ns, clock=clock)
            streams = [store.read(name, Schema.TICK, selection, first_seq=seq) for name, seq in begins.items()]
            before = self._records
            for records in merge_by_receive_time(streams, f"ts_{clock}"):
                if not self._play(records):
                    break
            while tape.paused and tape.sought is None:  # at the end: the user may want to go back
                self._loop.nap(tape.wait_s(0))
                self._loop.listen()
                self._loop.go_on()
            sought = tape.take_sought()
            if sought is None and not (tape.loop and self._records > before):
                return
            start_ns = self.spec.start_ns if sought is None else max(sought, self.spec.start_ns or sought)
            jumped = True

    def _begin(self, store: Store, ids: frozenset[int] | None, start_ns: int | None, *, jumped: bool) -> dict[str, int]:
        """Announce a jump in time, if any, and publish the books; returns the seq from which each feed continues."""
        if jumped:
            at_ns = start_ns or 0
            self._publish_all(make_statuses(self._ids, StatusCode.SOUGHT, ts_recv=at_ns))
            self._publish_all(make_statuses(self._ids, StatusCode.DISCONNECTED, ts_recv=at_ns, flags=ALL_STREAMS))
        if start_ns is None:
            return dict.fromkeys(store.producers(), 0)
        begins, played = begins_at(store, ids, start_ns, self.spec.clock), set(self._ids)
        for venue, symbol in dict.fromkeys((row.venue, row.symbol) for row in store.instruments if row.id in played):
            fold, instrument = fold_at(store, store.find(venue, symbol), start_ns, begins=begins)
            if not fold.book(instrument).stale:  # a live subscriber would have a stale book at this time as well
                snapshot = fold.snapshot()
                snapshot["ts_recv"] = start_ns
                self._publish_all(snapshot)
        return begins

    def _leave_out(self, damage: Damage) -> None:
        """Log the damage, and play a GAP for every instrument: books are stale from here to their next CLEAR."""
        self._log.error("damage in the journal: left out", damage=str(damage))
        if len(self._left_out) < LEFT_OUT_TOLD:
            self._left_out[str(damage)] = damage.length_bytes
        seq = damage.first_seq or 0
        gaps = make_gaps(self._ids, GapCause.DAMAGE, ts_recv=self._ts_recv, flags=ALL_STREAMS, seq=seq)
        self._publish_all(gaps)

    def _publish_all(self, records: NDArray[np.void]) -> None:
        for start in range(0, len(records), BATCH_RECORDS):
            self._publish(records[start : start + BATCH_RECORDS])

    def _publish(self, records: NDArray[np.void]) -> int:
        """Publish the first records of a batch, as room permits; returns how many. Raises Stopped."""
        batch = records[:BATCH_RECORDS]
        published = self._producer.publish_all(batch, lambda _: self._loop.go_on())
        self._records += published
        self._ts_recv = int(batch[-1]["ts_recv"])
        self._loop.go_on()
        return published

    def _play(self, records: NDArray[np.void]) -> bool:
        """Play a block as it becomes due; False if another time is sought. Raises Stopped."""
        # A step back in time is played without delay.
        times, flags = np.maximum.accumulate(records[f"ts_{self.spec.clock}"]), records["flags"]
        tape, done = self._tape, 0
        while done < len(records):
            self._loop.listen()
            if tape.sought is not None:
                return False
            ahead = slice(done, done + BATCH_RECORDS)
            if due := tape.due(times[ahead], flags[ahead]):
                done += self._publish(records[done : done + due])
                tape.time_ns = int(times[done - 1])
            else:
                self._loop.nap(tape.wait_s(int(times[done])))
                self._loop.go_on()
        return True


def warm_up() -> None:
    """Compile the kernels of a replay, or load them from the cache."""
    prepare_ring()
    warm_up_codec()


def main() -> None:
    """Run one replay; ends the process, with a sentence if the replay cannot run."""
    with child_process(ReplaySpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            ReplayProcess(spec, resources).run()


if __name__ == "__main__":
    main()
