"""DuckDB and polars over a store: exact, pushed down, and left half-way without harm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from made_records import START_NS
from small_store import RECORDS, make_store

import tickplant
from tickplant.errors import DamageError, TickplantError
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.writer.format.codec import ChunkDecoder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Columns of each chunk that is decoded from now on."""
    seen: list[tuple[str, ...]] = []
    columns = ChunkDecoder.columns

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(tuple(options["names"]))
        return columns(*arguments, **options)

    monkeypatch.setattr(ChunkDecoder, "columns", watched)
    return seen


def table_of(data_dir: Path) -> pa.Table:
    return Store(data_dir).ticks().arrow()


def test_duckdb_has_the_rows_of_the_store_to_the_nanosecond(data_dir: Path) -> None:
    expected = table_of(data_dir)
    connection = tickplant.duckdb(data_dir)
    found = connection.sql("select * exclude (recv_ns, event_ns) from ticks").to_arrow_table()
    for name in expected.column_names:
        assert found[name].cast(pa.string()).to_pylist() == expected[name].cast(pa.string()).to_pylist(), name
    assert found["price"].type == expected["price"].type == pa.decimal128(38, 8)
    whole = connection.sql("select epoch_ns(ts_recv) = recv_ns, epoch_ns(ts_event) = event_ns from ticks").fetchall()
    assert set(whole) == {(True, True), (True, None)}
    for name, schema in (("bbo", Schema.BBO), ("bars", Schema.BAR)):
        assert connection.sql(f"select count(*) from {name}").fetchall() == [
            (Store(data_dir).rows(schema=schema).arrow().num_rows,)
        ]


def test_duckdb_decodes_the_columns_and_chunks_that_a_statement_needs(
    data_dir: Path, decoded: list[tuple[str, ...]]
) -> None:
    connection = tickplant.duckdb(data_dir)
    low, high = START_NS + 10**8, START_NS + 2 * 10**8
    assert not decoded
    found = connection.sql(
        f"select seq from trades where venue = 'venue' and symbol in ('BBB') and recv_ns between {low} and {high}"
    ).fetchnumpy()["seq"]
    assert 0 < len(decoded) <= 12
    assert not {"order_id", "venue_seq", "size", "price"} & {name for names in decoded for name in names}
    assert np.array_equal(found, Store(data_dir).trades("venue", "BBB", low, high + 1).numpy()["seq"])
    decoded.clear()
    connection.sql("select count(*) from ticks where recv_ns < ns('2020-01-01')").fetchall()
    assert not decoded


def test_duckdb_joins_trades_with_the_quote_before_each(data_dir: Path) -> None:
    joined = (
        tickplant.duckdb(data_dir)
        .sql(
            """select t.seq, t.recv_ns, q.recv_ns as quoted, q.price as bid
        from trades t asof join (from quotes where side = 'bid') q on t.symbol = q.symbol and t.recv_ns >= q.recv_ns
        order by t.recv_ns, t.seq"""
        )
        .fetchall()
    )
    quotes = Store(data_dir).quotes(where="side = bid", columns=["recv_ns"]).numpy()["recv_ns"]
    assert len(joined) > 100
    assert all(quoted <= at and quoted in quotes for _, at, quoted, _ in joined)


def test_duckdb_with_floats_and_views(data_dir: Path) -> None:
    connection = tickplant.duckdb(data_dir, prices="float")
    ((kind, vwap),) = connection.sql(
        "select any_value(typeof(price)), sum(price * size) / sum(size) from trades"
    ).fetchall()
    trades = Store(data_dir).trades(prices="float").numpy()
    assert kind == "DOUBLE"
    assert vwap == pytest.approx(float(np.average(trades["price"], weights=trades["size"])))
    for view in ("trades", "quotes", "levels", "orders", "gaps"):
        expected = getattr(Store(data_dir), view)().arrow().num_rows
        assert connection.sql(f"select count(*) from {view}").fetchall() == [(expected,)]


