"""The loop primitive of engine and writer: no message that has arrived is slept over."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.runtime.poll import Poll

ASLEEP_S = 90.0


def woken(poll: Poll) -> bool:
    """Whether something was handled. libzmq may end a sleep early: such a one is repeated."""
    until_s = time.monotonic() + ASLEEP_S
    while not poll.wait(ASLEEP_S):
        if time.monotonic() > until_s:
            return False
    return True


class Line:
    """A watched ROUTER socket, its peer, and what its handler has taken, one message a call."""

    def __init__(self, folder: Path, **use: bool) -> None:
        self.seldom = "seldom" in use
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.peer = self.context.socket(zmq.DEALER)
        for socket in (self.router, self.peer):
            socket.set(zmq.LINGER, 0)
        self.router.bind(f"ipc://{folder}/line")
        self.peer.set(zmq.IDENTITY, b"peer")
        self.peer.connect(f"ipc://{folder}/line")
        self.poll = Poll()
        self.poll.add_socket(self.router, self.take, **use)
        self.taken = 0
        self.sent = 0

    def take(self) -> None:
        self.router.recv_multipart(zmq.NOBLOCK)
        self.taken += 1

    def send(self) -> None:
        self.peer.send(b"x")
        self.sent += 1

    def answer(self) -> None:
        """Send something the other way, whereby libzmq carries out what its descriptor announced."""
        self.router.send_multipart([b"peer", b"y"])
        if self.seldom:
            self.poll.used()

    def close(self) -> None:
        self.poll.close()
        self.router.close()
        self.peer.close()
        self.context.term()


USES = ({}, {"seldom": True}, {"patient": True})


@pytest.fixture(params=USES, ids=str)
def line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(tmp_path, **request.param)
    yield made
    made.close()


def test_a_message_is_found_though_a_send_has_silenced_the_descriptor(line: Line) -> None:
    line.send()
    assert woken(line.poll)
    descriptor = line.router.get(zmq.FD)
    assert not line.router.get(zmq.EVENTS) & zmq.POLLIN  # from here on libzmq announces what comes
    while select.select([descriptor], [], [], 0)[0]:
        line.router.get(zmq.EVENTS)
    line.poll.wait(0.0)
    line.send()
    assert select.select([descriptor], [], [], ASLEEP_S)[0]
    line.answer()
    assert not select.select([descriptor], [], [], 0)[0], "the trap is not set: libzmq behaves otherwise now"
    assert woken(line.poll)
    assert line.taken == line.sent


@settings(max_examples=50)
@given(steps=st.lists(st.sampled_from(["send", "answer", "events", "wait"]), max_size=60), use=st.sampled_from(USES))
def test_whatever_is_done_in_between_every_message_is_taken(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory, use: dict[str, bool]
) -> None:
    line = Line(tmp_path_factory.mktemp("line"), **use)
    try:
        line.send()
        assert woken(line.poll)  # from here on the peer is known
        for step in steps:
            if step == "wait":
                line.poll.wait(0.0)
            elif step == "events":
                line.router.get(zmq.EVENTS)
                line.poll.used()
            else:
                getattr(line, step)()
        while line.taken < line.sent:
            assert woken(line.poll), f"{line.sent - line.taken} messages were slept over"
        assert not line.poll.wait(0.0)
    finally:
        line.close()


def test_a_loop_that_is_woken_all_the_time_hears_a_patient_socket_all_the_same(tmp_path: Path) -> None:
    line = Line(tmp_path, patient=True)
    reader, writer = os.pipe()
    try:
        line.poll.add(reader, lambda: os.read(reader, 1))
        line.send()
        assert woken(line.poll)
        line.send()
        until_s = time.monotonic() + ASLEEP_S
        while line.taken < line.sent and time.monotonic() < until_s:
            os.write(writer, b"x")
            line.answer()  # whereby the descriptor falls silent
            line.poll.wait(ASLEEP_S)
        assert line.taken == line.sent
    finally:
        line.close()
        os.close(reader)
        os.close(writer)


def test_a_descriptor_wakes_until_it_is_read_and_not_once_it_is_removed() -> None:
    reader, writer = os.pipe()
    calls: list[bytes] = []
    with Poll() as poll:
        poll.add(reader, lambda: calls.append(os.read(reader, 1)))
        os.write(writer, b"ab")
        assert woken(poll) and woken(poll) and not poll.wait(0.0)
        assert calls == [b"a", b"b"]
        os.write(writer, b"c")
        poll.remove(reader)
        assert not poll.wait(0.0)
        os.close(reader)
        # The next descriptor has the number of the closed one: it is watched like any other.
        again, end = os.pipe()
        assert again == reader
        poll.add(again)
        os.write(end, b"d")
        assert woken(poll)
    for fd in (writer, again, end):
        os.close(fd)


def test_a_descriptor_that_was_closed_can_be_removed() -> None:
    reader, writer = os.pipe()
    with Poll() as poll:
        poll.add(reader)
        os.close(reader)
        poll.remove(reader)
    os.close(writer)
