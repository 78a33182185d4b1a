"""The control socket listens to the children it knows, in bounded turns, to messages of bounded size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from plant_process import wait_for

from tickplant.errors import ControlError
from tickplant.plant.switchboard import COUNTERS, TEXT_CHARACTERS, TURN_MESSAGES, Switchboard, sane
from tickplant.runtime.control import (
    MAX_MESSAGE_BYTES,
    Accepted,
    Done,
    GetStatus,
    Heartbeat,
    Hello,
    Message,
    Register,
    Restart,
    Resync,
    Stop,
    WantHistory,
    decode,
    encode,
)

Socket = zmq.Socket[bytes]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[Socket] = zmq.Context()
        self.told: list[str] = []
        self.lines: list[Socket] = []
        self.board = Switchboard(self.context, self.told.append)
        self.address = f"ipc://{folder}/c"
        self.board.open(self.address)

    def line(self) -> Socket:
        socket: Socket = self.context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.connect(self.address)
        self.lines.append(socket)
        return socket

    def close(self) -> None:
        for socket in self.lines:
            socket.close()
        self.board.close()
        self.context.term()

    def admitted(self, sender: Socket, *messages: Message) -> list[Message | None]:
        """What becomes of these messages of one connection."""
        for message in messages:
            sender.send(encode(message))
        found: list[Message | None] = []

        def all_there() -> bool:
            for line, frame in self.board.incoming():
                try:
                    found.append(self.board.admit(line, frame))
                except ControlError:
                    found.append(None)
            return len(found) >= len(messages)

        wait_for("the messages", all_there)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_child_is_its_pid_and_its_connection_and_nobody_else(bench: Bench) -> None:
    child, stranger = bench.line(), bench.line()
    bench.board.expect("feed", 100)
    register = Register("binance", "BTCUSDT", 2, 2)
    forged = [Hello("feed", 99), Heartbeat("feed", {}), Done("feed", {}, [], 99), Hello("other", 100), register]
    assert bench.admitted(stranger, *forged) == [None] * len(forged)
    assert bench.admitted(child, Heartbeat("feed", {"a": 1}, [], 100)) == [Heartbeat("feed", {"a": 1}, [], 100)]
    assert bench.admitted(child, register, WantHistory()) == [register, WantHistory()]
    # Also with the right pid: another connection is not that process.
    assert bench.admitted(stranger, Hello("feed", 100), Heartbeat("feed", {}, [], 100), register) == [None] * 3
    commands = [GetStatus(), Stop(), Restart("feed"), Resync("feed")]
    assert bench.admitted(stranger, *commands) == commands
    assert bench.board.tell("feed", Accepted())
    assert isinstance(decode(child.recv()), Accepted)
    # Its successor is another process; what the dead one still says is not heard.
    bench.board.expect("feed", 200)
    assert not bench.board.tell("feed", Accepted())
    assert bench.admitted(child, Heartbeat("feed", {}, [], 100), register) == [None, None]
    successor = bench.line()
    assert bench.admitted(successor, Hello("feed", 200), register) == [Hello("feed", 200), register]
    bench.board.forget("feed")
    assert bench.admitted(successor, Heartbeat("feed", {}, [], 200)) == [None]
    assert len(bench.told) == 1  # of all that was refused, for the first ten seconds


def test_a_turn_ends_however_much_is_there_and_nothing_is_lost(bench: Bench) -> None:
    frame, sent = encode(GetStatus()), 0
    for line in [bench.line() for _ in range(4)]:
        with contextlib.suppress(zmq.Again):
            while True:
                line.send(frame, zmq.NOBLOCK)
                sent += 1
    assert sent > 4 * TURN_MESSAGES
    taken: list[int] = []

    def all_taken() -> bool:
        taken.append(sum(1 for _ in bench.board.incoming()))
        return sum(taken) == sent

    wait_for("all messages", all_taken)
    assert max(taken) <= TURN_MESSAGES


@pytest.mark.parametrize("frames", [[b"a", b"b"], [b""] * 1000, [b"x" * (MAX_MESSAGE_BYTES + 1)]])
def test_messages_of_another_form_or_size_reach_nobody(bench: Bench, frames: list[bytes]) -> None:
    stranger = bench.line()
    stranger.send_multipart(frames)
    assert bench.admitted(bench.line(), GetStatus()) == [GetStatus()]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(ControlError):
        assert isinstance(decode(data), msgspec.Struct)


def test_nesting_without_end_is_refused() -> None:
    for frame in (
        b"\x81" * 100_000,
        b"\x91" * 100_000,
        b"\x82\xa4type\xa9heartbeat\xa8counters" + b"\x81\xa1a" * 100_000,
    ):
        with pytest.raises(ControlError, match="not a control message"):
            decode(frame)


def test_counters_are_kept_within_bounds() -> None:
    many = {f"k{i}" * 100: "v" * 10_000 for i in range(5000)}
    kept = sane({"trouble": 5, "records": "xyz", "kinds": {f"k{i}": i for i in range(5000)}, **many})
    assert "trouble" not in kept
    assert kept["records"] == "xyz"
    assert len(kept) <= COUNTERS and len(kept["kinds"]) == COUNTERS  # type: ignore[arg-type]
    assert max(len(value) for value in kept.values() if isinstance(value, str)) == TEXT_CHARACTERS
