"""A store as a Parquet data set, and back: equal to the byte, resumable, whole files only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from made_records import make_records, make_ticks
from small_store import make_store

from tickplant.derive.series import SeriesTable
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Kind, Schema
from tickplant.records.merge import join_records
from tickplant.records.schemas import REALS
from tickplant.store import parquet_set, set_import
from tickplant.store.parquet_set import NOTES, export_set
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.set_import import import_set
from tickplant.writer.journal import Journal

DAY_NS = 86_400 * 10**9


def all_of(store: Store, producer: str, schema: Schema) -> bytes:
    return b"".join(part.tobytes() for part in store.read(producer, schema, Selection()))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The small store, and a feed over three days with every value that has a special meaning."""
    made = make_store(tmp_path / "data")
    InstrumentTable.load(made / "instruments.jsonl").register("venue", "A/B C=D", 2, 3)
    ticks = make_ticks(400, instruments=4, start_ns=1_700_000_000 * 10**9)
    ticks["ts_recv"] += np.arange(400) // 150 * DAY_NS
    ticks["ts_recv"][149:151] = ticks["ts_recv"][149:151][::-1]  # a step back over midnight
    for place, (kind, price, size) in enumerate(
        [
            (Kind.CLEAR, 5, 7),
            (Kind.STATUS, 2, 9),
            (Kind.GAP, 1, UNKNOWN),
            (Kind.QUOTE, NO_PRICE, 0),
            (Kind.CHECKSUM, 3, 2**40),
        ]
    ):
        ticks["kind"][place * 11], ticks["price"][place * 11], ticks["size"][place * 11] = kind, price, size
    ticks["side"][::13] = 0
    journal = Journal(made, Schema.TICK, "days")
    journal.append(ticks[:200])
    journal.flush()
    journal.append(ticks[200:])
    journal.close()
    return made


