"""The facts of each schema besides its layout: columns, keys, series, names.

What stores, publishes or shows records of a schema follows from its entry here; how derived records are made says
`derive.registry`.

Imports numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickplant.records.layouts import Kind, Schema

PLAIN_NUMBERS: Final = (Kind.GAP, Kind.STATUS, Kind.CHECKSUM, Kind.STATISTIC)
"""Kinds whose price and size are plain numbers, codes and counts, not decimals."""

SERIES_FILE: Final = "series.jsonl"
"""In the store: the names of the numbers of series."""

_PRICES: Final = frozenset({"price", "bid_price", "ask_price", "open", "high", "low", "close"})
_SIZES: Final = frozenset({"size", "bid_size", "ask_size", "volume", "buy_volume", "sell_volume"})


@dataclass(frozen=True)
class Facts:
    """One schema.

    Attributes:
        schema: which one.
        columns: those that are stored, keys first. Their numbers in a chunk are their places, from 1 on: stored for
            ever, so new ones go to the end.
        keys: columns whose equal values make a group, and their width in bits: one 64-bit key.
        shown: columns of exports and tables, in order, behind ts_event, ts_recv, venue and symbol.
        table: its name for those who ask in tables and methods; empty: it is no table.
        series: the column whose numbers tell series of one instrument apart; empty: an instrument has one series.
        named: whether these numbers are those of names, in `series.jsonl` of the store.
        stream_shift: lowest bits of a group's key that its stream leaves out: bid and ask are one stream.
        beside_keys: further columns that share a section with the keys in large chunks: they cost little to read there.
        published: whether subscribers get it.
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
        """In rings, journals, options and retention."""
        return self.schema.name.lower()


_INSTRUMENT: Final = ("instrument", 32)
_OF_TICKS: Final = (_INSTRUMENT, ("kind", 8), ("side", 8))
VALUES: Final = ("value_1", "value_2", "value_3", "value_4")
"""Columns of the outputs of an indicator."""

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
"""By schema, all of them."""

DERIVED: Final = tuple(schema for schema in FACTS if schema is not Schema.TICK)
"""Schemas that an engine makes."""

PUBLISHED: Final = tuple(schema for schema in DERIVED if FACTS[schema].published)
"""Those of them that subscribers get."""

_COLUMNS: Final = frozenset(column for one in FACTS.values() for column in one.columns)
PRICES: Final = _COLUMNS & _PRICES
SIZES: Final = _COLUMNS & _SIZES
"""Columns of integers at the scales of their instrument."""
REALS: Final = frozenset({*VALUES, "vwap"})
"""Columns of float64, NaN where there is no value."""
TIMES: Final = frozenset(name for name in _COLUMNS if name.startswith(("ts_", "book_ts_")))
"""Columns of nanoseconds since the epoch."""
