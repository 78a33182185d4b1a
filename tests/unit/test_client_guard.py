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
from tickplant.runtime.client_guard import Guard, wire_bytes
from tickplant.runtime.client_sockets import answer, open_requests, requests
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


def test_room_is_not_made_by_a_client_that_owes_less_than_its_share() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listening:
        guard = Guard(EngineConfig(replies_mib=4, unread_s=3600), lambda: 0)
        port = listening.bind_to_random_port("tcp://127.0.0.1")
        guard.watch(context, listening)
        with socket.create_connection(("127.0.0.1", port)) as first, socket.create_connection(("127.0.0.1", port)):
            until(guard, 2)
            small, greedy = sorted(
                guard._clients, key=lambda fd: guard._clients[fd].link.getpeername() != first.getsockname()
            )
            assert guard.may_reply(small, [1000])
            assert guard.may_reply(greedy, [3 << 20])
            handed_s = guard._clients[greedy].moved_s
            guard._clients[greedy].link.send(b"x")  # it takes something, later than the other one
            until_s = time.monotonic() + DEADLINE_S
            while guard._clients[greedy].moved_s == handed_s:
                guard.sweep()
                assert time.monotonic() < until_s
            assert not guard.may_reply(greedy, [2 << 20])
            assert [*guard._clients] == [small]
            assert not guard.may_reply(small, [5 << 20])  # for which there is no room whoever goes
            assert [*guard._clients] == [small]
        guard.close()


def test_a_reply_that_does_not_go_is_not_owed() -> None:
    limits = EngineConfig()
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        guard = Guard(limits, lambda: 0)
        listening = open_requests(context, "tcp://127.0.0.1:*", limits)
        guard.watch(context, listening)
        asking.set(zmq.LINGER, 0)
        asking.set(zmq.RCVHWM, 1)
        asking.connect(bytes(listening.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode())
        asking.send(b"?")
        assert listening.poll(1000 * DEADLINE_S)
        ((envelope, _),) = requests(listening, guard, limits, 1)
        went = 0
        while answer(listening, guard, envelope, [bytes(1 << 20)]):
            went += 1
        assert guard._clients[envelope.fd].handed == went * wire_bytes([1 << 20])
        guard.close()
        listening.close(0)
