"""Subscribers of a real engine process, over real sockets."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from engine_process import EngineProcess, Market, engine
from plant_process import free_port, state_of, wait_for

import tickplant
from tickplant import wire
from tickplant.books.level_books import Books
from tickplant.books.plain_books import DictBooks, PlainBars
from tickplant.client import subscription
from tickplant.client.topic_message import Message
from tickplant.records.layouts import BBO, TICK, UNKNOWN, Flag, GapCause, Kind, Schema, Side, StatusCode

BOOK = "binance.BTCUSDT.book"
TRADE = "binance.BTCUSDT.trade"
QUIET_S = 60


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EngineProcess]:
    with engine(tmp_path) as made:
        yield made


def read(messages: tickplant.Subscription, until: dict[str, int], *, quiet_s: float = QUIET_S) -> list[Message]:
    """Messages until each topic has been followed up to its number of records."""
    got: list[Message] = []
    reached = dict.fromkeys(until, 0)
    while any(reached[topic] < number for topic, number in until.items()):
        message = messages.receive(quiet_s)
        assert message is not None, f"nothing for {quiet_s} s, at {reached} of {until}"
        if message.topic in until:
            got.append(message)
            reached[message.topic] = message.first_seq + max(len(message.records), message.lost)
            if message.kind == "snapshot":
                reached[message.topic] = message.first_seq
    return got


def assert_no_hole(messages: list[Message]) -> None:
    """One topic: every message goes on where the one before it ended."""
    expected = messages[0].first_seq
    for message in messages:
        if message.kind == "snapshot":
            expected = message.first_seq
        assert message.first_seq == expected
        expected += message.lost if message.kind == "lost" else len(message.records) * (message.kind != "snapshot")


def folded(messages: list[Message]) -> Books:
    books = Books()
    for message in messages:
        books.apply(np.array(message.records))
    return books


def same_levels(one: Books, other: Books, instrument: int) -> bool:
    return all(
        one.levels(instrument, side).tolist() == other.levels(instrument, side).tolist()
        for side in (Side.BID, Side.ASK)
    )


def joined(messages: list[Message]) -> bytes:
    return b"".join(message.records.tobytes() for message in messages if message.kind != "snapshot")


def test_a_subscriber_gets_each_topic_in_stored_order_and_what_follows_from_it(running: EngineProcess) -> None:
    parts = [Market(running.ids["BTCUSDT"]).ticks(3000), Market(running.ids["ETHUSDT"], seed=2).ticks(2000)]
    everything = np.concatenate(parts)
    with tickplant.subscribe("binance", address=running.address) as messages:
        for part in parts:
            running.publish(part)
        everything["seq"] = np.arange(len(everything))
        bbo, bars = DictBooks().apply(everything), PlainBars((1, 60)).apply(everything)
        expected: dict[str, np.ndarray] = {}
        for symbol, instrument in (("BTCUSDT", running.ids["BTCUSDT"]), ("ETHUSDT", running.ids["ETHUSDT"])):
            own = everything[everything["instrument"] == instrument]
            expected[f"binance.{symbol}.trade"] = own[own["kind"] == Kind.TRADE]
            expected[f"binance.{symbol}.book"] = own[own["kind"] != Kind.TRADE]
            expected[f"binance.{symbol}.bbo"] = bbo[bbo["instrument"] == instrument]
            expected[f"binance.{symbol}.bar_1s"] = bars[(bars["instrument"] == instrument) & (bars["interval_s"] == 1)]
        got = read(messages, {topic: len(records) for topic, records in expected.items()})
    for topic, records in expected.items():
        own = [message for message in got if message.topic == topic]
        assert {message.kind for message in own} == {"live"}
        assert_no_hole(own)
        for name in records.dtype.names or ():
            if topic.endswith(("trade", "book")) or name != "seq":
                assert np.concatenate([message.records[name] for message in own]).tolist() == records[name].tolist()
    running.wait_for_counter("bbo", len(bbo))
    assert np.frombuffer(running.derived(Schema.BBO), BBO)["seq"].tolist() == list(range(len(bbo)))
    assert running.derived(Schema.BAR)[:96] == bars.tobytes()[:96], "all but seq of the first"


def test_a_user_with_pyzmq_and_numpy_alone_gets_an_array(running: EngineProcess) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(running.address)
        socket.subscribe(TRADE.encode())
        running.wait_for_counter("subscriptions", 1)
        ticks = Market(running.ids["BTCUSDT"]).ticks(50)
        running.publish(ticks)
        assert socket.poll(1000 * QUIET_S)
        topic, header, payload = socket.recv_multipart()
    assert topic.decode() == TRADE
    assert np.frombuffer(header, wire.WIRE_HEADER)[0]["first_seq"] == 0
    records = np.frombuffer(payload, TICK)
    assert records.tobytes() == ticks[ticks["kind"] == Kind.TRADE].tobytes()


def test_a_late_joiner_gets_the_book_and_goes_on_without_a_hole_at_full_speed(running: EngineProcess) -> None:
    instrument = running.ids["BTCUSDT"]
    market = Market(instrument)
    sent: list[np.ndarray] = []
    enough = threading.Event()
    ring = running.rings[Schema.TICK]

    def publish() -> None:
        while not enough.is_set():
            sent.append(market.ticks(200))
            running.publish(sent[-1])
            time.sleep(0.002)  # a pace, not a wait
            # The engine is not to be overrun, however long it gets no processor.
            wait_for("the engine to read", lambda: all(one.lag < 8192 for one in ring.statistics().consumers))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(5):
            running.wait_for_counter("records", sum(map(len, sent)) // 2)
            with tickplant.subscribe(BOOK, address=running.address) as messages:
                got = [next(messages) for _ in range(30)]
            assert got[0].kind == "snapshot"
            assert got[0].first_seq > 0
            assert {message.kind for message in got[1:]} <= {"live", "recovered"}
            assert_no_hole(got)
            whole = Books()
            ticks = np.concatenate(sent[:])
            last = got[-1].records["seq"][-1]
            whole.apply(ticks[: int(last) + 1])
            assert same_levels(folded(got), whole, instrument)
    finally:
        enough.set()
        thread.join()


def test_a_slow_subscriber_recovers_what_it_missed(tmp_path: Path) -> None:
    with engine(tmp_path, high_water_messages=10) as running:
        market = Market(running.ids["BTCUSDT"])
        with tickplant.subscribe(TRADE, BOOK, address=running.address, high_water_messages=10) as messages:
            running.wait_for_counter("subscriptions", 2)
            sent = []
            for _ in range(30):  # without the subscriber taking any: more than the sockets hold
                sent.append(market.ticks(10_000))
                running.publish(sent[-1])
                running.wait_for_counter("records", 10_000 * len(sent))
            ticks = np.concatenate(sent)
            book, trade = ticks[ticks["kind"] != Kind.TRADE], ticks[ticks["kind"] == Kind.TRADE]
            got = read(messages, {BOOK: len(book), TRADE: len(trade)})
        assert messages.recovered_records > 0
        assert messages.lost_records == 0
        assert joined([m for m in got if m.topic == BOOK]) == book.tobytes()
        assert joined([m for m in got if m.topic == TRADE]) == trade.tobytes()


def test_a_slow_subscriber_is_told_what_cannot_be_recovered_and_its_book_begins_anew(tmp_path: Path) -> None:
    with engine(tmp_path, high_water_messages=10, recovery_mib=1) as running:
        instrument = running.ids["BTCUSDT"]
        market = Market(instrument)
        whole = Books()
        with tickplant.subscribe(BOOK, address=running.address, high_water_messages=10) as messages:
            running.wait_for_counter("subscriptions", 1)
            count = records = 0
            for _ in range(30):
                ticks = market.ticks(10_000)
                running.publish(ticks)
                whole.apply(ticks)
                records += len(ticks)
                count += int(np.count_nonzero(ticks["kind"] != Kind.TRADE))
                running.wait_for_counter("records", records)
            got = read(messages, {BOOK: count})
        assert "lost" in {message.kind for message in got}
        assert_no_hole([message for message in got if message.kind != "snapshot"][:1])
        first_loss = next(i for i, message in enumerate(got) if message.kind == "lost")
        assert got[first_loss + 1].kind == "snapshot"
        assert messages.lost_records >= got[first_loss].lost > 0
        begins = max(i for i, message in enumerate(got) if message.kind == "snapshot")
        assert_no_hole(got[begins:])
        assert same_levels(folded(got[begins:]), whole, instrument)


def test_a_subscriber_that_never_reads_costs_the_others_nothing(tmp_path: Path) -> None:
    with engine(tmp_path, high_water_messages=10) as running:
        market = Market(running.ids["BTCUSDT"])
        with (
            tickplant.subscribe("binance", address=running.address, high_water_messages=10),
            tickplant.subscribe(TRADE, address=running.address) as messages,
        ):
            running.wait_for_counter("subscriptions", 2)
            total = trades = 0
            for _ in range(10):
                ticks = market.ticks(10_000)
                total += len(ticks)
                trades += int(np.count_nonzero(ticks["kind"] == Kind.TRADE))
                running.publish(ticks)
                got = read(messages, {TRADE: trades})
                assert_no_hole(got)
        assert messages.lost_records == 0
        running.wait_for_counter("records", total)
        assert running.counters["lost"] == 0


def test_a_flood_of_requests_does_not_hold_the_stream_up(running: EngineProcess) -> None:
    market = Market(running.ids["BTCUSDT"])
    running.publish(market.ticks(5000))
    running.wait_for_counter("records", 5000)
    with zmq.Context() as context, context.socket(zmq.DEALER) as flood:
        flood.set(zmq.LINGER, 0)
        flood.connect(running.address[: running.address.rindex(":") + 1] + str(int(running.address.split(":")[2]) + 1))
        request = wire.encode(wire.GetSnapshot(BOOK))
        with tickplant.subscribe(TRADE, address=running.address) as messages:
            for _ in range(20):
                for _ in range(200):
                    try:
                        flood.send(request, zmq.NOBLOCK)
                    except zmq.Again:
                        break
                running.publish(market.ticks(100))
                message = messages.receive(QUIET_S)
                assert message is not None
                assert message.kind in ("live", "recovered")
    running.wait_for_counter("requests", 100)


def test_an_engine_that_was_killed_is_followed_again_and_the_hole_is_told(running: EngineProcess) -> None:
    market = Market(running.ids["BTCUSDT"])
    with tickplant.subscribe(TRADE, address=running.address) as messages:
        running.publish(market.ticks(100))
        first = messages.receive(QUIET_S)
        assert first is not None
        running.wait_for_counter("bbo", 1)
        derived = running.derived(Schema.BBO)
        assert derived
        running.kill()
        running.start()
        running.publish(market.ticks(100))
        got: list[Message] = []
        while not got or got[-1].epoch == first.epoch:
            got.append(next(messages))
        told = next(i for i, message in enumerate(got) if message.kind == "lost")
        assert got[told].lost == UNKNOWN
        assert got[told].epoch == first.epoch
        assert got[told + 1].epoch > first.epoch
        assert got[told + 1].first_seq == 0
    running.wait_for_counter("records", 100)
    assert running.derived(Schema.BBO)[: len(derived)] == derived, "what was stored is not stored again"
    sources = np.frombuffer(running.derived(Schema.BBO), BBO)["source_seq"]
    assert (sources[1:] > sources[:-1]).all()


def test_a_live_book_can_be_fetched(running: EngineProcess) -> None:
    instrument = running.ids["BTCUSDT"]
    ticks = Market(instrument).ticks(500)
    running.publish(ticks)
    running.wait_for_counter("records", 500)
    whole = Books()
    whole.apply(ticks)
    book = tickplant.fetch_book("binance", "BTCUSDT", address=running.address)
    assert [list(level) for level in book.bids] == whole.levels(instrument, Side.BID).tolist()
    assert [list(level) for level in book.asks] == whole.levels(instrument, Side.ASK).tolist()
    assert (book.stale, book.price_scale, book.size_scale) == (False, 2, 8)
    assert book.ts_recv == ticks[ticks["kind"] != Kind.TRADE]["ts_recv"][-1]
    with pytest.raises(tickplant.SubscribeError, match=r"binance\.NONE\.book: no such topic"):
        tickplant.fetch_book("binance", "NONE", address=running.address)


def test_a_lost_connection_makes_books_stale_and_says_so(running: EngineProcess) -> None:
    instrument = running.ids["BTCUSDT"]
    with tickplant.subscribe("binance.*.bbo", "binance.*.status", address=running.address) as messages:
        running.publish(Market(instrument).ticks(100))
        status = np.zeros(1, TICK)
        status["instrument"], status["kind"] = instrument, Kind.STATUS
        status["price"], status["flags"] = StatusCode.DISCONNECTED, Flag.ON_BOOK | Flag.LAST
        running.publish(status)
        seen = []
        while len(seen) < 2:
            message = messages.receive(QUIET_S)
            assert message is not None
            if message.topic == "binance.BTCUSDT.status" or message.records[-1]["flags"] & Flag.STALE:
                seen.append(message.topic)
    assert seen == ["binance.BTCUSDT.status", "binance.BTCUSDT.bbo"]
    assert tickplant.fetch_book("binance", "BTCUSDT", address=running.address).stale


def test_an_overrun_engine_mistrusts_its_books_and_tells_every_topic(tmp_path: Path) -> None:
    with engine(tmp_path, ring_records=1024) as running:
        market = Market(running.ids["BTCUSDT"])
        with tickplant.subscribe("binance", address=running.address) as messages:
            running.publish(market.ticks(500))
            running.wait_for_counter("records", 500)
            running.process.send_signal(signal.SIGSTOP)
            wait_for("the engine to stand still", lambda: "T" in state_of(running.process.pid))
            for _ in range(8):
                running.publish(market.ticks(500))
            running.process.send_signal(signal.SIGCONT)
            running.wait_for_counter("lost", 1000)
            gaps = {}
            while len(gaps) < 3:
                message = messages.receive(QUIET_S)
                assert message is not None
                if message.schema == Schema.TICK:
                    found = message.records[message.records["kind"] == Kind.GAP]
                    if len(found):
                        gaps[message.channel] = found[0]
        assert set(gaps) == {"trade", "quote", "book"}
        assert gaps["book"]["price"] == GapCause.OVERRUN
        assert tickplant.fetch_book("binance", "BTCUSDT", address=running.address).stale
        running.wait_for_counter("books_stale", 1)


def test_a_replay_begins_with_its_subscriber_and_loses_nothing_to_a_slow_one(tmp_path: Path) -> None:
    with engine(tmp_path, gating=True, wait_for_subscriber=True, store=False, high_water_messages=10) as running:
        ticks = Market(running.ids["BTCUSDT"]).ticks(60_000)
        running.publish(ticks)
        running.heard()
        assert running.counters.get("records", 0) == 0
        trade, book = ticks[ticks["kind"] == Kind.TRADE], ticks[ticks["kind"] != Kind.TRADE]
        with tickplant.subscribe("binance.BTCUSDT", address=running.address, high_water_messages=10) as messages:
            got = read(messages, {TRADE: len(trade), BOOK: len(book)})
        assert {message.kind for message in got} == {"live"}
        assert joined([m for m in got if m.topic == TRADE]) == trade.tobytes()
        assert joined([m for m in got if m.topic == BOOK]) == book.tobytes()
        assert running.stop() == 0


def test_a_topic_that_there_is_not_is_named_once_with_the_nearest(
    running: EngineProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "ABSENT_S", 0.05)
    mistyped = "binance.BTCUSD.trade"
    with tickplant.subscribe(TRADE, mistyped, "binance.*.bbo", address=running.address) as messages:
        asked = running.counters.get("requests", 0) + 3
        while running.counters.get("requests", 0) < asked:
            assert messages.receive(0.01) is None
            running.heard()
        assert caplog.messages == [], "there is nothing yet to mistype"
        running.publish(Market(running.ids["BTCUSDT"]).ticks(100))
        read(messages, {TRADE: 1})
        deadline_s = time.monotonic() + QUIET_S
        while not caplog.messages and time.monotonic() < deadline_s:
            messages.receive(0.05)
        for _ in range(10):
            messages.receive(0.05)
    (said,) = caplog.messages
    assert f"{mistyped}: the engine at {running.address} has no such topic; the nearest: {TRADE}" in said


def test_without_an_engine_the_address_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(tickplant.SubscribeError, match=r"tickplant up"):
        tickplant.subscribe("binance", address=address, timeout=0.1)
    with pytest.raises(tickplant.SubscribeError, match=address[:-1]):
        tickplant.fetch_book("binance", "BTCUSDT", address=address, timeout=0.1)
    for wrong in ("nowhere", "tcp://127.0.0.1", "tcp://127.0.0.1:port"):
        with pytest.raises(tickplant.SubscribeError, match="is not an address"):
            tickplant.subscribe("binance", address=wrong, timeout=0.1)


def test_the_package_can_be_imported_without_the_compiler() -> None:
    code = "import sys, tickplant; print(sorted({'numba', 'pyarrow', 'structlog'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
