"""The record layouts are what their documentation says, to the byte."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.records.layouts import BAR, BBO, CHECKPOINT, DTYPES, TICK, TRADE_BAR, VALUE, Schema, dtype_hash

TICK_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "price": 16,
    "size": 24,
    "venue_seq": 32,
    "order_id": 40,
    "instrument": 48,
    "kind": 52,
    "side": 53,
    "flags": 54,
    "seq": 56,
}
BBO_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "bid_price": 16,
    "bid_size": 24,
    "ask_price": 32,
    "ask_size": 40,
    "source_seq": 48,
    "instrument": 56,
    "flags": 60,
    "reserved": 62,
    "seq": 64,
}
BAR_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "ts_open": 16,
    "open": 24,
    "high": 32,
    "low": 40,
    "close": 48,
    "volume": 56,
    "buy_volume": 64,
    "source_seq": 72,
    "interval_s": 80,
    "trades": 84,
    "instrument": 88,
    "flags": 92,
    "reserved": 94,
    "seq": 96,
}
CHECKPOINT_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "price": 16,
    "size": 24,
    "venue_seq": 32,
    "source_seq": 40,
    "book_ts_event": 48,
    "book_ts_recv": 56,
    "book_seq": 64,
    "instrument": 72,
    "kind": 76,
    "side": 77,
    "flags": 78,
    "seq": 80,
}

VALUE_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "value_1": 16,
    "value_2": 24,
    "value_3": 32,
    "value_4": 40,
    "source_seq": 48,
    "instrument": 56,
    "series": 60,
    "flags": 62,
    "seq": 64,
}

TRADE_BAR_OFFSETS = {
    "ts_event": 0,
    "ts_recv": 8,
    "ts_open": 16,
    "open": 24,
    "high": 32,
    "low": 40,
    "close": 48,
    "volume": 56,
    "buy_volume": 64,
    "sell_volume": 72,
    "vwap": 80,
    "first_id": 88,
    "last_id": 96,
    "source_seq": 104,
    "instrument": 112,
    "series": 116,
    "flags": 118,
    "trades": 120,
    "number": 124,
    "seq": 128,
}

HASHES = [
    *("2d4d85f4a316dbc7", "52674921d5dfa47b", "ce42a9da8b7c3cfb", "dba4c9b9e68a146a"),
    *("8838ba3346afcabb", "8838ba3346afcabb"),  # states are in the layout of values
    "1e75be54b65a9033",
]
"""Stored in every ring: if one changes, rings of an older version are refused."""


@pytest.mark.parametrize(
    ("dtype", "offsets", "item_bytes"),
    [
        (TICK, TICK_OFFSETS, 64),
        (BBO, BBO_OFFSETS, 72),
        (BAR, BAR_OFFSETS, 104),
        (CHECKPOINT, CHECKPOINT_OFFSETS, 88),
        (VALUE, VALUE_OFFSETS, 72),
        (TRADE_BAR, TRADE_BAR_OFFSETS, 136),
    ],
)
def test_each_field_lies_at_its_documented_offset(
    dtype: np.dtype[np.void], offsets: dict[str, int], item_bytes: int
) -> None:
    assert dtype.fields is not None
    assert {name: field[1] for name, field in dtype.fields.items()} == offsets
    assert dtype.itemsize == item_bytes


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_fields_are_little_endian_aligned_and_leave_no_byte_between_them(dtype: np.dtype[np.void]) -> None:
    assert dtype.fields is not None
    end = 0
    for field, offset in sorted(((field[0], field[1]) for field in dtype.fields.values()), key=lambda pair: pair[1]):
        assert field.newbyteorder("<") == field
        assert offset % field.itemsize == 0
        assert offset == end, "numpy loses bytes that have no name"
        end = offset + field.itemsize
    assert end == dtype.itemsize
    assert dtype.itemsize % 8 == 0, "a ring copies whole words"


def test_numpy_joins_selects_and_copies_records_without_losing_a_byte() -> None:
    for dtype in DTYPES.values():
        records = np.frombuffer(np.arange(dtype.itemsize * 4, dtype=np.uint8).tobytes(), dtype)
        for made in (np.concatenate([records[:1], records[1:]]), records[np.ones(4, np.bool_)], records.copy()):
            assert made.dtype == dtype
            assert made.tobytes() == records.tobytes()


def test_every_schema_has_a_dtype_whose_last_field_is_seq() -> None:
    assert set(DTYPES) == set(Schema)
    for dtype in DTYPES.values():
        assert dtype.names is not None
        assert dtype.names[-1] == "seq"


def test_the_hash_of_a_layout_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert [f"{dtype_hash(DTYPES[schema]):016x}" for schema in Schema] == HASHES


def test_the_hash_tells_layouts_apart_that_differ_only_in_a_name_a_type_or_an_offset() -> None:
    layouts = [
        np.dtype([("a", "<i8"), ("b", "<i8")]),
        np.dtype([("a", "<i8"), ("c", "<i8")]),
        np.dtype([("a", "<i8"), ("b", "<u8")]),
        np.dtype({"names": ["a", "b"], "formats": ["<i8", "<i8"], "offsets": [8, 0], "itemsize": 16}),
        np.dtype({"names": ["a", "b"], "formats": ["<i8", "<i8"], "offsets": [0, 8], "itemsize": 24}),
    ]
    assert len({dtype_hash(layout) for layout in layouts}) == len(layouts)


def test_the_hash_refuses_what_is_no_record() -> None:
    with pytest.raises(TypeError, match="record layout"):
        dtype_hash(np.dtype(np.int64))
