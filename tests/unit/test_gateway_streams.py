"""Streams of a gateway over an engine's real sockets: snapshots, resume, slow clients, conflation, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from small_engine import SmallEngine, small_engine
from stream_reader import StreamReader

from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.stream_cursor import Cursor
from tickplant.gateway.stream_member import Member

DEADLINE_S = 90.0


def run(test: Callable[[SmallEngine, LiveHub], Coroutine[Any, Any, None]], folder: Path, **options: Any) -> None:
    """A test in the event loop, with an engine and a hub that follows it."""

    async def all_of_it() -> None:
        async with asyncio.timeout(DEADLINE_S), small_engine(folder, **options) as engine:
            hub = LiveHub([engine.addresses])
            try:
                await test(engine, hub)
            finally:
                hub.close()

    asyncio.run(all_of_it())


class Client:
    """A member and what it makes of its events."""

    def __init__(self, hub: LiveHub, topics: tuple[str, ...], conflate_ms: int = 0, queue_bytes: int = 1 << 20) -> None:
        self.hub, self.topics, self.conflate_ms, self.queue_bytes = hub, topics, conflate_ms, queue_bytes
        self.reader = StreamReader()
        self.paused = False

    async def come(self) -> None:
        """Attach, with the cursor of before if there is one."""
        if not self.reader.cursor:
            self.reader = StreamReader()
        cursor = Cursor(self.reader.cursor) if self.reader.cursor else None
        self.stream = await self.hub.open(self.topics, self.conflate_ms)
        self.reader.conflated = bool(self.conflate_ms)
        self.member = Member(self.stream, websocket=False, queue_bytes=self.queue_bytes, cursor=cursor)
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while not self.member.closed:
            if self.paused:
                await asyncio.sleep(0.001)
                continue
            for part in await self.member.take():
                self.reader.feed(part)
            self.member.sent()

    async def go(self) -> None:
        """Leave as a client does whose connection breaks."""
        self.member.leave()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self.hub.release(self.stream)
        self.reader.forget()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what this client gets."""
        while not condition():
            if self.task.done():
                self.task.result()
            await asyncio.sleep(0.001)

    async def until_trades(self, topic: str, count: int) -> None:
        """Wait until the client has all trades up to here."""
        await self.until(lambda: bool(self.reader.trades.get(topic)) and self.reader.trades[topic][-1] == count - 1)


@contextlib.asynccontextmanager
async def client(hub: LiveHub, *topics: str, **options: Any) -> AsyncIterator[Client]:
    """One that is attached until the block ends."""
    one = Client(hub, topics, **options)
    await one.come()
    try:
        yield one
    finally:
        await one.go()


def test_a_book_begins_with_a_snapshot_and_goes_on_without_a_hole(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5, 99: 7})
        engine.level(1, 98, 2)
        async with client(hub, "venue.S1.book") as one:
            await one.until(lambda: one.reader.snapshots == 1)
            assert one.reader.bids("venue.S1.book", 2, 3) == [(100, 5), (99, 7), (98, 2)]
            engine.level(1, 100, 0)
            engine.level(1, 101, 4)
            await one.until(lambda: len(one.reader.events) == 3)
            assert one.reader.bids("venue.S1.book", 2, 3) == engine.bids(1) == [(101, 4), (99, 7), (98, 2)]

    run(test, tmp_path)


def test_events_are_made_once_for_all_clients_of_a_stream(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.trade(1, 100)
        streams = [await hub.open(("venue.S1.trade",), 0) for _ in range(2)]
        assert streams[0] is streams[1]
        members = [Member(streams[0], websocket=False, queue_bytes=1 << 20) for _ in range(2)]
        first = [await member.take() for member in members]  # the cursor
        assert all(part.startswith(b"id: ") for (part,) in first)
        engine.trade(1, 101)
        (one,), (two,) = [await member.take() for member in members]
        assert b'"price":"1.01"' in one
        assert one is two

    run(test, tmp_path)


def test_a_client_that_comes_back_goes_on_behind_its_cursor(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5})
        engine.trade(1, 100)
        one = Client(hub, ("venue.S1",))
        await one.come()
        engine.trade(1, 101)
        await one.until_trades("venue.S1.trade", 2)
        await one.until(lambda: bool(one.reader.cursor))
        await one.go()
        assert not hub.streams
        for price in range(200, 230):
            engine.trade(1, price)
            engine.level(1, price, 3)
        await one.come()
        engine.trade(1, 300)
        await one.until_trades("venue.S1.trade", 33)
        await one.until(lambda: one.reader.bids("venue.S1.book", 2, 3) == engine.bids(1))
        assert one.reader.trades["venue.S1.trade"] == list(range(1, 33))
        assert not one.reader.gaps
        assert one.reader.snapshots == 1  # the changes were fetched, not the book anew
        await one.go()

    run(test, tmp_path)


