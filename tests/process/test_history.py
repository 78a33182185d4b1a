"""What an engine keeps no longer, and what it missed while it was away, its subscribers get from the store."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from callers import Callers
from children import start_child
from listener import Listener
from plant_process import DEMO, PlantProcess, plant, status, wait_for

import tickplant
from tickplant import wire
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BAR, BBO, TICK, Kind, Schema
from tickplant.runtime.config import beside
from tickplant.runtime.control import HISTORY_HEAD, Heartbeat, Hello, Passage, ProcessStatus, decode
from tickplant.runtime.job_specs import HistorySpec, Plant
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.journal import Journal

# Queues for 6 s at this rate, and TCP for some more: the one who takes everything may stand still for so long.
TEXT = DEMO.replace(
    "[engines.engine]\n", "[engines.engine]\nrecovery_mib = 1\nhigh_water_messages = 4000\nbar_s = [1]\n"
)
CHANNELS = ("trade", "quote", "book", "bbo", "bar_1s")
SIZES = {"bbo": BBO.itemsize, "bar_1s": BAR.itemsize}
SYMBOLS = ("BTCUSDT", "ETHUSDT")
TOPICS = [f"binance.{symbol}.{channel}" for symbol in SYMBOLS for channel in CHANNELS]


class Requester:
    """A line for requests without any of the project's own client code."""

    def __init__(self, publish: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(beside(publish))

    def receive(self) -> tuple[wire.Reply, list[bytes]]:
        assert self.socket.poll(90_000), "no answer"
        head, *frames = self.socket.recv_multipart()
        return wire.decode_reply(head), frames

    def ask(self, request: wire.Request) -> tuple[wire.Reply, list[bytes]]:
        self.socket.send(wire.encode(request))
        return self.receive()

    @property
    def epoch(self) -> int:
        reply, _ = self.ask(wire.GetTopics())
        assert isinstance(reply, wire.Topics)
        return reply.epoch

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()


def recalled(reply: wire.Reply, frames: list[bytes]) -> bool:
    """Whether it comes from the store."""
    return isinstance(reply, wire.Range) and wire.unpack_header(frames[0]).publish_ns == 0


def received(listener: Listener, topic: str, first: int, until: int) -> bytes:
    """The records from topic sequence `first` to just before `until`, as they came live."""
    wait_for("the live ones", lambda: listener.next_seq[topic] >= until)
    size = SIZES.get(topic.rpartition(".")[2], TICK.itemsize)
    wait_for("their records", lambda: len(listener.received[topic]) >= until * size)
    return bytes(listener.received[topic][first * size : until * size])


def reader(running: PlantProcess) -> ProcessStatus | None:
    """The history service, once it is at work."""
    found = [process for process in status(running).processes if process.role == "history"]
    return found[0] if found and found[0].state == "running" else None


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PlantProcess, Listener]]:
    """A plant that remembers little, and somebody who takes everything from the first record on."""
    with plant(tmp_path_factory.mktemp("plant"), TEXT, rate=6000, wait=False) as running:
        listener = Listener(running.publish)
        try:
            running.wait_until_up()
            wait_for("ten bars", lambda: all(listener.next_seq.get(f"binance.{s}.bar_1s", 0) > 10 for s in SYMBOLS))
            yield running, listener
            assert running.stop() == 0, running.errors.read_text()
        finally:
            listener.close()


