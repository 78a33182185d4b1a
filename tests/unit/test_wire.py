"""The wire format, to the byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tickplant import wire
from tickplant.records.layouts import DTYPES


def header(**changed: int) -> bytes:
    fields = {
        "schema": 1,
        "record_bytes": 64,
        "records": 3,
        "epoch": 1_700_000_000_000_000,
        "first_seq": 2**52,
        "publish_ns": 1_700_000_000_123_456_789,
        "instrument": 7,
        "price_scale": 2,
        "size_scale": 8,
    } | changed
    return wire.pack_header(**fields)


def test_the_header_has_the_documented_layout() -> None:
    fields = wire.WIRE_HEADER.fields
    assert fields is not None
    assert wire.WIRE_HEADER.itemsize == 64
    assert {name: field[1] for name, field in fields.items()} == {
        "magic": 0,
        "version": 4,
        "header_bytes": 6,
        "schema": 8,
        "record_bytes": 10,
        "records": 12,
        "epoch": 16,
        "first_seq": 24,
        "publish_ns": 32,
        "instrument": 40,
        "price_scale": 44,
        "size_scale": 45,
        "reserved_0": 46,
        "reserved_1": 48,
        "reserved_2": 56,
    }
    assert sum(field[0].itemsize for field in fields.values()) == 64, "no byte is unnamed"


def test_the_packed_header_reads_as_the_dtype() -> None:
    read = np.frombuffer(header(), wire.WIRE_HEADER)[0]
    assert read["magic"].tobytes() == b"TPWM"
    assert read["version"] == wire.VERSION
    assert read["header_bytes"] == 64
    for name, value in zip(wire.Header.__struct_fields__, struct.unpack("<8x2HIQQqIBB18x", header()), strict=True):
        assert read[name] == value == getattr(wire.unpack_header(header()), name)
    assert header()[46:] == bytes(18)


def test_a_later_header_may_be_longer() -> None:
    assert wire.unpack_header(header() + bytes(64)) == wire.unpack_header(header())


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"", "a header of 0 bytes"),
        (header()[:63], "a header of 63 bytes"),
        (b"XXXX" + header()[4:], "not a tickplant message"),
        (header()[:4] + b"\x02\x00" + header()[6:], "version 2"),
    ],
)
def test_what_is_not_a_header_is_refused(frame: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wire.unpack_header(frame)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "*", "BRK.B", "A.B.C", "XBT/USD", "ü"])
def test_a_topic_is_taken_apart_at_its_first_and_last_dot(symbol: str) -> None:
    topic = wire.make_topic("binance", symbol, "bar_1s")
    assert topic == f"binance.{symbol}.bar_1s"
    assert wire.split_topic(topic) == ("binance", symbol, "bar_1s")


@pytest.mark.parametrize(
    "parts", [("a.b", "X", "c"), ("a", "X", "c.d"), ("", "X", "c"), ("a", "", "c"), ("a", "X", "")]
)
def test_what_could_not_be_taken_apart_is_no_topic(parts: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="do not make a topic"):
        wire.make_topic(*parts)


@pytest.mark.parametrize("topic", ["", "binance", "binance.BTCUSDT", ".X.c", "a..c", "a.X."])
def test_half_a_topic_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="is not a topic"):
        wire.split_topic(topic)


@pytest.mark.parametrize(
    ("interval_s", "channel"), [(1, "bar_1s"), (60, "bar_1m"), (90, "bar_90s"), (300, "bar_5m"), (7200, "bar_2h")]
)
def test_bars_are_named_after_the_largest_unit_that_fits(interval_s: int, channel: str) -> None:
    assert wire.bar_channel(interval_s) == channel


INFO = wire.TopicInfo("binance.X.book", 1, 3, 2, 8, 9)


@pytest.mark.parametrize(
    "request_",
    [wire.GetTopics(1, "binance"), wire.GetSnapshot("binance.X.book", 2), wire.GetRange("binance.X.trade", 5, 6, 7, 3)],
)
def test_a_request_survives_json(request_: wire.Request) -> None:
    assert wire.decode_request(wire.encode(request_)) == request_


@pytest.mark.parametrize(
    "reply",
    [
        wire.Topics(1, 2, [INFO]),
        wire.Snapshot(1, 2, INFO, 5, stale=True),
        wire.Range(1, 2, "binance.X.book", 3, 4, 5),
        wire.Gone(1, 2, "binance.X.book", 3, 4),
        wire.Refused(1, "no"),
    ],
)
def test_a_reply_survives_json(reply: wire.Reply) -> None:
    assert wire.decode_reply(wire.encode(reply)) == reply


def test_requests_are_json_that_can_be_written_by_hand() -> None:
    assert wire.decode_request(b'{"type": "topics"}') == wire.GetTopics()
    assert wire.decode_request(b'{"type": "snapshot", "topic": "a.b.c"}') == wire.GetSnapshot("a.b.c")


@pytest.mark.parametrize("frame", [b"", b"{}", b'{"type": "drop"}', b'{"type": "snapshot"}', b"\xff\xfe"])
def test_what_is_not_a_request_or_reply_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="not a request"):
        wire.decode_request(frame)
    with pytest.raises(ValueError, match="not a reply"):
        wire.decode_reply(frame)


def test_every_record_is_whole_words_so_that_it_can_be_sorted_by_words() -> None:
    assert all(dtype.itemsize % 8 == 0 for dtype in DTYPES.values())
