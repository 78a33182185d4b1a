"""What gating and lossy consumers of a ring get, and what each costs the producer."""

from __future__ import annotations

import select
import threading
import time

import numpy as np
import pytest
from small_ring import CAPACITY, die, seqs, ticks

from tickplant.errors import RingError
from tickplant.records.layouts import TICK
from tickplant.shm import layout, protocol
from tickplant.shm.ring import LATEST, OLDEST, Consumer, Mode, Ring

pytestmark = pytest.mark.kernels


# -- gating consumers


def test_a_full_ring_takes_a_prefix_and_counts_the_wait(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    assert producer.publish(ticks(100, 20), timeout_s=0) == 16
    assert producer.publish(ticks(116, 1), timeout_s=0.005) == 0
    producer.drop(1)
    assert (producer.room(), consumer.lag) == (0, 16)
    assert seqs(consumer.read(100)) == list(range(100, 116))
    assert producer.room() == 0, "read is not committed"
    consumer.commit(103)
    assert (producer.room(), consumer.committed) == (3, 103)
    assert producer.publish(ticks(116, 20), timeout_s=0) == 3
    statistics = ring.statistics()
    assert (statistics.full_waits, statistics.dropped) == (3, 1)
    assert seqs(consumer.read(100)) == [116, 117, 118]


def test_the_slowest_of_several_gating_consumers_counts(ring: Ring) -> None:
    producer, first, second = ring.producer(), ring.consumer("first"), ring.consumer("second")
    producer.publish(ticks(100, 16))
    for consumer, position in ((first, 110), (second, 105)):
        consumer.read(100)
        consumer.commit(position)
    assert producer.publish(ticks(116, 16), timeout_s=0) == 5


def test_a_waiting_producer_goes_on_as_soon_as_there_is_room(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    received: list[int] = []

    def read_all() -> None:
        while len(received) < 200 and consumer.wait(90):
            received.extend(seqs(consumer.read(7)))
            consumer.commit(consumer.position)

    reader = threading.Thread(target=read_all)
    reader.start()
    assert producer.publish(ticks(100, 200), timeout_s=None) == 200
    reader.join()
    assert received == list(range(100, 300))


def test_what_was_not_read_cannot_be_committed_nor_a_commit_taken_back(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 5))
    consumer.read(3)
    consumer.commit(102)
    for position in (101, 104):
        with pytest.raises(RingError, match=f"writer cannot commit {position}: only 102 to 103"):
            consumer.commit(position)


def test_a_gating_consumer_resumes_where_it_committed_however_it_ended(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 10))
    for end in (die, Consumer.close):
        consumer.read(4)
        consumer.commit(consumer.position - 2)
        end(consumer)
        assert not ring.statistics().consumers[0].alive
        consumer = ring.consumer("writer")
        assert ring.statistics().consumers[0].alive
    assert seqs(consumer.read(100)) == [104, 105, 106, 107, 108, 109]


def test_a_dead_gating_consumer_holds_the_producer_back_until_it_is_evicted(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    die(consumer)
    assert producer.publish(ticks(100, 20), timeout_s=0.002) == 16
    ring.evict("writer")
    assert ring.statistics().consumers == []
    assert producer.publish(ticks(116, 20), timeout_s=0) == 20
    with pytest.raises(RingError, match="has no consumer writer"):
        ring.evict("writer")


def test_an_evicted_live_consumer_is_rung(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 3))
    consumer.read(2)
    rung = []

    def sleep() -> None:
        assert consumer.prepare_wait() is False
        consumer.read(9)
        assert consumer.prepare_wait()
        rung.append(bool(select.select([consumer], [], [], 90)[0]))
        consumer.finish_wait()

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    deadline_s = time.monotonic() + 90
    while not ring._words[consumer._base + layout.NAPS] & 1:
        assert time.monotonic() < deadline_s
    ring.evict("writer")
    sleeper.join()
    assert rung == [True]
    producer.publish(ticks(103, 1))
    for call in (lambda: consumer.read(1), lambda: consumer.commit(103), consumer.prepare_wait):
        with pytest.raises(RingError, match="writer was evicted"):
            call()
    consumer.close()
    assert ring.consumer("writer").position >= 100, "its label is free again"


def test_what_was_copied_while_the_place_was_taken_away_is_not_handed_out(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 16))
    out = np.zeros(16 * 8, np.int64)
    protocol.copy_out(ring._words, out, consumer._base, 16)
    ring.evict("writer")
    producer.publish(ticks(116, 5))
    assert protocol.settle(ring._words, out, consumer._base, 16) == protocol.EVICTED


def test_a_gating_consumer_that_joins_late_gets_what_is_certain_to_stay(ring: Ring) -> None:
    producer = ring.producer()
    producer.publish(ticks(100, 10))
    early = ring.consumer("early")
    assert seqs(early.read(100)) == list(range(100, 110))
    early.commit(110)
    ring.evict("early")
    producer.publish(ticks(110, 30))
    late = ring.consumer("late")
    assert 140 - CAPACITY <= late.position <= 140 - CAPACITY + CAPACITY // 8
    first = late.position
    assert producer.publish(ticks(140, 20), timeout_s=0) == first + CAPACITY - 140
    assert seqs(late.read(100)) == list(range(first, first + CAPACITY))


