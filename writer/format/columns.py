"""The columns of a chunk: their ids, what predicts their rows, and how a section of version 1 is read. Does no I/O.

`chunk_layout.py` describes the format, `sections.py` has the sections of version 2, `transform.py` the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Kind, Schema
from tickplant.records.schemas import FACTS
from tickplant.writer.format import transform

COLUMN_IDS: Final[dict[Schema, dict[str, int]]] = {
    schema: {name: number for number, name in enumerate(facts.columns, 1)} for schema, facts in FACTS.items()
}
"""Stored for ever: see `Facts.columns`. Key columns come first, so that they are decoded first."""

KEYS: Final = {schema: facts.keys for schema, facts in FACTS.items()}
"""Key columns of a group and their width in bits: one 64-bit key, the first column in its highest bits."""

STREAM_SHIFT: Final = {schema: facts.stream_shift for schema, facts in FACTS.items()}
"""Lowest bits of a group's key that its stream leaves out: bid and ask of one instrument are one stream."""

# The predictors of `transform.py`, CONTEXT being one of two.
BASE: Final = transform.BASE
ROW: Final = transform.ROW
STREAM: Final = transform.CONTEXT  # the row before in the same stream
GROUP: Final = transform.CONTEXT + 1  # the row before in the same group

# Bits of a column's `transform`.
PREDICTOR_BITS: Final = 0b11
GROUPED: Final = 1 << 2  # rows are sorted by group
SIGNED: Final = 1 << 3  # zigzag
HAS_BASE: Final = 1 << 4
HAS_DIVISOR: Final = 1 << 5
APART: Final = 1 << 6  # what is no market data is stored behind the planes, as it is
KNOWN_BITS: Final = 0x7F

_NO_ROWS: Final = np.empty(0, np.int32)
_NO_ENDS: Final = np.empty(0, np.int64)
_NONE_APART: Final = _NO_ENDS


def type_code(dtype: np.dtype[np.void] | np.dtype[np.integer]) -> int:
    """`type` of a column: item size in bytes, with 0x80 set for signed integers."""
    return dtype.itemsize | (0x80 if dtype.kind == "i" else 0)


def to_words(column: NDArray[np.integer]) -> transform.Words:
    """A column as 64-bit words; signed numbers are sign-extended."""
    if column.dtype.kind == "i":
        return column.astype(np.int64, copy=False).view(np.uint64)
    return column.astype(np.uint64, copy=False)


