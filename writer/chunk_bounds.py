"""What the index says of the values in a chunk: the least and the greatest price, size and id. Does no I/O.

Each schema has up to SLOTS *slots*, a column or a part of one. Prices and sizes of ticks have two: of the rows in which
they are decimals, and of NOTES, in which they are plain numbers, codes and counts. A slot whose low is above its high
has no value in any row. Values of unsigned columns are stored less 2**63, so that all compare as signed numbers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel
from tickplant.records.layouts import DTYPES, NO_PRICE, Kind, Schema

SLOTS: Final = 6

NOTES: Final = (Kind.GAP, Kind.STATUS, Kind.CHECKSUM, Kind.STATISTIC)
"""Kinds whose price and size are numbers, not decimals."""

# Which rows of a column a slot is of.
ALL: Final = 0
DECIMALS: Final = 1
NOTED: Final = 2

_SIGN: Final = -(2**63)
_MOST: Final = 2**63 - 1
_CLEAR: Final = int(Kind.CLEAR)
_NO_PRICE: Final = NO_PRICE
_NOTE_BITS: Final = sum(1 << kind for kind in NOTES)


class Slot(NamedTuple):
    """A column, and of which of its rows."""

    column: str
    rows: int = ALL


SLOTS_OF: Final[dict[Schema, tuple[Slot, ...]]] = {
    Schema.TICK: (
        *(Slot("price", DECIMALS), Slot("price", NOTED), Slot("size", DECIMALS), Slot("size", NOTED)),
        *(Slot("venue_seq"), Slot("order_id")),
    ),
    Schema.BBO: (
        *(Slot("bid_price", DECIMALS), Slot("bid_size", DECIMALS), Slot("ask_price", DECIMALS)),
        *(Slot("ask_size", DECIMALS), Slot("source_seq")),
    ),
    Schema.BAR: (
        *(Slot("open", DECIMALS), Slot("high", DECIMALS), Slot("low", DECIMALS), Slot("close", DECIMALS)),
        *(Slot("volume", DECIMALS), Slot("buy_volume", DECIMALS)),
    ),
    Schema.CHECKPOINT: (
        *(Slot("price", DECIMALS), Slot("price", NOTED), Slot("size", DECIMALS), Slot("size", NOTED)),
        *(Slot("venue_seq"), Slot("source_seq")),
    ),
}
"""Stored in indexes, by place: an index of others has to be made anew."""


def is_unsigned(schema: Schema, slot: Slot) -> bool:
    """Whether the values of a slot are stored less 2**63."""
    return DTYPES[schema][slot.column].kind == "u"


def bounds_of(records: NDArray[np.void], schema: Schema) -> NDArray[np.int64]:
    """The lows and the highs of the slots of records, shape (2, SLOTS); slots that a schema does not have are empty."""
    found = np.empty((2, SLOTS), np.int64)
    found[0], found[1] = _MOST, _SIGN
    if len(records):
        rows = np.ascontiguousarray(records).view(np.int64).reshape(len(records), -1)
        find_bounds(rows, *_PLACES[schema], found)
    return found


@kernel
def find_bounds(
    rows: NDArray[np.int64], slots: NDArray[np.int64], kind_word: int, kind_shift: int, found: NDArray[np.int64]
) -> None:
    """Lower the lows and raise the highs in `found`, shape (2, SLOTS), by records as words, shape (rows, words).

    `slots` has for each slot its word in a record, which rows it is of, and whether it is unsigned; `kind_word` and
    `kind_shift` say where the kind is: at no word, -1, where there are no kinds.
    """
    for place in range(len(slots)):
        word, which, unsigned = slots[place]
        low, high = found[0, place], found[1, place]
        for row in range(len(rows)):
            value = rows[row, word]
            if which == ALL:
                if unsigned:
                    value ^= _SIGN
            else:
                kind = (rows[row, kind_word] >> kind_shift) & 255 if kind_word >= 0 else 0
                noted = kind < 32 and (_NOTE_BITS >> kind) & 1 != 0
                if noted != (which == NOTED) or kind == _CLEAR or value == _NO_PRICE:
                    continue
            low, high = min(low, value), max(high, value)
        found[0, place], found[1, place] = low, high


def find_bounds_reference(records: NDArray[np.void], schema: Schema) -> NDArray[np.int64]:
    """Plain `bounds_of`."""
    found = np.empty((2, SLOTS), np.int64)
    found[0], found[1] = _MOST, _SIGN
    for place, slot in enumerate(SLOTS_OF[schema]):
        values = records[slot.column]
        if slot.rows != ALL:
            kinds = records["kind"] if "kind" in (records.dtype.names or ()) else np.zeros(len(records), np.uint8)
            noted = np.isin(kinds, NOTES)
            values = values[(noted == (slot.rows == NOTED)) & (kinds != Kind.CLEAR) & (values != NO_PRICE)]
        for value in values.tolist():
            stored = value - 2**63 if is_unsigned(schema, slot) else value
            found[:, place] = min(int(found[0, place]), stored), max(int(found[1, place]), stored)
    return found


def _places(schema: Schema) -> tuple[NDArray[np.int64], int, int]:
    fields = DTYPES[schema].fields or {}
    slots = [(fields[slot.column][1] // 8, slot.rows, is_unsigned(schema, slot)) for slot in SLOTS_OF[schema]]
    kind = fields["kind"][1] if "kind" in fields else -8
    return np.array(slots, np.int64), kind // 8, kind % 8 * 8


_PLACES: Final = {schema: _places(schema) for schema in Schema}
