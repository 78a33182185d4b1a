"""The columns of a chunk: their ids, what predicts their rows, and how to read a section of version 1. Does no I/O.

`chunk_layout.py` describes the format; `sections.py` has the sections of version 2; `transform.py` the steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Kind, Schema
from tickplant.records.schemas import FACTS
from tickplant.writer.format import grouping, transform

COLUMN_IDS: Final[dict[Schema, dict[str, int]]] = {
    schema: {name: number for number, name in enumerate(facts.columns, 1)} for schema, facts in FACTS.items()
}
"""Stored for ever: see `Facts.columns`. Key columns come first, so that they are decoded first."""

KEYS: Final = {schema: facts.keys for schema, facts in FACTS.items()}
"""Key columns of a group, with their widths in bits. Together they form a 64-bit key, the first column highest."""

STREAM_SHIFT: Final = {schema: facts.stream_shift for schema, facts in FACTS.items()}
"""How many low bits of a group's key its stream ignores: bid and ask of one instrument are one stream."""

# The predictors of `transform.py`; CONTEXT is either STREAM or GROUP.
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
APART: Final = 1 << 6  # values of rows that are not market data follow the planes, unchanged
KNOWN_BITS: Final = 0x7F

_NO_ROWS: Final = np.empty(0, np.int32)
_NO_ENDS: Final = np.empty(0, np.int64)
_NONE_APART: Final = _NO_ENDS
_NO_KEYS: Final = np.empty(0, np.uint8)
_FIRST_ROW: Final = np.zeros(1, np.int32)
_STATUS: Final = np.uint8(Kind.STATUS)  # numpy takes 20 us to make a number of an enum
_GAP: Final = np.uint8(Kind.GAP)
_APART_WORDS: Final = 72

_LENT: Final = 4
"""How many arrays of each name are remembered: a reader keeps either a few at a time, or all of them."""
_UNUSED: Final = 3
"""References to unused memory: from the list, the loop variable, and the call to `getrefcount`."""


def type_code(dtype: np.dtype[np.void] | np.dtype[np.integer]) -> int:
    """`type` of a column: item size in bytes, with 0x80 set for signed integers."""
    return dtype.itemsize | (0x80 if dtype.kind == "i" else 0)


def to_words(column: NDArray[np.integer]) -> transform.Words:
    """A column as 64-bit words; signed numbers are sign-extended."""
    if column.dtype.kind == "i":
        return column.astype(np.int64, copy=False).view(np.uint64)
    return column.astype(np.uint64, copy=False)


