"""The places of a ring: who may join and publish, and who takes over from whoever was killed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_ring import CAPACITY, die, seqs, ticks

from tickplant.errors import RingError
from tickplant.records.layouts import Schema
from tickplant.shm import layout, protocol
from tickplant.shm.ring import Mode, Ring

pytestmark = pytest.mark.kernels


# -- places


def test_the_seventeenth_consumer_is_refused_and_a_dead_lossy_place_is_given_away(ring: Ring) -> None:
    consumers = [ring.consumer(f"c{i}", Mode.LOSSY if i == 5 else Mode.GATING) for i in range(16)]
    with pytest.raises(RingError, match="has 16 consumers, the most it can have"):
        ring.consumer("one-more")
    die(consumers[3])
    with pytest.raises(RingError, match="has 16 consumers, the most it can have"):
        ring.consumer("one-more")
    die(consumers[5])
    replacement = ring.consumer("one-more")
    labels = [consumer.label for consumer in ring.statistics().consumers]
    assert labels == [*(f"c{i}" for i in range(5)), "one-more", *(f"c{i}" for i in range(6, 16))]
    assert replacement.lost == 0
    assert len(list(ring._doorbell_dir.iterdir())) == 16


def test_a_label_in_use_is_refused_and_so_is_another_mode(ring: Ring) -> None:
    consumer = ring.consumer("writer")
    with pytest.raises(RingError, match=f"consumer writer is in use by process {os.getpid()}"):
        ring.consumer("writer")
    die(consumer)
    with pytest.raises(RingError, match="of dead process .* is not lossy"):
        ring.consumer("writer", Mode.LOSSY)


@pytest.mark.parametrize("label", ["", "x" * 32, "ünï", "a\nb", "a\0"])
def test_a_label_that_does_not_fit_is_refused(ring: Ring, label: str) -> None:
    with pytest.raises(RingError, match="is not 1 to 31 printable ASCII"):
        ring.consumer(label)


def test_a_consumer_killed_while_it_joined_holds_nobody_back(ring: Ring) -> None:
    consumer = ring.consumer("writer")
    ring._header["consumers"][0]["label"] = b""  # written last
    die(consumer)
    assert ring.statistics().consumers == []
    consumer = ring.consumer("writer")
    assert [entry.label for entry in ring.statistics().consumers] == ["writer"]
    assert consumer._base == layout.consumer_base(0)


def test_a_closed_end_says_so(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 1))
    producer.close()
    producer.close()
    consumer.close()
    consumer.close()
    with pytest.raises(RingError, match="its producer is closed"):
        producer.publish(ticks(101, 1))
    for call in (lambda: consumer.read(1), lambda: consumer.commit(100), consumer.prepare_wait):
        with pytest.raises(RingError, match="consumer writer is closed"):
            call()


def test_producer_and_consumers_outlive_the_ring_object_they_came_from(ring_name: str, tmp_path: Path) -> None:
    with Ring.create(ring_name, Schema.TICK, CAPACITY, epoch=0, doorbell_dir=tmp_path) as ring:
        producer, consumer = ring.producer(), ring.consumer("writer")
    with producer, consumer:
        producer.publish(ticks(0, 2))
        assert seqs(consumer.read(9)) == [0, 1]
    ring.unlink()


# -- take-over of the producer


def test_a_second_producer_is_refused_while_the_first_lives(ring: Ring) -> None:
    producer = ring.producer()
    with pytest.raises(RingError, match=f"already has a producer, process {os.getpid()}"):
        ring.producer()
    producer.publish(ticks(100, 3))
    producer.close()
    assert ring.producer().position == 103


def test_a_batch_cut_short_by_a_kill_is_never_seen_and_nothing_it_touched_is_trusted(ring: Ring) -> None:
    """Invariant 4 of the protocol: the successor's shorter batch must not make the ruined slots trusted again."""
    producer, lossy = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    producer.publish(ticks(100, 16))
    garbage = ticks(999, 8)
    words = ring._words
    protocol.grant(words, 8)
    protocol.announce(words, 8)
    protocol.copy_in(words, garbage.view(np.int64), 0, 8)
    producer.close()
    successor = ring.producer()
    assert successor.position == 116
    successor.publish(ticks(116, 2))
    received = seqs(lossy.read(100))
    assert received == list(range(118 - len(received), 118))
    assert received[0] >= 108
    assert lossy.lost == received[0] - 100


def test_a_successor_does_not_trust_a_limit_that_was_never_confirmed(ring: Ring) -> None:
    producer = ring.producer()
    producer.publish(ticks(100, 30))
    consumer = ring.consumer("writer")
    producer.close()
    ring._words[layout.LIMIT] += 8  # raised, and killed before the second look at the consumers
    successor = ring.producer()
    free = consumer.position + CAPACITY - 130
    assert successor.publish(ticks(130, 16), timeout_s=0) == free
    assert seqs(consumer.read(100)) == list(range(consumer.committed, 130 + free))


def test_a_consumer_that_joins_while_the_limit_is_raised_is_seen_at_the_second_look(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 5: the producer looks, the consumer joins, having seen the old limit, and only then it is raised."""
    producer = ring.producer()
    producer.publish(ticks(100, 30))
    looks: list[int] = []
    gate = protocol.gate

    def look(words: NDArray[np.int64]) -> int:
        looks.append(gate(words))
        if len(looks) == 1:
            ring.consumer("writer")
        return looks[-1]

    monkeypatch.setattr(protocol, "gate", look)
    free = getattr(protocol.grant, "py_func", protocol.grant)(ring._words, 8)
    position = ring.statistics().consumers[0].position
    assert looks == [layout.MAX_POSITION, position]
    assert free <= position + CAPACITY - 130 < 8
