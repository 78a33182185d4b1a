"""Whose connection a descriptor is: libzmq uses their numbers again, and tells of each socket on its own."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tickplant.runtime import client_guard
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.config import EngineConfig

DEADLINE_S = 90.0


class LateNews:
    """A monitor whose news is there only at the second look."""

    def __init__(self, monitor: zmq.Socket[bytes]) -> None:
        self._monitor = monitor
        self.looks = 0

    def recv_multipart(self, flags: int) -> list[bytes]:
        self.looks += 1
        if self.looks == 1:
            raise zmq.Again
        return self._monitor.recv_multipart(flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._monitor, name)


@pytest.fixture
def ports() -> Iterator[tuple[Guard, int, int]]:
    """A guard over two sockets, and their ports."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as first, context.socket(zmq.ROUTER) as second:
        guard = Guard(EngineConfig(), lambda: 0)
        bound = [listening.bind_to_random_port("tcp://127.0.0.1") for listening in (first, second)]
        for listening in (first, second):
            guard.watch(context, listening)
        yield guard, *bound
        guard.close()


def until(guard: Guard, connections: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while guard.connections != connections:
        select.select([guard], [], [], 1.0)
        guard.attend()
        assert time.monotonic() < deadline_s


def test_late_news_of_an_end_does_not_end_the_next_client_with_the_same_descriptor(
    ports: tuple[Guard, int, int],
) -> None:
    guard, first, second = ports
    with socket.socket() as later, socket.create_connection(("127.0.0.1", first)) as early:
        until(guard, 1)
        (number,) = guard._clients
        early.shutdown(socket.SHUT_RDWR)
        listening, monitor = guard._monitors[first]
        assert monitor.poll(1000 * DEADLINE_S)
        guard._monitors[first] = listening, LateNews(monitor)
        until_free = time.monotonic() + DEADLINE_S
        while Path(f"/proc/self/fd/{number}").exists():
            assert time.monotonic() < until_free
        later.connect(("127.0.0.1", second))
        assert guard._monitors[second][1].poll(1000 * DEADLINE_S)
        guard._listen()
        assert {fd: client.port for fd, client in guard._clients.items()} == {number: second}
        guard._listen()
        assert {fd: client.port for fd, client in guard._clients.items()} == {number: second}


def test_room_is_made_by_whoever_has_kept_a_reply_waiting_longest_however_long_it_has_been_here() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listening:
        guard = Guard(EngineConfig(replies_mib=1), lambda: 0)
        port = listening.bind_to_random_port("tcp://127.0.0.1")
        guard.watch(context, listening)
        with socket.create_connection(("127.0.0.1", port)):
            until(guard, 1)
            (patient,) = guard._clients
            with socket.create_connection(("127.0.0.1", port)):
                until(guard, 2)
                (greedy,) = guard._clients.keys() - {patient}
                assert guard.may_reply(greedy, [600 << 10])
                assert guard.may_reply(patient, [100 << 10])
                assert not guard.may_reply(greedy, [600 << 10])
                assert [*guard._clients] == [patient]
        guard.close()


def test_a_client_that_owes_since_a_pause_is_over_is_not_excused_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_guard, "BEAT_S", 0.05)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listening:
        guard = Guard(EngineConfig(), lambda: 0)
        port = listening.bind_to_random_port("tcp://127.0.0.1")
        guard.watch(context, listening)
        with socket.create_connection(("127.0.0.1", port)):
            until(guard, 1)
            guard.sweep()
            time.sleep(0.5)  # a pause, in which nothing runs
            (client,) = guard._clients
            assert guard.may_reply(client, [100])
            guard.sweep()
            assert guard._clients[client].moved_s <= time.monotonic()
        guard.close()
