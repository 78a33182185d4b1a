"""Subscribers with an event loop, of a real engine process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_process import EngineProcess, Market, engine
from plant_process import free_port

import tickplant
from tickplant.records.layouts import TICK, Kind

TRADE = "binance.BTCUSDT.trade"
DEADLINE_S = 90.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EngineProcess]:
    with engine(tmp_path) as made:
        yield made


def test_a_loop_gets_every_record_in_order_and_its_other_tasks_go_on(running: EngineProcess) -> None:
    parts = [Market(running.ids["BTCUSDT"], seed=seed).ticks(3000) for seed in (1, 2)]
    expected = np.concatenate([part[part["kind"] == Kind.TRADE] for part in parts])
    first_length = int((parts[0]["kind"] == Kind.TRADE).sum())

    async def follow() -> np.ndarray:
        wanted = asyncio.Event()

        async def publish_when_wanted() -> None:
            """Publishes only while the subscriber waits: a subscriber that held the loop would never receive."""
            for part in parts:
                await wanted.wait()
                wanted.clear()
                await asyncio.to_thread(running.publish, part)

        async with tickplant.subscribe_async(TRADE, address=running.address) as messages:
            other = asyncio.create_task(publish_when_wanted())
            assert await messages.receive(0.0) is None
            got, length = [], 0
            wanted.set()
            async for message in messages:
                assert message.first_seq == length
                got.append(message.records)
                length += len(message.records)
                if length == first_length:
                    assert await messages.receive(0.05) is None
                    wanted.set()
                if length == len(expected):
                    break
            await other
        with pytest.raises(RuntimeError, match="not attached"):
            await messages.receive(0.0)
        assert [message async for message in messages] == []
        return np.concatenate(got)

    got = asyncio.run(asyncio.wait_for(follow(), DEADLINE_S))
    for name in TICK.names or ():
        if name != "seq":
            assert got[name].tolist() == expected[name].tolist()


def test_a_task_that_is_cancelled_while_it_waits_loses_nothing(running: EngineProcess) -> None:
    ticks = Market(running.ids["BTCUSDT"]).ticks(500)
    trades = int((ticks["kind"] == Kind.TRADE).sum())

    async def follow() -> list[int]:
        seqs: list[int] = []
        async with tickplant.subscribe_async(TRADE, address=running.address) as messages:
            while len(seqs) < trades:
                if not seqs:
                    waiting = asyncio.create_task(messages.receive())
                    await asyncio.sleep(0.01)
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                    assert waiting.cancelled()
                    await asyncio.to_thread(running.publish, ticks)
                message = await messages.receive()
                assert message is not None
                seqs += range(message.first_seq, message.first_seq + len(message.records))
        return seqs

    assert asyncio.run(asyncio.wait_for(follow(), DEADLINE_S)) == list(range(trades))


def test_an_engine_that_does_not_answer_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"

    async def follow() -> None:
        async with tickplant.subscribe_async(TRADE, address=address, timeout=0.2):
            raise AssertionError

    with pytest.raises(tickplant.SubscribeError, match=address):
        asyncio.run(follow())
