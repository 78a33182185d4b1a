"""The writer process: rings in, journals out.

`python -m tickplant.writer` reads a job_specs.WriterSpec from stdin. When stopped (or, with `until_drained`, as soon as
the rings are drained) it stores what they hold and exits 0. If it cannot, it prints a sentence and exits 1.

Records stay in a ring until they are durable: the writer commits only what the journal has synced. So a killed writer
continues from there, and a full disk loses nothing until the ring is full as well.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

import structlog

from tickplant.errors import StoreError
from tickplant.records import ages
from tickplant.records.ages import Ages
from tickplant.records.layouts import Schema
from tickplant.runtime import accounts
from tickplant.runtime.accounts import Account
from tickplant.runtime.child_loop import ChildLoop
from tickplant.runtime.child_process import child_process, settle
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import RingRef, WriterSpec
from tickplant.shm.ring import Consumer, Mode, Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.journal import Journal

LONGEST_NAP_S: Final = 0.05
SHORTEST_NAP_S: Final = 0.005
NAP_RECORDS_PER_S: Final = 1_300_000
"""Sets the length of a nap, in which records gather in the rings: at half this rate, a nap fills half of the smallest
ring. So a writer of large rings wakes only 20 times a second, and needs no bell for records that arrive meanwhile."""

MOST_CHUNKS: Final = 8
"""The most chunks that one flush writes: half a million records, which take 70 ms to encode."""

RETRY_S: Final = 1.0
LAST_TRIES: Final = 5
"""How often a stopping writer retries a failing disk, every RETRY_S; after that the rings keep their records."""


class Input:
    """One ring and its journal."""

    def __init__(self, ref: RingRef, consumer: Consumer, journal: Journal, capacity_records: int) -> None:
        self.ref = ref
        self.consumer = consumer
        self.journal = journal
        self.capacity_records = capacity_records
        # Committing late keeps the ring full, so hold no more than a quarter of it. But after a slow write, take up to
        # half with one sync: the size of a sync limits how much a slow disk can store per second.
        self.batch_records = max(1, min(journal.chunk_records, capacity_records // 4))
        self.most_records = max(self.batch_records, min(MOST_CHUNKS * journal.chunk_records, capacity_records // 2))
        self.began = min(journal.next_seq, consumer.position)
        self.lost = 0  # records that neither ring nor journal had at the start
        self.stored = 0
        self.until: int | None = None  # position at which to stop
        self.due_s = 0.0  # when the pending records must be flushed

    @property
    def finished(self) -> bool:
        """Whether everything up to `until` is durable."""
        return self.until is not None and self.consumer.position >= self.until and not self.journal.pending_records

    def account(self) -> Account:
        """The account of this ring: its numbers must add up."""
        journal, consumer = self.journal, self.consumer
        behind = max(0, consumer.lag)
        return accounts.storing(
            journal.producer,
            journal.schema.name.lower(),
            consumer.position + behind - self.began,
            stored=self.stored,
            lost=self.lost,
            in_ring=journal.pending_records + behind,
        )


class WriterProcess:
    """The loop: take records from the rings, flush when due, sleep."""

    def __init__(self, spec: WriterSpec, resources: contextlib.ExitStack) -> None:
        self.spec = spec
        self._log = structlog.get_logger()
        self._retry_s = 0.0
        self._tries = 0
        self._trouble = ""  # why the disk fails; empty if it does not
        self._counts = {"records": 0, "bytes": 0, "flushes": 0, "flush_errors": 0, "lost": 0, "damaged": 0}
        self._ages = Ages()  # ages of ticks when they become durable
        self._inputs: list[Input] = []
        self._loop = resources.enter_context(
            ChildLoop(spec.plant, spec.name, lambda: (self.counters(), self.accounts()))
        )
        self._loop.stopping = spec.until_drained
        for ref in spec.inputs:
            self._inputs.append(self._input(ref, resources))
        # Producers ring only when asked. A late ring ends one nap, not every later one, since it is drained.
        for source in self._inputs:
            self._loop.poll.add(source.consumer.fileno(), source.consumer.finish_wait)
        least_records = min((source.capacity_records for source in self._inputs), default=1 << 20)
        self._nap_s = min(LONGEST_NAP_S, max(SHORTEST_NAP_S, least_records / NAP_RECORDS_PER_S))

    def run(self) -> None:
        """Work until stopped, then until all records that the rings held at that moment are stored."""
        loop = self._loop
        loop.hello()
        while not self._finished():
            busy = self._take()
            self._flush()
            if not busy:
                self._sleep()
            loop.beat()
        loop.report()
        if self.spec.until_drained:
            loop.done()

    def counters(self) -> Counters:
        """Counters for the supervisor. `durable` is the seq up to which each journal is safe."""
        return {
            **self._counts,
            "pending": sum(source.journal.pending_records for source in self._inputs),
            "trouble": self._trouble,
            "most_behind": {source.ref.name: source.consumer.most_behind for source in self._inputs},
            "age_durable": self._ages.report(),
            "age_durable_s": self._ages.sum_s,
            "durable": {
                f"{source.journal.producer}/{source.journal.schema.name.lower()}": source.journal.durable_seq
                for source in self._inputs
            },
        }

    def accounts(self) -> list[Account]:
        """The account of each ring."""
        return [source.account() for source in self._inputs]

    # ------------------------------------------------------------------------------------------------ one turn

    def _finished(self) -> bool:
        if not self._loop.stopping:
            return False
        for source in self._inputs:
            if source.until is None:
                source.until = source.consumer.position + max(0, source.consumer.lag)
        if self._trouble and self._tries >= LAST_TRIES:
            raise StoreError(f"{self._trouble}; what is not stored stays in the rings", path=self.spec.plant.data_dir)
        return all(source.finished for source in self._inputs)

    def _take(self) -> bool:
        """Move records from the rings to their journals. Returns whether more may be waiting already."""
        busy = False
        for source in self._inputs:
            journal = source.journal
            behind = source.consumer.lag + journal.pending_records > source.batch_records
            most_records = source.most_records if behind else source.batch_records
            records = source.consumer.read(max(0, most_records - journal.pending_records))
            if len(records):
                if not journal.pending_records:
                    source.due_s = time.monotonic() + max(0.0, self.spec.config.flush_s - 2 * self._nap_s)
                journal.append(records)
            busy |= journal.pending_records >= source.batch_records and not self._trouble
        return busy

    def _flush(self) -> None:
        """Make durable what is due, and free its room in the rings."""
        now_s = time.monotonic()
        if self._trouble and now_s < self._retry_s:
            return
        trouble = ""
        for source in self._inputs:
            journal = source.journal
            if not journal.pending_records:
                continue
            full = journal.pending_records >= source.batch_records
            if not (full or self._loop.stopping or now_s >= source.due_s):
                continue
            before, written = journal.durable_seq, journal.bytes_written
            try:
                durable = journal.flush()
            except StoreError as error:
                trouble = str(error)
                self._counts["flush_errors"] += 1
                continue
            source.consumer.commit(source.consumer.position)
            source.stored += durable - before
            self._counts["records"] += durable - before
            self._counts["bytes"] += journal.bytes_written - written
            self._counts["flushes"] += 1
        self._note(trouble)

    def _note(self, trouble: str) -> None:
        """Log when the disk begins to fail, and when it works again."""
        if trouble:
            self._retry_s = time.monotonic() + RETRY_S
            self._tries += self._loop.stopping
            if trouble != self._trouble:
                self._log.error("cannot store; records wait in the ring", why=trouble)
        elif self._trouble:
            self._log.warning("storing again", after=self._trouble)
        self._trouble = trouble

    def _sleep(self) -> None:
        """Sleep until records arrive. If records are pending, sleep at most a nap, or until they are due."""
        loop, now_s = self._loop, time.monotonic()
        waiting = [source.due_s for source in self._inputs if source.journal.pending_records]
        if self._trouble:
            loop.wait(self._retry_s - now_s)
        elif waiting:
            loop.wait(min(self._nap_s, min(waiting) - now_s))
        elif loop.stopping:
            return
        elif all(source.consumer.prepare_wait() for source in self._inputs):
            loop.wait(loop.due_s)
            for source in self._inputs:
                source.consumer.finish_wait()
            loop.wait(self._nap_s)  # more records will follow
        else:
            for source in self._inputs:
                source.consumer.finish_wait()

    # ------------------------------------------------------------------------------------------------ set-up

    def _input(self, ref: RingRef, resources: contextlib.ExitStack) -> Input:
        schema = Schema(ref.schema)
        ring = resources.enter_context(Ring.attach(ref.name, schema, Path(self.spec.plant.run_dir)))
        journal = self._open_journal(ref, schema, ring.epoch)
        resources.callback(journal.close)
        for damage in journal.found:
            self._counts["damaged"] += 1
            self._log.warning("found damage in the journal", damage=str(damage))
        head = ring.statistics().head
        if journal.next_seq > head and not self.spec.until_drained:
            message = (
                f"holds records up to {journal.next_seq}, but its ring stands at {head}: it belongs to another plant"
            )
            raise StoreError(message, path=journal.directory)
        start = min(max(journal.next_seq, ring.start), head)
        consumer = resources.enter_context(ring.consumer(self.spec.name, Mode.GATING, start=start))
        source = Input(ref, consumer, journal, ring.capacity_records)
        missing = consumer.position - journal.next_seq
        if missing > 0:
            source.lost = missing
            self._counts["lost"] += missing
            self._log.error(
                "records are missing from the ring and the journal", journal=str(journal.directory), count=missing
            )
            journal.skip_to(consumer.position)
        return source

    def _open_journal(self, ref: RingRef, schema: Schema, epoch: int) -> Journal:
        """Open a journal. While the disk fails, log that and retry."""
        config = self.spec.config
        while True:
            try:
                journal = Journal(
                    Path(self.spec.plant.data_dir),
                    schema,
                    ref.producer,
                    epoch=epoch,
                    rotate_bytes=config.rotate_mib << 20,
                    chunk_records=config.chunk_records,
                    level=config.compression_level,
                    ages=self._ages if schema is Schema.TICK else None,
                    while_reading=self._loop.beat,
                )
            except StoreError as error:
                if self._loop.stopping or not isinstance(error.__cause__, OSError):
                    raise
                self._note(str(error))
                self._loop.beat()
                self._loop.wait(RETRY_S)
            else:
                self._note("")
                return journal


def warm_up() -> None:
    """Compile the kernels of every writer, or load them from the cache."""
    prepare_ring()
    ages.prepare_kernels()
    warm_up_codec()


def main() -> None:
    """Run one writer; ends the process."""
    with child_process(WriterSpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            process = WriterProcess(spec, resources)
            settle()
            process.run()