def narrowed(words: transform.Words, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Words as a column of this dtype; no copy if it has 8 bytes. Raises ValueError if a word is too large."""
    if dtype.itemsize == 8:
        return words.view(dtype)
    # All narrower types are unsigned.
    if (words > np.uint64(256**dtype.itemsize - 1)).any():
        raise ValueError(f"column {name} holds a number that is too large for it")
    return words.astype(dtype)


class Scratch:
    """Arrays kept from chunk to chunk: the page faults of fresh memory cost more than the work done in it."""

    def __init__(self) -> None:
        self._words = np.empty((0, 0), np.uint64)
        self._rows = np.empty((6, 0), np.int32)
        self._keys: dict[str, NDArray[Any]] = {}

    def words(self, count: int, rows: int) -> transform.Words:
        """Shape (at least count, at least rows), to be overwritten."""
        if self._words.shape[0] < count or self._words.shape[1] < rows:
            # Columns that begin at the same offset within a page would evict one another from the cache.
            self._words = np.empty((count, (rows + 7) // 8 * 8 + _APART_WORDS), np.uint64)
        return self._words

    def rows(self, rows: int) -> transform.Rows:
        """Shape (6, rows), to be overwritten."""
        if self._rows.shape[1] < rows:
            self._rows = np.empty((6, rows), np.int32)
        return self._rows[:, :rows]

    def column(self, name: str, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
        """Shape (rows,), to be overwritten; one array for each name."""
        known = self._keys.get(name)
        if known is None or len(known) < rows or known.dtype != dtype:
            known = self._keys[name] = np.empty(rows, dtype)
        return known[:rows]


class Pool:
    """New arrays for callers to keep, in memory that no caller uses any more.

    Fresh memory costs a page fault for each 4 KiB, 2 us on a virtual machine: more than decoding into it. An array is
    lent: while anything refers to it, or to a part of it, its memory is not reused.
    """

    def __init__(self) -> None:
        self._lent: dict[str, list[NDArray[np.uint8]]] = {}

    def array(self, name: str, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
        """Shape (rows,), uninitialised. Arrays of one `name` should have similar sizes, so that memory is reused."""
        size, known = rows * dtype.itemsize, self._lent.setdefault(name, [])
        for memory in known:
            if sys.getrefcount(memory) == _UNUSED and len(memory) >= size:
                break
        else:
            memory = np.empty(size, np.uint8)
            if len(known) == _LENT:
                known.pop(0)
            known.append(memory)
        return memory[:size].view(dtype)


class Contexts:
    """The predecessors and the order of a chunk's rows, computed when a column first needs them.

    `key` returns a key column by name, with the dtype of its field; None means 0 in every row.
    """

    def __init__(self, schema: Schema, key: Callable[[str], NDArray[Any] | None], rows: int, scratch: Scratch) -> None:
        self._schema = schema
        self._key = key
        self._rows = rows
        self._scratch = scratch.rows(rows)
        self._keys = np.empty(0, np.uint64)
        self._ends: dict[int, NDArray[np.int64]] = {}  # by place; the rows' numbers and order are in the scratch
        self._linked: set[int] = set()
        self._apart: NDArray[np.int64] | None = None

    def _ends_of(self, place: int) -> NDArray[np.int64]:
        """Where the groups (place 0) or streams (place 1) end in the sorted order, which is then in the scratch.

        A single group or stream keeps the stored order, and none is computed.
        """
        if place not in self._ends:
            numbers, order = self._scratch[place], self._scratch[4 + place]
            ends = self._sort_streams(numbers, order) if place else self._sort_groups(numbers, order)
            if not len(ends):  # too many for the table of the kernel
                keys = self._keys >> np.uint64(STREAM_SHIFT[self._schema]) if place else self._keys
                ends = grouping.order_by_group(numbers, _number(keys, numbers), order)
            self._ends[place] = ends
        return self._ends[place]

    def _sort_groups(self, numbers: transform.Rows, order: transform.Rows) -> NDArray[np.int64]:
        self._keys = np.empty(self._rows, np.uint64)
        found = []
        for name, bits in KEYS[self._schema]:
            column = self._key(name)
            found.append(np.zeros(self._rows, f"u{bits // 8}") if column is None else column)
        first, second, third = (*found, _NO_KEYS, _NO_KEYS)[:3]
        return grouping.sort_groups(first, second, third, self._keys, numbers, order)

    def _sort_streams(self, numbers: transform.Rows, order: transform.Rows) -> NDArray[np.int64]:
        ends, shift = self._ends_of(0), np.uint64(STREAM_SHIFT[self._schema])
        groups, its_order = self._scratch[0], self._scratch[4]
        return grouping.sort_streams(self._keys, shift, groups, its_order, ends, numbers, order)

    def _place(self, predictor: int) -> int:
        return int(predictor == STREAM and STREAM_SHIFT[self._schema] > 0)

    def previous(self, predictor: int) -> transform.Rows:
        """The row that predicts each row, in version 1; empty for predictors that use no other row."""
        if predictor < STREAM:
            return _NO_ROWS
        place = self._place(predictor)
        ends = self._ends_of(place)
        previous: transform.Rows = self._scratch[2 + place]
        if place not in self._linked:
            grouping.link_rows(self._scratch[place], len(ends), previous)
            self._linked.add(place)
        return previous

    def sorted_by(self, predictor: int) -> tuple[transform.Rows, NDArray[np.int64]]:
        """The row at each position of the order by stream or group, and where each stream or group ends.

        Both are empty if there is only one, so that rows stay in stored order.
        """
        place = self._place(predictor)
        ends = self._ends_of(place)
        return (self._scratch[4 + place], ends) if len(ends) > 1 else (_NO_ROWS, _NO_ENDS)

    def firsts(self) -> transform.Rows:
        """The first row of each group: together, these rows have every key."""
        ends = self._ends_of(0)
        return self._scratch[4][np.concatenate(([0], ends[:-1]))] if len(ends) > 1 else _FIRST_ROW

    def apart(self) -> NDArray[np.int64]:
        """Rows of ticks that are not market data."""
        if self._apart is None:
            kinds = self._key("kind") if self._schema is Schema.TICK else None
            self._apart = _NONE_APART if kinds is None else self._rows_of_kinds(kinds)
        return self._apart

    def _rows_of_kinds(self, kinds: NDArray[Any]) -> NDArray[np.int64]:
        """Rows of STATUS and GAP, ascending. All rows of a group have one kind, so one row of each group is checked."""
        first = kinds[self.firsts()]
        groups = np.flatnonzero((first == _STATUS) | (first == _GAP))
        ends = self._ends_of(0)
        if len(groups) in (0, len(ends)):
            return np.arange(self._rows if len(groups) else 0)
        order = self._scratch[4]
        starts = np.concatenate(([0], ends[:-1]))
        rows = np.concatenate([order[starts[group] : ends[group]] for group in groups.tolist()])
        return np.sort(rows).astype(np.int64)


def _number(keys: transform.Words, numbers: transform.Rows) -> int:
    """Number distinct keys by first appearance, into `numbers`; returns how many keys there are."""
    size = 256
    # Retry with a larger table: one that grows inside the kernel's loop is 30 times slower.
    while size <= 16 * max(256, len(keys)):
        count = grouping.number_keys(keys, np.full(size, -1, np.int32), np.empty(size, np.uint64), numbers)
        if count >= 0:
            return count
        size *= 8
    # Keys that collide in every table were chosen to do so: sorting is immune to that.
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

    `decompress` returns the bytes of a frame, given their number. Raises ValueError, ZstdError.
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
