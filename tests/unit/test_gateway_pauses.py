"""A gateway that stood still gives up no question for an answer that could not come in that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import zmq
from small_engine import SmallEngine

from tickplant.errors import ControlError
from tickplant.gateway import engine_link, plant_line
from tickplant.gateway.engine_link import EngineLink
from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.plant_line import PlantLine
from tickplant.runtime.control import Accepted, Restart, decode, encode
from tickplant.runtime.job_specs import Plant
from tickplant.wire import GetTopics, Reply

DEADLINE_S = 90.0
ANSWER_S = 0.4
PAUSE_S = 1.0


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


def stand_still() -> None:
    """Nothing of this process runs meanwhile."""
    time.sleep(PAUSE_S)


class TickedLink(EngineLink):
    """One that says when it has looked for what is overdue."""

    def __init__(self, *words: Any) -> None:
        self.ticked = asyncio.Event()
        super().__init__(*words)

    def _tick(self) -> None:
        super()._tick()
        self.ticked.set()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_link, "ANSWER_S", ANSWER_S)
    monkeypatch.setattr(engine_link, "CHECK_IDLE_S", ANSWER_S / 4)
    monkeypatch.setattr(plant_line, "ANSWER_S", ANSWER_S)


def test_an_engine_is_given_the_time_that_the_gateway_stood_still(tmp_path: Path) -> None:
    given: list[Reply | None] = []

    async def test() -> None:
        engine = SmallEngine(tmp_path)  # which serves nobody
        link = TickedLink(*engine.addresses, LiveHub([]))
        await link.ticked.wait()
        link.ticked.clear()
        link.request(GetTopics(), lambda reply, _: given.append(reply))
        stand_still()
        await link.ticked.wait()
        assert given == []
        while not given:  # but it is given no more than that
            link.ticked.clear()
            await link.ticked.wait()
        assert given == [None]
        link.close()
        engine.close()

    run(test())


def test_a_supervisor_is_given_the_time_that_the_gateway_stood_still(tmp_path: Path) -> None:
    async def test() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as supervisor:
            supervisor.set(zmq.LINGER, 0)
            supervisor.bind(f"ipc://{tmp_path}/control")
            plant = Plant(str(tmp_path), str(tmp_path), f"ipc://{tmp_path}/control", heartbeat_s=0.05)
            line = PlantLine(plant, "gateway", dict)
            order = asyncio.ensure_future(line.order(Restart("feed")))
            await asyncio.sleep(0)
            said: object = None
            while not isinstance(said, Restart):
                assert supervisor.poll(1000 * DEADLINE_S)
                who, frame = supervisor.recv_multipart()
                said = decode(frame)
            stand_still()
            supervisor.send_multipart([who, encode(Accepted())])
            assert line._client.socket.poll(1000 * DEADLINE_S)  # it is here when the loop goes on
            await order
            with pytest.raises(ControlError, match="does not answer within"):
                await line.order(Restart("feed"))
            line.close()

    run(test())
