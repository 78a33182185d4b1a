"""A table of a store as a data set of Arrow: what DuckDB and polars read, columns and predicates pushed down.

Each scan is one stream of batches, made by whoever pulls them: there is no thread that reads ahead, so a scan that is
left half-way (LIMIT, an interpreter that ends) leaves nothing behind that would run on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from tickplant.store.pruning import Expression
from tickplant.store.rows import Rows

Ask = Callable[[Sequence[str] | None, Expression | None], Rows]
"""The rows of a table with these columns, for which this expression is true."""


class StoreDataset(ds.InMemoryDataset):  # type: ignore[misc]  # pyarrow has no types
    """What `ask` gives, with the schema of all columns."""

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
        """A scan of these columns, whatever else is asked for: batches have the size that they have."""
        return StoreScan(self._ask(columns, filter))

    def to_batches(self, **how: Any) -> Iterator[pa.RecordBatch]:
        """The batches of a scan."""
        return self.scanner(**how).to_batches()

    def to_table(self, **how: Any) -> pa.Table:
        """All of a scan."""
        return self.scanner(**how).to_table()


class StoreScan:
    """In place of `pyarrow.dataset.Scanner`: as much of it as readers use."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @property
    def projected_schema(self) -> pa.Schema:
        """Of the batches."""
        return self._rows.schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Batch by batch."""
        return self._rows.batches()

    def to_reader(self) -> pa.RecordBatchReader:
        """As a stream."""
        return self._rows.reader()

    def to_table(self) -> pa.Table:
        """At once."""
        return self._rows.arrow()
