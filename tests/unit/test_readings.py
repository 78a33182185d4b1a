"""Rows of a store by name, filtered and in every form, against the records themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decoding_watch import watch_decoding
from made_records import START_NS, make_records, make_ticks
from small_store import RECORDS, make_store

from tickplant.errors import StoreError, TickplantError
from tickplant.instruments import InstrumentTable
from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.layouts import TICK, Kind, Schema, Side
from tickplant.records.merge import join_records
from tickplant.store.pruning import ArrowJudge, narrow
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.rows import Rows
from tickplant.store.selection import Selection
from tickplant.store.where import WhereError, parse_where
from tickplant.writer.journal import Journal


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(data_dir: Path) -> Store:
    return Store(data_dir)


@pytest.fixture(scope="module")
def everything(data_dir: Path) -> Any:
    return join_records(list(Store(data_dir).scan()))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First seqs of the chunks that are decoded from now on."""
    return watch_decoding(monkeypatch)


def test_columns_are_the_records_in_the_order_of_a_query(store: Store, everything: Any) -> None:
    found = store.ticks().numpy()
    for name in TICK.names or ():
        assert found[name].dtype == TICK[name]
        assert np.array_equal(found[name], everything[name])
    assert set(found) == {*(TICK.names or ()), "price_scale", "size_scale"}
    assert np.all(found["price_scale"] == np.where(everything["kind"] == Kind.GAP, 0, 8))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("trades", [Kind.TRADE]),
        ("quotes", [Kind.QUOTE]),
        ("levels", [Kind.LEVEL, Kind.CLEAR]),
        ("orders", [Kind.ORDER_ADD, Kind.CLEAR]),
        ("gaps", [Kind.GAP]),
    ],
)
def test_each_name_is_its_kinds(store: Store, everything: Any, name: str, kinds: list[Kind]) -> None:
    expected = everything[np.isin(everything["kind"], kinds) & (everything["instrument"] == 2)]
    found = getattr(store, name)("venue", "BBB", columns=["seq", "kind"]).numpy()
    assert np.array_equal(found["seq"], expected["seq"])
    assert np.array_equal(found["kind"], expected["kind"])
    assert list(found) == ["seq", "kind"]


def test_bars_and_bbo_are_rows_of_their_schemas(store: Store) -> None:
    for rows, schema in ((store.bars(), Schema.BAR), (store.bbo(), Schema.BBO)):
        assert rows.arrow().num_rows == 100
        assert np.array_equal(rows.numpy()["seq"], make_records(schema, 100)["seq"])
    minutes = store.bars(where="interval_s = 60").arrow()
    assert 0 < minutes.num_rows < 100
    assert set(minutes["interval_s"].to_pylist()) == {60}


