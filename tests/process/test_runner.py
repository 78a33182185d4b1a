"""The runner carries out what an adapter wants: polling without sockets, links that come and go, holds, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from plant_process import until
from remains import ring_name
from structlog.testing import capture_logs
from ws_server import Addresses, ws_server

from tickplant.errors import FeedError
from tickplant.feeds import runner
from tickplant.feeds.capture import Capture
from tickplant.feeds.contract import (
    Answer,
    Close,
    Closed,
    Effect,
    Event,
    Fail,
    FeedCounters,
    Frames,
    Hold,
    LinkSpec,
    Open,
    Opened,
    Output,
    Request,
    Second,
    Send,
)
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.runner import LiveFeed
from tickplant.feeds.transports import picows_transport
from tickplant.instruments import InstrumentTable
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.config import FeedConfig
from tickplant.runtime.recorded_lines import Recording
from tickplant.shm.ring import OLDEST, Mode, Ring

DEADLINE_S = 90.0
CAPACITY_RECORDS = 1024
Script = Callable[[Event | None], Sequence[Effect]]


class ScriptedAdapter:
    """An adapter of no venue: a script says what follows from each event; a frame and an answer leave one trade."""

    venue = "scripted"
    trouble = ""

    def __init__(self, script: Script) -> None:
        self.counters = FeedCounters()
        self.events: list[Event] = []
        self._script = script
        self._batch = TickBatch()
        self._effects: list[Effect] = []

    def start(self, now_ns: int) -> None:
        del now_ns
        self._effects += self._script(None)

    def on_event(self, event: Event, now_ns: int) -> None:
        if not isinstance(event, Second):
            self.events.append(event)
        self._effects += self._script(event)
        received = len(event.frames) if isinstance(event, Frames) else int(isinstance(event, Answer))
        for _ in range(received):
            self.counters.frames += 1
            self.counters.parsed += 1
            self._batch.add(Kind.TRADE, 1, ts_recv=now_ns, price=1, size=1, venue_seq=self.counters.frames)

    def take(self) -> Output:
        ticks = self._batch.take()
        self.counters.ticks += len(ticks)
        effects, self._effects = self._effects, []
        return Output(ticks, effects)

    def saw(self, kind: type) -> list[Any]:
        """Events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


class Desk:
    """What a test has in hand while the feed runs."""

    def __init__(self, adapter: ScriptedAdapter, requests: list[bytes], feed: LiveFeed) -> None:
        self.adapter = adapter
        self.requests = requests
        self.feed = feed


@pytest.fixture(scope="module")
def server() -> Iterator[Addresses]:
    with ws_server() as addresses:
        yield addresses


