"""What the index entries of chunks say of prices, sizes and ids, as values of the columns that a filter looks at.

An index has the integers as stored; what they are worth depends on the scales of the instruments. A chunk may hold
several, so a bound holds for each of their scales, and for the plain numbers of gaps and statuses as they are.
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
    """What holds for a column in all rows of a candidate: values of Arrow, both included, or null where it may be."""

    low: pa.Scalar
    high: pa.Scalar
    nulls: bool = False


Facts: TypeAlias = Mapping[str, Bounds | None]
"""Bounds by column; None where all values are null. Of other columns nothing is known."""

_OFFSET: Final = 2**63


def value_facts(entries: NDArray[np.void], arrow: ArrowColumns, columns: Container[str]) -> dict[str, Bounds | None]:
    """What holds for these of prices, sizes and ids in all rows of chunks with these index entries.

    Nothing where an entry has no bounds. `arrow` makes the columns, and knows the scales of all instruments whose rows
    are wanted.
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
    """What a column has for a mantissa: by the same operation, so that a bound is not off by the last bit."""
    if prices == "integer":
        return mantissa
    if prices == "float":
        return float(np.int64(mantissa) / 10.0 ** np.uint8(scale))
    with localcontext(prec=80):
        return Decimal(mantissa).scaleb(-scale)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(value, kind)
