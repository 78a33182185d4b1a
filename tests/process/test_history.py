"""What an engine's memory has forgotten its subscribers get from the store, byte for byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from children import start_child
from listener import Listener
from plant_process import DEMO, PlantProcess, plant, status, wait_for

import tickplant
from tickplant import wire
from tickplant.records.layouts import BAR, BBO, TICK, Kind, Schema
from tickplant.runtime.config import beside
from tickplant.runtime.control import RECALL_READY, Heartbeat, Hello, Passage, ProcessStatus, decode
from tickplant.runtime.job_specs import Plant, RecallSpec
from tickplant.writer.journal import Journal

TEXT = DEMO.replace(
    "[engines.engine]\n", "[engines.engine]\nrecovery_mib = 1\nhigh_water_messages = 1000\nbar_s = [1]\n"
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
        assert self.socket.poll(30_000), "no answer"
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
    """The recall process, once it is at work."""
    found = [process for process in status(running).processes if process.role == "recall"]
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
    assert any(process.role == "recall" for process in now.processes)


def test_a_subscriber_who_slept_for_long_has_lost_nothing(taken: tuple[PlantProcess, Listener]) -> None:
    running, listener = taken
    with tickplant.subscribe(*TOPICS, address=running.publish, high_water_messages=10) as messages:
        began = dict(listener.next_seq)
        wait_for(
            "more than all queues and the memory hold",
            lambda: sum(listener.next_seq[topic] - began[topic] for topic in TOPICS) > 120_000,
        )
        until = {topic: listener.next_seq[topic] for topic in TOPICS}
        got: dict[str, bytes] = dict.fromkeys(TOPICS, b"")
        begin: dict[str, int] = {}
        reached = dict.fromkeys(TOPICS, 0)
        while any(reached[topic] < until[topic] for topic in TOPICS):
            message = messages.receive(30.0)
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


def test_a_killed_recall_process_is_replaced_and_the_plant_is_well(taken: tuple[PlantProcess, Listener]) -> None:
    running, listener = taken
    requester = Requester(running.publish)
    topic = "binance.BTCUSDT.trade"
    try:
        request = wire.GetRange(topic, requester.epoch, 5, 20)
        expected = received(listener, topic, 5, 21)
        wait_for("it to be recalled", lambda: recalled(*requester.ask(request)))
        first = wait_for("the recall process", lambda: reader(running))
        os.kill(first.pid, signal.SIGSTOP)
        requester.socket.send(wire.encode(request))
        assert not requester.socket.poll(200), "it is in the hands of a process that does nothing"
        os.kill(first.pid, signal.SIGKILL)
        reply, frames = requester.receive()  # from its successor; on a very slow machine it was given up before
        assert isinstance(reply, wire.Range | wire.Gone)
        if isinstance(reply, wire.Gone):
            wait_for("a successor", lambda: recalled(*requester.ask(request)))
            reply, frames = requester.ask(request)
        assert b"".join(frames[1::2]) == expected
        second = wait_for("the recall process", lambda: reader(running))
        assert second.pid != first.pid
        assert status(running).healthy
        os.kill(second.pid, signal.SIGTERM)
        wait_for("its end", lambda: not any(p.role == "recall" for p in status(running).processes))
        assert status(running).healthy
        reply, frames = requester.ask(request)
        assert b"".join(frames[1::2]) == expected
    finally:
        requester.close()


def test_a_recall_process_ends_when_nobody_asks_any_more(tmp_path: Path) -> None:
    ticks = np.zeros(1000, TICK)
    ticks["kind"], ticks["instrument"], ticks["seq"] = Kind.TRADE, 1, np.arange(1000)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(ticks)
    journal.close()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as control, context.socket(zmq.ROUTER) as engine:
        addresses = [f"ipc://{tmp_path}/{name}" for name in ("control", "recall")]
        control.bind(addresses[0])
        engine.bind(addresses[1])
        spec = RecallSpec(
            name="engine-recall",
            plant=Plant(str(tmp_path), str(tmp_path), addresses[0], heartbeat_s=0.1),
            address=addresses[1],
            idle_s=1.0,
        )
        process = start_child("tickplant.store.recall", spec)
        try:
            assert engine.poll(90_000)
            identity, ready = engine.recv_multipart()
            assert ready == RECALL_READY
            passage = Passage(7, "feed", int(Schema.TICK), 1, "trade", 100, 199, 100, 10, 20)
            engine.send_multipart([identity, msgspec.msgpack.encode(passage)])
            engine.send_multipart([identity, msgspec.msgpack.encode(msgspec.structs.replace(passage, records=99))])
            answers = []
            while len(answers) < 2:
                _, *frames = engine.recv_multipart()
                if frames != [RECALL_READY]:
                    answers.append(frames)
            assert answers == [
                [(7).to_bytes(8, "little"), ticks[110:130].tobytes()],
                [(7).to_bytes(8, "little"), b""],
            ]
            assert process.wait(90) == 0
        finally:
            process.kill()
            process.wait()
        told = []
        while control.poll(0):
            told.append(decode(control.recv_multipart()[1]))
        assert isinstance(told[0], Hello)
        reports = [message.counters for message in told if isinstance(message, Heartbeat)]
        assert reports[-1] == {"recalled": 1, "missing": 1}
        engine.setsockopt(zmq.LINGER, 0)
        control.setsockopt(zmq.LINGER, 0)
