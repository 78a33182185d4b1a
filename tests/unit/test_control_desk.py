"""The supervisor's desk: who asks for something lives, though it reports nothing meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import structlog
import zmq
from plant_process import wait_for

from tickplant.errors import ControlError
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.plant.child import Child
from tickplant.plant.control_desk import ControlDesk
from tickplant.plant.plans import ChildPlan
from tickplant.plant.switchboard import Switchboard
from tickplant.runtime.config import PlantConfig
from tickplant.runtime.control import Hello, Register, Registered, decode, encode
from tickplant.runtime.control_client import ControlClient


class Desk:
    """A desk for the children `feed` and `other`, and what it serves."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.address = f"ipc://{folder}/c"
        self.board = Switchboard(self.context, lambda _: None)
        self.board.open(self.address)
        children = [Child(ChildPlan(name, "feed", "", msgspec.Struct), PlantConfig()) for name in ("feed", "other")]
        self.children = {child.name: child for child in children}
        pool = SimpleNamespace(board=self.board, children=self.children, log=structlog.get_logger())
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.desk = ControlDesk(SimpleNamespace(symbols=None), pool, None, self.table, lambda: None)  # type: ignore[arg-type, return-value]

    def expect(self, pid: int) -> None:
        """Both children run as this process."""
        for child in self.children.values():
            self.board.expect(child.name, pid)
            child.pid, child.state = pid, "running"

    def close(self) -> None:
        self.board.close()
        self.context.term()


def test_a_feed_that_registers_symbol_after_symbol_is_not_taken_for_hung(tmp_path: Path) -> None:
    made = Desk(tmp_path)
    desk, children = made.desk, made.children
    feed, other = children.values()
    socket = made.context.socket(zmq.DEALER)
    socket.connect(made.address)
    try:
        made.expect(100)
        socket.send(encode(Hello("feed", 100)))

        def answered() -> bool:
            desk.serve()
            return bool(socket.poll(0))

        wait_for("the greeting", lambda: desk.serve() or feed.was_ready)
        for child in children.values():
            child.seen_s = time.monotonic() - 2 * child.settings.hang_s
            assert child.hung(time.monotonic())
        socket.send(encode(Register("binance", "BTCUSDT", 2, 8)))
        wait_for("the answer", answered)
        assert isinstance(decode(socket.recv()), Registered)
        assert not feed.hung(feed.seen_s) and feed.seen_s > other.seen_s + feed.settings.hang_s
        assert other.hung(time.monotonic())
    finally:
        socket.close(0)
        made.close()


def test_many_symbols_are_registered_together_and_a_refusal_leaves_no_answer_behind(tmp_path: Path) -> None:
    made = Desk(tmp_path)
    client = ControlClient(made.address, "feed")
    register, writes = made.table.register_all, []

    def count(rows: Sequence[tuple[str, str, int, int]]) -> list[Instrument]:
        found = register(rows)
        writes.append(len(rows))
        return found

    made.table.register_all = count  # type: ignore[method-assign]
    wanted = [Register("binance", f"S{number}", 2, 8) for number in range(1200)]
    try:
        made.expect(os.getpid())
        client.hello()
        wait_for("the greeting", lambda: made.desk.serve() or made.children["feed"].was_ready)
        with ThreadPoolExecutor(1) as pool:

            def asked(question: Callable[[], object]) -> Future[object]:
                future = pool.submit(question)
                wait_for("the answers", lambda: made.desk.serve() or future.done())
                return future

            rows = asked(lambda: client.register_all(wanted, timeout_s=60)).result()
            assert [row.symbol for row in rows] == [one.symbol for one in wanted]  # type: ignore[attr-defined]
            assert [row.id for row in rows] == list(range(1, 1201))  # type: ignore[attr-defined]
            assert sum(writes) == 1200
            assert len(writes) < 300, "each write waits for the disk"
            wrong = [wanted[0], Register("binance", "S1", 19, 8), wanted[2]]
            refused = asked(lambda: client.register_all(wrong, timeout_s=60)).exception()
            assert isinstance(refused, ControlError)
            assert "binance S1: " in str(refused)
            assert asked(lambda: client.register("binance", "S7", 2, 8, timeout_s=60)).result() == rows[7]  # type: ignore[index]
    finally:
        client.close()
        made.close()