def test_a_client_that_goes_before_the_topics_are_listed_leaves_no_stream(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.trade(1, 100)
        stays = asyncio.ensure_future(hub.open(("venue.S2",), 0))
        goes = [asyncio.ensure_future(hub.open((topic,), 0)) for topic in ("venue.S1", "venue.S2")]
        await asyncio.sleep(0)
        assert len(hub.streams) == 2
        for one in goes:
            one.cancel()
        await asyncio.wait(goes)
        assert all(one.cancelled() for one in goes)
        stream = await stays
        assert list(hub.streams.values()) == [stream]
        hub.release(stream)
        assert not hub.streams

    run(test, tmp_path)


def test_what_a_former_follower_still_gets_moves_no_stream_back(tmp_path: Path) -> None:
    topic = "venue.S1.trade"

    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.trade(1, 100)
        (link,) = hub.links
        stream = await hub.open((topic,), 0)
        former = link.followers[topic]
        assert former is not None
        hub.release(stream)
        for price in (101, 102):
            engine.trade(1, price)
        await link.list_topics()
        for _ in range(2):  # a follower asks where it hears so twice
            former.on_progress(link.epoch, link.infos[topic])
        async with client(hub, topic) as one:
            engine.trade(1, 103)
            await one.until(lambda: one.stream.positions[topic] == (link.epoch, 4))
            link.pass_on(former, link._give)
            await link.list_topics()  # answers come in order
            assert former.position == (link.epoch, 3)
            assert one.stream.positions[topic] == (link.epoch, 4)

    run(test, tmp_path)


def test_a_new_gateway_understands_the_cursor_of_a_former_one(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.trade(1, 100)
        engine.trade(2, 100)
        one = Client(hub, ("venue.*.trade",))
        await one.come()
        engine.trade(1, 101)
        await one.until_trades("venue.S1.trade", 2)
        await one.go()
        engine.trade(1, 102)
        engine.trade(2, 103)
        engine.trade(3, 104)  # begins while nobody looks
        other = LiveHub([engine.addresses])
        one.hub = other
        await one.come()
        engine.trade(2, 105)
        await one.until_trades("venue.S2.trade", 3)
        await one.until_trades("venue.S3.trade", 1)
        assert one.reader.trades["venue.S1.trade"] == [1, 2]
        assert one.reader.trades["venue.S2.trade"] == [1, 2]
        assert one.reader.trades["venue.S3.trade"] == [0]
        await one.go()
        other.close()

    run(test, tmp_path)


def test_a_topic_that_begins_while_a_client_listens_is_whole(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.trade(1, 100)
        async with client(hub, "venue") as one:
            engine.clear(2, {50: 1})
            engine.level(2, 51, 2)
            await one.until(lambda: one.reader.bids("venue.S2.book", 2, 3) == engine.bids(2) != [])
            assert one.reader.snapshots == 0

    run(test, tmp_path)


def test_a_slow_client_gets_a_gap_and_a_snapshot_and_others_notice_nothing(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5})
        engine.trade(1, 100)
        async with (
            client(hub, "venue.S1", queue_bytes=20_000) as slow,
            client(hub, "venue.S1", queue_bytes=1 << 30) as other,
        ):
            await slow.until(lambda: slow.reader.snapshots == 1)
            await other.until(lambda: other.reader.snapshots == 1)
            slow.paused = True
            for number in range(400):
                engine.trade(1, 1000 + number)
                engine.level(1, 100 + number % 50, number)
            await other.until_trades("venue.S1.trade", 401)
            assert slow.member.dropped > 0
            assert slow.member._queued < 25_000
            assert not slow.member.cursor
            slow.paused = False
            engine.trade(1, 5)
            await slow.until(lambda: {gap["topic"] for gap in slow.reader.gaps} == {"venue.S1.book", "venue.S1.trade"})
            await slow.until(lambda: slow.reader.bids("venue.S1.book", 2, 3) == engine.bids(1))
            engine.trade(1, 6)
            await slow.until_trades("venue.S1.trade", 403)
            assert {gap["reason"] for gap in slow.reader.gaps} == {"slow"}
            known = list(slow.reader.trades["venue.S1.trade"])
            for gap in slow.reader.gaps:
                known += range(gap["seq"], gap["seq"] + gap["lost"]) if gap["topic"] == "venue.S1.trade" else ()
            assert sorted(known) == list(range(1, 403))
            assert not other.reader.gaps
            await other.until_trades("venue.S1.trade", 403)
            assert other.reader.trades["venue.S1.trade"] == list(range(1, 403))

    run(test, tmp_path)


def test_conflation_keeps_the_last_of_a_state_and_all_trades(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5})
        engine.trade(1, 100)
        async with client(hub, "venue.S1.book", "venue.S1.trade", conflate_ms=60) as one:
            await one.until(lambda: one.reader.snapshots == 1)
            for number in range(1, 51):
                engine.level(1, 100 + number % 3, number)
                engine.trade(1, number)
            await one.until_trades("venue.S1.trade", 51)
            await one.until(lambda: one.reader.bids("venue.S1.book", 2, 3) == engine.bids(1))
            assert one.reader.trades["venue.S1.trade"] == list(range(1, 51))
            assert len(one.reader.events) < 30
            assert {event["type"] for event in one.reader.events} == {"snapshot", "levels", "records"}
            engine.clear(1, {7: 7})
            await one.until(lambda: one.reader.bids("venue.S1.book", 2, 3) == [(7, 7)])
            assert one.reader.snapshots == 2

    run(test, tmp_path)


def test_after_a_restart_of_the_engine_there_is_a_gap_and_a_new_beginning(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5})
        engine.trade(1, 100)
        async with client(hub, "venue.S1") as one:
            await one.until(lambda: one.reader.snapshots == 1)
            before = one.reader.cursor
            engine.restart()
            await one.until(lambda: engine.publisher.subscriptions > 0)
            engine.clear(1, {200: 5})
            engine.trade(1, 101)
            await one.until(lambda: one.reader.bids("venue.S1.book", 2, 3) == [(200, 5)])
            await one.until(lambda: bool(one.reader.trades.get("venue.S1.trade")))
            assert {(gap["reason"], gap["lost"]) for gap in one.reader.gaps} == {("engine", None)}
            await one.until(lambda: one.reader.cursor != before)
            assert one.reader.cursor.split("~")[0] != before.split("~")[0]

    run(test, tmp_path)


