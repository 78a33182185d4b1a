"""Where a subscription begins: no later than when `subscribe` returns, however late the engine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_process import EngineProcess, Market, engine
from held_line import HeldLine

import tickplant
from tickplant.client.topic_message import Message
from tickplant.records.layouts import UNKNOWN, Kind
from tickplant.runtime.config import beside

TRADE = "binance.BTCUSDT.trade"
QUIET_S = 90.0


class Scene:
    """An engine that has published, and a line to it by which it hears of no subscription until that is opened."""

    def __init__(self, running: EngineProcess, line: HeldLine) -> None:
        self.running = running
        self.line = line
        self.options = {"address": line.address, "requests": beside(running.address)}
        self._market = Market(running.ids["BTCUSDT"])
        self.before = self.publish()

    def publish(self) -> np.ndarray:
        """Have the engine publish 500 ticks, whole; the trades among them."""
        least = self.running.counters.get("records", 0) + 500
        ticks = self._market.ticks(500)
        self.running.publish(ticks)
        self.running.wait_for_counter("records", least)
        return ticks[ticks["kind"] == Kind.TRADE]

    def be_heard(self) -> None:
        """From here on the engine knows the subscriber."""
        self.line.open()
        self.running.wait_for_counter("subscriptions", 1)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with engine(tmp_path) as running, HeldLine(running.address) as line:
        yield Scene(running, line)


def taken(messages: tickplant.Subscription, count: int) -> list[Message]:
    """Messages of so many records, less those whose number is said to be lost."""
    got: list[Message] = []
    while sum(len(message.records) + max(0, message.lost) for message in got) < count:
        message = messages.receive(QUIET_S)
        assert message is not None, f"nothing for {QUIET_S} s, after {len(got)} messages"
        got.append(message)
    return got


def joined(messages: list[Message]) -> bytes:
    return b"".join(message.records.tobytes() for message in messages)


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_is_published_before_the_engine_hears_of_a_subscription_belongs_to_it(scene: Scene, goes_on: bool) -> None:
    with tickplant.subscribe(TRADE, **scene.options) as messages:
        published = [scene.publish()]
        scene.be_heard()
        if goes_on:
            published.append(scene.publish())
        got = taken(messages, sum(map(len, published)))
    assert got[0].first_seq == len(scene.before)
    assert joined(got) == np.concatenate(published).tobytes()
    assert got[0].kind == "recovered"
    assert {message.kind for message in got} <= {"recovered", "live"}


def test_what_is_published_before_the_engine_hears_of_a_loop_s_subscription_belongs_to_it(scene: Scene) -> None:
    async def follow() -> bytes:
        async with tickplant.subscribe_async(TRADE, **scene.options) as messages:
            published = await asyncio.to_thread(scene.publish)
            await asyncio.to_thread(scene.be_heard)
            got = b""
            while len(got) < published.nbytes:
                message = await messages.receive(QUIET_S)
                assert message is not None
                got += message.records.tobytes()
        assert got == published.tobytes()
        return got

    assert asyncio.run(follow())


def test_without_recovery_what_the_engine_published_before_it_heard_of_a_subscription_is_said_to_be_lost(
    scene: Scene,
) -> None:
    with tickplant.subscribe(TRADE, recover=False, **scene.options) as messages:
        unheard = scene.publish()
        scene.be_heard()
        heard = scene.publish()
        lost, *got = taken(messages, len(unheard) + len(heard))
    assert (lost.kind, lost.first_seq) == ("lost", len(scene.before))
    assert lost.lost >= len(unheard)
    assert joined(got) == heard[lost.lost - len(unheard) :].tobytes()


def test_where_an_engine_dies_before_it_hears_of_a_subscription_a_loss_is_said(scene: Scene) -> None:
    with tickplant.subscribe(TRADE, **scene.options) as messages:
        scene.publish()
        scene.running.kill()
        scene.running.counters = {}
        scene.running.start()
        scene.be_heard()
        later = scene.publish()
        lost, *got = taken(messages, len(later))
    assert (lost.kind, lost.first_seq, lost.lost) == ("lost", len(scene.before), UNKNOWN)
    assert joined(got) == later.tobytes()
