"""Values computed from stored records, as a table: rows of times, names and numbers, symbol by symbol."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tickplant.records.data_frames import pandas_frame, polars_frame
from tickplant.store.row_files import TextFile, TextFormat, format_of, whole_file, write_batches
from tickplant.times import format_time

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame
    from polars import DataFrame as PolarsFrame

    from tickplant.store.reader import Store

TIMES: Final = ("ts_event", "ts_recv")

Columns = dict[str, NDArray[Any]]


class Owner(Protocol):
    """The symbol that a block's values belong to."""

    @property
    def venue(self) -> str:
        """Name of the venue."""

    @property
    def symbol(self) -> str:
        """Name of the symbol."""


def arrow_schema(outputs: Sequence[str]) -> pa.Schema:
    """The Arrow schema: UTC times in nanoseconds, names as dictionaries, outputs as float64."""
    name, time = pa.dictionary(pa.int32(), pa.string()), pa.timestamp("ns", "UTC")
    head = [(time_name, time) for time_name in TIMES] + [("venue", name), ("symbol", name)]
    return pa.schema([*head, *((output, pa.float64()) for output in outputs)])


def arrow_batch(owner: Owner, columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of one symbol as a batch. `schema`: made by `arrow_schema`."""
    rows = len(columns["ts_recv"])
    names = {"venue": owner.venue, "symbol": owner.symbol}
    arrays: list[Any] = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        if name in names:
            arrays.append(pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [names[name]]))
        else:
            values = columns[name]
            arrays.append(pa.array(values, mask=values == 0 if name == "ts_event" else None).cast(kind))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class ValueTable(ABC):
    """Base class of tables of values.

    Attributes:
        columns: ts_event and ts_recv, venue, symbol, and the outputs; NaN means no value.
        schema: see `arrow_schema`.
    """

    def __init__(self, store: Store, outputs: Sequence[str]) -> None:
        self._store = store
        self._outputs = tuple(outputs)
        self.schema = arrow_schema(outputs)
        self.columns = tuple(self.schema.names)

    @abstractmethod
    def blocks(self) -> Iterator[tuple[Owner, Columns]]:
        """Blocks of rows, each of one symbol: ts_event, ts_recv and the outputs, arrays of shape (rows,)."""

    def numpy(self) -> Columns:
        """Arrays of shape (rows,) by name: times as int64 nanoseconds, `instrument` instead of venue and symbol."""
        names = ("ts_event", "ts_recv", "instrument", *self._outputs)
        parts: list[Columns] = []
        for owner, columns in self.blocks():
            newest = self._store.find(owner.venue, owner.symbol)[-1].id
            parts.append(columns | {"instrument": np.full(len(columns["ts_recv"]), newest, np.uint32)})
        types = dict.fromkeys(names, np.float64) | {"ts_event": np.int64, "ts_recv": np.int64, "instrument": np.uint32}
        return {name: np.concatenate([np.zeros(0, types[name]), *(part[name] for part in parts)]) for name in names}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Arrow record batches, each of one symbol."""
        for owner, columns in self.blocks():
            yield arrow_batch(owner, columns, self.schema)

    def arrow(self) -> pa.Table:
        """Everything as one Arrow table."""
        return pa.Table.from_batches(self.batches(), self.schema).unify_dictionaries()

    def pandas(self) -> PandasFrame:
        """A frame with UTC times in nanoseconds."""
        return pandas_frame(self.arrow())

    def polars(self) -> PolarsFrame:
        """A frame with UTC times in nanoseconds; NaN means no value."""
        return polars_frame(self.arrow())

    def write(self, path: Path) -> int:
        """Write a file in the format that its suffix names; returns the number of rows.

        The file appears whole or not at all. Raises StoreError for an unknown suffix, or if the file cannot be written.
        """
        kind = format_of(path)
        with whole_file(path) as file:
            if kind in ("csv", "jsonl"):
                return self.write_text(file, "csv" if kind == "csv" else "jsonl")
            return write_batches(file, kind, self.schema, self.batches(), lambda _: None)

    def write_text(self, file: TextFile, text_format: TextFormat) -> int:
        """Write CSV with a header line, or JSON lines; returns the number of rows. NaN becomes empty or null."""
        count = 0
        if text_format == "csv":
            file.write(f"{','.join(self.columns)}\n".encode())
        for owner, columns in self.blocks():
            times = [[format_time(time) if time else None for time in columns[name].tolist()] for name in TIMES]
            values = [columns[name].tolist() for name in self._outputs]
            for event, recv, *found in zip(*times, *values, strict=True):
                row = [
                    event,
                    recv,
                    owner.venue,
                    owner.symbol,
                    *(None if math.isnan(value) else value for value in found),
                ]
                if text_format == "csv":
                    file.write(f"{','.join('' if cell is None else str(cell) for cell in row)}\n".encode())
                else:
                    file.write(msgspec.json.encode(dict(zip(self.columns, row, strict=True))) + b"\n")
            count += len(columns["ts_recv"])
        return count
