"""Publisher and router over real sockets, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from plant_process import free_port, wait_for

from tickplant import wire
from tickplant.books.level_books import Books
from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import publisher as publisher_module
from tickplant.engine.message_memory import Begin
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.engine.router import Router
from tickplant.errors import ConfigError
from tickplant.instruments import Instrument
from tickplant.records import fanout
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import BAR, BBO, TICK, Flag, Kind, Schema, Side, StatusCode
from tickplant.runtime.client_sockets import check_exposed
from tickplant.runtime.config import EngineConfig
from tickplant.runtime.job_specs import EngineSpec, Past, Plant

CHANNELS = channels_of(Settings(bar_s=(1, 60)))
ROWS = {
    1: Instrument(1, "binance", "BTCUSDT", 2, 8),
    2: Instrument(2, "binance", "BRK.B", 4, 3),
    3: Instrument(3, "binance", "BTCUSDT", 3, 8),
}


def ticks(*kinds: tuple[Kind, int] | tuple[Kind, int, int]) -> np.ndarray:
    records = np.zeros(len(kinds), TICK)
    for i, (kind, instrument, *flags) in enumerate(kinds):
        records[i]["kind"], records[i]["instrument"], records[i]["flags"] = kind, instrument, sum(flags)
    records["seq"] = np.arange(len(records))
    records["price"] = 100 + np.arange(len(records))
    return records


class Pair:
    """An engine's two sockets and a subscriber's two."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.address = f"ipc://{folder}/publish"
        self.books = Books()
        self.publisher = Publisher(self.context, self.address, ROWS.__getitem__, channels=CHANNELS, **options)
        self.router = Router(self.context, f"{self.address}.requests", self.publisher, {"book": self.books.snapshot})
        self.outside: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sub = self.outside.socket(zmq.SUB)
        self.sub.connect(self.address)
        self.sub.subscribe(b"")
        self.dealer = self.outside.socket(zmq.DEALER)
        self.dealer.connect(f"{self.address}.requests")
        wait_for("the subscription", self.publisher.read_subscriptions)

    def received(self, count: int) -> list[tuple[str, wire.Header, np.ndarray]]:
        """The next messages."""
        out = []
        for _ in range(count):
            assert self.sub.poll(5000), f"only {len(out)} of {count} messages came"
            topic, header, payload = self.sub.recv_multipart()
            read = wire.unpack_header(header)
            out.append((topic.decode(), read, np.frombuffer(payload, {64: TICK, 72: BBO, 104: BAR}[read.record_bytes])))
        return out

    def ask(self, request: wire.Request | bytes) -> tuple[wire.Reply, list[bytes]]:
        self.dealer.send(request if isinstance(request, bytes) else wire.encode(request))
        assert self.router.socket.poll(5000)
        self.router.serve()
        assert self.dealer.poll(5000)
        head, *frames = self.dealer.recv_multipart()
        return wire.decode_reply(head), frames

    def close(self) -> None:
        # The engine's side first: libzmq aborts (issue 3442) where a peer goes in the middle of a message of several
        # frames at the very moment at which the socket gives the rest of it up.
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()
        self.outside.destroy(0)  # with what a test that has failed left open


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


@pytest.mark.kernels
def test_every_kind_has_its_channel_and_what_breaks_a_stream_goes_to_all_it_concerns() -> None:
    on_all = Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK
    records = ticks(
        (Kind.TRADE, 1),
        (Kind.TRADE, 2, Flag.AGGREGATE),
        (Kind.QUOTE, 1),
        (Kind.LEVEL, 1),
        (Kind.CLEAR, 1),
        (Kind.CHECKSUM, 1),
        (Kind.ORDER_ADD, 1),
        (Kind.STATUS, 1),
        (Kind.GAP, 1, on_all),
        (Kind.GAP, 2, on_all),
        (Kind.GAP, 3, Flag.ON_TRADE),
        (Kind.GAP, 1),
        (Kind.STATUS, 1, Flag.ON_TRADE),
        (Kind.STATUS, 1, on_all),
    )
    records["price"][-2:] = StatusCode.DISCONNECTED
    masks = np.zeros(len(records), np.uint32)
    tick_channels(records, masks, np.zeros(4, np.uint32))
    named = [{c for i, c in enumerate(wire.TICK_CHANNELS) if mask >> i & 1} for mask in masks.tolist()]
    assert named == [
        {"trade"},
        {"agg_trade"},
        {"quote"},
        {"book"},
        {"book"},
        {"book"},
        {"orders"},
        {"status"},
        {"trade", "quote", "book"},
        {"agg_trade", "quote", "book"},
        {"trade"},
        {"status"},
        {"status"},
        {"status", "book"},
    ]


