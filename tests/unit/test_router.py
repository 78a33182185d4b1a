"""The router of an engine over real sockets: topics, ranges, snapshots, requests without sense, and their bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zmq
from plant_process import wait_for
from publisher_pair import Pair, ticks

from tickplant import wire
from tickplant.engine.message_memory import Begin
from tickplant.engine.retention import Origin
from tickplant.records.layouts import BBO, TICK, Flag, Kind, Schema, Side
from tickplant.runtime.config import EngineConfig
from tickplant.runtime.job_specs import EngineSpec, Past, Plant


def test_topics_are_listed_by_prefix(pair: Pair) -> None:
    pair.publisher.publish_ticks(ticks((Kind.TRADE, 1), (Kind.LEVEL, 1), (Kind.TRADE, 2)))
    reply, _ = pair.ask(wire.GetTopics(4, "binance.BTC"))
    assert isinstance(reply, wire.Topics)
    assert reply.id == 4
    assert [t.topic for t in reply.topics] == ["binance.BTCUSDT.trade", "binance.BTCUSDT.book"]


def test_a_missed_range_comes_back_as_it_was_sent(pair: Pair) -> None:
    for _ in range(5):
        pair.publisher.publish_ticks(ticks((Kind.TRADE, 1), (Kind.TRADE, 1), (Kind.TRADE, 1)))
    sent = [pair.sub.recv_multipart() for _ in range(5)]
    reply, frames = pair.ask(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, 4, 9, 8))
    assert isinstance(reply, wire.Range)
    assert (reply.id, reply.first, reply.last, reply.messages) == (8, 3, 11, 3)
    assert frames == [frame for message in sent[1:4] for frame in message[1:]]


def test_a_long_range_comes_in_bounded_pieces(pair: Pair) -> None:
    for _ in range(10):
        pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 2560))
    first, rounds = 0, 0
    while first < 25_600:
        reply, frames = pair.ask(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, first, 25_599))
        assert isinstance(reply, wire.Range)
        assert reply.first == first
        assert sum(map(len, frames[1::2])) <= (1 << 20) + 256 * 64
        first, rounds = reply.last + 1, rounds + 1
    assert rounds == 2


def test_memory_for_recovery_is_bounded_and_what_is_gone_is_said(tmp_path: Path) -> None:
    pair = Pair(tmp_path, recovery_bytes=20_000)
    try:
        for _ in range(200):
            pair.publisher.publish_ticks(ticks((Kind.TRADE, 1), (Kind.QUOTE, 1), (Kind.QUOTE, 1)))
            assert pair.publisher.kept_bytes <= 20_000
        reply, _ = pair.ask(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, 0, 199))
        assert isinstance(reply, wire.Gone)
        assert 100 < reply.oldest < 200
        assert reply.next_seq == 200
        reply, _ = pair.ask(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, reply.oldest, 199))
        assert isinstance(reply, wire.Range)
    finally:
        pair.close()


def test_a_range_of_another_epoch_is_gone_and_one_that_never_was_is_refused(pair: Pair) -> None:
    pair.publisher.publish_ticks(ticks((Kind.TRADE, 1)))
    reply, _ = pair.ask(wire.GetRange("binance.BTCUSDT.trade", 1, 0, 0))
    assert reply == wire.Gone(0, pair.publisher.epoch, "binance.BTCUSDT.trade", 0, 1)
    for first, last in ((0, 1), (1, 1), (0, -1)):
        reply, _ = pair.ask(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, first, last))
        assert isinstance(reply, wire.Refused)


@pytest.mark.parametrize(
    ("pasts", "begins"),
    [
        ({"feed": Past("binance")}, True),
        ({"feed": Past("binance", ("btcusdt",)), "other": Past("binance", ("BRK.B",)), "third": Past("kraken")}, True),
        ({"feed": Past("binance", ("BTCUSDT",)), "other": Past("binance", ("btcusdt",))}, False),
        ({"feed": Past("binance", ("BTCUSDT",)), "other": Past("binance")}, False),
    ],
)
def test_an_engine_says_where_its_life_of_a_topic_begins_where_one_feed_records_it(
    pair: Pair, pasts: dict[str, Past], *, begins: bool
) -> None:
    config = EngineConfig()
    spec = EngineSpec(name="engine", plant=Plant("", "", ""), config=config, inputs=[], pasts=pasts)
    pair.router._shared = spec.is_shared
    topics = {"binance.BTCUSDT.book": ("feed", 7), "binance.BTCUSDT.trade": ("feed", 2)}
    pair.publisher.publish_ticks(ticks((Kind.CLEAR, 1), (Kind.LEVEL, 1)), begin=Begin("feed", 7))
    pair.publisher.publish_ticks(ticks(*[(Kind.STATUS, 2)] * 2, (Kind.TRADE, 1), (Kind.TRADE, 1)), Origin("feed"))
    for topic, begin in topics.items():
        reply, _ = pair.ask(wire.GetRange(topic, 1, 0, 0))
        expected = begin if begins else ("", -1)
        assert reply == wire.Gone(0, pair.publisher.epoch, topic, 0, 2, *expected)
    assert spec.is_shared("binance", "*") == (len([past for past in pasts.values() if past.venue == "binance"]) > 1)


def test_the_last_values_are_there_even_when_their_messages_are_not(tmp_path: Path) -> None:
    pair = Pair(tmp_path, recovery_bytes=1)
    try:
        records = ticks((Kind.TRADE, 1), (Kind.QUOTE, 1), (Kind.QUOTE, 1), (Kind.TRADE, 1))
        pair.publisher.publish_ticks(records)
        for channel, expected in (("trade", records[3:]), ("quote", records[1:3])):
            reply, frames = pair.ask(wire.GetSnapshot(f"binance.BTCUSDT.{channel}"))
            assert isinstance(reply, wire.Snapshot)
            assert (reply.info.next_seq, reply.records) == (2, len(expected))
            assert frames == [expected.tobytes()]
    finally:
        pair.close()


def test_a_book_snapshot_is_the_book_at_its_topic_sequence(pair: Pair) -> None:
    records = ticks((Kind.CLEAR, 1), (Kind.LEVEL, 1), (Kind.LEVEL, 1, Flag.LAST))
    records["side"], records["size"] = Side.BID, 5
    pair.books.apply(records)
    pair.publisher.publish_ticks(records)
    reply, frames = pair.ask(wire.GetSnapshot("binance.BTCUSDT.book"))
    assert isinstance(reply, wire.Snapshot)
    assert not reply.stale
    assert reply.info == wire.TopicInfo("binance.BTCUSDT.book", 1, 1, 2, 8, 3)
    assert np.frombuffer(frames[0], TICK)["price"].tolist() == [0, 102, 101]
    pair.books.apply(ticks((Kind.GAP, 1, Flag.ON_BOOK)))
    reply, frames = pair.ask(wire.GetSnapshot("binance.BTCUSDT.book"))
    assert isinstance(reply, wire.Snapshot)
    assert reply.stale
    assert np.frombuffer(frames[0], TICK)["kind"][-1] == Kind.GAP


def test_a_stale_bbo_says_so_in_its_snapshot(pair: Pair) -> None:
    bbo = np.zeros(1, BBO)
    bbo["instrument"], bbo["flags"] = 1, Flag.STALE
    pair.publisher.publish_derived(Schema.BBO, bbo)
    reply, _ = pair.ask(wire.GetSnapshot("binance.BTCUSDT.bbo"))
    assert isinstance(reply, wire.Snapshot)
    assert reply.stale


def test_a_request_that_makes_no_sense_is_refused_and_the_router_lives_on(pair: Pair) -> None:
    for frame in (b"", b"junk", wire.encode(wire.GetSnapshot("binance.NONE.book", 3))):
        reply, _ = pair.ask(frame)
        assert isinstance(reply, wire.Refused)
    assert pair.router.refused == pair.router.served == 3


def test_a_req_socket_works_too(pair: Pair) -> None:
    req = pair.outside.socket(zmq.REQ)
    req.connect(f"{pair.address}.requests")
    req.send(b'{"type": "topics", "id": 1, "version": 2}')
    assert pair.router.socket.poll(90_000)
    pair.router.serve()
    assert wire.decode_reply(req.recv()) == wire.Topics(1, pair.publisher.epoch, [])
    req.close(0)


def test_a_requester_that_does_not_read_loses_its_replies_and_blocks_nobody(pair: Pair) -> None:
    pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 2560))
    request = wire.encode(wire.GetRange("binance.BTCUSDT.trade", pair.publisher.epoch, 0, 2559))

    def unread() -> bool:
        for _ in range(50):
            pair.dealer.send(request)
        while pair.router.serve():
            pass
        return pair.router.unread > 0

    wait_for("its queue to be full", unread)


def test_a_turn_answers_a_bounded_number_of_requests(pair: Pair) -> None:
    for _ in range(40):
        pair.dealer.send(b'{"type": "topics", "version": 2}')
    turns: list[int] = []

    def turn() -> bool:
        before = pair.router.served
        more = pair.router.serve(5)
        turns.append(pair.router.served - before)
        assert more == (turns[-1] == 5)
        return pair.router.served == 40

    wait_for("all to be answered", turn)
    assert max(turns) == 5
