"""Lossless conversion from Arrow to pandas and polars (the extra `readers`): one rule for stored and live records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tickplant.errors import TickplantError

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame
    from polars import DataFrame as PolarsFrame


def pandas_frame(data: pa.Table | pa.RecordBatch) -> PandasFrame:
    """A frame of Arrow's exact decimals, UTC times in nanoseconds, and names as categories. Raises TickplantError."""
    pandas = need("pandas")

    def types(kind: pa.DataType) -> Any:
        return pandas.ArrowDtype(kind) if pa.types.is_decimal(kind) else None

    frame: PandasFrame = data.to_pandas(types_mapper=types)
    return frame


def polars_frame(data: pa.Table | pa.RecordBatch) -> PolarsFrame:
    """A frame of exact decimals, UTC times in nanoseconds, and names as categories. Raises TickplantError."""
    frame: PolarsFrame = need("polars").from_arrow(data)
    return frame


def need(name: str) -> Any:
    """Import a package of the extra `readers`. Raises TickplantError, which names the extra, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise TickplantError(f"{name} is not installed: pip install 'tickplant[readers]'") from None
