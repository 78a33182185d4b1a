"""A relay of conflated topics beside a real plant: the latest arrives in the end, and little else travels."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import zmq
from engine_process import Market, engine
from plant_process import free_port, plant, relay, tickplant, wait_for

from tickplant.client.book_request import fetch_book
from tickplant.client.subscription import Subscription, subscribe
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError
from tickplant.records.layouts import BBO, Kind, Schema
from tickplant.runtime.config import ClientLimits
from tickplant.store.reader import Store

EVERY_MS = 100
TOPICS = ("binance.BTCUSDT.bbo", "binance.ETHUSDT.bbo", "binance.BTCUSDT.trade", "binance.*.status")


class Screen:
    """What has come of each topic."""

    def __init__(self, messages: Subscription) -> None:
        self._messages = messages
        self.seen: dict[str, list[Message]] = defaultdict(list)

    def take(self) -> None:
        """What has come by now."""
        while (message := self._messages.receive(0.05)) is not None:
            self.seen[message.topic].append(message)

    def wait_for_more(self, topics: Iterable[str], count: int) -> None:
        """Have so many messages more of each."""
        least = {topic: len(self.seen[topic]) + count for topic in topics}

        def come() -> bool:
            self.take()
            return all(len(self.seen[topic]) >= number for topic, number in least.items())

        wait_for("conflated messages", come)

    def records(self, topic: str) -> np.ndarray:
        """Of the topic, those that are no notes."""
        records = np.concatenate([one.records for one in self.seen[topic] if len(one.records)])
        return records if records.dtype == BBO else records[records["kind"] == Kind.TRADE]

    def wait_for_last(self, topic: str, stored: np.ndarray) -> None:
        """Have the last record that is stored."""

        def come() -> bool:
            self.take()
            return self.records(topic)[-1].tobytes() == stored[-1].tobytes()

        wait_for(f"the last of {topic}", come)


@pytest.mark.long
def test_the_latest_of_a_plant_arrives_through_a_kill_of_its_engine(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        plant(tmp_path, rate=600) as up,
        relay("conflate", *TOPICS, "-c", up.file, "--every", str(EVERY_MS), "--publish", address, says=b"publishing"),
        subscribe(*TOPICS, address=address) as messages,
    ):
        screen = Screen(messages)
        screen.wait_for_more(TOPICS[:3], 5)
        pid = up.process_named("engine")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the engine", lambda: up.process_named("engine")["pid"] not in (0, pid))
        screen.wait_for_more(TOPICS[:3], 5)
        assert up.stop() == 0
        store = Store(up.data_dir)
        bbo = np.concatenate(list(store.query("binance", "BTCUSDT", schema=Schema.BBO)))
        trades = np.concatenate(list(store.query("binance", "BTCUSDT", kinds=["trade"])))
        screen.wait_for_last(TOPICS[0], bbo)
        screen.wait_for_last(TOPICS[2], trades)
        with pytest.raises(SubscribeError, match="books are not conflated"):
            fetch_book("binance", "BTCUSDT", address=address)
    for topic in TOPICS[:3]:
        times = np.diff([one.publish_ns for one in screen.seen[topic] if one.kind == "live"])
        # One message may be late on a busy machine, and the next one not: many of them are as far apart as they should.
        assert len(times) >= 8 and times.sum() >= 0.9 * EVERY_MS * 1e6 * len(times), topic
        assert not [one for one in screen.seen[topic] if one.kind == "lost"], topic
    given = screen.records(TOPICS[2])
    assert len(given) < len(trades)
    assert set(given["seq"].tolist()) <= set(trades["seq"].tolist())


@pytest.mark.timeout(180)  # what is not said is waited for
def test_clients_of_a_relay_that_take_too_much_are_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    limits = ClientLimits(subscriptions_per_client=20, max_connections=8)
    given = "--limit", f"subscriptions_per_client={limits.subscriptions_per_client}", "--limit", "max_connections=8"
    with engine(tmp_path) as running:
        market = Market(running.ids["BTCUSDT"])
        running.publish(market.ticks(100))
        words = "conflate", "binance.BTCUSDT.trade", "--source", running.address, "--every", "10", "--publish", address
        with (
            relay(*words, *given, says=b"publishing") as lines,
            subscribe("binance.BTCUSDT.trade", address=address) as messages,
            contextlib.ExitStack() as attackers,
        ):
            screen = Screen(messages)

            def goes_on() -> None:
                running.publish(market.ticks(100))
                screen.wait_for_more(["binance.BTCUSDT.trade"], 1)

            def until_said(words: bytes) -> None:
                while words not in (line := lines.readline()):
                    assert line, "the relay has ended"

            goes_on()
            greedy = attackers.enter_context(zmq.Context()).socket(zmq.SUB)
            greedy.set(zmq.SNDHWM, 0)
            greedy.connect(address)
            for number in range(limits.subscriptions_per_client + 1):
                greedy.subscribe(f"binance.{number}")
            until_said(b"clients cut off, too many subscriptions: ")
            greedy.close(0)
            goes_on()
            port = int(address.rpartition(":")[2])
            many = [
                attackers.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(limits.max_connections + 10)
            ]
            until_said(b"clients cut off, too many connections: ")
            wait_for("them to be cut off", lambda: len(select.select(many, [], [], 0.0)[0]) >= 10)
            goes_on()


@pytest.mark.long
def test_what_cannot_be_conflated_or_opened_is_said_in_a_sentence() -> None:
    for words, sentence in (
        (("binance.X.book", "--publish", "ipc:///tmp/x"), "books are not conflated"),
        (("binance.X.bbo", "--publish", "tcp://127.0.0.1:99999"), "is not an address: use"),
        (("binance.X.bbo", "--publish", "tcp://0.0.0.0:5700"), "--insecure where the network is trusted"),
        (("binance.X.bbo", "--publish", "ipc:///tmp/x", "--source", f"tcp://127.0.0.1:{free_port()}"), "no engine"),
    ):
        done = tickplant("conflate", *words)
        assert done.returncode != 0 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
