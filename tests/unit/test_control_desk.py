"""The supervisor's desk: who asks for something lives, though it reports nothing meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import structlog
import zmq
from plant_process import wait_for

from tickplant.instruments import InstrumentTable
from tickplant.plant.child import Child
from tickplant.plant.control_desk import ControlDesk
from tickplant.plant.plans import ChildPlan
from tickplant.plant.switchboard import Switchboard
from tickplant.runtime.config import PlantConfig
from tickplant.runtime.control import Hello, Register, Registered, decode, encode


def test_a_feed_that_registers_symbol_after_symbol_is_not_taken_for_hung(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    board = Switchboard(context, lambda _: None)
    board.open(f"ipc://{tmp_path}/c")
    feed, other = (Child(ChildPlan(name, "feed", "", msgspec.Struct), PlantConfig()) for name in ("feed", "other"))
    children = {child.name: child for child in (feed, other)}
    pool = SimpleNamespace(board=board, children=children, log=structlog.get_logger())  # of a pool, what this needs
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    desk = ControlDesk(SimpleNamespace(symbols=None), pool, None, table, lambda: None)  # type: ignore[arg-type, return-value]
    socket = context.socket(zmq.DEALER)
    socket.connect(f"ipc://{tmp_path}/c")
    try:
        for child in children.values():
            board.expect(child.name, 100)
            child.pid, child.state = 100, "running"
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
        board.close()
        context.term()
