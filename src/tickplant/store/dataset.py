"""A table of a store as an Arrow data set, which DuckDB and polars read with columns and predicates pushed down.

Each scan is one stream of batches, made as the reader pulls them. No thread reads ahead, so a scan that is abandoned
half-way (LIMIT, interpreter shutdown) leaves nothing running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from tickplant.store.pruning import Expression
from tickplant.store.rows import Rows

Ask = Callable[[Sequence[str] | None, Expression | None], Rows]
"""Returns the rows of a table for which this expression is true, with these columns."""


class StoreDataset(ds.InMemoryDataset):  # type: ignore[misc]  # pyarrow has no types
    """A data set over the rows that `ask` returns, with the schema of all columns."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._whole: pa.Schema = ask(None, None).schema
        super().__init__(self._whole.empty_table())

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: Expression | None = None,  # noqa: A002  # the name that callers use
        **_: Any,
    ) -> StoreScan:
        """A scan of these columns. Other options are ignored: the store decides the size of batches."""
        return StoreScan(self._ask(columns, filter))

    def to_batches(self, **how: Any) -> Iterator[pa.RecordBatch]:
        """The batches of a scan."""
        return self.scanner(**how).to_batches()

    def to_table(self, **how: Any) -> pa.Table:
        """All rows of a scan."""
        return self.scanner(**how).to_table()


class StoreScan:
    """Stands in for `pyarrow.dataset.Scanner`, with the methods that readers use."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @property
    def projected_schema(self) -> pa.Schema:
        """The schema of the batches."""
        return self._rows.schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch."""
        return self._rows.batches()

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a stream."""
        return self._rows.reader()

    def to_table(self) -> pa.Table:
        """All rows at once."""
        return self._rows.arrow()
