"""Query results as Arrow, Parquet, CSV and JSON lines: exact, null where there is nothing, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_records import make_records, make_ticks
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument, InstrumentTable, format_decimal
from tickplant.records.arrow_columns import COLUMNS
from tickplant.records.layouts import NO_PRICE, TICK, UNKNOWN, Flag, GapCause, Kind, Schema, Side, StatusCode
from tickplant.store import rows as rows_module
from tickplant.store.export import Export, export
from tickplant.store.reader import Store
from tickplant.writer.journal import Journal

INSTRUMENTS = [
    Instrument(1, "venue", "AAA", 8, 3),
    Instrument(2, "venue", "AAA", 2, 8),
    Instrument(3, "other, venue", 'say "é"', 0, 18),
]


def ticks(*rows: dict[str, int]) -> NDArray[np.void]:
    made = np.zeros(len(rows), TICK)
    for place, row in enumerate(rows):
        made[place]["instrument"], made[place]["ts_recv"], made[place]["seq"] = 1, 1_000_000_000 + place, place
        for name, value in row.items():
            made[place][name] = value
    return made


def values(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with the times as integers, since Python's have no nanoseconds."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.int64()))
    return table.to_pylist()


def lines(rows: Export, text_format: str) -> list[dict[str, Any]]:
    """Text output, parsed by somebody else."""
    file = io.BytesIO()
    count = rows.write_text(file, text_format)
    text = file.getvalue().decode()
    assert text == "" or text.endswith("\n")
    if text_format == "csv":
        parsed = list(csv.DictReader(io.StringIO(text, newline="")))
    else:
        parsed = [json.loads(line) for line in text.splitlines()]
    assert len(parsed) == count
    return parsed


def test_arrow_has_the_twelve_columns_with_exact_types() -> None:
    schema = Export([], INSTRUMENTS[:1]).schema
    assert schema.names == [
        "ts_event", "ts_recv", "venue", "symbol", "kind", "side", "price", "size",
        "venue_seq", "order_id", "flags", "seq",
    ]  # fmt: skip
    assert schema.field("ts_event").type == schema.field("ts_recv").type == pa.timestamp("ns", "UTC")
    assert schema.field("price").type == pa.decimal128(38, 8)
    assert schema.field("size").type == pa.decimal128(38, 3)
    assert schema.field("kind").type == schema.field("side").type == pa.dictionary(pa.int8(), pa.string())
    assert (schema.field("venue_seq").type, schema.field("flags").type) == (pa.uint64(), pa.uint16())
    assert Export([], INSTRUMENTS[:1], as_float=True).schema.field("price").type == pa.float64()


def test_every_value_is_exact_to_the_digit_and_the_nanosecond() -> None:
    largest = 2**63 - 1
    rows = ticks(
        {"kind": Kind.TRADE, "side": Side.BUY, "price": 6_183_763_000_000, "size": 1, "ts_event": largest},
        {
            "kind": Kind.TRADE,
            "side": Side.SELL,
            "price": -largest,
            "size": largest,
            "ts_event": 1,
            "venue_seq": 2**64 - 1,
        },
        {"kind": Kind.LEVEL, "side": Side.BID, "price": 1, "size": 0, "order_id": 2**64 - 1, "flags": 0xFFFF},
        {"kind": Kind.QUOTE, "side": Side.ASK, "price": NO_PRICE, "size": 0},
    )
    first, second, third, fourth = values(Export([rows], INSTRUMENTS).table())
    assert (first["price"], first["size"]) == (Decimal("61837.63000000"), Decimal("0.001"))
    assert (first["kind"], first["side"], first["ts_event"]) == ("trade", "buy", largest)
    assert (first["venue"], first["symbol"], first["ts_recv"]) == ("venue", "AAA", 1_000_000_000)
    assert (second["side"], second["price"], second["venue_seq"]) == ("sell", Decimal(-largest).scaleb(-8), 2**64 - 1)
    assert (third["side"], third["price"], third["size"]) == ("bid", Decimal("0.00000001"), Decimal("0.000"))
    assert (third["order_id"], third["flags"], third["seq"], third["ts_event"]) == (2**64 - 1, 0xFFFF, 2, None)
    assert (fourth["kind"], fourth["side"], fourth["price"]) == ("quote", "ask", None)


def test_gap_and_status_rows_carry_their_numbers() -> None:
    rows = ticks(
        {"kind": Kind.GAP, "price": GapCause.DISCONNECT, "size": 17, "flags": Flag.ON_BOOK},
        {"kind": Kind.GAP, "price": GapCause.SEQUENCE, "size": UNKNOWN},
        {"kind": Kind.STATUS, "price": StatusCode.RESYNC},
        {"kind": Kind.CLEAR},
        {"kind": Kind.CHECKSUM, "size": 3_310_070_434},
    )
    for parsed in (values(Export([rows], INSTRUMENTS).table()), lines(Export([rows], INSTRUMENTS), "jsonl")):
        numbers = [tuple(row[name] and Decimal(row[name]) for name in ("price", "size")) for row in parsed]
        assert numbers == [(2, 17), (1, None), (6, None), (None, None), (None, 3_310_070_434)]
        assert [row["kind"] for row in parsed] == ["gap", "gap", "status", "clear", "checksum"]
        assert all(row["side"] is None for row in parsed)


def test_instruments_of_several_scales_share_the_largest() -> None:
    rows = ticks(
        {"kind": Kind.TRADE, "price": 150, "size": 2500, "instrument": 1},
        {"kind": Kind.TRADE, "price": 150, "size": 2500, "instrument": 2},
        {"kind": Kind.TRADE, "price": 2**63 - 1, "size": 2**63 - 1, "instrument": 3},
    )
    table = Export([rows], INSTRUMENTS).table()
    assert table.schema.field("price").type == pa.decimal128(38, 8)
    assert table.schema.field("size").type == pa.decimal128(38, 18)
    expected = [
        (Decimal("0.0000015"), Decimal("2.5")),
        (Decimal("1.5"), Decimal("0.000025")),
        (Decimal(2**63 - 1), Decimal(2**63 - 1).scaleb(-18)),
    ]
    assert [(row["price"], row["size"]) for row in values(table)] == expected
    for text_format in ("csv", "jsonl"):
        parsed = lines(Export([rows], INSTRUMENTS), text_format)
        assert [(row["price"], row["size"]) for row in parsed] == [
            ("0.00000150", "2.500"),
            ("1.50", "0.00002500"),
            ("9223372036854775807", "9.223372036854775807"),
        ]
        assert parsed[2]["venue"] == "other, venue"
        assert parsed[2]["symbol"] == 'say "é"'


def test_floats_are_the_nearest_ones() -> None:
    rows = ticks({"kind": Kind.TRADE, "price": 6_183_763_000_000, "size": 1}, {"kind": Kind.QUOTE, "price": NO_PRICE})
    table = Export([rows], INSTRUMENTS, as_float=True).table()
    assert table["price"].to_pylist() == [61837.63, None]
    assert table["size"].to_pylist() == [0.001, 0.0]


@pytest.mark.parametrize("text_format", ["csv", "jsonl"])
def test_text_says_the_same_as_the_records(text_format: str) -> None:
    made = make_ticks(500)
    made["price"][::7] *= -1
    parsed = lines(
        Export([made[:123], made[123:]], [Instrument(i, "venue", f"S{i}", 8, 8) for i in (1, 2, 3)]), text_format
    )
    assert list(parsed[0]) == list(COLUMNS[Schema.TICK])
    for row, record in zip(parsed, made, strict=True):
        missing = "" if text_format == "csv" else None
        assert int(row["seq"]) == record["seq"]
        assert int(row["venue_seq"]) == record["venue_seq"]
        assert row["symbol"] == f"S{record['instrument']}"
        if record["kind"] == Kind.CLEAR:
            assert row["price"] == row["size"] == row["side"] == missing
        else:
            assert row["price"] == format_decimal(int(record["price"]), 8)
            assert row["size"] == format_decimal(int(record["size"]), 8)
        if record["ts_event"]:
            assert row["ts_event"].endswith("Z")
            assert int(np.datetime64(row["ts_event"][:-1], "ns").astype(np.int64)) == record["ts_event"]
        else:
            assert row["ts_event"] == missing
        assert len(row["ts_recv"]) == 30


@pytest.mark.parametrize("schema", [Schema.BBO, Schema.BAR, Schema.CHECKPOINT])
def test_derived_records_are_exported_too(schema: Schema) -> None:
    made = make_records(schema, 40)
    instruments = [Instrument(i, "venue", f"S{i}", 8, 8) for i in (1, 2, 3)]
    parsed = values(Export([made], instruments, schema=schema).table())
    assert list(parsed[0]) == list(COLUMNS[schema])
    name = {Schema.BBO: "bid_price", Schema.BAR: "close"}.get(schema, "price")
    for row, record in zip(parsed, made, strict=True):
        value = int(record[name])
        empty = value == NO_PRICE or row.get("kind") == "clear"
        assert row[name] == (None if empty else Decimal(value).scaleb(-8))
        assert row["source_seq"] == record["source_seq"]
    assert len(lines(Export([made], instruments, schema=schema), "jsonl")) == 40


@pytest.fixture
def store(tmp_path: Path) -> Store:
    instruments = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        instruments.register("venue", symbol, 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    made = make_ticks(1000)
    for start in range(0, 1000, 100):
        journal.append(made[start : start + 100])
        journal.flush()
    journal.close()
    return Store(tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_files_hold_every_row_in_groups_of_bounded_size(
    store: Store, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 128)
    path = tmp_path / f"out{suffix}"
    expected = [row["seq"] for row in values(export(store, "venue", "BBB").table())]
    assert len(expected) == 334
    assert export(store, "venue", "BBB").write(path) == 334
    if suffix == ".parquet":
        file = pq.ParquetFile(path)
        assert [file.metadata.row_group(i).num_rows <= 128 for i in range(4)] == [True] * 4
        assert file.read()["seq"].to_pylist() == expected
        assert file.schema_arrow.field("price").type == pa.decimal128(38, 8)
        assert file.schema_arrow.field("ts_recv").type == pa.timestamp("ns", "UTC")
    elif suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            assert reader.num_record_batches == 4
            assert reader.read_all()["seq"].to_pylist() == expected
    else:
        assert len(path.read_text().splitlines()) == 334 + (suffix == ".csv")
    assert not list(tmp_path.glob("*.part"))


def test_a_file_appears_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    journal = store.files("feed", Schema.TICK)[0]
    data = bytearray(journal.read_bytes())
    data[-100] ^= 0xFF
    journal.write_bytes(data)
    with pytest.raises(StoreError, match="are missing"):
        export(store, "venue", "AAA").write(path)
    assert path.read_text() == "before"
    assert not list(tmp_path.glob("*.part"))


def test_wrong_paths_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"out.xlsx: has no known suffix; choose from .parquet, .arrow"):
        export(store, "venue", "AAA").write(tmp_path / "out.xlsx")
    with pytest.raises(StoreError, match=r"nowhere/out.csv: cannot be written: No such file"):
        export(store, "venue", "AAA").write(tmp_path / "nowhere" / "out.csv")


def test_an_empty_result_is_a_valid_file(store: Store, tmp_path: Path) -> None:
    for suffix in (".parquet", ".arrow", ".csv", ".jsonl"):
        assert export(store, "venue", "AAA", kinds=["gap"]).write(tmp_path / f"out{suffix}") == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert (tmp_path / "out.csv").read_text() == ",".join(COLUMNS[Schema.TICK]) + "\n"


def test_a_streaming_reader_gives_the_table(store: Store) -> None:
    assert export(store, "venue", "AAA").reader().read_all().equals(export(store, "venue", "AAA").table())


def test_records_of_an_unnamed_instrument_are_refused() -> None:
    with pytest.raises(ValueError, match="not named"):
        Export([make_ticks(10)], INSTRUMENTS[:1]).table()


@pytest.mark.parametrize("schema", list(Schema))
@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".parquet", ""])
def test_a_symbol_of_several_scales_is_one_value_of_its_dictionary(
    schema: Schema, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 50)
    blocks = [make_records(schema, 180), make_records(schema, 20, first_seq=180)]
    rows = Export(blocks, INSTRUMENTS, schema=schema)
    path = tmp_path / f"out{suffix}"
    if suffix:
        rows.write(path)
    if suffix == ".parquet":
        table = pq.read_table(path)
    elif suffix:
        table = pa.ipc.open_file(path).read_all()
    else:
        table = rows.table()
    dictionaries = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    assert {"venue", "symbol"} <= set(dictionaries)
    for name in dictionaries:
        chunks = table[name].chunks
        values = [chunk.dictionary.to_pylist() for chunk in chunks]
        assert all(len(set(each)) == len(each) for each in values), f"{name}: {values}"
        for chunk in chunks:  # of nulls as well
            width = chunk.indices.type.bit_width // 8
            indices = np.frombuffer(chunk.indices.buffers()[1], f"i{width}")[: len(chunk)]
            assert indices.min() >= 0
            assert indices.max() < len(chunk.dictionary)
        # A reader that unifies chunks gives each value one group, and so does one that takes them by index.
        assert table.group_by(name).aggregate([]).num_rows == len(set(table[name].to_pylist()))
        assert suffix == ".parquet" or all(each == values[0] for each in values)
    groups = table.group_by("symbol").aggregate([("seq", "count")]).to_pylist()
    assert sorted(group["symbol"] for group in groups) == ["AAA", 'say "é"']
    assert sum(group["seq_count"] for group in groups) == 200


def test_pandas_takes_a_symbol_of_several_scales_as_one_category() -> None:
    pytest.importorskip("pandas")
    frame = Export([make_ticks(60)], INSTRUMENTS).table().to_pandas()
    assert frame["symbol"].cat.categories.is_unique
    assert len(frame.groupby("symbol", observed=True)) == 2
