"""The wire format, to the byte."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant import wire
from tickplant.records.layouts import DTYPES


def header(producer: bytes = b"binance") -> bytes:
    return wire.pack_header(1, 64, 3, 1_700_000_000_000_000, 2**52, 1_700_000_000_123_456_789, 7, 2, 8, producer)


def test_the_packed_header_reads_as_the_dtype() -> None:
    read = np.frombuffer(header(), wire.WIRE_HEADER)[0]
    assert read["magic"].tobytes() == b"TPWM"
    assert read["version"] == wire.VERSION
    assert read["header_bytes"] == wire.HEADER_BYTES == len(header()) == wire.WIRE_HEADER.itemsize
    fields = wire.unpack_header(header())
    for name in wire.Header.__struct_fields__:
        value = read[name].decode() if name == "producer" else read[name]
        assert value == getattr(fields, name)
    assert not any(read[name] for name in ("reserved_0", "reserved_1", "reserved_2"))
    assert sum(part.itemsize for part, *_ in (wire.WIRE_HEADER.fields or {}).values()) == wire.HEADER_BYTES


@pytest.mark.parametrize("producer", ["", "e", "a" * 31])
def test_a_producer_has_room_for_every_name_that_a_process_may_have(producer: str) -> None:
    assert wire.unpack_header(header(producer.encode())).producer == producer


def test_a_later_header_may_be_longer() -> None:
    assert wire.unpack_header(header() + bytes(64)) == wire.unpack_header(header())


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"", "a header of 0 bytes"),
        (header()[:95], "a header of 95 bytes"),
        (b"XXXX" + header()[4:], "not a tickplant message"),
        (header()[:4] + b"\x01\x00" + header()[6:], "version 1"),
        (header(b"\xff"), "ascii"),
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


def test_requests_are_json_that_can_be_written_by_hand() -> None:
    assert wire.decode_request(b'{"type": "topics", "version": 2}') == wire.GetTopics()
    assert wire.decode_request(b'{"type": "snapshot", "topic": "a.b.c", "version": 2}') == wire.GetSnapshot("a.b.c")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b'{"version": 2}',
        b'{"type": "drop", "version": 2}',
        b'{"type": "snapshot", "version": 2}',
        b"\xff\xfe",
    ],
)
def test_what_is_not_a_request_or_reply_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="not a request"):
        wire.decode_request(frame)
    with pytest.raises(ValueError, match="not a reply"):
        wire.decode_reply(frame)


def test_every_record_is_whole_words_so_that_it_can_be_sorted_by_words() -> None:
    assert all(dtype.itemsize % 8 == 0 for dtype in DTYPES.values())
