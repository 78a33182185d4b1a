"""How a child sleeps, reports and hears that it is to end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tickplant.runtime.accounts import Account
from tickplant.runtime.child_loop import BEAT_S, NAP_S, ChildLoop
from tickplant.runtime.control import Counters, Done, Heartbeat, Message, Stop, WantHistory, decode, encode
from tickplant.runtime.job_specs import Plant

LONG_S = 300.0
DEADLINE_S = 90.0


class Supervised:
    """A loop, and the supervisor's end of its line."""

    def __init__(self, folder: Path, heartbeat_s: float) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.set(zmq.LINGER, 0)
        self.router.bind(f"ipc://{folder}/control")
        self.heard: list[Message] = []
        self.before: list[int] = []  # reports at each `on_beat`
        self.reports = 0
        plant = Plant(str(folder), str(folder), f"ipc://{folder}/control", heartbeat_s=heartbeat_s)
        self.loop = ChildLoop(
            plant,
            "one",
            self.report,
            hear=self.heard.append,
            on_beat=lambda: self.before.append(self.reports),
        )

    def report(self) -> tuple[Counters, list[Account]]:
        self.reports += 1
        return {"reports": self.reports}, []

    def said(self) -> tuple[bytes, Message]:
        assert self.router.poll(1000 * DEADLINE_S)
        line, frame = self.router.recv_multipart()
        return line, decode(frame)

    def say(self, line: bytes, *messages: Message) -> None:
        for message in messages:
            self.router.send_multipart([line, encode(message)])


@pytest.fixture
def one(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    made = Supervised(tmp_path, getattr(request, "param", LONG_S))
    with made.loop:
        yield made
    made.router.close()
    made.context.term()


def test_a_beat_reports_when_it_is_due_and_not_before(one: Supervised) -> None:
    assert one.loop.due_s <= 0
    one.loop.beat()
    one.loop.beat()
    one.loop.done()
    assert [one.said()[1] for _ in range(2)] == [
        Heartbeat("one", {"reports": 1}, [], os.getpid()),
        Done("one", {"reports": 2}, [], os.getpid()),
    ]
    assert one.before[0] == 0
    assert not one.router.poll(0)


def test_what_is_looked_after_at_a_beat_does_not_wait_for_the_next_report(one: Supervised) -> None:
    one.loop.beat()
    until_s = time.monotonic() + DEADLINE_S
    while len(one.before) < 3:
        assert one.loop.due_s <= BEAT_S
        one.loop.wait(one.loop.due_s)
        one.loop.beat()
        assert time.monotonic() < until_s
    assert one.reports == 1


@pytest.mark.parametrize("one", [0.0], indirect=True)
def test_every_beat_is_due_where_the_plant_says_so(one: Supervised) -> None:
    for _ in range(3):
        one.loop.beat()
    assert one.reports == 3


def test_the_supervisor_is_heard_in_a_wait_which_ends(one: Supervised) -> None:
    one.loop.report()
    line, _ = one.said()
    one.say(line, WantHistory(), Stop())
    began_s = time.monotonic()
    while not one.loop.stopping:
        one.loop.wait(LONG_S)
    assert time.monotonic() - began_s < LONG_S / 2
    assert one.heard == [WantHistory()]  # and `Stop` is for the loop itself


def test_a_signal_ends_a_wait(one: Supervised) -> None:
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
    began_s = time.monotonic()
    timer.start()
    while not one.loop.stopping:
        one.loop.wait(LONG_S)
    timer.join()
    assert time.monotonic() - began_s < LONG_S / 2


@pytest.mark.parametrize("one", [0.0], indirect=True)
def test_a_nap_is_short_and_hands_nothing_over_before_the_next_beat(one: Supervised) -> None:
    one.loop.report()
    line, _ = one.said()
    began_s = time.monotonic()
    one.loop.nap(LONG_S)
    assert NAP_S <= time.monotonic() - began_s < LONG_S / 2
    one.say(line, Stop())
    assert one.loop.client.socket.poll(1000 * DEADLINE_S)
    one.loop.nap(LONG_S)
    assert not one.loop.stopping
    one.loop.beat()
    assert one.loop.stopping
