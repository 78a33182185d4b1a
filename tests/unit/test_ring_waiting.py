"""Waiting at a ring: doorbells of consumers that sleep, and room for a producer."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

import numpy as np
import pytest
from small_ring import CAPACITY, die, seqs, ticks

from tickplant.errors import RingError
from tickplant.records.layouts import Schema
from tickplant.shm import protocol
from tickplant.shm.producer import TURN_S
from tickplant.shm.ring import Mode, Ring, prepare_kernels

pytestmark = pytest.mark.kernels


# -- waiting


def test_waiting_returns_at_once_where_there_is_something_and_times_out_where_not(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    assert consumer.wait(0) is False
    assert consumer.wait(0.001) is False
    producer.publish(ticks(100, 1))
    assert consumer.wait(0) and consumer.wait(None)


def test_a_sleeping_consumer_is_rung_once_per_sleep_and_an_awake_one_never(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")

    def rung() -> int:
        try:
            return len(os.read(consumer.fileno(), 100))
        except BlockingIOError:
            return 0

    producer.publish(ticks(100, 1))
    assert rung() == 0
    assert consumer.prepare_wait() is False
    for seq in (101, 105, 109):
        consumer.read(100)
        assert consumer.prepare_wait() is True
        for offset in range(4):
            producer.publish(ticks(seq + offset, 1))
        assert rung() == 1
        consumer.commit(consumer.position)
        consumer.finish_wait()
    producer.publish(ticks(113, 1))
    assert rung() == 0


def test_finish_wait_forgets_what_was_rung(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    assert consumer.prepare_wait()
    producer.publish(ticks(100, 1))
    assert select.select([consumer], [], [], 90)[0]
    consumer.finish_wait()
    consumer.finish_wait()
    assert not select.select([consumer], [], [], 0)[0]


def test_a_successor_rings_for_what_a_killed_producer_published_without_ringing(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    assert consumer.prepare_wait()
    protocol.grant(ring._words, 1)
    protocol.announce(ring._words, 1)
    protocol.copy_in(ring._words, ticks(100, 1).view(np.int64), 0, 1)
    protocol.advance(ring._words, 1)
    assert protocol.bells(ring._words) == 1, "noted as rung, but never rung"
    assert protocol.bells(ring._words) == 0
    producer.close()
    assert not select.select([consumer], [], [], 0)[0]
    ring.producer()
    assert select.select([consumer], [], [], 90)[0]


def test_the_doorbell_of_a_dead_consumer_costs_nothing_and_its_successor_hears_it(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    for seq in (100, 101):
        assert consumer.prepare_wait()
        producer.publish(ticks(seq, 1))
        consumer.read(1)
        consumer.finish_wait()
    assert consumer.prepare_wait()
    die(consumer)
    producer.publish(ticks(102, 1))
    consumer = ring.consumer("reader")
    consumer.read(100)
    assert consumer.prepare_wait()
    producer.publish(ticks(103, 1))
    assert select.select([consumer], [], [], 90)[0]


def test_a_doorbell_path_that_is_no_fifo_is_refused_and_the_place_stays_free(ring: Ring, tmp_path: Path) -> None:
    (tmp_path / f"{ring.name}.0.bell").write_text("")
    with pytest.raises(RingError, match="is not a FIFO: delete it"):
        ring.consumer("reader")
    assert ring.statistics().consumers == []


def test_a_missing_doorbell_directory_is_named(ring_name: str, tmp_path: Path) -> None:
    with Ring.create(ring_name, Schema.TICK, 4, epoch=0, doorbell_dir=tmp_path / "gone") as ring:
        with pytest.raises(RingError, match="gone/.* cannot be opened: No such file"):
            ring.consumer("reader")
        ring.unlink()


def test_descriptors_are_given_back(ring: Ring) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        with ring.producer() as producer, ring.consumer("a") as consumer:
            assert consumer.prepare_wait()
            producer.publish(ticks(producer.position, 1))
            consumer.read(1)
            consumer.commit(consumer.position)
        with ring.consumer("b", Mode.LOSSY), pytest.raises(RingError):
            ring.consumer("b", Mode.LOSSY)
        with Ring.attach(ring.name, Schema.TICK, ring._doorbell_dir), pytest.raises(RingError):
            Ring.attach(ring.name, Schema.BAR, ring._doorbell_dir)
    assert descriptors() == before


def test_all_kernels_can_be_prepared_without_a_ring() -> None:
    prepare_kernels()


# -- waiting for room


def test_all_records_are_published_as_the_reader_makes_room(ring: Ring) -> None:
    taken: list[int] = []
    left: list[int] = []
    with ring.producer() as producer, ring.consumer("writer", Mode.GATING) as consumer:

        def take(waiting: int) -> None:
            left.append(waiting)
            taken.extend(seqs(consumer.read(5)))
            consumer.commit(consumer.position)

        assert producer.publish_all(ticks(0, 30), take) == 30
        assert left == [14, 9, 4]
        taken.extend(seqs(consumer.read(CAPACITY)))
    assert taken == list(range(30))


def test_patience_ends_with_a_reader_that_takes_nothing_and_not_with_a_slow_one(ring: Ring) -> None:
    steps = iter([1, 1, 1, 0, 0, 0, 0, 0, 0])
    with ring.producer() as producer, ring.consumer("writer", Mode.GATING) as consumer:

        def take(_: int) -> None:
            if count := next(steps):
                consumer.read(count)
                consumer.commit(consumer.position)

        assert producer.publish_all(ticks(0, 30), take, patience_s=2.5 * TURN_S) == CAPACITY + 3


def test_a_producer_that_stands_still_is_no_less_patient(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stood_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + stood_s[0])
    steps = iter([0, 0, CAPACITY])
    with ring.producer() as producer, ring.consumer("writer", Mode.GATING) as consumer:

        def take(_: int) -> None:
            stood_s[0] += 60
            consumer.read(next(steps))
            consumer.commit(consumer.position)

        assert producer.publish_all(ticks(0, CAPACITY + 4), take, patience_s=2.5 * TURN_S) == CAPACITY + 4


def test_whoever_waits_for_room_may_give_up(ring: Ring) -> None:
    def give_up(_: int) -> None:
        raise TimeoutError

    with ring.producer() as producer, ring.consumer("writer", Mode.GATING) as consumer:
        with pytest.raises(TimeoutError):
            producer.publish_all(ticks(0, 30), give_up)
        assert seqs(consumer.read(CAPACITY)) == list(range(CAPACITY))
