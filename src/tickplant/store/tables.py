"""The store as tables of DuckDB and polars.

    duckdb = tickplant.duckdb("data")
    duckdb.sql("select symbol, count(*) from trades where venue = 'binance' group by all")
    tickplant.polars("data", "trades").filter(pl.col("price") > 60000).collect()

The tables are ticks, bbo, bars, values and trade_bars. They have the columns of `Store`'s methods, followed by
`event_ns` and `recv_ns`, the times as integers. Columns that a statement does not need are not decoded, nor are chunks
in which no row matches. DuckDB does not push down a filter on a time in nanoseconds, only one on these integers:
`where recv_ns >= ns('2024-08-08T12:00Z')`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from tickplant.errors import TickplantError
from tickplant.records.arrow_columns import COLUMNS, INTEGER_TIMES, Prices
from tickplant.records.data_frames import need
from tickplant.records.layouts import Schema
from tickplant.records.schemas import FACTS
from tickplant.store.dataset import StoreDataset
from tickplant.store.pruning import Expression, Judge
from tickplant.store.reader import OnDamage, Store
from tickplant.store.rows import Rows
from tickplant.store.value_bounds import Facts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from polars import DataFrame, Expr, LazyFrame

TABLES: Final = {facts.table: schema for schema, facts in FACTS.items() if facts.table}
VIEWS: Final = {
    "trades": ("trade",),
    "quotes": ("quote",),
    "levels": ("level", "clear"),
    "orders": ("order_add", "order_modify", "order_cancel", "order_fill", "clear"),
    "gaps": ("gap",),
}
"""Views of ticks, by the kinds that they show."""


def columns_of(table: str) -> tuple[str, ...]:
    """Columns of a table or view, in order. Raises TickplantError for an unknown name."""
    schema = Schema.TICK if table in VIEWS else TABLES.get(table)
    if schema is None:
        raise TickplantError(f"unknown table {table!r}; choose from {', '.join([*TABLES, *VIEWS])}")
    return (*COLUMNS[schema], *INTEGER_TIMES)


class _Table:
    """One table of a store. Any thread may ask it, so each scan has a Store of its own."""

    def __init__(self, data_dir: Path | str, name: str, prices: Prices, on_damage: OnDamage | None) -> None:
        self.columns = columns_of(name)
        self.schema = TABLES.get(name, Schema.TICK)
        self._kinds = VIEWS.get(name)
        self._data_dir = data_dir
        self._prices: Prices = prices
        self._on_damage = on_damage

    def rows(self, columns: Sequence[str] | None, filter_by: Expression | None, judge: Judge | None = None) -> Rows:
        """The rows for which an Arrow expression is true, with these columns, from the chunks that a judge leaves."""
        return Store(self._data_dir, on_damage=self._on_damage).rows(
            schema=self.schema,
            kinds=self._kinds,
            columns=self.columns if columns is None else columns,
            where=filter_by,
            judge=judge,
            prices=self._prices,
        )


def duckdb(
    data_dir: Path | str, *, prices: Prices = "decimal", on_damage: OnDamage | None = None
) -> DuckDBPyConnection:
    """An in-memory connection of DuckDB, with the tables of a store, views of its ticks, and the macro `ns`.

    Tables show what is stored when a statement runs; instruments added later need a new connection. The columns venue,
    symbol, kind and side are text to DuckDB. Prices and sizes are DECIMAL(38, s): DuckDB refuses a product whose scales
    add up to too much for 38 digits; `prices="float"` makes them DOUBLE.

    Args:
        data_dir: the store.
        prices: the form of prices and sizes.
        on_damage: as for `Store`.
    """
    connection: DuckDBPyConnection = need("duckdb").connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in TABLES:
        connection.register(name, StoreDataset(_Table(data_dir, name, prices, on_damage).rows))
    for name, kinds in VIEWS.items():
        words = ", ".join(f"'{kind}'" for kind in kinds)
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM ticks WHERE kind IN ({words})")  # noqa: S608
    connection.execute("CREATE TEMP MACRO ns(time) AS epoch_ns(time::TIMESTAMPTZ)")
    return connection


class PolarsJudge:
    """Judges a predicate of polars, by polars' own rewriting of it for the bounds of columns."""

    def __init__(self, predicate: Expr, schema: pa.Schema) -> None:
        """Take a predicate over the columns of a schema."""
        polars = need("polars")
        self._polars = polars
        self._names = [name for name in predicate.meta.root_names() if name in schema.names]
        self.columns = frozenset(self._names)
        self._kinds = {
            name: pa.string() if pa.types.is_dictionary(schema.field(name).type) else schema.field(name).type
            for name in self._names
        }
        # A private method of polars. Without it no chunk is left out, and the rows are filtered all the same.
        rewrite = getattr(predicate, "_skip_batch_predicate", None)
        frame = polars.from_arrow(pa.schema(self._kinds.items()).empty_table())
        self._skip = rewrite(frame.schema) if rewrite else None

    def surviving(self, candidates: Sequence[Facts]) -> list[int]:
        """Indices of the candidates in which a row may match."""
        if self._skip is None:
            return list(range(len(candidates)))
        columns: dict[str, pa.Array] = {"len": pa.array([1] * len(candidates), pa.uint32())}
        for name, kind in self._kinds.items():
            known = [facts.get(name) for facts in candidates]
            for word, place in (("min", 0), ("max", 1)):
                values = [None if bounds is None else _plain(bounds[place]) for bounds in known]
                columns[f"{name}_{word}"] = pa.array(values, pa.int64() if pa.types.is_timestamp(kind) else kind).cast(
                    kind
                )
            nulls = [
                (1 if name in facts else None) if bounds is None else None if bounds.nulls else 0
                for facts, bounds in zip(candidates, known, strict=True)
            ]
            columns[f"{name}_nc"] = pa.array(nulls, pa.uint32())
        skipped = self._polars.from_arrow(pa.table(columns)).select(skip=self._skip)["skip"].fill_null(value=False)
        return [place for place, skip in enumerate(skipped.to_list()) if not skip]


