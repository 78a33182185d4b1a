"""The ring in one process: layout, creation, refusals, order, wrap-around."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_ring import CAPACITY, seqs, ticks

from tickplant.errors import RingError
from tickplant.records.layouts import BAR, TICK, Schema
from tickplant.shm import layout
from tickplant.shm.ring import Mode, Ring
from tickplant.shm.segment import SHM_DIR

pytestmark = pytest.mark.kernels


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


def test_a_ring_is_found_by_prefix_and_gone_after_unlink(ring: Ring, ring_name: str, tmp_path: Path) -> None:
    ring.consumer("reader").close()
    assert Ring.list_names(ring_name[:-1]) == [ring_name]
    assert len(list(tmp_path.iterdir())) == 1
    ring.unlink()
    assert Ring.list_names(ring_name) == []
    assert list(tmp_path.iterdir()) == []
    Ring.unlink_name(ring_name)


@pytest.mark.parametrize("capacity", [0, -4, 3, 1000, 1 << 40])
def test_a_capacity_that_is_no_power_of_two_is_refused(ring_name: str, tmp_path: Path, capacity: int) -> None:
    with pytest.raises(RingError, match=f"{ring_name}: a capacity of {capacity} records is not a power of two"):
        Ring.create(ring_name, Schema.TICK, capacity, epoch=0, doorbell_dir=tmp_path)
    assert not (SHM_DIR / ring_name).exists()


@pytest.mark.parametrize(
    "dtype",
    [np.dtype(np.int64), np.dtype([("a", "u1")]), np.dtype([("a", object)]), np.dtype([("a", "u8", (1 << 20,))])],
)
def test_records_that_are_not_whole_words_of_plain_fields_are_refused(
    ring_name: str, tmp_path: Path, dtype: np.dtype[np.void]
) -> None:
    with pytest.raises(RingError, match="multiple of 8 bytes|is longer than"):
        Ring.create(ring_name, dtype, 4, epoch=0, doorbell_dir=tmp_path)


@pytest.mark.parametrize(("start", "epoch"), [(-1, 0), (2**62, 0), (0, -1), (0, 2**64)])
def test_a_start_or_epoch_that_does_not_fit_is_refused(ring_name: str, tmp_path: Path, start: int, epoch: int) -> None:
    with pytest.raises(RingError, match=r"not in \[0, 2\*\*62\)|does not fit 64 bits"):
        Ring.create(ring_name, Schema.TICK, 4, start=start, epoch=epoch, doorbell_dir=tmp_path)


def test_a_name_in_use_is_refused_and_the_ring_left_alone(ring: Ring, ring_name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="already exists"):
        Ring.create(ring_name, Schema.TICK, CAPACITY, epoch=0, doorbell_dir=tmp_path)
    assert Ring.attach(ring_name, Schema.TICK, tmp_path).epoch == 7


def test_a_missing_ring_is_refused(ring_name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="does not exist"):
        Ring.attach(ring_name, Schema.TICK, tmp_path)


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
    ring: Ring, ring_name: str, tmp_path: Path, field: str, value: int, message: str
) -> None:
    ring._header[field] = value
    with pytest.raises(RingError, match=f"ring {ring_name}: .*{message}"):
        Ring.attach(ring_name, Schema.TICK, tmp_path)


def test_another_schema_is_refused(ring: Ring, ring_name: str, tmp_path: Path) -> None:
    with pytest.raises(RingError, match="records of 64 bytes, not 104"):
        Ring.attach(ring_name, Schema.BAR, tmp_path)


def test_a_file_cut_short_is_refused(ring: Ring, ring_name: str, tmp_path: Path) -> None:
    for size_bytes in (layout.HEADER_BYTES + 64, 512):
        os.truncate(SHM_DIR / ring_name, size_bytes)
        with pytest.raises(RingError, match="is truncated"):
            Ring.attach(ring_name, Schema.TICK, tmp_path)


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


def test_a_record_size_that_is_no_power_of_two_wraps_around_as_well(ring_name: str, tmp_path: Path) -> None:
    with Ring.create(ring_name, Schema.BAR, 4, epoch=0, doorbell_dir=tmp_path) as ring:
        producer, consumer = ring.producer(), ring.consumer("reader")
        for first in range(0, 30, 3):
            bars = np.zeros(3, BAR)
            bars["seq"] = bars["volume"] = np.arange(first, first + 3)
            producer.publish(bars)
            assert consumer.read(9).tobytes() == bars.tobytes()
            consumer.commit(consumer.position)
        ring.unlink()


def test_a_ring_of_one_record_works(ring_name: str, tmp_path: Path) -> None:
    with Ring.create(ring_name, Schema.TICK, 1, epoch=0, doorbell_dir=tmp_path) as ring:
        producer, consumer, lossy = ring.producer(), ring.consumer("reader"), ring.consumer("other", Mode.LOSSY)
        for seq in range(5):
            assert producer.publish(ticks(seq, 2), timeout_s=0) == 1
            assert seqs(consumer.read(9)) == seqs(lossy.read(9)) == [seq]
            consumer.commit(seq + 1)
        ring.unlink()