@pytest.mark.kernels
def test_sorting_keeps_the_order_within_a_topic_and_leaves_its_scratch_clean() -> None:
    random = np.random.default_rng(1)
    records = np.zeros(300, BBO)
    records["instrument"] = random.integers(0, 7, 300)
    records["seq"] = np.arange(300)
    masks = random.integers(1, 8, 300).astype(np.uint32)
    slots = np.full(7 * 3, -1, np.int32)
    words = records.view(np.uint64).reshape(300, 9)
    rows, keys, starts = fanout.group(words, records["instrument"], masks, 3, slots)
    assert (slots == -1).all()
    sorted_ = rows.reshape(-1).view(BBO)
    appeared = dict.fromkeys(
        int(i) * 3 + c for i, mask in zip(records["instrument"], masks, strict=True) for c in range(3) if mask >> c & 1
    )
    assert keys.tolist() == list(appeared)
    for key, start, end in zip(keys.tolist(), starts.tolist()[:-1], starts.tolist()[1:], strict=True):
        expected = records[(records["instrument"] == key // 3) & (masks >> key % 3 & 1 == 1)]
        assert sorted_["seq"][start:end].tolist() == expected["seq"].tolist()


def test_a_message_is_topic_header_and_records_as_they_are(pair: Pair) -> None:
    records = ticks((Kind.TRADE, 1), (Kind.LEVEL, 2), (Kind.TRADE, 1))
    pair.publisher.publish_ticks(records)
    first, second = pair.received(2)
    assert first[0] == "binance.BTCUSDT.trade"
    assert first[2].tobytes() == records[[0, 2]].tobytes()
    assert second[0] == "binance.BRK.B.book"
    assert (second[1].instrument, second[1].price_scale, second[1].size_scale) == (2, 4, 3)
    assert first[1].epoch == second[1].epoch == pair.publisher.epoch < 2**53


def test_topic_sequences_count_the_records_of_each_topic(pair: Pair) -> None:
    for _ in range(3):
        pair.publisher.publish_ticks(ticks((Kind.TRADE, 1), (Kind.TRADE, 1), (Kind.TRADE, 2)))
    messages = pair.received(6)
    assert [(m[1].first_seq, m[1].records) for m in messages if m[0] == "binance.BTCUSDT.trade"] == [
        (0, 2),
        (2, 2),
        (4, 2),
    ]
    assert [m[1].first_seq for m in messages if m[0] == "binance.BRK.B.trade"] == [0, 1, 2]


def test_derived_records_have_their_own_topics(pair: Pair) -> None:
    bbo, bars = np.zeros(1, BBO), np.zeros(2, BAR)
    bbo["instrument"] = bars["instrument"] = 1
    bars["interval_s"] = 1, 60
    pair.publisher.publish_derived(Schema.BBO, bbo)
    pair.publisher.publish_derived(Schema.BAR, bars)
    assert [(m[0], m[1].schema) for m in pair.received(3)] == [
        ("binance.BTCUSDT.bbo", Schema.BBO),
        ("binance.BTCUSDT.bar_1s", Schema.BAR),
        ("binance.BTCUSDT.bar_1m", Schema.BAR),
    ]


def test_a_large_batch_is_several_messages(pair: Pair) -> None:
    pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 600))
    assert [(m[1].first_seq, m[1].records) for m in pair.received(3)] == [(0, 256), (256, 256), (512, 88)]


def test_a_symbol_whose_scales_change_keeps_its_topic_and_sequence(pair: Pair) -> None:
    pair.publisher.publish_ticks(ticks((Kind.TRADE, 1)))
    pair.publisher.publish_ticks(ticks((Kind.TRADE, 3)))
    headers = [m[1] for m in pair.received(2)]
    assert [(h.instrument, h.price_scale, h.first_seq) for h in headers] == [(1, 2, 0), (3, 3, 1)]
    reply, _ = pair.ask(wire.GetTopics())
    assert isinstance(reply, wire.Topics)
    assert [(t.topic, t.instrument, t.next_seq) for t in reply.topics] == [("binance.BTCUSDT.trade", 3, 2)]


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
    assert pair.router.socket.poll(5000)
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


def test_a_lossless_publisher_waits_for_a_slow_subscriber(tmp_path: Path) -> None:
    got: list[int] = []

    def read_some() -> None:
        while pair.sub.poll(0):
            got.append(wire.unpack_header(pair.sub.recv_multipart()[1]).first_seq)

    pair = Pair(tmp_path, lossless=True, high_water_messages=5, while_waiting=read_some)
    try:
        for _ in range(20):
            pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 25_600))
        wait_for("the rest", lambda: read_some() or len(got) == 2000)
        assert got == list(range(0, 20 * 25_600, 256))
        assert pair.publisher.stalls == 0
    finally:
        pair.close()


def test_a_lossless_publisher_gives_a_dead_subscriber_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "STALL_S", 0.05)
    pair = Pair(tmp_path, lossless=True, high_water_messages=5)
    try:
        while not pair.publisher.stalls:
            pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 25_600))
        for _ in range(3):
            pair.publisher.publish_ticks(ticks(*[(Kind.TRADE, 1)] * 25_600))
        assert pair.publisher.stalls == 1, "it does not wait again"
    finally:
        pair.close()


def test_an_address_in_use_is_named(pair: Pair) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    holder = pair.context.socket(zmq.PUB)
    holder.bind(address)
    with pytest.raises(ConfigError, match=f"{address}: is already in use"):
        Publisher(pair.context, address, ROWS.__getitem__)
    with pytest.raises(ConfigError, match=f"{address}: is already in use"):
        Router(pair.context, address, pair.publisher, {"book": pair.books.snapshot})
    holder.close(0)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///tmp/x"])
def test_an_address_of_this_machine_needs_nothing(address: str) -> None:
    check_exposed(address, insecure=False)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://192.0.2.1:1", "tcp://host.example:1"])
def test_an_address_that_others_reach_must_be_wanted(address: str) -> None:
    check_exposed(address, insecure=True)
    with pytest.raises(ConfigError, match="insecure = true"):
        check_exposed(address, insecure=False)