def _plain(bound: pa.Scalar) -> Any:
    return bound.value if pa.types.is_timestamp(bound.type) else bound.as_py()


def polars(
    data_dir: Path | str,
    table: str = "ticks",
    *,
    prices: Prices = "decimal",
    on_damage: OnDamage | None = None,
) -> LazyFrame:
    """A table or view of a store as a lazy polars frame; columns and predicates are pushed down to the store.

    Args:
        data_dir: the store.
        table: ticks, bbo, bars, values or trade_bars, or a view of ticks: trades, quotes, levels, orders, gaps.
        prices: the form of prices and sizes.
        on_damage: as for `Store`.
    """
    module = need("polars")
    found = _Table(data_dir, table, prices, on_damage)
    schema = found.rows(None, None).schema

    def scan(
        columns: list[str] | None, predicate: Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[DataFrame]:
        wanted = list(found.columns if columns is None else columns)
        looked_at = [] if predicate is None else [n for n in predicate.meta.root_names() if n in found.columns]
        judge = None if predicate is None else PolarsJudge(predicate, schema)
        # At least one column, or a frame would not know its number of rows.
        rows = found.rows(list(dict.fromkeys([*wanted, *looked_at])) or [found.columns[0]], None, judge)
        left = n_rows
        for batch in rows.batches():
            frame = module.from_arrow(batch)
            if predicate is not None:
                frame = frame.filter(predicate)
            if left is not None:
                frame = frame.head(left)
                left -= len(frame)
            yield frame.select(wanted) if wanted else frame
            if left == 0:
                return

    empty = module.from_arrow(schema.empty_table())
    lazy: LazyFrame = importlib.import_module("polars.io.plugins").register_io_source(scan, schema=empty.schema)
    return lazy
