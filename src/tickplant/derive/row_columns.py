"""The rows that indicators are computed over, and their columns as float64: one rule for live data and for history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import MAX_OUTPUTS, Floats, Over
from tickplant.records.layouts import NO_PRICE, VALUE, BarFlag, Flag, Kind, Schema, Side

Records = NDArray[np.void]
Integers = NDArray[np.int64]

NOT_COUNTED: Final = -1
"""In place of the number of orders at a price, in a book by level."""

SCHEMAS: Final[dict[Over, Schema]] = {"bar": Schema.BAR, "trade": Schema.TICK, "bbo": Schema.BBO}
"""The schema of the rows, unless a rule makes them bars of trades. Samples of books are not records."""

MADE_BY: Final = {schema: "seq" if schema is Schema.TICK else "source_seq" for schema in Schema}
"""The column that names the tick that made a row."""


def trades_of(ticks: Records) -> Records:
    """The trades that count: all except those fetched later (BACKFILL)."""
    trades: Records = ticks[(ticks["kind"] == Kind.TRADE) & (ticks["flags"] & Flag.BACKFILL == 0)]
    return trades


def rows_of(schema: Schema, records: Records) -> Records:
    """The records that are rows: trades that count, and bars except corrections and those between sessions."""
    if schema is Schema.TICK:
        return trades_of(records)
    if schema is Schema.TRADE_BAR:
        bars: Records = records[records["flags"] & (BarFlag.CORRECTION | BarFlag.OUTSIDE) == 0]
        return bars
    return records


def row_column(records: Records, name: str, price_unit: NDArray[np.float64], size_unit: NDArray[np.float64]) -> Floats:
    """One column of `indicator.COLUMNS`, shape (rows,).

    Args:
        records: the rows, of a schema in `SCHEMAS`, or TRADE_BAR.
        name: name of the column.
        price_unit: divisors of integer prices by instrument id: 10**scale.
        size_unit: divisors of integer sizes by instrument id.
    """
    if name == "trades":
        return cast("Floats", records["trades"].astype(np.float64))
    if name == "time_ns":
        # If the venue gave no time, the time of receipt is the best approximation.
        times = np.where(records["ts_event"] > 0, records["ts_event"], records["ts_recv"])
        return cast("Floats", times.astype(np.float64))
    if name == "sign":
        bought, sold = (records["side"] == side for side in (Side.BUY, Side.SELL))
        return cast("Floats", bought.astype(np.float64) - sold.astype(np.float64))
    field = {"bid": "bid_price", "ask": "ask_price"}.get(name, name)
    unit = size_unit if name.endswith(("size", "volume")) else price_unit
    values = records[field] / unit[records["instrument"]]
    return cast("Floats", np.where(records[field] == NO_PRICE, np.nan, values))


def book_columns(
    bids: Integers, asks: Integers, names: Sequence[str], width: int, price_unit: float, size_unit: float
) -> Floats:
    """Columns of `indicator.COLUMNS["book"]` for one book: shape (len(names), width), NaN after the last level.

    `bids` and `asks`: price, size and number of orders (-1 if unknown), shape (n, 3), best first.
    """
    found = np.full((len(names), width), np.nan)
    for column, name in zip(found, names, strict=True):
        side, _, field = name.partition("_")
        place = ("price", "size", "orders").index(field)
        levels = (bids if side == "bid" else asks)[:width, place]
        column[: len(levels)] = levels / (price_unit, size_unit, 1.0)[place]
        if field == "orders":
            column[: len(levels)][levels == NOT_COUNTED] = np.nan
    return found


def value_records(rows: Records, schema: Schema, series: int, out: Floats) -> Records:
    """VALUE records of a series, one for each of these rows.

    `out`: the values, float64 (outputs, rows), with at most `MAX_OUTPUTS` outputs.
    """
    records = np.zeros(len(rows), VALUE)
    for name in ("ts_event", "ts_recv", "instrument"):
        records[name] = rows[name]
    records["source_seq"] = rows[MADE_BY[schema]]
    records["series"] = series
    for output in range(MAX_OUTPUTS):
        records[f"value_{output + 1}"] = out[output] if output < len(out) else np.nan
    return records
