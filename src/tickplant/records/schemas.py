"""The facts of each schema besides its layout: columns, keys, series, names.

The code that stores, publishes and shows records of a schema follows its entry here; `derive.registry` says how derived
records are made. Imports numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickplant.records.layouts import Kind, Schema

PLAIN_NUMBERS: Final = (Kind.GAP, Kind.STATUS, Kind.CHECKSUM, Kind.STATISTIC)
"""Kinds whose price and size are plain numbers, such as codes and counts, not decimals."""

SERIES_FILE: Final = "series.jsonl"
"""The store's file of series: which name each number stands for."""

_PRICES: Final = frozenset({"price", "bid_price", "ask_price", "open", "high", "low", "close"})
_SIZES: Final = frozenset({"size", "bid_size", "ask_size", "volume", "buy_volume", "sell_volume"})


@dataclass(frozen=True)
class Facts:
    """One schema.

    Attributes:
        schema: the schema itself.
        columns: stored columns, keys first. A column's number in a chunk is its place here, counted from 1, and is
            stored for ever: new columns go to the end.
        keys: columns whose equal values form a group, with their widths in bits; together one 64-bit key.
        shown: columns of exports and tables, in order, after ts_event, ts_recv, venue and symbol.
        table: the name of its table in queries and methods; empty: it has no table.
        series: the column that numbers the series of one instrument; empty: an instrument has one series.
        named: whether `series.jsonl` of the store gives these numbers names.
        stream_shift: how many low bits of a group's key its stream ignores: bid and ask are one stream.
        beside_keys: further columns in the same section as the keys in large chunks, where reading them costs little.
        published: whether it is published to subscribers.
    """

    schema: Schema
    columns: tuple[str, ...]
    keys: tuple[tuple[str, int], ...]
    shown: tuple[str, ...]
    table: str = ""
    series: str = ""
    named: bool = False
    stream_shift: int = 0
    beside_keys: tuple[str, ...] = ("flags",)
    published: bool = True

    @property
    def name(self) -> str:
        """The schema's name in rings, journals, options and retention."""
        return self.schema.name.lower()


_INSTRUMENT: Final = ("instrument", 32)
_OF_TICKS: Final = (_INSTRUMENT, ("kind", 8), ("side", 8))
VALUES: Final = ("value_1", "value_2", "value_3", "value_4")
"""Columns of an indicator's outputs."""

TICKS: Final = Facts(
    schema=Schema.TICK,
    columns=(
        *("instrument", "kind", "side", "ts_event", "ts_recv", "price", "size"),
        *("venue_seq", "order_id", "flags", "seq"),
    ),
    keys=_OF_TICKS,
    shown=("kind", "side", "price", "size", "venue_seq", "order_id", "flags", "seq"),
    table="ticks",
    stream_shift=8,
)

BEST: Final = Facts(
    schema=Schema.BBO,
    columns=(
        *("instrument", "ts_event", "ts_recv", "bid_price", "bid_size", "ask_price", "ask_size"),
        *("source_seq", "flags", "seq"),
    ),
    keys=(_INSTRUMENT,),
    shown=("bid_price", "bid_size", "ask_price", "ask_size", "source_seq", "flags", "seq"),
    table="bbo",
    beside_keys=("flags", "seq"),
)

TIME_BARS: Final = Facts(
    schema=Schema.BAR,
    columns=(
        *("instrument", "interval_s", "ts_event", "ts_recv", "ts_open", "open", "high", "low", "close"),
        *("volume", "buy_volume", "source_seq", "trades", "flags", "seq"),
    ),
    keys=(_INSTRUMENT, ("interval_s", 32)),
    shown=(
        *("ts_open", "interval_s", "open", "high", "low", "close"),
        *("volume", "buy_volume", "trades", "source_seq", "flags", "seq"),
    ),
    table="bars",
    series="interval_s",
    beside_keys=("flags", "seq"),
)

BOOKS: Final = Facts(
    schema=Schema.CHECKPOINT,
    columns=(
        *("instrument", "kind", "side", "ts_event", "ts_recv", "price", "size", "venue_seq", "source_seq"),
        *("book_ts_event", "book_ts_recv", "book_seq", "flags", "seq"),
    ),
    keys=_OF_TICKS,
    shown=(
        *("kind", "side", "price", "size", "venue_seq", "source_seq"),
        *("book_ts_event", "book_ts_recv", "book_seq", "flags", "seq"),
    ),
    stream_shift=8,
    published=False,
)

INDICATOR_VALUES: Final = Facts(
    schema=Schema.VALUE,
    columns=("instrument", "series", "ts_event", "ts_recv", *VALUES, "source_seq", "flags", "seq"),
    keys=(_INSTRUMENT, ("series", 16)),
    shown=("series", *VALUES, "source_seq", "flags", "seq"),
    table="values",
    series="series",
    named=True,
    beside_keys=("flags", "seq"),
)

INDICATOR_STATES: Final = Facts(
    schema=Schema.STATE,
    columns=INDICATOR_VALUES.columns,
    keys=INDICATOR_VALUES.keys,
    shown=INDICATOR_VALUES.shown,
    series="series",
    named=True,
    beside_keys=("flags", "seq"),
    published=False,
)

TRADE_BARS: Final = Facts(
    schema=Schema.TRADE_BAR,
    columns=(
        *("instrument", "series", "ts_event", "ts_recv", "ts_open", "open", "high", "low", "close"),
        *("volume", "buy_volume", "sell_volume", "vwap", "first_id", "last_id", "source_seq"),
        *("trades", "number", "flags", "seq"),
    ),
    keys=INDICATOR_VALUES.keys,
    shown=(
        *("ts_open", "series", "number", "open", "high", "low", "close", "vwap"),
        *("volume", "buy_volume", "sell_volume", "trades", "first_id", "last_id", "source_seq", "flags", "seq"),
    ),
    table="trade_bars",
    series="series",
    named=True,
    beside_keys=("flags", "seq"),
)

FACTS: Final[dict[Schema, Facts]] = {
    one.schema: one for one in (TICKS, BEST, TIME_BARS, BOOKS, INDICATOR_VALUES, INDICATOR_STATES, TRADE_BARS)
}
"""The facts of every schema."""

DERIVED: Final = tuple(schema for schema in FACTS if schema is not Schema.TICK)
"""Schemas that an engine makes."""

PUBLISHED: Final = tuple(schema for schema in DERIVED if FACTS[schema].published)
"""Derived schemas that are published to subscribers."""

_COLUMNS: Final = frozenset(column for one in FACTS.values() for column in one.columns)
PRICES: Final = _COLUMNS & _PRICES
SIZES: Final = _COLUMNS & _SIZES
"""Columns of integers at the scales of their instrument."""
REALS: Final = frozenset({*VALUES, "vwap"})
"""Columns of float64; NaN means no value."""
TIMES: Final = frozenset(name for name in _COLUMNS if name.startswith(("ts_", "book_ts_")))
"""Columns of nanoseconds since the epoch."""