def test_a_gating_consumer_may_start_anywhere_in_the_ring_and_counts_what_is_gone(ring: Ring) -> None:
    producer = ring.producer()
    producer.publish(ticks(100, 40))
    assert ring.consumer("exact", start=139).position == 139
    assert ring.consumer("latest", start=LATEST).position == 140
    gone = ring.consumer("gone", start=101)
    assert gone.lost == gone.position - 101 > 0
    oldest = ring.consumer("oldest", start=OLDEST)
    assert (oldest.position, oldest.lost) == (gone.position, 0)
    for start in (99, 141):
        with pytest.raises(RingError, match=f"cannot start at {start}: the ring's positions are 100 to 140"):
            ring.consumer("ahead", start=start)


def test_a_resuming_gating_consumer_may_know_better_where_it_was(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 10))
    consumer.read(8)
    consumer.commit(104)
    die(consumer)
    consumer = ring.consumer("writer", start=107)
    assert (consumer.position, consumer.committed, consumer.lost) == (107, 107, 0)
    assert producer.room() == 13


# -- lossy consumers


def test_a_lossy_consumer_never_holds_the_producer_back_and_counts_what_it_lost(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    for first in range(100, 140, 8):
        assert producer.publish(ticks(first, 8), timeout_s=0) == 8
    received = seqs(consumer.read(100))
    assert received == list(range(140 - len(received), 140))
    assert len(received) == CAPACITY - CAPACITY // 8, "it goes on a little behind the oldest"
    assert len(received) + consumer.lost == 40
    consumer.commit(0)
    assert ring.statistics().consumers[0].lost == consumer.lost


def test_a_new_lossy_consumer_starts_at_the_head_unless_told_otherwise(ring: Ring) -> None:
    producer = ring.producer()
    producer.publish(ticks(100, 40))
    assert ring.consumer("a", Mode.LOSSY).position == 140
    oldest = ring.consumer("b", Mode.LOSSY, start=OLDEST)
    assert seqs(oldest.read(100)) == list(range(124, 140))
    old = ring.consumer("c", Mode.LOSSY, start=110)
    assert len(old.read(100)) + old.lost == 30


def test_a_consumer_notes_how_far_it_was_behind_at_most_when_it_came_to_read(ring: Ring) -> None:
    with ring.producer() as producer, ring.consumer("reader", Mode.GATING) as reader:
        for count in (3, 7, 2):
            assert producer.publish(ticks(producer.position, count), timeout_s=0) == count
            reader.read(1)  # what is left over counts at the next read
        assert (reader.most_behind, reader.lag) == (3 + 7 + 2 - 2, 9)
        reader.read(100)
        reader.read(100)
        assert reader.most_behind == 10


def test_a_lossy_consumer_resumes_where_it_was_done_and_keeps_its_count(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    producer.publish(ticks(100, 4))
    assert seqs(consumer.read(2)) == [100, 101]
    assert seqs(consumer.read(2)) == [102, 103]
    die(consumer)
    consumer = ring.consumer("engine", Mode.LOSSY)
    assert seqs(consumer.read(9)) == [102, 103], "its predecessor had not come back for more"
    assert consumer.prepare_wait()
    consumer.finish_wait()
    assert consumer.committed == 104, "now it has"
    producer.publish(ticks(104, 40))
    consumer.read(3)
    lost = consumer.lost
    assert lost > 0
    die(consumer)
    consumer = ring.consumer("engine", Mode.LOSSY)
    assert (consumer.lost, consumer.position) == (lost, 104 + lost)


def test_records_overwritten_while_they_are_copied_are_discarded_and_counted(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    producer.publish(ticks(100, 16))
    words, base = ring._words, consumer._base
    out = np.zeros(16 * 8, np.int64)
    protocol.copy_out(words, out, base, 16)
    producer.publish(ticks(116, 5))
    kept = protocol.settle(words, out, base, 16)
    assert seqs(out.view(TICK)[:kept]) == list(range(105, 116))
    assert (consumer.lost, consumer.position, consumer.committed) == (5, 116, 105)


def test_a_read_that_is_overtaken_altogether_starts_over(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    producer.publish(ticks(100, 16))
    words, base = ring._words, consumer._base
    out = np.zeros(16 * 8, np.int64)
    protocol.copy_out(words, out, base, 4)
    producer.publish(ticks(116, 16))
    assert protocol.settle(words, out, base, 4) == 0
    received = seqs(consumer.read(100))
    assert received[-1] == 131
    assert consumer.lost + len(received) == 32


@pytest.mark.parametrize("stores_done", range(6))
def test_a_jump_interrupted_after_any_of_its_stores_loses_and_doubles_no_count(ring: Ring, stores_done: int) -> None:
    producer, consumer = ring.producer(), ring.consumer("engine", Mode.LOSSY)
    producer.publish(ticks(100, 40))
    consumer.read(3)
    lost = consumer.lost
    consumer.prepare_wait()  # done with what it read
    consumer.finish_wait()
    producer.publish(ticks(140, 40))
    words, base = ring._words, consumer._base
    after = words.copy()
    protocol.jump(after, base, 170)
    for word in (layout.JUMP_LOST, layout.JUMP_POSITION, layout.LOST, layout.NEXT, layout.POSITION)[:stores_done]:
        words[base + word] = after[base + word]
    position = int(words[base + layout.POSITION])
    die(consumer)
    consumer = ring.consumer("engine", Mode.LOSSY)
    assert consumer.position in {position, 170}
    received = seqs(consumer.read(100))
    assert 100 + 3 + consumer.lost + len(received) == 180
    assert consumer.lost > lost