@pytest.mark.parametrize(
    "time",
    [
        lambda ns: ns,
        lambda ns: np.datetime64(ns, "ns"),
        lambda ns: f"{np.datetime64(ns, 'ns')}Z",
        lambda ns: datetime.fromtimestamp(ns // 10**9, UTC).replace(microsecond=ns % 10**9 // 1000),
    ],
)
def test_a_range_takes_any_kind_of_time(store: Store, everything: Any, time: Callable[[int], Any]) -> None:
    start, end = START_NS + 10**9 // 2, START_NS + 10**9
    expected = everything[(everything["ts_recv"] >= start) & (everything["ts_recv"] < end)]
    assert len(expected)
    for rows in (store.ticks(None, None, time(start), time(end)), store.ticks(start=time(start), end=time(end))):
        assert np.array_equal(rows.numpy()["seq"], expected["seq"])


PREDICATES: list[tuple[str, Callable[[Any], Any]]] = [
    ("price > 59990.5 and kind = trade", lambda r: (r["price"] > 5999050000000) & (r["kind"] == 1)),
    ("kind in (trade, quote) and side != buy", lambda r: (r["kind"] == 4) | ((r["kind"] == 1) & (r["side"] == 2))),
    ("not (symbol = AAA or symbol = 'BBB')", lambda r: r["instrument"] == 3),
    ("seq between 100 and 149", lambda r: (r["seq"] >= 100) & (r["seq"] <= 149)),
    ("ts_event is null", lambda r: r["ts_event"] == 0),
    (f"ts_recv < {START_NS + 10**8} and venue = venue", lambda r: r["ts_recv"] < START_NS + 10**8),
    ("price < 59990.000000001", lambda r: (r["price"] <= 5999000000000) & (r["kind"] != Kind.CLEAR)),
    ("price = 60000.000000001", lambda r: r["price"] < -1),
    ("size >= 1e40", lambda r: r["price"] < -1),
    ("seq < 1e30 and flags == 0", lambda r: r["flags"] == 0),
    ("recv_ns >= 0 AND seq >= 1150", lambda r: r["seq"] >= 1150),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fits"), PREDICATES, ids=[text for text, _ in PREDICATES])
def test_a_predicate_leaves_the_rows_that_fit(
    store: Store, everything: Any, text: str, fits: Callable[[Any], Any]
) -> None:
    expected = everything[fits(everything)]
    if "side !=" in text:  # what has no side fits no test of it
        expected = expected[expected["side"] != Side.NONE]
    if text.startswith(("price", "size")):
        expected = expected[expected["kind"] != Kind.CLEAR]
    found = store.ticks(where=text).numpy()
    assert np.array_equal(found["seq"], expected["seq"])
    assert np.array_equal(found["price"], expected["price"])


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("seq between 100 and 149", 3),
        (f"ts_recv < {START_NS + 10**7} and kind = trade", 4),
        ("kind = gap", 0),
        ("price > 60006 and kind = trade", 3),
        ("price < 59000", 0),
        ("size > 1 or size < 0", 0),
        ("venue_seq < 10000001000", 2),
        ("order_id > 0", 0),
    ],
)
def test_chunks_without_a_row_that_fits_are_not_decoded(store: Store, decoded: list[int], text: str, most: int) -> None:
    rows = store.ticks(where=text)
    assert not decoded
    rows.numpy()
    assert len(decoded) <= most
    assert bool(decoded) == bool(most)


def test_an_arrow_expression_is_a_predicate_too(store: Store, everything: Any) -> None:
    found = store.ticks("venue", where=pc.field("symbol").isin(["AAA"]) & (pc.field("seq") < 100)).numpy()
    expected = everything[(everything["instrument"] == 1) & (everything["seq"] < 100)]
    assert np.array_equal(found["seq"], expected["seq"])


def test_a_filter_on_names_is_a_selection_of_ids_and_kinds(store: Store) -> None:
    arrow = ArrowColumns(store.instruments, Schema.TICK)
    whole = arrow.schema(arrow.all)
    for text, ids, kinds in (
        ("symbol in (CCC) and kind = trade", {3}, {Kind.TRADE}),
        ("not symbol = CCC and kind in (trade, gap)", {1, 2}, {Kind.TRADE, Kind.GAP}),
        ("symbol = CCC or price > 3", None, None),
        ("venue = nowhere", set(), None),
    ):
        found = narrow(Selection(), ArrowJudge(parse_where(text, whole), whole), Schema.TICK, arrow.instruments)
        assert (found.ids, found.kinds) == (ids, kinds), text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price >", "at its end: expected a value"),
        ("prize > 1", "'prize' is not a column; choose from ts_event"),
        ("kind = tade", "'tade' is not a valid kind; choose from trade"),
        ("price > abc", "'abc' is not a value of price"),
        ("price > nan", "is not a number"),
        ("price ~ 3", "expected one of"),
        ("price > 1 price", "expected and, or, or the end"),
        ("(price > 1", "at its end: expected )"),
        ("symbol > AAA", "is text"),
        ("ts_recv > tomorrow", "neither a time"),
        ("'", "cannot be understood"),
        ("(" * 200 + "price > 1", "nested too deeply"),
    ],
)
def test_a_wrong_predicate_is_named_with_the_place(store: Store, text: str, words: str) -> None:
    with pytest.raises(WhereError) as caught:
        store.ticks(where=text)
    assert words in str(caught.value)