def test_a_late_requester_gets_what_a_live_subscriber_took(taken: tuple[PlantProcess, Listener]) -> None:
    running, listener = taken
    requester = Requester(running.publish)
    try:
        epoch = requester.epoch
        for topic in TOPICS:
            begin = wire.GetRange(topic, epoch, 0, 0)
            wait_for("it to be forgotten", lambda request=begin: recalled(*requester.ask(request)))
            until = listener.next_seq[topic]
            got = bytearray()
            first = 0
            while first < until:
                reply, frames = requester.ask(wire.GetRange(topic, epoch, first, until - 1))
                assert isinstance(reply, wire.Range), reply
                for header, payload in zip(frames[::2], frames[1::2], strict=True):
                    fields = wire.unpack_header(header)
                    assert fields.first_seq <= first
                    got += payload[(first - fields.first_seq) * fields.record_bytes :]
                    first = fields.first_seq + fields.records
            assert got == received(listener, topic, 0, first)
    finally:
        requester.close()
    now = status(running)
    assert now.healthy
    assert any(process.role == "history" for process in now.processes)


def test_a_subscriber_who_slept_for_long_has_lost_nothing(taken: tuple[PlantProcess, Listener]) -> None:
    running, listener = taken
    with tickplant.subscribe(*TOPICS, address=running.publish, high_water_messages=10) as messages:
        began = dict(listener.next_seq)
        wait_for(
            "more than all queues and the memory hold",
            lambda: sum(listener.next_seq[topic] - began[topic] for topic in TOPICS) > 200_000,
        )
        until = {topic: listener.next_seq[topic] for topic in TOPICS}
        got: dict[str, bytes] = dict.fromkeys(TOPICS, b"")
        begin: dict[str, int] = {}
        reached = dict.fromkeys(TOPICS, 0)
        while any(reached[topic] < until[topic] for topic in TOPICS):
            message = messages.receive(90.0)
            assert message is not None, f"at {reached} of {until}"
            assert message.kind != "lost", message
            if message.kind == "snapshot":
                assert message.topic not in begin, "it began anew"
                continue
            first = begin.setdefault(message.topic, message.first_seq)
            size = message.records.dtype.itemsize
            assert message.first_seq == first + len(got[message.topic]) // size
            got[message.topic] += message.records.tobytes()
            reached[message.topic] = message.first_seq + len(message.records)
        assert messages.lost_records == 0
        assert messages.recovered_records > 0
    for topic, payload in got.items():
        assert payload == received(listener, topic, begin[topic], reached[topic])
    counters = next(process for process in status(running).processes if process.role == "engine").counters
    assert counters["requests_recalled"] > 0


def test_a_killed_history_service_is_replaced_and_the_plant_is_well(taken: tuple[PlantProcess, Listener]) -> None:
    running, listener = taken
    requester = Requester(running.publish)
    topic = "binance.BTCUSDT.trade"
    try:
        request = wire.GetRange(topic, requester.epoch, 5, 20)
        expected = received(listener, topic, 5, 21)
        wait_for("it to come from the store", lambda: recalled(*requester.ask(request)))
        first = wait_for("the history service", lambda: reader(running))
        os.kill(first.pid, signal.SIGSTOP)
        requester.socket.send(wire.encode(request))
        assert not requester.socket.poll(200), "it is in the hands of a process that does nothing"
        os.kill(first.pid, signal.SIGKILL)
        wait_for("its end", lambda: (now := reader(running)) is None or now.pid != first.pid)
        reply, frames = requester.ask(request)  # once more: nobody remembers the question
        assert recalled(reply, frames)
        assert b"".join(frames[1::2]) == expected
        second = wait_for("the history service", lambda: reader(running))
        assert second.pid != first.pid
        assert status(running).healthy
        os.kill(second.pid, signal.SIGTERM)
        wait_for("its end", lambda: not any(p.role == "history" for p in status(running).processes))
        assert status(running).healthy
        reply, frames = requester.ask(request)
        assert b"".join(frames[1::2]) == expected
    finally:
        requester.close()


