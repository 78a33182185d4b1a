"""The publisher over real sockets, in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plant_process import wait_for
from publisher_pair import Pair, ticks

from tickplant import wire
from tickplant.engine import publisher as publisher_module
from tickplant.records import fanout
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import BAR, BBO, Flag, Kind, Schema, StatusCode


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
