"""Imports trades or levels of one symbol from a foreign table, Parquet or CSV, by a mapping of its columns.

Nothing is guessed. A time that is a whole number needs a unit. A value with more decimals than the scale is refused,
with the name of its column, and so is a row without a time or price. If no receive time is mapped, the venue's time is
used instead, with BACKFILL: it says nothing about latency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import TICK, Flag, Kind, Schema
from tickplant.runtime.line_times import EARLIEST_NS, LATEST_NS
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.set_import import append_new
from tickplant.times import parse_time
from tickplant.writer.journal import Journal

FIELDS: Final = ("ts_event", "ts_recv", "price", "size", "side", "venue_seq")
"""The fields to which columns can be mapped."""
UNITS_NS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
KINDS: Final = (Kind.TRADE, Kind.LEVEL, Kind.LIQUIDATION)
_SIDES: Final = {"buy": 1, "b": 1, "bid": 1, "sell": 2, "s": 2, "ask": 2, "a": 2, "unknown": 0, "": 0}


def import_table(
    path: Path,
    data_dir: Path,
    venue: str,
    symbol: str,
    columns: Mapping[str, str],
    *,
    producer: str,
    kind: Kind = Kind.TRADE,
    time_unit: str | None = None,
    price_scale: int = 8,
    size_scale: int = 8,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Store a file's rows, in their order; returns how many were added. Continues an import that was stopped.

    Args:
        path: .parquet, or .csv with a header line, plain or as .csv.gz.
        data_dir: the store, created if missing. No other process may write to it.
        venue: venue of all rows.
        symbol: symbol of all rows.
        columns: the file's column for each of FIELDS; at least price, size and a time.
        producer: the producer under which the records are stored; a different one for each file.
        kind: kind of all rows, one of KINDS.
        time_unit: unit of times that are whole numbers: s, ms, us or ns.
        price_scale: decimals of prices.
        size_scale: decimals of sizes.
        progress: called with the number of records added so far.

    Raises:
        StoreError: the file does not fit these arguments, or the store holds other records of this producer.
    """
    if unknown := [name for name in columns if name not in FIELDS]:
        raise StoreError(f"{unknown[0]} is not a field; choose from {', '.join(FIELDS)}", path=path)
    if not {"price", "size"} <= set(columns) or not {"ts_event", "ts_recv"} & set(columns):
        raise StoreError("price, size and ts_event or ts_recv must be mapped to columns", path=path)
    table = InstrumentTable.load(data_dir / INSTRUMENTS_FILE)
    try:
        instrument = table.register(venue, symbol, price_scale, size_scale)
    except ValueError as error:
        raise StoreError(f"cannot be stored: {error}", path=path) from None
    journal = Journal(data_dir, Schema.TICK, producer)
    added = first = 0
    try:
        held = Store(data_dir)
        for batch in _batches(path, columns):
            ticks = _ticks(batch, path, columns, instrument, kind, time_unit)
            ticks["seq"] = np.arange(first, first + len(ticks))
            first += len(ticks)
            added += append_new(journal, held, ticks)
            progress(added)
    finally:
        journal.close()
    return added


def _batches(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            text = pacsv.ConvertOptions(column_types=dict.fromkeys(columns.values(), pa.string()))
            form: Any = ds.CsvFileFormat(convert_options=text)
        elif path.suffix.lower() == ".parquet":
            form = ds.ParquetFileFormat()
        else:
            raise StoreError("is neither .parquet, .csv nor .csv.gz", path=path)
        dataset = ds.dataset(path, format=form)
        if missing := [name for name in columns.values() if name not in dataset.schema.names]:
            there = ", ".join(dataset.schema.names)
            raise StoreError(f"has no column {missing[0]!r}; choose from {there}", path=path)
        yield from (
            batch for batch in dataset.to_batches(columns=list(dict.fromkeys(columns.values()))) if batch.num_rows
        )
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot be read: {error}", path=path) from error


def _ticks(
    batch: pa.RecordBatch,
    path: Path,
    columns: Mapping[str, str],
    instrument: Instrument,
    kind: Kind,
    time_unit: str | None,
) -> NDArray[np.void]:
    ticks = np.zeros(batch.num_rows, TICK)
    ticks["instrument"], ticks["kind"], ticks["flags"] = instrument.id, kind, Flag.LAST
    for field, name in columns.items():
        try:
            ticks[field] = _values(field, batch[name], instrument, time_unit)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise StoreError(f"column {name!r} is not a valid {field}: {error}", path=path) from error
    if "ts_recv" not in columns:
        ticks["ts_recv"] = ticks["ts_event"]
        ticks["flags"] |= np.uint16(Flag.BACKFILL)
    return ticks


def _values(field: str, column: pa.Array, instrument: Instrument, time_unit: str | None) -> NDArray[Any]:
    if field == "side":
        return np.array([_SIDES[(word or "").lower()] for word in column.cast(pa.string()).to_pylist()], np.uint8)
    if column.null_count:
        raise ValueError(f"{column.null_count} rows have no value")
    if field == "venue_seq":
        found: NDArray[Any] = column.cast(pa.uint64()).to_numpy()
        return found
    if field in ("price", "size"):
        scale = instrument.price_scale if field == "price" else instrument.size_scale
        text = column.cast(pa.string()) if pa.types.is_floating(column.type) else column
        words = np.frombuffer(_decimals(text, scale).buffers()[1], np.int64).reshape(-1, 2)[: len(column)]
        if (words[:, 1] != words[:, 0] >> 63).any():
            raise ValueError(f"a value does not fit 63 bits at scale {scale}")
        return words[:, 0]
    if pa.types.is_timestamp(column.type):
        moments: NDArray[Any] = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_numpy()
        return moments
    if time_unit is not None:
        scaled: NDArray[Any] = pc.multiply_checked(column.cast(pa.int64()), UNITS_NS[time_unit]).to_numpy()
        if not ((scaled >= EARLIEST_NS) & (scaled < LATEST_NS)).all():
            raise ValueError(f"in {time_unit} a time is not between the years 2000 and 2100: name another unit")
        return scaled
    texts = column.cast(pa.string()).to_pylist()
    if pa.types.is_integer(column.type) or any(text.lstrip("-").isdigit() for text in texts):
        raise ValueError(f"whole numbers need a unit, one of {', '.join(UNITS_NS)}")
    return np.array([parse_time(text) for text in texts], np.int64)


def _decimals(column: pa.Array, scale: int) -> pa.Array:
    whole = column.cast(pa.decimal128(38, scale))
    return whole if not whole.offset else pa.concat_arrays([whole, whole[:0]])
