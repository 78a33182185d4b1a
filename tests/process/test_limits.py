"""What clients may cost an engine: each limit driven far beyond its bound by real connections to a real process.

One engine for all attacks, and beside them a subscriber that must get every record.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq
from engine_process import EngineProcess, Market, engine
from plant_process import DEADLINE_S, wait_for

import tickplant
from tickplant import wire
from tickplant.records.layouts import Schema
from tickplant.runtime.config import beside

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("unmeasured")]

SLACK_MIB = 160
"""Above what the engine needs by itself: the limits below, and what arrives before a client is cut off."""

LIMITS = {
    "max_connections": 48,
    "max_subscriptions": 2000,
    "subscriptions_per_client": 500,
    "replies_mib": 16,
    "backlog_mib": 4,
    "unread_s": 6.0,
    "handshake_s": 15.0,
    "recovery_mib": 16,
}


class Steady(threading.Thread):
    """A healthy subscriber: counts records, and looks for holes."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.records = 0
        self.lost = 0
        self.losses = 0
        self.ending = threading.Event()
        self._subscription = tickplant.subscribe("binance.BTCUSDT.book", address=address, snapshot=False)

    def run(self) -> None:
        with self._subscription as messages:
            while not self.ending.is_set():
                message = messages.receive(0.2)
                if message is not None:
                    self.records += len(message.records)
                    self.losses += message.kind == "lost"
                    self.lost += message.kind == "recovered"


class Plant:
    """The engine under attack and its feed."""

    def __init__(self, running: EngineProcess) -> None:
        self.engine = running
        self.requests = beside(running.address)
        self.port = int(running.address.rpartition(":")[2])
        self.memory = psutil.Process(running.process.pid)
        self.peak_mib = 0.0
        self.cut_before: dict[str, int] = {}  # the attack
        self._market = Market(running.ids["BTCUSDT"])
        self.book_records = 0

    def rss_mib(self) -> float:
        """Now; remembers the highest."""
        now_mib = self.memory.memory_info().rss / 2**20
        self.peak_mib = max(self.peak_mib, now_mib)
        return now_mib

    def publish(self, count: int = 500) -> None:
        ring = self.engine.rings[Schema.TICK]
        # No faster than a busy machine lets the engine read, or the ring runs over.
        wait_for("the engine to read", lambda: all(one.lag < 4096 for one in ring.statistics().consumers))
        ticks = self._market.ticks(count)
        self.engine.publish(ticks)
        self.book_records += int(np.count_nonzero(ticks["kind"] != 1))

    def cut(self, reason: str) -> int:
        """How many clients were cut off for that."""
        self.engine.heard()
        return int(self.engine.counters.get("clients_cut", {}).get(reason, 0))

    def until_cut(self, reason: str, more: Callable[[], object] = lambda: None, *, times: int = 1) -> None:
        """Go on until clients are cut off for this reason, publishing meanwhile."""
        before = self.cut_before.get(reason, 0)

        def turn() -> bool:
            more()
            self.publish()
            self.rss_mib()
            return self.cut(reason) >= before + times

        wait_for(f"somebody to be cut off: {reason}", turn)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder: Path = tmp_path_factory.mktemp("limits")
    with engine(folder, store=False, bar_s=(1,), **LIMITS) as running:
        yield Plant(running)


@pytest.fixture
def attack(plant: Plant) -> Iterator[Plant]:
    """The plant with a healthy subscriber beside; afterwards it has every record, and memory is where it was."""
    steady = Steady(plant.engine.address)
    steady.start()
    wait_for("the subscription", lambda: plant.engine.heard() is not None and plant.engine.counters["subscriptions"])
    began = plant.book_records
    for _ in range(20):
        plant.publish()
    before_mib = plant.peak_mib = plant.rss_mib()
    plant.engine.heard()
    plant.cut_before = dict(plant.engine.counters["clients_cut"])
    yield plant
    plant.publish()
    wait_for("every record", lambda: steady.records >= plant.book_records - began)
    steady.ending.set()
    steady.join()
    assert (steady.records, steady.losses) == (plant.book_records - began, 0)
    assert plant.peak_mib < before_mib + SLACK_MIB, f"{before_mib:.0f} MiB before, {plant.peak_mib:.0f} at most"
    wait_for(
        "memory to be given back",
        lambda: plant.engine.heard() is not None and plant.rss_mib() < before_mib + SLACK_MIB / 2,
    )


def greeted(port: int, kind: bytes) -> socket.socket:
    """A raw ZMTP 3.0 connection, handshake done."""
    link = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    link.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
    received = b""
    while len(received) < 64:
        part = link.recv(4096)
        assert part, "the connection was ended in the midst of its handshake"
        received += part
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    link.sendall(b"\x04" + bytes([len(ready)]) + ready)
    return link


def pour(link: socket.socket, data: bytes) -> bool:
    """Send as much of this as goes at once; False where the connection is over.

    A client that was cut off may learn so from its receiving side alone, while nobody takes what it has sent.
    """
    link.setblocking(False)  # with a timeout, Python would wait that long for room
    try:
        with contextlib.suppress(BlockingIOError):
            if not link.recv(65_536):
                return False
        link.send(data)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 100, 16_000])
