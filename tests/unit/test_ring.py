"""The ring in one process: creation, refusals, order, wrap-around, both kinds of consumer, take-over, doorbells."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from remains import ring_name

from tickplant.errors import RingError
from tickplant.records.layouts import BAR, TICK, Schema
from tickplant.shm import layout, protocol
from tickplant.shm.producer import TURN_S
from tickplant.shm.ring import LATEST, OLDEST, Consumer, Mode, Ring, prepare_kernels
from tickplant.shm.segment import SHM_DIR

pytestmark = pytest.mark.kernels

CAPACITY = 16


@pytest.fixture
def name() -> Iterator[str]:
    name = ring_name()
    yield name
    Ring.unlink_name(name)


@pytest.fixture
def ring(name: str, tmp_path: Path) -> Iterator[Ring]:
    ring = Ring.create(name, Schema.TICK, CAPACITY, start=100, epoch=7, doorbell_dir=tmp_path)
    yield ring
    ring.unlink()
    ring.close()


def ticks(first: int, count: int) -> NDArray[np.void]:
    records = np.zeros(count, TICK)
    records["seq"] = np.arange(first, first + count)
    records["price"] = records["seq"] * 3
    records["flags"] = records["seq"] % 1000
    return records


def seqs(records: NDArray[np.void]) -> list[int]:
    assert (records["price"] == records["seq"] * 3).all()
    assert (records["flags"] == records["seq"] % 1000).all()
    return [int(seq) for seq in records["seq"]]


def die(consumer: Consumer) -> None:
    """What the kernel does to a killed consumer: its lock becomes free, and nothing else changes."""
    assert consumer._lock is not None
    consumer._lock.close()
    consumer._lock = None
    consumer._doorbell.close()


# -- layout


def test_no_two_header_fields_overlap_and_words_written_by_different_processes_are_lines_apart() -> None:
    for dtype in (layout.HEADER, layout.CONSUMER):
        assert dtype.fields is not None
        fields = sorted((field[1], field[0].itemsize) for field in dtype.fields.values())
        for (offset, item_bytes), (following, _) in zip(fields, [*fields[1:], (dtype.itemsize, 0)], strict=True):
            assert offset % 8 == 0 and offset + item_bytes <= following
    assert layout.HEADER.itemsize == layout.HEADER_BYTES == 4096
    assert {layout.INTENT * 8, layout.CURSOR * 8, layout.LIMIT * 8} == {128, 256, 384}
    assert layout.CONSUMERS * 8 % 128 == 0 and layout.CONSUMER.itemsize == 128
    assert layout.POSITION * 8 == 64, "what changes at every read has a cache line of its own"


# -- creation and refusals


def test_a_new_ring_is_empty_and_knows_what_its_creator_said(ring: Ring) -> None:
    statistics = ring.statistics()
    assert (ring.start, ring.epoch, ring.capacity_records) == (100, 7, CAPACITY)
    assert (statistics.head, statistics.intent, statistics.consumers) == (100, 100, [])
    assert not statistics.producer_alive


def test_a_ring_is_found_by_prefix_and_gone_after_unlink(ring: Ring, name: str, tmp_path: Path) -> None:
    ring.consumer("reader").close()
    assert Ring.list_names(name[:-1]) == [name]
    assert len(list(tmp_path.iterdir())) == 1
    ring.unlink()
    assert Ring.list_names(name) == []
    assert list(tmp_path.iterdir()) == []
    Ring.unlink_name(name)


@pytest.mark.parametrize("capacity", [0, -4, 3, 1000, 1 << 40])
def test_a_capacity_that_is_no_power_of_two_is_refused(name: str, tmp_path: Path, capacity: int) -> None:
    with pytest.raises(RingError, match=f"{name}: a capacity of {capacity} records is not a power of two"):
        Ring.create(name, Schema.TICK, capacity, epoch=0, doorbell_dir=tmp_path)
    assert not (SHM_DIR / name).exists()


@pytest.mark.parametrize(
    "dtype",
    [np.dtype(np.int64), np.dtype([("a", "u1")]), np.dtype([("a", object)]), np.dtype([("a", "u8", (1 << 20,))])],
)
def test_records_that_are_not_whole_words_of_plain_fields_are_refused(
    name: str, tmp_path: Path, dtype: np.dtype[np.void]
) -> None:
    with pytest.raises(RingError, match="multiple of 8 bytes|is longer than"):
        Ring.create(name, dtype, 4, epoch=0, doorbell_dir=tmp_path)


@pytest.mark.parametrize(("start", "epoch"), [(-1, 0), (2**62, 0), (0, -1), (0, 2**64)])
def test_a_start_or_epoch_that_does_not_fit_is_refused(name: str, tmp_path: Path, start: int, epoch: int) -> None:
    with pytest.raises(RingError, match=r"not in \[0, 2\*\*62\)|does not fit 64 bits"):
        Ring.create(name, Schema.TICK, 4, start=start, epoch=epoch, doorbell_dir=tmp_path)


def test_a_name_in_use_is_refused_and_the_ring_left_alone(ring: Ring, name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="already exists"):
        Ring.create(name, Schema.TICK, CAPACITY, epoch=0, doorbell_dir=tmp_path)
    assert Ring.attach(name, Schema.TICK, tmp_path).epoch == 7


def test_a_missing_ring_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="does not exist"):
        Ring.attach(name, Schema.TICK, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("magic", 0, "is incomplete: whoever created it died"),
        ("magic", 12345, "is not a ring"),
        ("version", 99, "layout version 99, not 1"),
        ("record_words", 9, "records of 72 bytes, not 64: it carries another schema"),
        ("dtype_hash", 1, "other fields than ts_event, .*: it carries another schema"),
        ("capacity", 12, "its capacity, 12, is not a power of two"),
        ("capacity", 0, "its capacity, 0, is not a power of two"),
        ("capacity", 1 << 20, r"is truncated: \d+ bytes of 67112960"),
    ],
)
def test_a_damaged_header_is_refused_with_its_cause(
    ring: Ring, name: str, tmp_path: Path, field: str, value: int, message: str
) -> None:
    ring._header[field] = value
    with pytest.raises(RingError, match=f"ring {name}: .*{message}"):
        Ring.attach(name, Schema.TICK, tmp_path)


def test_another_schema_is_refused(ring: Ring, name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="records of 64 bytes, not 104"):
        Ring.attach(name, Schema.BAR, tmp_path)


def test_a_file_cut_short_is_refused(ring: Ring, name: str, tmp_path: Path) -> None:
    for size_bytes in (layout.HEADER_BYTES + 64, 512):
        os.truncate(SHM_DIR / name, size_bytes)
        with pytest.raises(RingError, match="is truncated"):
            Ring.attach(name, Schema.TICK, tmp_path)


# -- order


def test_records_arrive_in_order_unchanged_across_the_end_of_the_ring(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    sent = 100
    for count in [1, 5, 16, 3, 15, 16, 7]:
        records = ticks(sent, count)
        assert producer.publish(records, timeout_s=0) == count
        received = consumer.read(100)
        assert received.tobytes() == records.tobytes()
        consumer.commit(consumer.position)
        sent += count
    assert producer.position == consumer.position == sent


def test_read_returns_at_most_what_was_asked_for_and_an_own_copy(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    producer.publish(ticks(100, 5))
    first = consumer.read(2)
    first["seq"] = 0
    assert (len(first), consumer.lag) == (2, 3)
    assert seqs(consumer.read(0)) == []
    assert seqs(consumer.read(10)) == [102, 103, 104]
    assert seqs(consumer.read(10)) == []


def test_strided_and_read_only_records_are_published_as_they_look(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("reader")
    frozen = np.frombuffer(ticks(100, 2).tobytes(), TICK)
    assert not frozen.flags.writeable
    assert producer.publish(frozen) + producer.publish(ticks(100, 5)[::-2]) == 5
    assert seqs(consumer.read(10)) == [100, 101, 104, 102, 100]


def test_memory_of_a_read_is_used_again_once_nobody_refers_to_it_and_not_before(ring: Ring) -> None:
    with ring.producer() as producer, ring.consumer("reader", Mode.LOSSY, start=100) as reader:
        held: list[NDArray[np.int64]] = []
        for _ in range(40):
            first = producer.position
            producer.publish(ticks(first, 3))
            held.append(reader.read(3)["seq"][1:])  # a view of a view, and all that is left of the read
        assert [int(view[0]) for view in held] == list(range(101, 100 + 3 * 40, 3))
        places = {view.ctypes.data for view in held}
        assert len(places) == 40
        held.clear()
        for _ in range(40):
            producer.publish(ticks(producer.position, 3))
            records = reader.read(3)
            places.add(records["seq"][1:].ctypes.data)
        assert seqs(records) == [producer.position - 3 + at for at in range(3)]
        assert len(places) <= 42


def test_records_in_rows_are_refused(ring: Ring) -> None:
    with ring.producer() as producer, pytest.raises(RingError, match=r"records of shape \(2, 2\) do not fit it"):
        producer.publish(ticks(100, 4).reshape(2, 2))


def test_records_of_another_dtype_are_refused(ring: Ring) -> None:
    with pytest.raises(RingError, match="do not fit it"):
        ring.producer().publish(np.zeros(1, BAR))


def test_a_record_size_that_is_no_power_of_two_wraps_around_as_well(name: str, tmp_path: Path) -> None:
    with Ring.create(name, Schema.BAR, 4, epoch=0, doorbell_dir=tmp_path) as ring:
        producer, consumer = ring.producer(), ring.consumer("reader")
        for first in range(0, 30, 3):
            bars = np.zeros(3, BAR)
            bars["seq"] = bars["volume"] = np.arange(first, first + 3)
            producer.publish(bars)
            assert consumer.read(9).tobytes() == bars.tobytes()
            consumer.commit(consumer.position)
        ring.unlink()


def test_a_ring_of_one_record_works(name: str, tmp_path: Path) -> None:
    with Ring.create(name, Schema.TICK, 1, epoch=0, doorbell_dir=tmp_path) as ring:
        producer, consumer, lossy = ring.producer(), ring.consumer("reader"), ring.consumer("other", Mode.LOSSY)
        for seq in range(5):
            assert producer.publish(ticks(seq, 2), timeout_s=0) == 1
            assert seqs(consumer.read(9)) == seqs(lossy.read(9)) == [seq]
            consumer.commit(seq + 1)
        ring.unlink()


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


def test_an_evicted_live_consumer_is_woken_and_told(ring: Ring) -> None:
    producer, consumer = ring.producer(), ring.consumer("writer")
    producer.publish(ticks(100, 3))
    consumer.read(2)
    told = []

    def sleep() -> None:
        assert consumer.prepare_wait() is False
        consumer.read(9)
        assert consumer.prepare_wait()
        told.append(bool(select.select([consumer], [], [], 90)[0]))
        consumer.finish_wait()

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    deadline_s = time.monotonic() + 90
    while not ring._words[consumer._base + layout.NAPS] & 1:
        assert time.monotonic() < deadline_s
    ring.evict("writer")
    sleeper.join()
    assert told == [True]
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


def test_producer_and_consumers_outlive_the_ring_object_they_came_from(name: str, tmp_path: Path) -> None:
    with Ring.create(name, Schema.TICK, CAPACITY, epoch=0, doorbell_dir=tmp_path) as ring:
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


def test_a_missing_doorbell_directory_is_named(name: str, tmp_path: Path) -> None:
    with Ring.create(name, Schema.TICK, 4, epoch=0, doorbell_dir=tmp_path / "gone") as ring:
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


def test_whoever_waits_for_room_may_give_up(ring: Ring) -> None:
    def give_up(_: int) -> None:
        raise TimeoutError

    with ring.producer() as producer, ring.consumer("writer", Mode.GATING) as consumer:
        with pytest.raises(TimeoutError):
            producer.publish_all(ticks(0, 30), give_up)
        assert seqs(consumer.read(CAPACITY)) == list(range(CAPACITY))
