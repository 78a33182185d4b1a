"""Query results as Arrow, Parquet, CSV and JSON lines.

    rows = export(store, "binance", "BTCUSDT", kinds=["trade"])
    rows.write(Path("trades.parquet"))                # or .arrow, .csv, .jsonl
    rows.table().to_pandas()                          # pandas
    polars.from_arrow(rows.table())                   # polars
    trades = rows.reader(); duckdb.sql("select count(*) from trades")     # DuckDB, streaming

Prices and sizes are decimal128(38, s), s being the largest scale among the instruments: 19 digits of a mantissa and
up to 18 more from a smaller scale always fit 38. Text formats print each at its own instrument's scale, all decimals.
A price that does not exist is null, as is the venue time where the venue gives none. GAP and STATUS rows carry their
cause or code, a whole number, as price; GAP rows the number missing as size, null where nobody knows.

Names and words are dictionaries whose values are unique, the same in every batch: readers group by their indices.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, NO_PRICE, UNKNOWN, Kind, Schema, Side
from tickplant.records.merge import join_records
from tickplant.store.decimals import format_decimals
from tickplant.store.reader import Store

Records = NDArray[np.void]
TextFormat = Literal["csv", "jsonl"]


class TextFile(Protocol):
    """What text can be written to."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write whole lines of UTF-8."""
        ...


BATCH_ROWS: Final = 1 << 17
"""Rows in a record batch and in a Parquet row group."""

PRICES: Final = frozenset({"price", "bid_price", "ask_price", "open", "high", "low", "close"})
SIZES: Final = frozenset({"size", "bid_size", "ask_size", "volume", "buy_volume"})
TIMES: Final = frozenset({"ts_event", "ts_recv", "ts_open", "book_ts_event", "book_ts_recv"})
VENUE_TIMES: Final = frozenset({"ts_event", "book_ts_event"})  # 0 where the venue gave none
COLUMNS: Final[dict[Schema, tuple[str, ...]]] = {
    Schema.TICK: (
        *("ts_event", "ts_recv", "venue", "symbol", "kind", "side", "price", "size"),
        *("venue_seq", "order_id", "flags", "seq"),
    ),
    Schema.BBO: (
        *("ts_event", "ts_recv", "venue", "symbol", "bid_price", "bid_size", "ask_price", "ask_size"),
        *("source_seq", "flags", "seq"),
    ),
    Schema.BAR: (
        *("ts_event", "ts_recv", "venue", "symbol", "ts_open", "interval_s", "open", "high", "low", "close"),
        *("volume", "buy_volume", "trades", "source_seq", "flags", "seq"),
    ),
    Schema.CHECKPOINT: (
        *("ts_event", "ts_recv", "venue", "symbol", "kind", "side", "price", "size", "venue_seq", "source_seq"),
        *("book_ts_event", "book_ts_recv", "book_seq", "flags", "seq"),
    ),
}
"""Columns of the result, in order."""

SUFFIXES: Final = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}

_KINDS: Final = tuple(kind.name.lower() for kind in Kind)  # Kind counts up from 1
_SIDES: Final = ("bid", "ask", "buy", "sell")
_NOTES: Final = (Kind.GAP, Kind.STATUS, Kind.CHECKSUM, Kind.STATISTIC)  # price and size are numbers, not decimals


def export(store: Store, venue: str, symbol: str, *, as_float: bool = False, **selection: Any) -> Export:
    """The result of `Store.query`, which takes `selection`, ready to be written. Raises StoreError as that does."""
    schema = selection.get("schema", Schema.TICK)
    blocks = store.query(venue, symbol, **selection)
    return Export(blocks, store.find(venue, symbol), schema=schema, as_float=as_float)