def play(folder: Path, script: Script, wanted: Callable[[ScriptedAdapter], bool], *, capture: bool = False) -> Desk:
    """Run a feed on a real ring and a real HTTP server until a condition holds; returns what it saw and was asked."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the feed has ended
            writer.close()
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        requests.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def whole() -> Desk:
        http = await asyncio.start_server(serve, "127.0.0.1", 0)
        table = InstrumentTable.load(folder / "instruments.jsonl")
        adapter = ScriptedAdapter(script)
        with contextlib.ExitStack() as stack:
            ring = stack.enter_context(
                Ring.create(ring_name(), Schema.TICK, CAPACITY_RECORDS, epoch=1, doorbell_dir=folder)
            )
            stack.callback(ring.unlink)
            feed = LiveFeed(
                adapter,
                FeedPublisher(stack.enter_context(ring.producer()), CAPACITY_RECORDS, 0.0),
                RejectLog(folder / "rejects.jsonl", 1),
                resolve=lambda symbol, *_, **__: table.register("scripted", symbol, 8, 8),
                symbol_of=lambda ident: table.by_id(ident).symbol,
                connect=picows_transport.connect,
                endpoints={"rest": f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"},
                config=FeedConfig(venue="scripted", symbols=("A",), reconnect_cap_s=0.1),
                capture=Capture(folder / "capture") if capture else None,
            )
            running = asyncio.create_task(feed.run())
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await until(lambda: running.done() or wanted(adapter))
                if running.done():
                    await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                http.close()
            with ring.consumer("check", Mode.LOSSY, start=OLDEST) as consumer:
                ticks = consumer.read(CAPACITY_RECORDS)
            trades = ticks["venue_seq"][ticks["kind"] == Kind.TRADE]
            assert trades.tolist() == list(range(1, adapter.counters.ticks + 1))
            assert np.isin(Kind.STATUS, ticks["kind"])  # the account
            assert not any(account.off for account in feed.accounts("feed"))
        return Desk(adapter, requests, feed)

    return asyncio.run(whole())


def test_a_venue_without_sockets_is_polled_by_whatever_requests_its_adapter_makes(tmp_path: Path) -> None:
    post = Request("poll", "/query?f=1", method="POST", body=b'{"q":1}', headers={"X-Test": "yes"})

    def script(event: Event | None) -> Sequence[Effect]:
        return [post] if event is None or isinstance(event, Answer) else []

    desk = play(tmp_path, script, lambda adapter: len(adapter.saw(Answer)) >= 3)
    assert desk.requests[0].startswith(b"POST /query?f=1 HTTP/1.1\r\n")
    assert b"x-test: yes" in desk.requests[0].lower()
    assert desk.requests[0].endswith(b'\r\n\r\n{"q":1}')
    counters = desk.feed.counters()
    assert counters["connections"] == 0
    assert counters["rest_requests"] >= len(desk.requests) >= 3


def test_links_open_and_close_as_the_adapter_wants_while_the_feed_runs(tmp_path: Path, server: Addresses) -> None:
    def script(event: Event | None) -> Sequence[Effect]:
        match event:
            case None:
                return [Open(LinkSpec(name="a", url=server[0] + "/echo"))]
            case Opened(link):
                return [Send(link, b"hello " + link.encode())]
            case Frames("a"):
                return [Close("a", "resharded"), Open(LinkSpec(name="b", url=server[0] + "/echo"))]
            case _:
                return []

    desk = play(tmp_path, script, lambda adapter: len(adapter.saw(Frames)) == 2 and len(adapter.saw(Closed)) == 1)
    assert [frames.frames for frames in desk.adapter.saw(Frames)] == [[b"hello a"], [b"hello b"]]
    assert desk.adapter.saw(Closed) == [Closed("a", "resharded"), Closed("b", "shutting down")]
    assert desk.feed.counters()["connections_lost"] == 2


def test_a_link_on_hold_is_closed_and_opened_again_when_its_time_has_come(tmp_path: Path, server: Addresses) -> None:
    times_s: list[float] = []

    def script(event: Event | None) -> Sequence[Effect]:
        match event:
            case None:
                return [Open(LinkSpec(name="a", url=server[0] + "/echo"))]
            case Opened(link):
                times_s.append(time.monotonic())
                return [Send(link, b"login")]
            case Frames() if len(times_s) == 1:
                return [Hold("a", time.time_ns() + 700_000_000, "one login per key")]
            case _:
                return []

    desk = play(tmp_path, script, lambda adapter: len(adapter.saw(Opened)) == 2)
    assert times_s[1] - times_s[0] >= 0.7
    assert desk.adapter.saw(Closed)[0] == Closed("a", "one login per key")


def test_an_endpoint_on_hold_is_asked_again_when_its_time_has_come(tmp_path: Path) -> None:
    times_s: list[float] = []

    def script(event: Event | None) -> Sequence[Effect]:
        if isinstance(event, Answer):
            times_s.append(time.monotonic())
        hold = [Hold("rest", time.time_ns() + 700_000_000, "budget spent")] if len(times_s) == 1 else []
        return [*hold, Request("poll", "/")] if event is None or isinstance(event, Answer) else []

    play(tmp_path, script, lambda _: len(times_s) >= 2)
    assert times_s[1] - times_s[0] >= 0.65


def test_a_link_that_is_opened_again_takes_its_new_address_for_the_next_socket(
    tmp_path: Path, server: Addresses
) -> None:
    def script(event: Event | None) -> Sequence[Effect]:
        match event:
            case None:
                return [Open(LinkSpec(name="a", url=server[0] + "/drop"))]
            case Opened() | Closed():
                return [Open(LinkSpec(name="a", url=server[0] + "/burst"))]
            case _:
                return []

    desk = play(tmp_path, script, lambda adapter: adapter.counters.frames >= 1000)
    assert len(desk.adapter.saw(Opened)) == 2


@pytest.mark.parametrize("effects", [[Fail("the key is not valid")], []], ids=["fail", "nothing to do"])
def test_a_configuration_that_cannot_work_ends_the_feed_in_a_sentence(tmp_path: Path, effects: list[Effect]) -> None:
    reason = "the key is not valid" if effects else "scripted: there is nothing to connect to"
    with pytest.raises(FeedError, match=reason):
        play(tmp_path, lambda event: effects if event is None else [], lambda _: False)


def test_secret_requests_and_messages_stand_neither_in_the_capture_nor_in_the_log(
    tmp_path: Path, server: Addresses
) -> None:
    def script(event: Event | None) -> Sequence[Effect]:
        match event:
            case None:
                url = server[0] + "/echo"
                return [Request("token", "/token?hush=1", secret=True), Open(LinkSpec(name="a", url=url))]
            case Opened():
                return [Send("a", b"hush 2", secret=True), Send("a", b"subscribe")]
            case _:
                return []

    structlog.reset_defaults()
    with capture_logs() as logs:
        desk = play(tmp_path, script, lambda seen: seen.counters.frames == 3, capture=True)
    assert len(desk.requests) == 1
    lines = [line for block in Recording(tmp_path / "capture").blocks() for line in block]
    kinds = [line.lstrip(b"0123456789")[:1] for line in lines]
    assert {b"+", b">", b"<", b"-"} <= set(kinds)
    assert b"!" not in kinds
    sent = [line for line, kind in zip(lines, kinds, strict=True) if kind == b">"]
    assert [line.partition(b" ")[2] for line in sent] == [b"subscribe"]
    assert "hush" not in str(logs)


def test_a_feed_that_ends_waits_for_room_also_after_a_pause_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SETTLE_S", 0.2)
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")

    class PausedPublisher(FeedPublisher):
        """At its end the process stands still at once, and the writer reads soon after that."""

        looks = 0

        def settle(self, *, eagerly: bool = False) -> bool:
            self.looks += eagerly
            if eagerly and self.looks == 1:
                time.sleep(0.5)
            elif eagerly and self.looks == 2:
                writer.read(CAPACITY_RECORDS)
                writer.commit(writer.position)
            return super().settle(eagerly=eagerly)

    ring = Ring.create(ring_name(), Schema.TICK, CAPACITY_RECORDS, epoch=1, doorbell_dir=tmp_path)
    with ring, ring.consumer("writer", Mode.GATING) as writer, ring.producer() as producer:
        publisher = PausedPublisher(producer, CAPACITY_RECORDS, 0.0)
        feed = LiveFeed(
            ScriptedAdapter(lambda event: [Fail("it ends")] if event is None else []),
            publisher,
            RejectLog(tmp_path / "rejects.jsonl", 1),
            resolve=lambda symbol, *_, **__: table.register("scripted", symbol, 8, 8),
            symbol_of=lambda ident: table.by_id(ident).symbol,
            connect=picows_transport.connect,
            endpoints={},
            config=FeedConfig(venue="scripted", symbols=("A",)),
        )
        trades = TickBatch()
        for number in range(CAPACITY_RECORDS + 1):
            trades.add(Kind.TRADE, 1, ts_recv=number, price=1, size=1, venue_seq=number)
        publisher.publish(trades.take())
        assert publisher.untold == 1
        with pytest.raises(FeedError, match="it ends"):
            asyncio.run(feed.run())
        ring.unlink()
    assert (publisher.looks, publisher.untold, publisher.gaps) == (2, 0, 1)
