"""Bounds of the values in a chunk, for the index: lowest and highest price, size, id and bar length; and the series.

Does no I/O.

Each schema has up to SLOTS *slots*; a slot is a column or a part of one. Prices and sizes of ticks have two slots: one
for rows where they are decimals, and one for PLAIN_NUMBERS, where they are codes and counts. A slot whose low is above
its high has no value in any row. The slot of a series column holds bits, in low and high alike: bit (number mod 64) is
set if a row belongs to that series. Values of unsigned 64-bit columns are stored minus 2**63, so that all slots compare
as signed numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel
from tickplant.records.layouts import DTYPES, NO_PRICE, Kind, Schema
from tickplant.records.schemas import PLAIN_NUMBERS
from tickplant.writer.format.chunk_layout import instrument_bits

Bounds: TypeAlias = NDArray[np.int64]
"""The lows and the highs of a schema's slots, shape (2, SLOTS); slots that the schema lacks are empty."""

SLOTS: Final = 6

# Which rows of a column a slot covers.
ALL: Final = 0
DECIMALS: Final = 1
NOTED: Final = 2
# All rows, as bits.
BITS: Final = 3

_NOTHING: Final = np.array([[2**63 - 1], [-(2**63)]])
_OFFSET: Final = 2**63
_NO_PRICE: Final = NO_PRICE
_CLEAR: Final = int(Kind.CLEAR)
_NOTE_BITS: Final = np.uint64(sum(1 << kind for kind in PLAIN_NUMBERS))
_MAX_NOTE: Final = int(max(PLAIN_NUMBERS))
_ONE: Final = np.uint64(1)
_NO_KINDS: Final = np.empty(0, np.uint8)


class Slot(NamedTuple):
    """A column, the rows that the slot covers, and whether NO_PRICE counts as no value."""

    column: str
    rows: int = ALL
    nullable: bool = False


def _prices(*names: str, rows: int = DECIMALS) -> tuple[Slot, ...]:
    return tuple(Slot(name, rows, nullable=True) for name in names)


def _sizes(*names: str, rows: int = DECIMALS) -> tuple[Slot, ...]:
    return tuple(Slot(name, rows) for name in names)


_SERIES: Final = Slot("series", BITS)
_AMOUNTS: Final = (*_prices("price"), *_prices("price", rows=NOTED), *_sizes("size"), *_sizes("size", rows=NOTED))

SLOTS_OF: Final[dict[Schema, tuple[Slot, ...]]] = dict.fromkeys(Schema, ()) | {
    Schema.TICK: (*_AMOUNTS, Slot("venue_seq"), Slot("order_id")),
    Schema.BBO: (*_prices("bid_price", "ask_price"), *_sizes("bid_size", "ask_size"), Slot("source_seq")),
    Schema.BAR: (*_prices("open", "high", "low", "close"), *_sizes("volume"), Slot("interval_s")),
    Schema.TRADE_BAR: (*_prices("open", "high", "low", "close"), *_sizes("volume"), _SERIES),
    Schema.VALUE: (_SERIES,),
    Schema.STATE: (_SERIES,),
    Schema.CHECKPOINT: (*_AMOUNTS, Slot("venue_seq"), Slot("source_seq")),
}
"""The slots by position, as indexes store them: whenever a schema's slots change, LAYOUT_OF must change as well."""

_SECOND: Final = (Schema.BAR, Schema.TRADE_BAR, Schema.VALUE, Schema.STATE)
LAYOUT_OF: Final = dict.fromkeys(Schema, SLOTS) | dict.fromkeys(_SECOND, SLOTS + 1)
"""The mark by which an index entry says that its slots are those of SLOTS_OF. Slots under any other mark, as in older
indexes, are ignored."""


def is_unsigned(schema: Schema, slot: Slot) -> bool:
    """Whether the values of a slot are stored minus 2**63."""
    return DTYPES[schema][slot.column] == np.uint64


def bounds_of(columns: Mapping[str, NDArray[Any]], schema: Schema) -> Bounds:
    """The bounds of these columns, each of shape (rows,)."""
    found = np.repeat(_NOTHING, SLOTS, axis=1)
    kinds = columns.get("kind", _NO_KINDS)
    for place, slot in enumerate(SLOTS_OF[schema]):
        values = columns[slot.column]
        if slot.rows == BITS:
            found[:, place] = series_bits(values)
        elif slot.rows != ALL:
            found[:, place] = find_bounds(values, kinds, slot.rows == NOTED, slot.nullable)
        elif len(values):
            less = _OFFSET if is_unsigned(schema, slot) else 0
            found[:, place] = int(values.min()) - less, int(values.max()) - less
    return found


def series_bits(numbers: NDArray[np.integer]) -> np.int64:
    """The slot bits of these series: a chunk can hold one of them only if their bits overlap."""
    return np.uint64(instrument_bits(np.unique(numbers))).astype(np.int64)


@kernel
def find_bounds(values: NDArray[np.int64], kinds: NDArray[np.uint8], noted: bool, nullable: bool) -> tuple[int, int]:
    """The lowest and highest value among the rows of the kinds PLAIN_NUMBERS (`noted`) or of all others but CLEAR.

    If `kinds` is empty, no row is of PLAIN_NUMBERS. `nullable`: NO_PRICE is no value.
    """
    low, high = 2**63 - 1, -(2**63)
    for row in range(len(values)):
        value = values[row]
        kind = kinds[row] if len(kinds) else 0
        is_note = kind <= _MAX_NOTE and (_NOTE_BITS >> np.uint64(kind)) & _ONE != 0
        if is_note == noted and kind != _CLEAR and not (nullable and value == _NO_PRICE):
            low, high = min(low, value), max(high, value)
    return low, high


def find_bounds_reference(
    values: NDArray[np.int64], kinds: NDArray[np.uint8], noted: bool, nullable: bool
) -> tuple[int, int]:
    """Plain `find_bounds`."""
    rows = zip(values.tolist(), kinds.tolist() if len(kinds) else [0] * len(values), strict=True)
    wanted = [
        value
        for value, kind in rows
        if (kind in PLAIN_NUMBERS) == noted and kind != Kind.CLEAR and not (nullable and value == NO_PRICE)
    ]
    return min(wanted, default=2**63 - 1), max(wanted, default=-(2**63))
