"""The result of a question to a store, read on demand: as numpy, Arrow, pandas, polars or batches, in bounded memory.

The requested columns, and those that the filter looks at, are decoded chunk by chunk, joined to blocks of BATCH_ROWS,
filtered, and passed on as columns. Nothing here makes records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tickplant.errors import TickplantError
from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.data_frames import pandas_frame, polars_frame
from tickplant.records.merge import Columns, join_columns
from tickplant.store.pruning import Expression, needed_columns
from tickplant.store.row_files import TextFile, TextFormat, format_of, whole_file, write_batches, write_text
from tickplant.store.selection import Selection

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame
    from polars import DataFrame as PolarsFrame

BATCH_ROWS: Final = 1 << 17
"""Most rows in a record batch, and rows in a Parquet row group."""
_LARGE_ROWS: Final = 1 << 15
"""A block of this many rows becomes a batch of its own: joining it would cost more than one more batch does later."""

Source = Callable[[Sequence[str]], Iterable[Columns]]
"""Returns the named fields of the records, block by block; each call starts at the beginning."""
Check = Callable[[Columns], None]
"""Raises an error for fields of records of an unknown instrument or series."""
Whole = Callable[[Sequence[str], Check], Columns | None]
"""Returns the named fields of all records at once, checked; None if they must be read in blocks."""


class Rows:
    """Rows of one schema. They may be read any number of times: each call reads their current state.

    Attributes:
        columns: names of the columns, in order.
        arrow_columns: makes these columns.
        selection: selects the store's records and chunks behind the rows; None: the records come from elsewhere.
    """

    def __init__(
        self,
        source: Source,
        arrow: ArrowColumns,
        *,
        columns: Sequence[str] | None = None,
        filter_by: Expression | None = None,
        whole: Whole = lambda *_: None,
        selection: Selection | None = None,
    ) -> None:
        """Prepare rows; nothing is read yet.

        Args:
            source: source of the fields.
            arrow: makes the columns.
            columns: the wanted columns, of `ArrowColumns.all`; None takes the default ones.
            filter_by: an Arrow expression over columns of `ArrowColumns.all`; only rows for which it is true are
                returned.
            whole: returns everything at once, faster than `source`.
            selection: the selection that the source reads.
        """
        self._source = source
        self._at_once = whole
        self.selection = selection
        self.arrow_columns = arrow
        self._named = columns is not None
        self._filter_by = filter_by
        self.columns = arrow.default if columns is None else tuple(columns)
        if not set(self.columns).issubset(arrow.all):
            unknown = next(name for name in self.columns if name not in arrow.all)
            raise TickplantError(f"unknown column {unknown!r}; choose from {', '.join(arrow.all)}")

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of these columns."""
        return self.arrow_columns.schema(self.columns)

    # -----------------------------------------------------------------------------------------------------------
    # All at once

    def of(self, source: Source) -> Rows:
        """The same columns and filter, for other records."""
        return Rows(source, self.arrow_columns, columns=self.columns, filter_by=self._filter_by)

    def numpy(self) -> dict[str, NDArray[Any]]:
        """Arrays of shape (rows,) by name, with the values as stored: nothing is converted.

        Times are int64 nanoseconds (`.view("M8[ns]")` makes them times), 0 if the venue gave none. Kind and side are
        the numbers of `Kind` and `Side`. Prices and sizes are the int64 mantissas, to be divided by 10 to the power of
        `price_scale` and `size_scale`, or float64 if the rows were requested with `prices="float"`. If no columns were
        named, `instrument`, the id, replaces venue and symbol.
        """
        names = self.columns
        if not self._named:
            names = tuple(dict.fromkeys("instrument" if name in ("venue", "symbol") else name for name in names))
            names += tuple(name for name in ("price_scale", "size_scale") if self.arrow_columns.prices == "decimal")
        plain = self.arrow_columns.plain
        whole = self._everything(self.arrow_columns.plain_sources(names))
        blocks = self.blocks(names) if whole is None else [whole]
        parts = [{name: plain(name, block) for name in names} for block in blocks]
        return dict(join_columns(parts or [{name: plain(name, self.arrow_columns.nothing) for name in names}]))

    def arrow(self) -> pa.Table:
        """Everything as one Arrow table."""
        whole = self._everything(self.arrow_columns.sources(self.columns))
        if whole is None:
            return pa.Table.from_batches(self.batches(), self.schema)
        parts = (_part(whole, start) for start in range(0, len(whole["instrument"]), BATCH_ROWS))
        return pa.Table.from_batches([self.arrow_columns.batch(self.columns, part) for part in parts], self.schema)

    table = arrow

    def pandas(self) -> PandasFrame:
        """A frame of Arrow's exact decimals, UTC times in nanoseconds, and names as categories."""
        return pandas_frame(self.arrow())

    def polars(self) -> PolarsFrame:
        """A frame of exact decimals, UTC times in nanoseconds, and names as categories."""
        return polars_frame(self.arrow())

    # -----------------------------------------------------------------------------------------------------------
    # Batch by batch

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Non-empty Arrow record batches of up to BATCH_ROWS rows."""
        for block in self.blocks(self.columns):
            yield self.arrow_columns.batch(self.columns, block)

    def reader(self) -> pa.RecordBatchReader:
        """A streaming Arrow reader, which DuckDB, polars and others consume without holding everything in memory.

        It reads only when asked for the next batch, in the thread that asks. An abandoned reader does nothing more.
        """
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def blocks(self, names: Sequence[str], *, rows: int | None = None, also: Sequence[str] = ()) -> Iterator[Columns]:
        """Filtered fields of the records: those that `ArrowColumns.sources` names for these columns.

        Args:
            names: names of columns.
            rows: join blocks up to this many rows; None joins up to BATCH_ROWS.
            also: further fields of the source.
        """
        looked_at = [] if self._filter_by is None else needed_columns(self._filter_by, self._whole)
        fields = (*self.arrow_columns.sources([*names, *looked_at]), *also)
        for block in _joined(self._source(fields), BATCH_ROWS if rows is None else rows):
            self.arrow_columns.check(block)
            kept = block if self._filter_by is None else self._kept(block, looked_at, self._filter_by)
            if len(kept["instrument"]):
                yield kept

    # -----------------------------------------------------------------------------------------------------------
    # Files

    def write(self, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> int:
        """Write a file in the format that its suffix names; returns the number of rows.

        The file appears at the path whole or not at all. `progress` is called with the number of rows so far. Raises
        StoreError for an unknown suffix, or if the file cannot be written.
        """
        kind = format_of(path)
        with whole_file(path) as file:
            if kind in ("csv", "jsonl"):
                return self.write_text(file, "csv" if kind == "csv" else "jsonl", progress=progress)
            return write_batches(file, kind, self.schema, self.batches(), progress)

    def write_text(
        self, file: TextFile, text_format: TextFormat, *, progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Write CSV with a header line, or one JSON object per line; returns the number of rows."""
        return write_text(file, text_format, self.arrow_columns, self.columns, self.blocks(self.columns), progress)

    def _everything(self, fields: Sequence[str]) -> Columns | None:
        """These fields of all rows, unless that takes more memory than the answer: a filter may leave few rows."""
        return None if self._filter_by is not None else self._at_once(fields, self.arrow_columns.check)

    @property
    def _whole(self) -> pa.Schema:
        return self.arrow_columns.schema(self.arrow_columns.all)

    def _kept(self, block: Columns, looked_at: Sequence[str], filter_by: Expression) -> Columns:
        """The rows for which the filter is true; only the columns that it looks at are converted to Arrow for that."""
        rows = pa.array(np.arange(len(block["instrument"]), dtype=np.int32))
        batch = pa.RecordBatch.from_arrays(
            [*(self.arrow_columns.array(name, block) for name in looked_at), rows], names=[*looked_at, "row"]
        )
        places = batch.filter(filter_by)["row"].to_numpy()
        if len(places) == len(rows):
            return block
        return {name: values[places] for name, values in block.items()}


def _joined(blocks: Iterable[Columns], rows: int) -> Iterator[Columns]:
    held: list[Columns] = []
    count = 0
    for block in blocks:
        length = len(block["instrument"])
        for start in range(0, length, BATCH_ROWS):
            part = block if length <= BATCH_ROWS else _part(block, start)
            size = min(length - start, BATCH_ROWS)
            if held and (count + size > rows or size >= _LARGE_ROWS):
                yield join_columns(held)
                held, count = [], 0
            if size >= _LARGE_ROWS:
                yield part
                continue
            held.append(part)
            count += size
    if held:
        yield join_columns(held)


def _part(block: Columns, start: int) -> Columns:
    return {name: values[start : start + BATCH_ROWS] for name, values in block.items()}
