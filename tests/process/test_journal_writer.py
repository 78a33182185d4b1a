"""The writer process: what is in a ring ends up in the store, whatever happens to the writer."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from callers import Callers
from children import start_child
from made_records import make_records, make_ticks
from numpy.typing import NDArray
from plant_process import wait_for
from remains import ring_name

from tickplant.records.layouts import Schema
from tickplant.runtime.config import WriterConfig
from tickplant.runtime.control import Counters, Done, Heartbeat, Hello, Message, decode
from tickplant.runtime.job_specs import Plant, RingRef, WriterSpec
from tickplant.shm.ring import Mode, Ring
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.journal import Journal

DEADLINE_S = 90.0


class Bench:
    """A data directory, rings to publish into, a control socket to listen on, and a writer process."""

    def __init__(self, tmp_path: Path) -> None:
        self.data_dir = tmp_path / "data"
        self.run_dir = tmp_path / "run"
        self.run_dir.mkdir()
        self.rings: dict[Schema, Ring] = {}
        self.refs: list[RingRef] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.messages: list[Message] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._control.set(zmq.LINGER, 0)
        self._callers = Callers(self._control)
        self.address = f"ipc://{tmp_path}/c"
        self._control.bind(self.address)

    def ring(self, schema: Schema = Schema.TICK, capacity: int = 1024, start: int = 0) -> Ring:
        name = ring_name()
        ring = Ring.create(name, schema, capacity, start=start, epoch=7, doorbell_dir=self.run_dir)
        self.rings[schema] = ring
        self.refs.append(RingRef(name, int(schema), "feed"))
        return ring

    def start(self, *, wait: bool = True, **options: bool) -> None:
        plant = Plant(data_dir=str(self.data_dir), run_dir=str(self.run_dir), control=self.address, heartbeat_s=0.1)
        config = WriterConfig(flush_s=0.1, chunk_records=256, rotate_mib=1)
        spec = WriterSpec(name="writer", plant=plant, config=config, inputs=self.refs, **options)
        self.process = start_child("tickplant.writer", spec, stderr=subprocess.PIPE)
        if wait:
            self.wait_for("hello", lambda message: isinstance(message, Hello))

    def wait_for(self, what: str, condition: Callable[[Message], bool]) -> Message:
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            assert self.process is None or self.process.poll() in (None, 0), self.process.stderr.read()
            if self._control.poll(50):
                message = decode(self._control.recv_multipart()[1])
                self.messages.append(message)
                if condition(message):
                    return message
        raise AssertionError(f"waited {DEADLINE_S:g} s for {what}")

    def wait_until_counted(self, what: str, condition: Callable[[Counters], bool]) -> Counters:
        message = self.wait_for(what, lambda seen: isinstance(seen, Heartbeat) and condition(seen.counters))
        assert isinstance(message, Heartbeat)
        return message.counters

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self.process.stderr.close()
        self.process = None
        wait_for("the last that it has said", self._callers.gone)
        while self._control.poll(0):
            self.messages.append(decode(self._control.recv_multipart()[1]))
        return code

    def stored(self, schema: Schema = Schema.TICK) -> NDArray[np.void]:
        blocks = list(Store(self.data_dir).read("feed", schema, Selection()))
        return np.concatenate(blocks) if blocks else np.zeros(0, self.rings[schema].dtype)

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self._callers.close()
        self._control.close()
        self._context.term()
        for ring in self.rings.values():
            ring.unlink()
            ring.close()


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("w"))
    yield made
    made.close()


def test_everything_published_is_stored_when_the_writer_is_told_to_stop(bench: Bench) -> None:
    ticks, bars = make_ticks(3000), make_records(Schema.BAR, 40)
    tick_ring, bar_ring = bench.ring(), bench.ring(Schema.BAR)
    bench.start()
    with tick_ring.producer() as tick_producer, bar_ring.producer() as bar_producer:
        assert tick_producer.publish(ticks, timeout_s=DEADLINE_S) == len(ticks)
        assert bar_producer.publish(bars, timeout_s=DEADLINE_S) == len(bars)
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks.tobytes()
    assert np.array_equal(bench.stored(Schema.BAR)["close"], bars["close"])
    last = [message for message in bench.messages if isinstance(message, Heartbeat)][-1].counters
    assert last["records"] == 3040
    assert last["pending"] == last["lost"] == last["flush_errors"] == 0
    assert last["durable"] == {"feed/tick": 3000, "feed/bar": 40}
    (consumer,) = tick_ring.statistics().consumers
    assert (consumer.label, consumer.mode, consumer.lag) == ("writer", Mode.GATING, 0)


def test_records_are_durable_soon_without_any_more_coming(bench: Bench) -> None:
    ticks = make_ticks(10)
    ring = bench.ring()
    bench.start()
    with ring.producer() as producer:
        producer.publish(ticks, timeout_s=DEADLINE_S)
        bench.wait_until_counted("ten records", lambda counters: counters["records"] == 10)
        assert bench.stored().tobytes() == ticks.tobytes()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_writer_that_is_behind_stores_half_a_ring_with_one_flush(bench: Bench) -> None:
    ticks = make_ticks(4000)
    ring = bench.ring(capacity=4096)  # a quarter of it is four chunks: without that one flush would take a chunk
    bench.start()
    assert bench.process is not None
    with ring.producer() as producer:
        producer.publish(ticks[:10], timeout_s=DEADLINE_S)
        before = bench.wait_until_counted("ten records", lambda counters: counters["records"] == 10)
        bench.process.send_signal(signal.SIGSTOP)
        wait_for("the writer to stand still", lambda: state_of(bench.process.pid) == "T")
        assert producer.publish(ticks[10:], timeout_s=0) == 3990
        bench.process.send_signal(signal.SIGCONT)
        after = bench.wait_until_counted("all records", lambda counters: counters["records"] == 4000)
    assert after["flushes"] - before["flushes"] == 2  # 2048 and 1942 records
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks.tobytes()


def test_a_writer_killed_again_and_again_neither_loses_nor_doubles(bench: Bench) -> None:
    ticks = make_ticks(12_000)
    ring = bench.ring(capacity=4096)
    done = 0
    with ring.producer() as producer:
        for _ in range(3):
            bench.start()
            for start in range(done, done + 3000, 300):
                done += producer.publish(ticks[start : start + 300], timeout_s=DEADLINE_S)
            bench.end(signal.SIGKILL)
        bench.start()
        done += producer.publish(ticks[done:], timeout_s=DEADLINE_S)
    assert done == len(ticks)
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks.tobytes()


def test_what_a_dead_plant_left_in_its_rings_is_drained(bench: Bench) -> None:
    ticks = make_ticks(700)
    journal = Journal(bench.data_dir, Schema.TICK, "feed")
    journal.append(ticks[:100])
    journal.close()
    ring = bench.ring(start=100)
    with ring.consumer("other-writer", Mode.GATING), ring.producer() as producer:
        assert producer.publish(ticks[100:], timeout_s=0) == 600
    bench.start(until_drained=True)
    message = bench.wait_for("the end", lambda seen: isinstance(seen, Done))
    assert isinstance(message, Done)
    assert message.counters["records"] == 600
    assert bench.process is not None
    assert bench.process.wait(DEADLINE_S) == 0
    assert bench.stored().tobytes() == ticks.tobytes()


def test_a_disk_that_refuses_is_waited_for_and_costs_nothing(bench: Bench) -> None:
    ticks = make_ticks(2000)
    ring = bench.ring(capacity=1024)
    bench.start()
    assert bench.process is not None
    with ring.producer() as producer:
        producer.publish(ticks[:100], timeout_s=DEADLINE_S)
        bench.wait_until_counted("the first records", lambda counters: counters["records"] == 100)
        (path,) = Store(bench.data_dir).files("feed", Schema.TICK)
        # A limit on the size of files is a full disk that a test can make: write() fails half-way.
        limits = resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        producer.publish(ticks[100:900], timeout_s=DEADLINE_S)
        troubled = bench.wait_until_counted("trouble", lambda counters: bool(counters["trouble"]))
        assert "File too large" in str(troubled["trouble"])
        assert str(path) in str(troubled["trouble"])
        assert bench.stored().tobytes() == ticks[:100].tobytes()
        resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE, limits)
        healed = bench.wait_until_counted("recovery", lambda counters: counters["records"] == 900)
        assert healed["trouble"] == ""
        assert producer.publish(ticks[900:], timeout_s=DEADLINE_S) == 1100
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks.tobytes()


def test_a_data_directory_that_cannot_be_used_yet_is_waited_for(bench: Bench) -> None:
    ticks = make_ticks(10)
    ring = bench.ring()
    bench.data_dir.mkdir()
    (bench.data_dir / "journal").write_text("in the way")
    bench.start(wait=False)
    troubled = bench.wait_until_counted("trouble", lambda counters: bool(counters["trouble"]))
    assert str(bench.data_dir / "journal") in str(troubled["trouble"])
    (bench.data_dir / "journal").unlink()
    bench.wait_for("hello", lambda message: isinstance(message, Hello))
    with ring.producer() as producer:
        producer.publish(ticks, timeout_s=DEADLINE_S)
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks.tobytes()


def test_a_writer_that_cannot_store_in_the_end_leaves_the_records_in_the_ring(bench: Bench) -> None:
    ring = bench.ring()
    bench.start()
    assert bench.process is not None
    limits = resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE, (50, limits[1]))
    with ring.producer() as producer:
        producer.publish(make_ticks(100), timeout_s=DEADLINE_S)
    bench.wait_until_counted("trouble", lambda counters: bool(counters["trouble"]))
    assert bench.end(signal.SIGTERM) == 1
    (consumer,) = ring.statistics().consumers
    assert consumer.lag == 100
    bench.start()
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == make_ticks(100).tobytes()


def test_records_gone_from_the_ring_are_counted_and_leave_a_hole(bench: Bench) -> None:
    ticks = make_ticks(500)
    ring = bench.ring(start=200)
    bench.start()
    with ring.producer() as producer:
        producer.publish(ticks[200:], timeout_s=DEADLINE_S)
    counters = bench.wait_until_counted("the rest", lambda seen: seen["records"] == 300)
    assert counters["lost"] == 200
    assert bench.end(signal.SIGTERM) == 0
    assert bench.stored().tobytes() == ticks[200:].tobytes()


def test_a_ring_that_is_behind_its_journal_is_refused_with_a_sentence(bench: Bench) -> None:
    journal = Journal(bench.data_dir, Schema.TICK, "feed")
    journal.append(make_ticks(50))
    journal.close()
    bench.ring()
    with pytest.raises(AssertionError, match="its ring stands at 0: it belongs to another plant"):
        bench.start()