class Export:
    """Blocks of records on their way out. They are read once, when they are needed, in bounded memory."""

    def __init__(
        self,
        blocks: Iterable[Records],
        instruments: Iterable[Instrument],
        *,
        schema: Schema = Schema.TICK,
        as_float: bool = False,
    ) -> None:
        """Take the result of a query or scan.

        Args:
            blocks: arrays of `DTYPES[schema]`.
            instruments: all that occur in them.
            schema: of the records.
            as_float: prices and sizes as float64 instead of decimals, in Arrow and Parquet.
        """
        self._blocks = blocks
        self._dtype = DTYPES[schema]
        self._columns = COLUMNS[schema]
        self._as_float = as_float
        rows = list(instruments)
        count = max((row.id for row in rows), default=0) + 1
        self._known = np.zeros(count, np.bool_)
        self._price_scales = np.zeros(count, np.uint8)
        self._size_scales = np.zeros(count, np.uint8)
        # A symbol may have had several ids, but a dictionary holds each name once.
        self._names = {name: sorted({getattr(row, name) for row in rows}) for name in ("venue", "symbol")}
        self._name_of = {name: np.zeros(count, np.int32) for name in self._names}  # place in those, by id
        for row in rows:
            self._known[row.id] = True
            self._price_scales[row.id], self._size_scales[row.id] = row.price_scale, row.size_scale
            for name, places in self._name_of.items():
                places[row.id] = self._names[name].index(getattr(row, name))
        self.schema = pa.schema([(name, self._type(name)) for name in self._columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Arrow record batches of BATCH_ROWS, the last one of fewer."""
        for records in self._rebatched():
            arrays = [self._array(name, records) for name in self._columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def reader(self) -> pa.RecordBatchReader:
        """A streaming Arrow reader, which DuckDB, polars and others consume without holding everything."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def table(self) -> pa.Table:
        """Everything as one Arrow table in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def write(self, path: Path) -> int:
        """Write a file in the format that its suffix names; returns the number of rows.

        It is written beside the path and appears there whole or not at all. Raises StoreError for an unknown suffix and
        where it cannot be written.
        """
        kind = SUFFIXES.get(path.suffix.lower())
        if kind is None:
            raise StoreError(f"has no suffix that names a format: {', '.join(SUFFIXES)}", path=path)
        temporary = path.with_name(f"{path.name}.part")
        try:
            with temporary.open("wb") as file:
                if kind == "parquet":
                    rows = self._write_batches(file, pq.ParquetWriter(file, self.schema, compression="zstd"))
                elif kind == "arrow":
                    rows = self._write_batches(file, pa.ipc.new_file(file, self.schema))
                else:
                    rows = self.write_text(file, "csv" if kind == "csv" else "jsonl")
            temporary.replace(path)
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror or error}", path=path) from error
        finally:
            temporary.unlink(missing_ok=True)
        return rows

    def write_text(self, file: TextFile, text_format: TextFormat) -> int:
        """Write CSV with a header line, or one JSON object a line; returns the number of rows."""
        rows = 0
        if text_format == "csv":
            file.write(",".join(self._columns).encode() + b"\n")
        for records in self._rebatched():
            texts = [self._text(name, records, text_format) for name in self._columns]
            parts: list[Any] = []
            for place, (name, text) in enumerate(zip(self._columns, texts, strict=True)):
                if text_format == "csv":
                    parts += [",", text] if place else [text]
                else:
                    parts += [f'{"," if place else "{"}"{name}":', text]
            lines = pc.binary_join_element_wise(*parts, "\n" if text_format == "csv" else "}\n", "")
            # Each line ends with its newline, so the joined text is the file.
            _, offsets, text = lines.buffers()
            file.write(memoryview(text)[: np.frombuffer(offsets, np.int32)[len(lines)]])
            rows += len(records)
        return rows

    def _write_batches(self, file: IO[bytes], writer: Any) -> int:
        rows = 0
        with writer:
            for batch in self.batches():
                writer.write_batch(batch)
                rows += batch.num_rows
        file.flush()
        os.fsync(file.fileno())
        return rows

    def _rebatched(self) -> Iterator[Records]:
        held: list[Records] = []
        rows = 0
        for block in self._blocks:
            self._check(block)
            for start in range(0, len(block), BATCH_ROWS):
                part = block[start : start + BATCH_ROWS]
                if rows + len(part) > BATCH_ROWS:
                    yield join_records(held)
                    held, rows = [], 0
                held.append(part)
                rows += len(part)
        if held:
            yield join_records(held)

    def _check(self, records: Records) -> None:
        ids = records["instrument"]
        if len(ids) and (int(ids.max()) >= len(self._known) or not self._known[ids].all()):
            raise ValueError("a record is of an instrument that was not named to the export")

    # -----------------------------------------------------------------------------------------------------------
    # Arrow

    def _type(self, name: str) -> pa.DataType:
        if name in TIMES:
            return pa.timestamp("ns", "UTC")
        if name in ("venue", "symbol"):
            return pa.dictionary(pa.int32(), pa.string())
        if name in ("kind", "side"):
            return pa.dictionary(pa.int8(), pa.string())
        if name in PRICES or name in SIZES:
            scales = self._price_scales if name in PRICES else self._size_scales
            return pa.float64() if self._as_float else pa.decimal128(38, int(scales.max()))
        return pa.from_numpy_dtype(self._dtype[name])

    def _array(self, name: str, records: Records) -> pa.Array:
        kind = self._type(name)
        if name in TIMES:
            times = np.ascontiguousarray(records[name])
            return pa.array(times, mask=times == 0 if name in VENUE_TIMES else None).cast(kind)
        if name in PRICES or name in SIZES:
            mantissas, scales, valid = self._numbers(name, records)
            if self._as_float:
                return pa.array(mantissas / 10.0**scales, mask=~valid)
            return _decimals(mantissas, scales, valid, kind)
        if name in ("venue", "symbol", "kind", "side"):
            indices, names = self._labels(name, records)
            return pa.DictionaryArray.from_arrays(indices.cast(kind.index_type), pa.array(names))
        return pa.array(np.ascontiguousarray(records[name]))

    def _labels(self, name: str, records: Records) -> tuple[pa.Array, list[str]]:
        """Indices into a list of names; null where there is no name."""
        if name in self._names:
            return pa.array(self._name_of[name][records["instrument"]]), self._names[name]
        kinds = records["kind"]
        if name == "kind":
            names, indices = _KINDS, kinds.astype(np.int16) - 1
            missing = (indices < 0) | (indices >= len(_KINDS))
        else:
            names, sides = _SIDES, records["side"].astype(np.int16) - 1
            missing = (sides < 0) | (sides > 1)
            indices = np.where(kinds == Kind.TRADE, sides + Side.ASK, sides)
        # Some readers look at the index of a null, too.
        return pa.array(np.where(missing, 0, indices).astype(np.int8), mask=missing), list(names)

    def _numbers(self, name: str, records: Records) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_]]:
        """Mantissas, the scale of each, and which of them there are."""
        mantissas = np.ascontiguousarray(records[name])
        lookup = self._price_scales if name in PRICES else self._size_scales
        scales = lookup[records["instrument"]]
        valid = mantissas != NO_PRICE if name in PRICES else np.ones(len(records), np.bool_)
        if "kind" in (records.dtype.names or ()):
            kinds = records["kind"]
            valid &= kinds != Kind.CLEAR
            if name == "price":
                valid &= kinds != Kind.CHECKSUM
            else:
                valid &= (kinds != Kind.STATUS) & ~((kinds == Kind.GAP) & (mantissas == UNKNOWN))
            scales[np.isin(kinds, _NOTES)] = 0
        return mantissas, scales, valid

    # -----------------------------------------------------------------------------------------------------------
    # Text

    def _text(self, name: str, records: Records, text_format: TextFormat) -> pa.Array:
        """A column as the text that stands in the file."""
        quoted = text_format == "jsonl"
        if name in ("venue", "symbol", "kind", "side"):
            indices, names = self._labels(name, records)
            literals = [msgspec.json.encode(text).decode() if quoted else _csv_field(text) for text in names]
            text = pa.DictionaryArray.from_arrays(indices, pa.array(literals)).cast(pa.string())
            quoted = False
        elif name in TIMES:
            text = self._array(name, records).cast(pa.timestamp("ns")).cast(pa.string())
            text = pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")
        elif name in PRICES or name in SIZES:
            mantissas, scales, valid = self._numbers(name, records)
            offsets, data = format_decimals(mantissas, scales, valid)
            buffers = [_bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
            text = pa.Array.from_buffers(pa.string(), len(records), buffers)
        else:
            text, quoted = pa.array(np.ascontiguousarray(records[name])).cast(pa.string()), False
        if quoted:
            text = pc.binary_join_element_wise('"', text, '"', "")
        return text.fill_null("null" if text_format == "jsonl" else "")


def _csv_field(text: str) -> str:
    """RFC 4180: quoted where it has to be."""
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in ',"\r\n') else text


def _bitmap(valid: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _decimals(
    mantissas: NDArray[np.int64], scales: NDArray[np.uint8], valid: NDArray[np.bool_], kind: pa.DataType
) -> pa.Array:
    """Decimals at the scale of `kind` from mantissas at scales of their own, none of them larger."""
    words = np.empty((len(mantissas), 2), np.int64)  # a decimal128 is a 128-bit integer: low word, high word
    words[:, 0] = mantissas
    words[:, 1] = mantissas >> 63
    words[~valid] = 0
    for scale in np.unique(scales[valid]).tolist():
        if scale != kind.scale:
            rows = np.flatnonzero(valid & (scales == scale))
            own = pa.decimal128(38, scale)
            part = pa.Array.from_buffers(own, len(rows), [None, pa.py_buffer(words[rows])])
            words[rows] = np.frombuffer(part.cast(kind).buffers()[1], np.int64).reshape(-1, 2)
    return pa.Array.from_buffers(kind, len(mantissas), [_bitmap(valid), pa.py_buffer(words)])