PREDICATES: list[tuple[str, Callable[[], pl.Expr], int]] = [
    ("symbol", lambda: pl.col("symbol") == "BBB", 30),
    ("symbols", lambda: pl.col("symbol").is_in(["BBB", "CCC"]), 30),
    ("kind and price", lambda: (pl.col("kind") == "trade") & (pl.col("price") > Decimal("59990.5")), 30),
    ("time", lambda: pl.col("ts_recv") < datetime.fromtimestamp(START_NS // 10**9, UTC).replace(microsecond=50_000), 6),
    ("integer time", lambda: pl.col("recv_ns") < START_NS + 50_000_000, 6),
    ("seq", lambda: pl.col("seq").is_between(100, 149), 3),
    ("no time", lambda: pl.col("ts_event").is_null(), 30),
    ("nothing", lambda: pl.col("symbol") == "ZZZ", 0),
    ("or", lambda: (pl.col("symbol") == "ZZZ") | (pl.col("seq") < 50), 30),
    ("no kind", lambda: pl.col("kind").is_null(), 30),
]  # fmt: skip


@pytest.mark.parametrize(("name", "predicate", "most"), PREDICATES, ids=[name for name, *_ in PREDICATES])
def test_polars_pushes_predicates_down(
    data_dir: Path, decoded: list[tuple[str, ...]], name: str, predicate: Callable[[], pl.Expr], most: int
) -> None:
    lazy = tickplant.polars(data_dir).filter(predicate())
    assert not decoded
    found = lazy.select("seq", "price").collect()
    assert len(decoded) <= most
    assert not {"order_id", "venue_seq", "size"} & {column for names in decoded for column in names}
    everything = pl.from_arrow(
        Store(data_dir).ticks(columns=tickplant.polars(data_dir).collect_schema().names()).arrow()
    )
    assert isinstance(everything, pl.DataFrame)
    expected = everything.filter(predicate()).select("seq", "price")
    assert found.equals(expected)
    assert bool(len(expected)) == (name not in ("nothing", "no kind"))


def test_polars_has_every_table_and_counts_without_columns(data_dir: Path) -> None:
    assert tickplant.polars(data_dir).select(pl.len()).collect().item() == RECORDS + 300
    assert tickplant.polars(data_dir, "bars").collect().height == 100
    assert tickplant.polars(data_dir, "trades").head(7).collect().height == 7
    frame = tickplant.polars(data_dir, "trades").select("ts_recv", "recv_ns").collect()
    assert frame["ts_recv"].to_physical().to_list() == frame["recv_ns"].to_list()
    with pytest.raises(TickplantError, match="unknown table 'tick'; choose from ticks, bbo, bars, values, trade_bars"):
        tickplant.polars(data_dir, "tick")


LEFT = """
import sys, tickplant
import polars as pl
connection = tickplant.duckdb(sys.argv[1])
print(connection.sql("select seq from ticks limit 1").fetchall())
relation = connection.execute("select seq from ticks")
print(relation.fetchone())
reader = tickplant.duckdb(sys.argv[1]).sql("select * from ticks").to_arrow_reader(10)
print(reader.read_next_batch().num_rows)
print(tickplant.polars(sys.argv[1]).head(1).collect().height)
batches = tickplant.Store(sys.argv[1]).ticks().reader()
print(batches.read_next_batch().num_rows > 0)
"""


def test_a_scan_that_is_left_half_way_does_not_crash_the_interpreter_at_its_end(data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT, data_dir], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "[(0,)]"
    assert len(done.stdout.splitlines()) == 5


def test_damage_is_an_error_with_its_file_or_told(tmp_path: Path) -> None:
    make_store(tmp_path)
    (path,) = Store(tmp_path).files("feed", Schema.TICK)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Exception, match="are missing"):
        tickplant.duckdb(tmp_path).sql("select max(seq) from ticks").fetchall()
    with pytest.raises((DamageError, pl.exceptions.PolarsError), match="are missing"):
        tickplant.polars(tmp_path).select("seq").collect()
    told: list[Any] = []
    assert tickplant.duckdb(tmp_path, on_damage=told.append).sql("select count(*) from ticks").fetchall() == [(1450,)]
    assert len(told) == 1