def narrowed(words: transform.Words, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Words as a column of a type, without a copy where that has 8 bytes. Raises ValueError where one is too large."""
    if dtype.itemsize == 8:
        return words.view(dtype)
    # All types that are narrower are unsigned.
    if (words > np.uint64(256**dtype.itemsize - 1)).any():
        raise ValueError(f"column {name} holds a number that is too large for it")
    return words.astype(dtype)


class Scratch:
    """Arrays kept from chunk to chunk: fresh memory would cost more, page by page, than what is done in it."""

    def __init__(self) -> None:
        self._words = np.empty((0, 0), np.uint64)
        self._rows = np.empty((6, 0), np.int32)

    def words(self, count: int, rows: int) -> transform.Words:
        """Shape (count, rows), to be overwritten."""
        if self._words.shape[0] < count or self._words.shape[1] < rows:
            self._words = np.empty((count, rows), np.uint64)
        return self._words[:count, :rows]

    def rows(self, rows: int) -> transform.Rows:
        """Shape (6, rows), to be overwritten."""
        if self._rows.shape[1] < rows:
            self._rows = np.empty((6, rows), np.int32)
        return self._rows[:, :rows]


class Contexts:
    """Predecessors and order of the rows of one chunk, worked out when a column first asks for them.

    `columns` has the keys, by name; a key that is not there is 0 in every row.
    """

    def __init__(self, schema: Schema, columns: Mapping[str, NDArray[Any]], rows: int, scratch: Scratch) -> None:
        self._schema = schema
        self._columns = columns
        self._rows = rows
        self._scratch = scratch.rows(rows)
        self._numbered: dict[int, int] = {}  # how many groups there are, by shift; the numbers stand in the scratch
        self._keys: transform.Words | None = None
        self._linked: set[int] = set()
        self._sorted: dict[int, tuple[transform.Rows, NDArray[np.int64]]] = {}
        self._apart: NDArray[np.int64] | None = None

    def _numbers(self, predictor: int) -> tuple[transform.Rows, int, int]:
        """The number of each row's stream or group, how many there are, and 0 for groups, 1 for streams."""
        shift = STREAM_SHIFT[self._schema] if predictor == STREAM else 0
        place = int(shift > 0)
        numbers = self._scratch[place]
        if place not in self._numbered:
            if self._keys is None:
                self._keys = self._join_keys()
            self._numbered[place] = _number(self._keys >> np.uint64(shift) if shift else self._keys, numbers)
        return numbers, self._numbered[place], place

    def _join_keys(self) -> transform.Words:
        keys = np.zeros(self._rows, np.uint64)
        for name, bits in KEYS[self._schema]:
            keys <<= np.uint64(bits)
            if name in self._columns:
                keys |= self._columns[name].astype(np.uint64, copy=False)  # quicker than a mixed operation
        return keys

    def previous(self, predictor: int) -> transform.Rows:
        """Row that predicts each row, in version 1; empty for predictors that need none."""
        if predictor < STREAM:
            return _NO_ROWS
        numbers, count, place = self._numbers(predictor)
        previous: transform.Rows = self._scratch[2 + place]
        if place not in self._linked:
            transform.link_rows(numbers, count, previous)
            self._linked.add(place)
        return previous

    def sorted_by(self, predictor: int) -> tuple[transform.Rows, NDArray[np.int64]]:
        """Row at each position of the order by stream or group, and where each of those ends.

        Both are empty where there is only one, so that the order is the stored one.
        """
        numbers, count, place = self._numbers(predictor)
        if place not in self._sorted:
            if count > 1:
                order = self._scratch[4 + place]
                self._sorted[place] = order, transform.order_by_group(numbers, count, order)
            else:
                self._sorted[place] = _NO_ROWS, _NO_ENDS
        return self._sorted[place]

    def apart(self) -> NDArray[np.int64]:
        """Rows of ticks that are no market data."""
        if self._apart is None:
            kinds = self._columns.get("kind", _NO_ROWS) if self._schema is Schema.TICK else _NO_ROWS
            self._apart = np.flatnonzero((kinds == Kind.STATUS) | (kinds == Kind.GAP))
        return self._apart


def _number(keys: transform.Words, numbers: transform.Rows) -> int:
    """Number distinct keys by first appearance: into `numbers`; returns how many there are."""
    size = 256
    while size <= 16 * max(256, len(keys)):
        count = transform.number_keys(keys, np.full(size, -1, np.int32), np.empty(size, np.uint64), numbers)
        if count >= 0:
            return count
        size *= 8
    # Keys that collide in every table were made to: sorting does not care.
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int32)
    ranks[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.int32)
    numbers[:] = ranks[inverse.reshape(-1)]
    return len(firsts)


def decode_column(
    data: memoryview,
    bits: int,
    width: int,
    contexts: Contexts,
    decompress: Callable[[memoryview, int], transform.Bytes],
    residuals: transform.Words,
    values: transform.Words,
) -> None:
    """Decode a section of version 1 into `values`; `residuals` is scratch of the same length.

    `decompress` gives the bytes of a frame, of a size. Raises ValueError, ZstdError.
    """
    rows = len(values)
    base = divisor = start = 0
    if len(data) < 8 * (bool(bits & HAS_BASE) + bool(bits & HAS_DIVISOR)):
        raise ValueError(f"a section of {len(data)} bytes is too short for its base and divisor")
    if bits & HAS_BASE:
        base, start = int.from_bytes(data[:8], "little"), 8
    if bits & HAS_DIVISOR:
        divisor, start = int.from_bytes(data[start : start + 8], "little"), start + 8
    if width == 0:
        if start != len(data):
            raise ValueError(f"{len(data) - start} bytes follow a base and a divisor that should stand alone")
        values[:] = base
        if divisor:
            values += np.arange(rows, dtype=np.uint64) * np.uint64(divisor)
        return
    apart = contexts.apart() if bits & APART else _NONE_APART
    planes = decompress(data[start:], width * rows + 8 * len(apart))
    planes, kept = planes[: width * rows], planes[width * rows :]
    predictor = bits & PREDICTOR_BITS
    order, previous = contexts.sorted_by(GROUP)[0] if bits & GROUPED else _NO_ROWS, contexts.previous(predictor)
    unpacked = residuals if len(order) else values
    transform.unpack(planes, np.uint64(divisor or 1), bool(bits & SIGNED), width, unpacked)
    transform.restore_values(unpacked, min(predictor, STREAM), np.uint64(base), previous, order, values)
    if len(apart):
        values[apart] = np.frombuffer(kept.tobytes(), np.uint64)