def test_a_cursor_that_the_engine_has_forgotten_leads_to_a_gap_and_a_snapshot(tmp_path: Path) -> None:
    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        engine.clear(1, {100: 5})
        engine.trade(1, 1)
        one = Client(hub, ("venue.S1",))
        await one.come()
        await one.until(lambda: bool(one.reader.cursor))
        await one.go()
        for number in range(2000):
            engine.trade(1, number)
            engine.level(1, 100 + number % 9, 1 + number)
        await one.come()
        engine.trade(1, 1)
        await one.until(lambda: bool(one.reader.gaps))
        await one.until_trades("venue.S1.trade", 2002)
        await one.until(lambda: one.reader.bids("venue.S1.book", 2, 3) == engine.bids(1))
        lost = sum(gap["lost"] for gap in one.reader.gaps if gap["topic"] == "venue.S1.trade")
        assert lost + len(one.reader.trades["venue.S1.trade"]) == 2001
        await one.go()

    run(test, tmp_path, recovery_bytes=200_000)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_clients_do_none_has_a_hole_that_it_does_not_know(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def test(engine: SmallEngine, hub: LiveHub) -> None:
        for number in (1, 2, 3):
            engine.clear(number, {100: number})
            engine.trade(number, 1)
        clients = [
            Client(hub, chance.choice([("venue",), ("venue.S1", "venue.S2.book"), ("venue.*.trade",)]), ms, size)
            for ms in (0, 0, 20)
            for size in (4_000, 1 << 20)
        ]
        here: set[int] = set()
        for _ in range(150):
            place = chance.randrange(len(clients))
            if chance.random() < 0.2:
                if place in here:
                    await clients[place].go()
                    here.discard(place)
                else:
                    await clients[place].come()
                    here.add(place)
            clients[place].paused = chance.random() < 0.3
            for _ in range(chance.randrange(8)):
                number = chance.randrange(1, 4)
                engine.trade(number, chance.randrange(1, 999))
                engine.level(number, chance.randrange(90, 110), chance.randrange(4))
            if chance.random() < 0.1:
                await asyncio.sleep(0.002)
        for place, one in enumerate(clients):
            one.paused = False
            if place not in here:
                await one.come()
        for number in (1, 2, 3):
            engine.trade(number, 1)
        for one in clients:
            for number in (1, 2, 3):
                if one.stream.wants(f"venue.S{number}.trade"):
                    total = engine.publisher.by_name[f"venue.S{number}.trade"].next_seq
                    trades = f"venue.S{number}.trade"
                    await one.until(lambda one=one, topic=trades, end=total: one.reader.end(topic) == end)
                    known = set(one.reader.trades.get(trades, []))
                    assert len(known) == len(one.reader.trades.get(trades, []))
                    for gap in one.reader.gaps:
                        if gap["topic"] == trades:
                            known |= set(range(gap["seq"], gap["seq"] + gap["lost"]))
                    assert known == set(range(min(known), total))
                if one.stream.wants(f"venue.S{number}.book"):
                    topic = f"venue.S{number}.book"
                    await one.until(
                        lambda one=one, topic=topic, n=number: one.reader.bids(topic, 2, 3) == engine.bids(n)
                    )
        for one in clients:
            await one.go()
        assert not hub.streams

    run(test, tmp_path)
