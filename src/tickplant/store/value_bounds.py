"""Bounds of prices, sizes and ids from the index entries of chunks, as values of the columns that a filter looks at.

An index holds the integers as stored; their values depend on the scales of the instruments. A chunk may hold several
instruments, so a bound is valued at each of their scales. The plain numbers of gaps and statuses are taken as they are.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from decimal import Decimal, localcontext
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.schemas import PRICES, SIZES
from tickplant.writer.format.chunk_bounds import BITS, LAYOUT_OF, NOTED, SLOTS_OF, is_unsigned


class Bounds(NamedTuple):
    """Inclusive bounds of a column in all rows of a candidate, as Arrow values; `nulls`: rows may also be null."""

    low: pa.Scalar
    high: pa.Scalar
    nulls: bool = False


Facts: TypeAlias = Mapping[str, Bounds | None]
"""Bounds by column; None if all values are null. Nothing is known about other columns."""

_OFFSET: Final = 2**63


def value_facts(entries: NDArray[np.void], arrow: ArrowColumns, columns: Container[str]) -> dict[str, Bounds | None]:
    """Bounds of those `columns` that are prices, sizes or ids, over all rows of the chunks with these index entries.

    Empty if any entry has no bounds. `arrow` makes the columns, and knows the scales of all instruments whose rows are
    wanted.
    """
    schema = arrow.record_schema
    if not any(slot.column in columns for slot in SLOTS_OF[schema]):
        return {}
    if not len(entries) or (entries["slots"] != LAYOUT_OF[schema]).any():
        return {}
    lows, highs = entries["bounds"][:, 0].min(axis=0).tolist(), entries["bounds"][:, 1].max(axis=0).tolist()
    found: dict[str, list[Any]] = {}
    for slot, low, high in zip(SLOTS_OF[schema], lows, highs, strict=False):
        if slot.column not in columns or slot.rows == BITS:
            continue
        values = found.setdefault(slot.column, [])
        if low > high:  # no row has a value
            continue
        for bound in (low, high):
            if slot.column not in PRICES and slot.column not in SIZES:
                values.append(bound + _OFFSET if is_unsigned(schema, slot) else bound)
            else:
                scales = [0] if slot.rows == NOTED else arrow.scales_of(slot.column)
                values += [_valued(bound, scale, arrow.prices) for scale in scales]
    facts: dict[str, Bounds | None] = {}
    for name, values in found.items():
        kind = arrow.type(name)
        nullable = name in PRICES or name in SIZES
        if values:
            facts[name] = Bounds(_scalar(min(values), kind), _scalar(max(values), kind), nullable)
        elif nullable:
            facts[name] = None
    return facts


def _valued(mantissa: int, scale: int, prices: str) -> Any:
    """The value of a mantissa in a column, by the column's own operation, so that bounds are exact to the last bit."""
    if prices == "integer":
        return mantissa
    if prices == "float":
        return float(np.int64(mantissa) / 10.0 ** np.uint8(scale))
    with localcontext(prec=80):
        return Decimal(mantissa).scaleb(-scale)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(value, kind)