@pytest.mark.long
def test_a_killed_engine_costs_its_subscribers_no_record(tmp_path: Path) -> None:
    """Of the producer: what its seqs count is complete, though its topics count anew."""
    topics = [f"binance.BTCUSDT.{channel}" for channel in ("trade", "book", "bbo")]
    got: dict[str, list[np.ndarray]] = {topic: [] for topic in topics}
    epochs: dict[str, int] = {}
    with (
        plant(tmp_path, DEMO, rate=2000) as running,
        tickplant.subscribe(*topics, address=running.publish, snapshot=False) as messages,
    ):

        def take(reached: Callable[[], bool]) -> None:
            while not reached():
                message = messages.receive(90.0)
                assert message is not None
                assert message.kind != "lost", message
                if message.producer:
                    got[message.topic].append(message.records)
                    epochs[message.topic] = message.epoch

        take(lambda: all(len(parts) > 20 for parts in got.values()))
        before = dict(epochs)
        engine = next(process for process in status(running).processes if process.role == "engine")
        os.kill(engine.pid, signal.SIGKILL)
        take(lambda: all(epochs[topic] > before[topic] for topic in topics))
        assert messages.recovered_records > 0
        assert messages.lost_records == 0
        store = Store(running.data_dir)
        for topic, parts in got.items():
            check_complete(store, topic.rpartition(".")[2], np.concatenate(parts))


@pytest.mark.long
def test_what_a_topic_had_in_a_life_of_which_nothing_came_is_had_by_a_seq_of_its_producer(tmp_path: Path) -> None:
    topic = "binance.BTCUSDT.trade"
    with plant(tmp_path, DEMO, rate=2000) as running, contextlib.closing(Requester(running.publish)) as requester:

        def newest() -> list[bytes]:  # of another topic of the producer
            return requester.ask(wire.GetSnapshot("binance.ETHUSDT.trade"))[1]

        epoch = requester.epoch
        since = int(np.frombuffer(wait_for("a trade", newest)[0], TICK)["seq"][-1])
        store = Store(running.data_dir)
        wait_for("more trades", lambda: store.next_seq("binance", Schema.TICK) > since + 2000)
        engine = running.process_named("engine")["pid"]
        os.kill(engine, signal.SIGKILL)
        wait_for("another engine", lambda: running.process_named("engine")["pid"] not in (0, engine))

        def begins() -> wire.Gone | None:
            reply, _ = requester.ask(wire.GetRange(topic, epoch, 0, 0))
            return reply if isinstance(reply, wire.Gone) and reply.next_seq else None

        gone = wait_for("the topic in its new life", begins)
        assert (gone.producer, gone.epoch > epoch) == ("binance", True)
        got, first = b"", since
        while first < gone.begin_seq:
            reply, frames = requester.ask(wire.GetHistory(topic, gone.producer, first, gone.begin_seq - 1))
            assert isinstance(reply, wire.History), reply
            got += b"".join(frames[1::2])
            first = reply.resume_seq
        ids = frozenset(row.id for row in store.find("binance", "BTCUSDT"))
        span = {"first_seq": since, "last_seq": gone.begin_seq - 1}
        stored = np.concatenate([*store.read("binance", Schema.TICK, Selection(ids=ids), **span)])
    assert len(got) > 100 * TICK.itemsize
    assert got == stored[stored["kind"] == Kind.TRADE].tobytes()


def check_complete(store: Store, channel: str, got: np.ndarray) -> None:
    """These are all records of the channel that the store has between the first and the last of them."""
    producer, schema = ("engine", Schema.BBO) if channel == "bbo" else ("binance", Schema.TICK)
    first, last = int(got["seq"][0]), int(got["seq"][-1])
    wait_for("the writer", lambda: store.next_seq(producer, schema) > last)
    ids = frozenset(row.id for row in store.find("binance", "BTCUSDT"))
    stored = np.concatenate([*store.read(producer, schema, Selection(ids=ids), first_seq=first, last_seq=last)])
    if kinds := {"trade": (Kind.TRADE,), "book": (Kind.LEVEL, Kind.CLEAR)}.get(channel):
        stored, got = (records[np.isin(records["kind"], kinds)] for records in (stored, got))
    assert got.tobytes() == stored.tobytes()


