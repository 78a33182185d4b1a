"""The ring against a plain model, with every step of the protocol interleaved and killed as hypothesis likes.

Each rule is one step of one party, in this one process: a publish or a read can stand half done while the others go
on, and each party can be killed wherever it stands. The model is a list of what was published.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray
from remains import ring_name

from tickplant.shm import layout, protocol
from tickplant.shm.ring import OLDEST, Consumer, Mode, Producer, Ring

pytestmark = pytest.mark.kernels

RECORD = np.dtype([("seq", "<i8"), ("twice", "<i8"), ("life", "<i8")])
WORDS = RECORD.itemsize // 8
LABELS = ("gating-1", "gating-2", "lossy-1", "lossy-2")


def records_of(first: int, count: int, life: int) -> NDArray[np.void]:
    """Records that say where they belong, and which life of the producer made them."""
    records = np.zeros(count, RECORD)
    records["seq"] = np.arange(first, first + count)
    records["twice"] = 2 * records["seq"] + life
    records["life"] = life
    return records


class Reader:
    """One consumer, and what it has seen."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.began = self.done = consumer.position
        self.seen: set[int] = set()


class RingMachine(RuleBasedStateMachine):
    """One producer, two gating and two lossy consumers."""

    @initialize(
        capacity_bits=st.integers(0, 4),
        start=st.sampled_from([0, 1, 7, 2**40 + 3]),
        labels=st.sampled_from([("lossy-1",), ("lossy-1", "lossy-2"), ("gating-1", "lossy-1"), LABELS]),
    )
    def create(self, capacity_bits: int, start: int, labels: tuple[str, ...]) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.name = ring_name()
        self.capacity = 1 << capacity_bits
        self.start = start
        self.ring = Ring.create(
            self.name, RECORD, self.capacity, start=start, epoch=1, doorbell_dir=Path(self.directory.name)
        )
        self.words = self.ring._words
        self.lives: list[int] = []  # of each published record: which life of the producer made it
        self.life = 0
        self.highest_intent = start
        self.pending: NDArray[np.void] | None = None  # announced, and partly copied
        self.pending_copied = 0
        self.readers: dict[str, Reader] = {}
        self.begin_life()
        for label in labels:
            self.join(label, oldest=True)

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            try:
                for label in self.readers:
                    self.drain(label)
            finally:
                for reader in self.readers.values():
                    reader.consumer.close()
                self.producer.close()
                self.ring.unlink()
                self.ring.close()
                self.directory.cleanup()

    @property
    def head(self) -> int:
        return self.start + len(self.lives)

    def begin_life(self) -> None:
        self.life += 1
        self.producer: Producer = self.ring.producer()
        assert self.producer.position == self.head

    # -- producer

    def publish_some(self, count: int) -> None:
        """Publish, or, where a batch stands half done, copy a little more of it."""
        if count and self.pending is None:
            self.publish(count)
        elif self.pending is not None:
            self.copy_a_little(count)

    @precondition(lambda self: self.pending is None)
    @rule(count=st.integers(1, 40))
    def publish(self, count: int) -> None:
        room = self.producer.room()
        held = [r.consumer.committed for r in self.readers.values() if r.consumer.mode is Mode.GATING]
        assert room == min([self.capacity, *(position + self.capacity - self.head for position in held)])
        done = self.producer.publish(records_of(self.head, count, self.life), timeout_s=0)
        assert done == (min(count, room) if held else count)
        self.lives += [self.life] * done

    @precondition(lambda self: self.pending is None)
    @rule(count=st.integers(1, 40))
    def announce(self, count: int) -> None:
        count = min(count, max(self.capacity >> 2, 1), protocol.grant(self.words, min(count, self.capacity)))
        if count > 0:
            protocol.announce(self.words, count)
            self.pending, self.pending_copied = records_of(self.head, count, self.life), 0

    @precondition(lambda self: self.pending is not None)
    @rule(words=st.integers(1, 12))
    def copy_a_little(self, words: int) -> None:
        """Word by word, so that a record can stand torn."""
        assert self.pending is not None
        source = self.pending.view(np.int64)
        for i in range(self.pending_copied, min(self.pending_copied + words, len(source))):
            slot = (self.head + i // WORDS) % self.capacity
            self.words[layout.HEADER_WORDS + slot * WORDS + i % WORDS] = source[i]
        self.pending_copied = min(self.pending_copied + words, len(source))

    @precondition(lambda self: self.pending is not None)
    @rule(ring_bells=st.booleans())
    def advance(self, ring_bells: bool) -> None:
        assert self.pending is not None
        protocol.copy_in(self.words, self.pending.view(np.int64), 0, len(self.pending))
        protocol.advance(self.words, len(self.pending))
        self.lives += [self.life] * len(self.pending)
        self.pending = None
        if ring_bells:
            protocol.bells(self.words)

    @rule(raise_limit=st.booleans())
    def kill_producer(self, raise_limit: bool) -> None:
        if raise_limit:  # killed inside `grant`, before the second look at the consumers
            self.words[layout.LIMIT] = min(
                self.words[layout.LIMIT] + max(self.capacity >> 3, 1), protocol.gate(self.words) + self.capacity
            )
        self.pending = None
        self.producer.close()
        self.begin_life()

    # -- consumers

    def join(self, label: str, oldest: bool) -> None:
        mode = Mode.GATING if label.startswith("gating") else Mode.LOSSY
        consumer = self.ring.consumer(label, mode, start=OLDEST if oldest else None)
        assert self.start <= consumer.position <= self.head
        assert consumer.lost == 0
        self.readers[label] = Reader(consumer)

    def some(self, data: Any) -> Reader:
        return self.readers[data.draw(st.sampled_from(sorted(self.readers)))]

    def take(self, reader: Reader, records: NDArray[np.void], *, first_look: bool) -> None:
        """Check records just read. `first_look`: the kernel was called, so a lossy reader is done with all before."""
        position = reader.consumer.position
        if first_look and reader.consumer.mode is Mode.LOSSY:
            reader.done = position - len(records)
        assert reader.consumer.committed == reader.done
        seqs = list(range(position - len(records), position))
        assert records["seq"].tolist() == seqs
        assert records["life"].tolist() == [self.lives[seq - self.start] for seq in seqs]
        assert (records["twice"] == 2 * records["seq"] + records["life"]).all()
        reader.seen.update(seqs)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 20))
    def read(self, data: Any, count: int) -> None:
        reader = self.some(data)
        lag = reader.consumer.lag
        records = reader.consumer.read(count)
        self.take(reader, records, first_look=lag > 0)

    @precondition(lambda self: self.readers)
    @rule(
        data=st.data(),
        count=st.integers(1, 20),
        before=st.integers(0, 20),
        stale=st.sampled_from([0, 0, 0, 1, 5]),
        moment=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
        amid=st.sampled_from([0, 1, 5, 16, 20]),
        behind=st.sampled_from([0, 0, 1, 5, 16, 20]),
    )
    def read_while_the_producer_works(
        self, data: Any, count: int, before: int, stale: int, moment: float, amid: int, behind: int
    ) -> None:
        """A read step by step, with records published before, in the middle of, and behind its copy."""
        reader = self.some(data)
        self.publish_some(before)
        base = reader.consumer._base
        protocol.finish(self.words, base)
        head = self.head - min(stale, reader.consumer.lag)
        if reader.consumer.mode is Mode.LOSSY:
            protocol.skip_overwritten(self.words, base, head)
        count = min(count, head - reader.consumer.position)
        copy = np.zeros(count * WORDS, np.int64)
        for i in range(len(copy)):
            if i == int(moment * len(copy)):
                self.publish_some(amid)
            slot = (reader.consumer.position + i // WORDS) % self.capacity
            copy[i] = self.words[layout.HEADER_WORDS + slot * WORDS + i % WORDS]
        self.publish_some(behind)
        kept = protocol.settle(self.words, copy, base, count)
        self.take(reader, copy[: kept * WORDS].view(RECORD), first_look=True)

    @rule(back=st.integers(0, 5))
    def commit(self, back: int) -> None:
        for reader in self.readers.values():
            if reader.consumer.mode is Mode.GATING:
                reader.done = max(reader.done, reader.consumer.position - back)
            reader.consumer.commit(reader.done)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def sleep_and_wake(self, data: Any) -> None:
        reader = self.some(data)
        assert reader.consumer.prepare_wait() == (reader.consumer.position == self.head)
        reader.consumer.finish_wait()
        if reader.consumer.mode is Mode.LOSSY:
            reader.done = reader.consumer.position

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def kill_consumer(self, data: Any) -> None:
        reader = self.some(data)
        old, lost = reader.consumer, reader.consumer.lost
        assert old._lock is not None
        old._lock.close()
        old._doorbell.close()
        old._lock = None
        reader.consumer = self.ring.consumer(old.label, old.mode)
        assert (reader.consumer.position, reader.consumer.lost) == (reader.done, lost)
        # What the dead one had in hand died with it: its successor reads it again, or loses it.
        reader.seen = {seq for seq in reader.seen if seq < reader.done}

    @rule(label=st.sampled_from(LABELS), oldest=st.booleans())
    def come_or_go(self, label: str, oldest: bool) -> None:
        if label not in self.readers:
            self.join(label, oldest)
        else:
            self.ring.evict(label)
            self.readers.pop(label).consumer.close()

    def drain(self, label: str) -> None:
        """Read all there is: afterwards each record since it began was either seen or counted as lost, never both."""
        reader = self.readers[label]
        while reader.consumer.lag:
            self.take(reader, reader.consumer.read(7), first_look=True)
        assert len(reader.seen) + reader.consumer.lost == self.head - reader.began
        if reader.consumer.mode is Mode.GATING:
            assert reader.consumer.lost == 0

    # -- what always holds

    @invariant()
    def header_is_consistent(self) -> None:
        if not hasattr(self, "ring"):
            return
        statistics = self.ring.statistics()
        limit = int(self.words[layout.LIMIT])
        assert statistics.head == self.head
        assert self.start <= self.head <= statistics.intent <= limit <= self.head + self.capacity
        assert statistics.intent >= self.highest_intent, "intent never falls"
        self.highest_intent = statistics.intent
        for consumer in statistics.consumers:
            assert consumer.mode is Mode.LOSSY or consumer.position >= limit - self.capacity


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=150, stateful_step_count=40)
