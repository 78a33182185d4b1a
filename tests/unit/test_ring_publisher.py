"""The feed's publisher on a real ring: numbering, what a full ring costs, and that every record is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remains import ring_name

from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Schema
from tickplant.shm.consumer import Consumer
from tickplant.shm.ring import Mode, Ring

CAPACITY = 64
Records = np.ndarray[Any, Any]


class Bench:
    """A ring with a reader that reads when told to."""

    def __init__(self, ring: Ring, publisher: FeedPublisher, consumer: Consumer) -> None:
        self.ring = ring
        self.publisher = publisher
        self.consumer = consumer
        self.handed_in = 0

    def publish(self, records: Records) -> None:
        self.handed_in += len(records)
        self.publisher.publish(records)

    def read(self) -> Records:
        """All there is; the ring is empty then."""
        batches = [np.empty(0, TICK)]
        while len(batch := self.consumer.read(CAPACITY)):
            batches.append(batch)
            self.consumer.commit(self.consumer.position)
        return np.concatenate(batches)

    def balance(self) -> None:
        """What always holds."""
        publisher = self.publisher
        assert self.handed_in + publisher.gaps == publisher.published + publisher.dropped + publisher.waiting
        assert self.ring.statistics().dropped == publisher.dropped


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ring.create(ring_name(), Schema.TICK, CAPACITY, epoch=1, doorbell_dir=tmp_path) as ring:
        try:
            with ring.consumer("test", Mode.GATING) as consumer, ring.producer() as producer:
                yield Bench(ring, FeedPublisher(producer, CAPACITY, full_wait_s=0.0), consumer)
        finally:
            ring.unlink()


def trades(first_id: int, count: int, instrument: int = 1) -> Records:
    records = np.zeros(count, TICK)
    records["kind"], records["instrument"] = Kind.TRADE, instrument
    records["venue_seq"], records["flags"] = np.arange(first_id, first_id + count), Flag.LAST
    records["ts_recv"] = np.arange(first_id, first_id + count) * 10
    return records


def one(kind: Kind, instrument: int = 1, venue_seq: int = 0, flags: int = 0) -> Records:
    records = np.zeros(1, TICK)
    records["kind"], records["instrument"], records["venue_seq"] = kind, instrument, venue_seq
    records["flags"], records["ts_recv"] = flags, 5
    return records


def gap_of(record: Any) -> tuple[int, ...]:
    """Instrument, streams, cause, count, last id, next id."""
    assert record["kind"] == Kind.GAP and record["flags"] & Flag.LAST
    numbers = [int(record[name]) for name in ("instrument", "flags", "price", "size", "order_id", "venue_seq")]
    numbers[1] &= ~Flag.LAST
    return tuple(numbers)


def test_seq_is_the_position_in_the_ring(bench: Bench) -> None:
    bench.publish(trades(100, 3))
    bench.publish(trades(103, 2))
    bench.publish(trades(0, 0))
    assert bench.read()["seq"].tolist() == [0, 1, 2, 3, 4]
    bench.balance()


def test_a_full_ring_costs_the_newest_records_and_a_gap_says_exactly_which(bench: Bench) -> None:
    bench.publish(trades(1000, CAPACITY + 10))
    bench.publish(trades(1000 + CAPACITY + 10, 5))
    bench.balance()
    first = bench.read()
    assert first["venue_seq"].tolist() == list(range(1000, 1000 + CAPACITY))
    after = 1000 + CAPACITY + 15
    bench.publish(trades(after, 1))
    gap, trade = bench.read()
    assert gap_of(gap) == (1, Flag.ON_TRADE, GapCause.RING_FULL, 15, 1000 + CAPACITY - 1, after)
    assert gap["ts_recv"] == (after - 1) * 10
    assert trade["venue_seq"] == after
    assert [int(gap["seq"]), int(trade["seq"])] == [CAPACITY, CAPACITY + 1]
    assert bench.publisher.dropped == 15
    bench.balance()


def test_each_instrument_and_stream_gets_a_gap_of_its_own(bench: Bench) -> None:
    bench.publish(np.concatenate([trades(10, 1), one(Kind.LEVEL, 2, 70), one(Kind.QUOTE, 1, 80)]))
    bench.publish(trades(11, CAPACITY - 3))
    lost = [
        trades(2000, 2),
        one(Kind.QUOTE, 1, 81),
        one(Kind.QUOTE, 1, 81, Flag.LAST),
        one(Kind.CLEAR, 2, 90),
        one(Kind.LEVEL, 2, 90),
        one(Kind.CHECKSUM, 3, 7),
    ]
    bench.publish(np.concatenate(lost))
    bench.read()
    assert bench.publisher.settle()
    assert [gap_of(record) for record in bench.read()] == [
        (1, Flag.ON_TRADE, GapCause.RING_FULL, 2, 10 + CAPACITY - 3, 2002),
        (1, Flag.ON_QUOTE, GapCause.RING_FULL, 2, 80, 82),
        (2, Flag.ON_BOOK, GapCause.RING_FULL, 2, 70, 91),
        (3, Flag.ON_BOOK, GapCause.RING_FULL, 1, 0, 8),
    ]
    bench.balance()


def test_an_event_that_finds_no_room_is_dropped_whole(bench: Bench) -> None:
    quote = np.concatenate([one(Kind.QUOTE, 1, 80), one(Kind.QUOTE, 1, 80, Flag.LAST)])
    change = np.concatenate([one(Kind.LEVEL, 2, 70), one(Kind.LEVEL, 2, 70), one(Kind.LEVEL, 2, 70, Flag.LAST)])
    bench.publish(np.concatenate([trades(0, CAPACITY - 4), change, quote]))
    assert bench.read()["kind"].tolist() == [Kind.TRADE] * (CAPACITY - 4) + [Kind.LEVEL] * 3
    assert bench.publisher.settle()
    assert [gap_of(record) for record in bench.read()] == [(1, Flag.ON_QUOTE, GapCause.RING_FULL, 2, 0, 81)]
    bench.balance()


def test_an_event_larger_than_the_ring_goes_in_by_parts(bench: Bench) -> None:
    seen: list[Records] = []

    async def session() -> None:
        event = trades(0, 3 * CAPACITY)
        event["flags"][:-1] = 0
        publishing = asyncio.create_task(bench.publisher.publish_lossless(event))
        async with asyncio.timeout(90):
            while not publishing.done():
                seen.append(bench.read())
                await asyncio.sleep(0)
        await publishing

    asyncio.run(session())
    records = np.concatenate([*seen, bench.read()])
    assert records["venue_seq"].tolist() == list(range(3 * CAPACITY))


def test_books_that_lost_records_are_to_be_fetched_again_once_their_gap_is_out(bench: Bench) -> None:
    bench.publish(trades(0, CAPACITY))
    bench.publish(np.concatenate([one(Kind.LEVEL, 2), one(Kind.LEVEL, 5), one(Kind.LEVEL, 2), one(Kind.TRADE, 9)]))
    assert bench.publisher.take_stale_books() == []
    bench.read()
    assert bench.publisher.settle()
    assert bench.publisher.take_stale_books() == [2, 5]
    assert bench.publisher.take_stale_books() == []


def test_status_and_gap_records_are_not_dropped_but_wait(bench: Bench) -> None:
    bench.publish(trades(0, CAPACITY))
    bench.publish(
        np.concatenate([trades(CAPACITY, 1), one(Kind.STATUS, 4), one(Kind.GAP, 1, 77), trades(CAPACITY + 1, 1)])
    )
    assert bench.publisher.waiting == 2
    bench.balance()
    bench.read()
    assert bench.publisher.settle()
    kinds = bench.read()["kind"].tolist()
    assert kinds == [Kind.STATUS, Kind.GAP, Kind.GAP]
    assert (bench.publisher.waiting, bench.publisher.dropped, bench.publisher.gaps) == (0, 2, 1)
    bench.balance()


def test_a_little_room_is_not_enough_to_begin_again(bench: Bench) -> None:
    bench.publish(trades(0, CAPACITY + 1))
    bench.consumer.read(4)
    bench.consumer.commit(bench.consumer.position)
    assert not bench.publisher.settle()
    bench.publish(trades(CAPACITY + 1, 1))
    bench.consumer.read(4)
    bench.consumer.commit(bench.consumer.position)
    assert bench.publisher.settle()
    assert [gap_of(record)[3] for record in bench.read() if record["kind"] == Kind.GAP] == [2]
    bench.balance()


def test_eagerly_a_single_place_is_enough(bench: Bench) -> None:
    bench.publish(trades(0, CAPACITY + 1))
    assert not bench.publisher.settle(eagerly=True)
    bench.consumer.read(1)
    bench.consumer.commit(bench.consumer.position)
    assert bench.publisher.settle(eagerly=True)


def test_more_gaps_than_the_ring_holds_come_out_in_parts(bench: Bench) -> None:
    bench.publish(trades(0, CAPACITY))
    bench.publish(np.concatenate([trades(500, 1, instrument) for instrument in range(1, 2 * CAPACITY)]))
    gaps = bench.read()
    while not bench.publisher.settle():
        gaps = np.concatenate([gaps, bench.read()])
    gaps = np.concatenate([gaps, bench.read()])
    assert [gap_of(gap)[0] for gap in gaps[CAPACITY:]] == list(range(1, 2 * CAPACITY))
    assert gaps["seq"].tolist() == list(range(len(gaps)))
    bench.balance()


def test_a_lossless_publish_waits_for_the_reader_and_lets_other_tasks_run(bench: Bench) -> None:
    seen: list[Records] = []

    async def session() -> None:
        publishing = asyncio.create_task(bench.publisher.publish_lossless(trades(0, 10 * CAPACITY)))
        async with asyncio.timeout(90):
            while not publishing.done():
                seen.append(bench.read())
                await asyncio.sleep(0)
        await publishing

    asyncio.run(session())
    records = np.concatenate([*seen, bench.read()])
    assert records["venue_seq"].tolist() == records["seq"].tolist() == list(range(10 * CAPACITY))
    assert bench.publisher.dropped == 0


def test_a_successor_goes_on_numbering_where_the_first_stopped(bench: Bench, tmp_path: Path) -> None:
    bench.publish(trades(0, 3))
    with Ring.create(ring_name(), Schema.TICK, CAPACITY, start=1000, epoch=1, doorbell_dir=tmp_path) as ring:
        try:
            for count in (2, 3):
                with ring.producer() as producer:
                    FeedPublisher(producer, CAPACITY, full_wait_s=0.0).publish(trades(0, count))
            with ring.consumer("late", Mode.GATING) as consumer:
                assert consumer.read(10)["seq"].tolist() == [1000, 1001, 1002, 1003, 1004]
        finally:
            ring.unlink()
