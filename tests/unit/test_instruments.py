"""Decimals are exact, and the instrument table survives a torn write."""

from __future__ import annotations

import os
import tempfile
from decimal import Context, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.errors import StoreError
from tickplant.instruments import Instrument, InstrumentTable, format_decimal, parse_decimal, to_mantissa


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 18))
def test_a_formatted_decimal_parses_to_the_same_integer(mantissa: int, scale: int) -> None:
    text = format_decimal(mantissa, scale)
    assert Decimal(text) == Decimal(mantissa).scaleb(-scale)
    assert to_mantissa(text, scale) == mantissa


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=8))
def test_every_notation_of_a_decimal_means_the_same(value: Decimal) -> None:
    for text in (str(value), format(value, "f"), format(value, "E")):
        mantissa, scale = parse_decimal(text)
        assert Decimal(mantissa).scaleb(-scale) == value
        assert to_mantissa(text, 8) == int(value.scaleb(8))


@pytest.mark.parametrize(
    "text", ["", ".", "1.2.3", "NaN", "inf", "1_000", "٣", " 1", "1e9999", "0x10", "--1"]
)  # a digit of another script is the point
def test_what_is_not_a_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number"):
        parse_decimal(text)


@given(st.text("0123456789.+-eE_٣² ", max_size=22), st.integers(0, 18))
def test_a_mantissa_is_what_the_decimal_says_or_refused(text: str, scale: int) -> None:
    try:
        mantissa, digits = parse_decimal(text)
    except ValueError:
        with pytest.raises(ValueError, match="is not a decimal number"):
            to_mantissa(text, scale)
        return
    value = Decimal(mantissa).scaleb(scale - digits, Context(prec=1000))
    if value == int(value) and -(2**63) < value < 2**63:
        assert to_mantissa(text, scale) == value
    else:
        with pytest.raises(ValueError, match="decimals|does not fit"):
            to_mantissa(text, scale)


def test_a_value_that_does_not_fit_is_refused_and_never_rounded() -> None:
    assert to_mantissa("1.500", 1) == 15
    with pytest.raises(ValueError, match="more than 1 decimals"):
        to_mantissa("1.55", 1)
    with pytest.raises(ValueError, match="does not fit 63 bits"):
        to_mantissa("92233720368.54775808", 8)


def test_ids_are_stable_and_a_changed_scale_is_a_new_instrument(tmp_path: Path) -> None:
    path = tmp_path / "instruments.jsonl"
    table = InstrumentTable.load(path)
    first = table.register("binance", "BTCUSDT", 8, 8)
    assert first == Instrument(1, "binance", "BTCUSDT", 8, 8)
    assert table.register("binance", "测试USDT", 8, 8).id == 2
    assert table.register("binance", "BTCUSDT", 8, 8) is first
    assert table.register("binance", "BTCUSDT", 2, 5).id == 3
    again = InstrumentTable.load(path)
    assert list(again) == list(table)
    assert [row.id for row in again.find("binance", "BTCUSDT")] == [1, 3]
    assert again.by_id(2).symbol == "测试USDT"
    with pytest.raises(StoreError, match="no instrument has id 4"):
        again.by_id(4)


def test_a_reader_sees_rows_that_were_added_later(tmp_path: Path) -> None:
    path = tmp_path / "instruments.jsonl"
    reader = InstrumentTable.load(path)
    InstrumentTable.load(path).register("binance", "A", 8, 8)
    assert len(reader) == 0
    reader.reload()
    assert reader.by_id(1).symbol == "A"


def test_a_row_torn_by_a_crash_is_dropped_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "instruments.jsonl"
    table = InstrumentTable.load(path)
    table.register("binance", "A", 8, 8)
    whole = path.read_bytes()
    table.register("binance", "B", 8, 8)
    torn = path.read_bytes()
    for cut in range(len(whole), len(torn)):
        path.write_bytes(torn[:cut])
        table = InstrumentTable.load(path)
        assert [row.symbol for row in table] == ["A"]
        assert table.register("binance", "C", 0, 0).id == 2
        assert [row.symbol for row in InstrumentTable.load(path)] == ["A", "C"]


def test_a_damaged_table_is_refused_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "instruments.jsonl"
    path.write_text('{"id":1,"venue":"v","symbol":"A","price_scale":8,"size_scale":8}\nnonsense\n')
    with pytest.raises(StoreError, match="row 2 is not an instrument"):
        InstrumentTable.load(path)
    path.write_text('{"id":7,"venue":"v","symbol":"A","price_scale":8,"size_scale":8}\n')
    with pytest.raises(StoreError, match="row 1 has id 7"):
        InstrumentTable.load(path)


def test_scales_that_no_mantissa_could_carry_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are not within"):
        InstrumentTable.load(tmp_path / "i.jsonl").register("v", "A", 19, 0)


ROW = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["X", "Y", "Z"]), st.integers(0, 2), st.integers(0, 1))


@given(st.lists(st.lists(ROW, min_size=1, max_size=8), max_size=5))
def test_registering_together_gives_what_registering_one_by_one_gives(
    batches: list[list[tuple[str, str, int, int]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        together, single = (InstrumentTable.load(Path(folder) / name) for name in ("together", "single"))
        for batch in batches:
            assert together.register_all(batch) == [single.register(*row) for row in batch]
        assert list(together) == list(single) == list(InstrumentTable.load(together.path))
        for row in single:
            assert together.find(row.venue, row.symbol) == [
                one for one in single if (one.venue, one.symbol) == (row.venue, row.symbol)
            ]


def test_many_are_made_durable_at_once_or_none_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    synced = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    table.register_all([("binance", f"S{number}", 8, 8) for number in range(1000)])
    assert synced == [table.path.stat().st_size]
    with pytest.raises(ValueError, match="binance NEW: scales 19, 8 are not within 0..18"):
        table.register_all([("binance", "OTHER", 8, 8), ("binance", "NEW", 19, 8)])
    assert len(table) == 1000 and not table.find("binance", "OTHER")


@pytest.mark.parametrize(
    ("venue", "symbol"),
    [("", "A"), ("v", ""), ("v", "A" * 129), ("v" * 129, "A"), ("v", "A\n"), ("v", "A\x85"), ("v", "\ud7ff")],
)  # fmt: skip
def test_a_name_that_is_none_is_not_registered(tmp_path: Path, venue: str, symbol: str) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    with pytest.raises(ValueError, match="is not a name"):
        table.register(venue, symbol, 2, 2)
    assert len(table) == 0 and not table.path.exists()