def test_prices_come_as_decimals_floats_or_integers_with_scales(store: Store) -> None:
    of = {prices: store.trades("venue", "AAA", prices=prices) for prices in ("decimal", "float", "integer")}
    exact = of["decimal"].arrow()["price"].to_pylist()
    assert isinstance(exact[0], Decimal)
    assert of["float"].arrow()["price"].to_pylist() == [float(price) for price in exact]
    whole = of["integer"].arrow()
    assert [
        Decimal(p).scaleb(-s) for p, s in zip(whole["price"].to_pylist(), whole["price_scale"].to_pylist(), strict=True)
    ] == exact
    assert of["float"].numpy()["price"].tolist() == [float(price) for price in exact]


def test_pandas_and_polars_keep_nanoseconds_decimals_and_names(store: Store) -> None:
    rows = store.trades("venue", "BBB")
    table = rows.arrow()
    times = table["ts_recv"].cast(pa.int64()).to_pylist()
    assert any(time % 1000 for time in times)
    frame = rows.pandas()
    assert frame["ts_recv"].astype("int64").tolist() == times
    assert frame["price"].tolist() == table["price"].to_pylist()
    assert frame["symbol"].cat.categories.tolist() == ["BBB"]
    lazy = rows.polars()
    assert lazy["ts_recv"].to_physical().to_list() == times
    assert lazy["price"].to_list() == table["price"].to_pylist()
    assert lazy["symbol"].to_list() == ["BBB"] * len(times)


def test_a_missing_package_names_the_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(TickplantError, match=rf"{name} is not installed: pip install 'tickplant\[readers\]'"):
            getattr(store.trades(), name)()


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no symbol 'DDD' is stored; the store has AAA, BBB, CCC"):
        store.ticks(symbol="DDD")
    with pytest.raises(StoreError, match="the store has no records of venue DDD; it has venue AAA"):
        store.ticks("venue", "DDD")
    with pytest.raises(TickplantError, match="unknown column 'prize'; choose from ts_event"):
        store.ticks(columns=["prize"])


def test_an_empty_answer_has_all_columns(store: Store) -> None:
    rows = store.gaps()
    assert rows.arrow().schema == rows.schema
    assert all(len(column) == 0 for column in rows.numpy().values())
    assert rows.polars().height == len(rows.pandas()) == 0


@pytest.mark.parametrize("columns", [("price",), ("venue", "price"), None])
def test_records_of_an_instrument_that_came_later_are_refused(tmp_path: Path, columns: tuple[str, ...] | None) -> None:
    table, ticks = InstrumentTable.load(tmp_path / INSTRUMENTS_FILE), make_ticks(RECORDS)
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed", chunk_records=100)  # of a single producer: read all at once
    journal.append(ticks[:-1])
    journal.flush()
    rows = Store(tmp_path).ticks(columns=columns)
    assert len(rows.numpy()["price"]) == RECORDS - 1
    ticks["instrument"][-1] = table.register("venue", "LATER", 8, 8).id
    journal.append(ticks[-1:])
    journal.close()
    with pytest.raises(ValueError, match="not named"):
        rows.numpy()
    with pytest.raises(ValueError, match="not named"):
        rows.arrow()


def test_batches_are_bounded_and_lazy(store: Store, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickplant.store.rows.BATCH_ROWS", 128)
    batches = store.ticks().batches()
    first = next(batches)
    assert first.num_rows <= 128
    assert len(decoded) < 12
    assert first.num_rows + sum(batch.num_rows for batch in batches) == RECORDS + 300


def test_files_say_the_same_as_the_table(store: Store, tmp_path: Path) -> None:
    rows: Rows = store.trades("venue", columns=["ts_recv", "symbol", "price", "price_scale"], where="price > 60000")
    told: list[int] = []
    count = rows.write(tmp_path / "out.arrow", progress=told.append)
    with pa.ipc.open_file(tmp_path / "out.arrow") as reader:
        assert reader.read_all().equals(rows.arrow())
    assert told[-1] == count == rows.arrow().num_rows