def test_the_service_answers_whoever_asks_and_ends_when_nobody_does(tmp_path: Path) -> None:
    ticks = np.zeros(1000, TICK)
    ticks["kind"], ticks["instrument"], ticks["seq"] = Kind.TRADE, 1, np.arange(1000)
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "X", 2, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(ticks)
    journal.close()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as control, context.socket(zmq.DEALER) as engine:
        addresses = [f"ipc://{tmp_path}/{name}" for name in ("control", "history")]
        callers = Callers(control)
        control.bind(addresses[0])
        engine.setsockopt(zmq.LINGER, 0)
        engine.connect(addresses[1])
        passage = Passage(
            id=7,
            topic="venue.X.trade",
            epoch=5,
            first=110,
            count=20,
            producer="feed",
            schema=1,
            instrument=1,
            price_scale=2,
            size_scale=8,
            first_seq=100,
            last_seq=199,
            records=100,
            skip=10,
            otherwise=b"otherwise",
        )
        early = wire.GetHistory("venue.X.trade", "feed", 1000, 1000, 10)
        questions = [
            early,
            passage,
            msgspec.structs.replace(passage, records=99),
            wire.GetHistory("venue.X.trade", "feed", 990, 2000, 8),
            wire.GetHistory("venue.X.trade", "../feed", 0, 10, 9),
        ]
        way = [HISTORY_HEAD.pack(3, time.monotonic() + 600, 1), b"subscriber"]
        for question in questions:  # before there is anybody to take them
            engine.send_multipart([*way, msgspec.msgpack.encode(question)])
        spec = HistorySpec(
            name="history",
            plant=Plant(str(tmp_path), str(tmp_path), addresses[0], heartbeat_s=0.1),
            address=addresses[1],
            idle_s=8.0,  # long enough for the first question to come where a process stands still
            writer_s=90.0,
        )
        process = start_child("tickplant.store.history_service", spec)
        try:
            answers: list[list[bytes]] = []

            def receive() -> list[bytes]:
                assert engine.poll(90_000)
                frames = engine.recv_multipart()
                assert frames[:2] == way, "it goes back as it came"
                return frames[2:]

            answers += [receive() for _ in questions[1:]]  # nobody waits for one that is early
            ticks["seq"] += 1000
            journal = Journal(tmp_path, Schema.TICK, "feed")
            journal.append(ticks[:1])
            journal.close()
            head, _, payload = receive()
            assert wire.decode_reply(head) == wire.History(10, "venue.X.trade", "feed", 1000, 1001, 1)
            assert payload == ticks[:1].tobytes()
            ticks["seq"] -= 1000
            head, header, payload = answers[0]
            assert wire.decode_reply(head) == wire.Range(7, 5, "venue.X.trade", 110, 129, 1)
            assert wire.unpack_header(header) == wire.Header(1, 64, 20, 5, 110, 0, 1, 2, 8, "feed")
            assert payload == ticks[110:130].tobytes()
            assert answers[1] == [b"otherwise"]
            head, header, payload = answers[2]
            assert wire.decode_reply(head) == wire.History(8, "venue.X.trade", "feed", 999, 1000, 1)
            assert wire.unpack_header(header) == wire.Header(1, 64, 10, 0, 0, 0, 1, 2, 8, "feed")
            assert payload == ticks[990:].tobytes()
            assert isinstance(wire.decode_reply(answers[3][0]), wire.Refused)
            assert process.wait(90) == 0
        finally:
            process.kill()
            process.wait()
        wait_for("the first that it has said", lambda: control.poll(0))
        wait_for("the last that it has said", callers.gone)
        callers.close()
        told = []
        while control.poll(0):
            told.append(decode(control.recv_multipart()[1]))
        assert isinstance(told[0], Hello)
        reports = [message.counters for message in told if isinstance(message, Heartbeat)]
        assert reports[-1] == {"answered": 3, "missing": 2}
        control.setsockopt(zmq.LINGER, 0)
