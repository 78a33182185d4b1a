"""The replay process: stored records come out of a ring again, untouched, in order and in time."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from children import start_child
from made_records import make_ticks
from numpy.typing import NDArray
from remains import ring_name

from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.runtime.job_specs import Plant, ReplaySpec, RingRef
from tickplant.shm.ring import Consumer, Mode, Ring
from tickplant.store.pacing import Pacer
from tickplant.store.reader import Store
from tickplant.store.replay import wanted_ids
from tickplant.writer.journal import Journal

pytestmark = pytest.mark.usefixtures("unmeasured")

TICKS = make_ticks(2000)
DEADLINE_S = 90.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    instruments = InstrumentTable.load(tmp_path / "data" / "instruments.jsonl")
    for venue, symbol in (("one", "AAA"), ("one", "*"), ("two", "CCC"), ("two", "DDD")):
        instruments.register(venue, symbol, 8, 8)
    journal = Journal(tmp_path / "data", Schema.TICK, "feed")
    for start in range(0, len(TICKS), 200):
        journal.append(TICKS[start : start + 200])
        journal.flush()
    journal.close()
    return Store(tmp_path / "data")


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    name = ring_name()
    made = Ring.create(name, Schema.TICK, 512, epoch=1, doorbell_dir=tmp_path)
    yield made
    made.unlink()
    made.close()


@contextlib.contextmanager
def replay(
    store: Store, ring: Ring, speed: float | Literal["max"], **selection: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A replay process, which is gone afterwards."""
    run_dir = str(store.data_dir.parent)
    plant = Plant(data_dir=str(store.data_dir), run_dir=run_dir, control=f"ipc://{run_dir}/c", heartbeat_s=0.1)
    ref = RingRef(ring.name, int(Schema.TICK), "replay")
    spec = msgspec.convert(
        {"name": "replay", "plant": msgspec.to_builtins(plant), "ring": msgspec.to_builtins(ref), "speed": speed}
        | selection,
        ReplaySpec,
    )
    with start_child("tickplant.store.replay", spec, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_records(consumer: Consumer) -> None:
    """Return when there is something to read."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not consumer.wait(0.1):
        assert time.monotonic() < deadline_s


def take(consumer: Consumer, process: subprocess.Popen[bytes]) -> NDArray[np.void]:
    """Everything that the process publishes before it ends."""
    parts: list[NDArray[np.void]] = [TICKS[:0]]
    deadline_s = time.monotonic() + DEADLINE_S
    while process.poll() is None or consumer.lag:
        assert time.monotonic() < deadline_s
        consumer.wait(0.05)
        parts.append(consumer.read(512))
        consumer.commit(consumer.position)
    assert process.wait() == 0
    return join_records(parts)


def test_the_whole_store_comes_out_as_it_is_through_a_small_ring(store: Store, ring: Ring) -> None:
    with ring.consumer("reader", Mode.GATING) as consumer, replay(store, ring, "max") as process:
        assert take(consumer, process).tobytes() == TICKS.tobytes()


def test_a_selection_brings_the_feed_wide_records_of_its_venue_along(store: Store, ring: Ring) -> None:
    first, last = int(TICKS["ts_recv"][300]), int(TICKS["ts_recv"][900])
    inside = TICKS[(TICKS["ts_recv"] >= first) & (TICKS["ts_recv"] < last) & np.isin(TICKS["instrument"], [1, 2])]
    selection = {"venue": "one", "symbols": ["AAA"], "start_ns": first, "end_ns": last}
    with ring.consumer("reader", Mode.GATING) as consumer, replay(store, ring, "max", **selection) as process:
        assert take(consumer, process).tobytes() == inside.tobytes()


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_at_a_speed_records_are_due_as_far_apart_as_they_were_received(speed: float) -> None:
    now_s = 1000.0
    pacer = Pacer(speed, clock=lambda: now_s)
    times = np.array([5 * 10**9, 5 * 10**9, 6 * 10**9, 9 * 10**9])
    assert pacer.due(times) == 2
    assert pacer.wait_s(int(times[2])) == pytest.approx(1 / speed)
    now_s += 1.001 / speed
    assert pacer.due(times) == 3
    assert pacer.due(times[2:]) == 1  # the next block goes on
    now_s += 100
    assert pacer.due(times) == 4
    assert pacer.wait_s(int(times[3])) == 0


def test_at_full_speed_everything_is_due() -> None:
    assert Pacer("max").due(TICKS["ts_recv"]) == len(TICKS)
    assert Pacer("max").wait_s(2**62) == 0


def test_at_a_speed_the_records_are_the_same(store: Store, ring: Ring) -> None:
    with ring.consumer("reader", Mode.GATING) as consumer, replay(store, ring, 20.0) as process:
        assert take(consumer, process).tobytes() == TICKS.tobytes()


def test_a_replay_that_waits_for_its_readers_can_be_stopped(store: Store, ring: Ring) -> None:
    with ring.consumer("reader", Mode.GATING) as consumer, replay(store, ring, "max") as process:
        wait_for_records(consumer)  # and read nothing: the ring is full soon
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        published = consumer.read(512)
        assert published.tobytes() == TICKS[: len(published)].tobytes()


def test_a_damaged_store_ends_the_replay_with_a_sentence(store: Store, ring: Ring) -> None:
    (path,) = store.files("feed", Schema.TICK)
    data = bytearray(path.read_bytes())
    data[-300] ^= 0xFF
    path.write_bytes(data)
    with replay(store, ring, "max") as process:
        _, error = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "records 1800 to 1999 are missing" in error.decode()
    assert "Traceback" not in error.decode()


def test_what_is_not_stored_cannot_be_replayed(store: Store) -> None:
    assert wanted_ids(store, "", []) is None
    assert wanted_ids(store, "one", []) == [1, 2]
    assert wanted_ids(store, "", ["AAA", "DDD"]) == [1, 2, 4]
    for venue, symbols, missing in (("three", [], "anything of three"), ("", ["AAA", "XXX"], "XXX")):
        with pytest.raises(StoreError, match=f"does not hold {missing}"):
            wanted_ids(store, venue, symbols)