@pytest.mark.parametrize("window", [64, 1 << 19])
def test_a_set_comes_back_equal_to_the_byte(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(set_import, "WINDOW", window)
    monkeypatch.setattr(parquet_set, "BATCH_ROWS", 50)
    monkeypatch.setattr(parquet_set, "HELD_ROWS", 100)
    store = Store(data_dir)
    written = sum(
        export_set(store, tmp_path / "set", schema=schema) for schema in (Schema.TICK, Schema.BBO, Schema.BAR)
    )
    assert written == 1200 + 300 + 400 + 200
    assert import_set(tmp_path / "set", tmp_path / "back") == written
    back = Store(tmp_path / "back")
    assert list(back.instruments) == list(store.instruments)
    for schema in (Schema.TICK, Schema.BBO, Schema.BAR):
        assert back.producers(schema) == store.producers(schema)
        for producer in store.producers(schema):
            assert all_of(back, producer, schema) == all_of(store, producer, schema), (producer, schema)
    assert import_set(tmp_path / "set", tmp_path / "back") == 0


def test_a_set_has_hive_partitions_and_statistics(data_dir: Path, tmp_path: Path) -> None:
    export_set(Store(data_dir), tmp_path / "set")
    found = ds.dataset(tmp_path / "set", partitioning="hive", exclude_invalid_files=False)
    table = found.to_table(filter=(ds.field("symbol") == "A/B C=D") & (ds.field("kind") == "trade"))
    expected = Store(data_dir).trades("venue", "A/B C=D", prices="integer").arrow()
    assert sorted(table["seq"].to_pylist()) == sorted(expected["seq"].to_pylist())
    assert sorted(table["price"].to_pylist()) == sorted(expected["price"].to_pylist())
    assert set(table["price_scale"].to_pylist()) == {2}
    days = {str(day) for day in found.to_table(columns=["day"])["day"].to_pylist()}
    assert days == {"2023-11-14", "2023-11-15", "2023-11-16"}
    path = next((tmp_path / "set").rglob("days.parquet"))
    statistics = pq.ParquetFile(path).metadata.row_group(0).column(0).statistics
    assert statistics.has_min_max


def test_an_export_goes_on_behind_the_days_that_are_whole(data_dir: Path, tmp_path: Path) -> None:
    store = Store(data_dir)
    first = export_set(store, tmp_path / "set")
    assert export_set(store, tmp_path / "set") == 0
    (tmp_path / "set" / NOTES / "days.tick.2023-11-15.json").unlink()  # as if killed before that day was whole
    assert 0 < export_set(store, tmp_path / "set") < first
    journal = Journal(data_dir, Schema.TICK, "days")
    more = make_ticks(10, first_seq=400, start_ns=1_700_000_000 * 10**9 + 5 * DAY_NS)
    journal.append(more)
    journal.close()
    assert export_set(Store(data_dir), tmp_path / "set") == 10
    assert import_set(tmp_path / "set", tmp_path / "back") == first + 10
    assert all_of(Store(tmp_path / "back"), "days", Schema.TICK) == all_of(Store(data_dir), "days", Schema.TICK)


def test_a_set_of_one_symbol_is_numbered_anew(data_dir: Path, tmp_path: Path) -> None:
    store = Store(data_dir)
    export_set(store, tmp_path / "set", ids=frozenset({2}))
    import_set(tmp_path / "set", tmp_path / "back")
    back = Store(tmp_path / "back")
    for producer in store.producers():
        found = join_records(list(back.read(producer, Schema.TICK, Selection())))
        expected = join_records(list(store.read(producer, Schema.TICK, Selection(ids=frozenset({2})))))
        assert found["seq"].tolist() == list(range(len(found)))
        assert np.array_equal(found["price"], expected["price"])
        assert set(found["instrument"]) == {1}


def test_a_failure_leaves_no_half_file(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def fail(done: int) -> None:
        nonlocal seen
        seen = done
        if done > 1000:
            raise OSError(28, "No space left on device")

    with pytest.raises((OSError, StoreError)):
        export_set(Store(data_dir), tmp_path / "set", progress=fail)
    assert seen > 1000
    for path in (tmp_path / "set").rglob("*.parquet"):
        pq.ParquetFile(path).read()
    assert not list((tmp_path / "set").rglob("*.part"))
    assert export_set(Store(data_dir), tmp_path / "set") > 0
    import_set(tmp_path / "set", tmp_path / "back")
    assert all_of(Store(tmp_path / "back"), "feed", Schema.TICK) == all_of(Store(data_dir), "feed", Schema.TICK)


def test_a_store_with_other_records_is_not_touched(data_dir: Path, tmp_path: Path) -> None:
    export_set(Store(data_dir), tmp_path / "set")
    other = tmp_path / "other"
    InstrumentTable.load(other / "instruments.jsonl").register("venue", "AAA", 8, 8)
    journal = Journal(other, Schema.TICK, "feed")
    journal.append(make_records(Schema.TICK, 60)[::-1][:0])
    ticks = make_ticks(60, instruments=1, start_ns=5)
    journal.append(ticks)
    journal.close()
    with pytest.raises(StoreError, match="holds other records of feed"):
        import_set(tmp_path / "set", other)
    with pytest.raises(StoreError, match="holds no set"):
        import_set(other, tmp_path / "third")
    stray = tmp_path / "set" / "schema=tick" / "venue=v" / "symbol=s" / "day=d" / "x.parquet"
    stray.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), stray)
    with pytest.raises(StoreError, match="x.parquet: does not belong to a set"):
        import_set(tmp_path / "set", tmp_path / "third")


def test_values_keep_the_names_of_their_series_in_a_store_that_numbers_them_otherwise(tmp_path: Path) -> None:
    folder, names = tmp_path / "one", [f"sma-{period}.1m" for period in range(2, 7)]
    InstrumentTable.load(folder / "instruments.jsonl").register_all([("venue", f"S{i}", 2, 8) for i in (1, 2, 3)])
    SeriesTable(folder).numbers(names, add=True)
    for schema in (Schema.VALUE, Schema.STATE, Schema.TRADE_BAR):
        journal = Journal(folder, schema, "engine")
        journal.append(make_records(schema, 50))
        journal.close()
        assert export_set(Store(folder), tmp_path / "set", schema=schema) == 50
    other = tmp_path / "other"
    SeriesTable(other).numbers(["rsi-9.1m", *names[::-1]], add=True)
    assert import_set(tmp_path / "set", other) == 150
    for schema in (Schema.VALUE, Schema.STATE, Schema.TRADE_BAR):
        (before,), (after,) = (list(Store(place).scan(schema=schema)) for place in (folder, other))
        expected = [names[number - 1] for number in before["series"].tolist()]
        assert [Store(other).series.names[number - 1] for number in after["series"].tolist()] == expected
        (name, *_) = REALS.intersection(before.dtype.names or ())
        assert after[name].tobytes() == before[name].tobytes()