@pytest.mark.parametrize("kind", [b"DEALER", b"SUB"])
def test_a_request_that_never_ends(attack: Plant, kind: bytes, size: int) -> None:
    port = attack.port + (kind == b"DEALER")
    size = min(size, 100) if kind == b"SUB" else size
    frame = bytes([1, size]) + bytes(size) if size < 256 else b"\x03" + struct.pack(">Q", size) + bytes(size)
    flood = frame * max(1, 65_536 // len(frame))
    with greeted(port, kind) as link:
        # Frames cut in two change nothing: no message is complete, ever.
        attack.until_cut("unfinished request", lambda: pour(link, flood))
        wait_for("the end of the connection", lambda: not pour(link, flood))


def test_one_request_in_thousands_of_envelope_frames(attack: Plant) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.SNDHWM, 0)
        dealer.connect(attack.requests)
        for _ in range(3000):
            dealer.send(bytes(16_000), zmq.SNDMORE)
        dealer.send(b"{}")
        attack.until_cut("unfinished request")


def test_a_complete_request_with_too_many_frames(attack: Plant) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.connect(attack.requests)
        attack.until_cut("request too large", lambda: dealer.send_multipart([b""] * 9))


def test_clients_that_ask_for_much_and_read_nothing(attack: Plant) -> None:
    topic = "binance.BTCUSDT.book"
    with zmq.Context() as context, contextlib.ExitStack() as sockets:
        asking = sockets.enter_context(context.socket(zmq.DEALER))
        asking.connect(attack.requests)
        asking.send(wire.encode(wire.GetTopics()))
        assert asking.poll(90_000)
        reply = wire.decode_reply(asking.recv())
        assert isinstance(reply, wire.Topics)
        last = next(info.next_seq for info in reply.topics if info.topic == topic) - 1
        request = wire.encode(wire.GetRange(topic, reply.epoch, max(0, last - 8000), last))
        for _ in range(30):
            dealer = sockets.enter_context(context.socket(zmq.DEALER))
            dealer.set(zmq.LINGER, 0)
            dealer.set(zmq.RCVHWM, 1)
            dealer.set(zmq.RCVBUF, 4096)
            dealer.set(zmq.RECONNECT_IVL, -1)
            dealer.connect(attack.requests)
            for _ in range(40):
                dealer.send(request)
        attack.until_cut("reads no replies", times=10)
        # Who reads is answered all the while.
        asking.send(wire.encode(wire.GetSnapshot(topic)))
        assert asking.poll(90_000)


def test_a_subscriber_that_takes_nothing(attack: Plant) -> None:
    with greeted(attack.port, b"SUB") as link:
        link.sendall(b"\x00\x01\x01")
        attack.until_cut("too far behind", lambda: [attack.publish(4000) for _ in range(3)])


@pytest.mark.parametrize(("count", "reason"), [(501, "too many subscriptions"), (1, "topic too long")])
@pytest.mark.parametrize("raw", [True, False])
def test_subscriptions_of_one_client(attack: Plant, count: int, reason: str, raw: bool) -> None:
    topics = [b"%d" % number if count > 1 else bytes(200) for number in range(count)]
    if raw:
        with greeted(attack.port, b"SUB") as link:
            for topic in topics:
                link.sendall(bytes([0, len(topic) + 1, 1]) + topic)
            attack.until_cut(reason)
        return
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        for topic in topics:
            subscriber.subscribe(topic)
        subscriber.connect(attack.engine.address)
        attack.until_cut(reason)


def test_subscriptions_of_all_clients_together(attack: Plant) -> None:
    with zmq.Context() as context, contextlib.ExitStack() as sockets:
        for client in range(5):
            subscriber = sockets.enter_context(context.socket(zmq.SUB))
            for number in range(450):
                subscriber.subscribe(b"%d-%d" % (client, number))
            subscriber.connect(attack.engine.address)
        attack.until_cut("too many subscriptions")
        assert attack.engine.counters["subscriptions"] <= LIMITS["max_subscriptions"]


def test_a_subscription_of_megabytes(attack: Plant) -> None:
    size = 4 << 20
    with greeted(attack.port, b"SUB") as link:
        link.sendall(b"\x02" + struct.pack(">Q", size + 1) + b"\x01")
        wait_for("the end of the connection", lambda: attack.rss_mib() and not pour(link, bytes(65_536)))


def test_connections_beyond_the_limit_and_such_that_never_speak(attack: Plant) -> None:
    with contextlib.ExitStack() as links:
        silent = [
            links.enter_context(socket.create_connection(("127.0.0.1", attack.port + side), timeout=DEADLINE_S))
            for side in (0, 1)
            for _ in range(100)
        ]
        attack.until_cut("too many connections")
        for link in silent:  # the others are ended when they have said nothing for `handshake_s`
            with contextlib.suppress(ConnectionError):
                while link.recv(4096):
                    continue
    wait_for(
        "the connections to be forgotten",
        lambda: attack.engine.heard() is not None and attack.engine.counters["connections"] <= 4,
    )


@pytest.mark.long
def test_heartbeats_and_many_requests_are_no_attack(attack: Plant) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.HEARTBEAT_IVL, 10)
        dealer.set(zmq.HEARTBEAT_TIMEOUT, 60_000)  # else it ends the connection itself on a busy machine
        dealer.connect(attack.requests)
        until_s = time.monotonic() + 2
        while time.monotonic() < until_s:
            for _ in range(8):
                dealer.send(wire.encode(wire.GetTopics(prefix="no such")))
            for _ in range(8):
                assert dealer.poll(90_000)
                dealer.recv_multipart()
        attack.engine.heard()
    assert attack.engine.counters["clients_cut"] == attack.cut_before
