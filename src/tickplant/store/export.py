"""The result of a query, or arrays of records, as rows to write to a file or pass to Arrow.

rows = export(store, "binance", "BTCUSDT", kinds=["trade"])
rows.write(Path("trades.parquet"))                # or .arrow, .csv, .jsonl
rows.table().to_pandas()                          # pandas
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.layouts import Schema
from tickplant.records.merge import Columns
from tickplant.store.reader import Store
from tickplant.store.rows import Rows

Records = NDArray[np.void]


def export(store: Store, venue: str, symbol: str, *, as_float: bool = False, **selection: Any) -> Rows:
    """The result of `Store.query`, which takes `selection`, ready to be written. Raises StoreError as `query` does."""
    return store.rows(venue, symbol, prices="float" if as_float else "decimal", **selection)


class Export(Rows):
    """Arrays of records as rows."""

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
            instruments: all instruments that occur in them.
            schema: schema of the records.
            as_float: prices and sizes become float64 instead of decimals, in Arrow and Parquet.
        """

        def fields(names: Sequence[str]) -> Iterator[Columns]:
            return ({name: block[name] for name in names} for block in blocks)

        super().__init__(fields, ArrowColumns(instruments, schema, prices="float" if as_float else "decimal"))
