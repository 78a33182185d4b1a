"""Restores a chunk whose columns share one section in a single call. Does no I/O.

With a call for each column, a small chunk costs more in calls than in work. The reference is the column-by-column
decoder in `codec.py`, which handles any chunk; the property tests hold the two equal. If a chunk is not one that a
writer makes, the kernel leaves it to that decoder. Outside numba a wrapping operation warns, so callers run under
`np.errstate(over="ignore")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel, part
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.writer.format.columns import (
    APART,
    COLUMN_IDS,
    GROUPED,
    KEYS,
    PREDICTOR_BITS,
    STREAM,
    STREAM_SHIFT,
)
from tickplant.writer.format.grouping import number_keys, order_by_group, sort_streams
from tickplant.writer.format.restoring import NARROW, restore
from tickplant.writer.format.transform import Bytes, Words

_FEW: Final = 256  # slots
_STATUS: Final = int(Kind.STATUS)
_GAP: Final = int(Kind.GAP)
_NO_KIND: Final = -1
_ZERO: Final = np.uint64(0)
_SORTED: Final = np.uint64(GROUPED)
_MARKED: Final = np.uint64(APART)


class Plan(NamedTuple):
    """Where columns go in a chunk's memory: a column begins at byte `starts` times the room for rows."""

    starts: NDArray[np.int64]  # by column number; -1: the column is not decoded
    sizes: NDArray[np.int64]  # by column number, bytes per row; 0: there is no such column
    keys: NDArray[np.int64]  # numbers of the key columns, the highest bits of a key first; all are decoded
    shift: np.uint64  # how many low bits of a key its stream ignores
    kind: int  # number of the column that tells which rows are not market data; -1: there is none
    row_bytes: int


def plan(schema: Schema, places: dict[str, int]) -> Plan:
    """The plan for columns at these offsets, in bytes per row; keys without an offset come last."""
    ids, dtype = COLUMN_IDS[schema], DTYPES[schema]
    starts, sizes = np.full(256, -1, np.int64), np.zeros(256, np.int64)
    end = max((place + dtype[name].itemsize for name, place in places.items()), default=0)
    for name, number in ids.items():
        sizes[number] = dtype[name].itemsize
    keys = [name for name, _ in KEYS[schema]]
    for name in keys:
        if name not in places:
            places = places | {name: end}
            end += dtype[name].itemsize
    for name, place in places.items():
        if name in ids:  # a column without a number is not stored
            starts[ids[name]] = place
    kind = ids["kind"] if schema is Schema.TICK else _NO_KIND
    numbers = np.array([ids[name] for name in keys])
    return Plan(starts, sizes, numbers, np.uint64(STREAM_SHIFT[schema]), kind, end)


def side_by_side(schema: Schema, names: Sequence[str], end: int = 0) -> dict[str, int]:
    """Offsets of these columns, one after another, starting at `end`."""
    places = {}
    for name in dict.fromkeys(names):
        places[name] = end
        end += DTYPES[schema][name].itemsize
    return places


@part
def _rows_apart(memory: Bytes, start: int, rows: int) -> NDArray[np.int64]:
    """Rows whose kind, in the bytes from `start` on, is not market data; empty if `start` is negative."""
    count = 0
    if start >= 0:
        for row in range(rows):
            count += memory[start + row] == _STATUS or memory[start + row] == _GAP
    found = np.empty(count, np.int64)
    place = 0
    if count:
        for row in range(rows):
            if memory[start + row] == _STATUS or memory[start + row] == _GAP:
                found[place] = row
                place += 1
    return found


@kernel
def restore_together(
    planes: Bytes,
    table: Words,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    keys: NDArray[np.int64],
    shift: np.uint64,
    kind: int,
    rows: int,
    room: int,
    memory: Bytes,
) -> bool:
    """Decode the columns of a section into `memory`, which has `room` rows, a multiple of 8, for each column.

    `table` holds the fields of `Described` for each; the other arguments are a `Plan`. Returns False if this fails: the
    column-by-column decoder then finds the reason.
    """
    seen = np.zeros(256, np.bool_)
    words = np.empty(rows, np.uint64)
    numbers, order = np.empty(rows, np.int32), np.empty(rows, np.int32)
    of_stream, stream_order = np.empty(rows, np.int32), np.empty(rows, np.int32)
    ends, stream_ends, apart = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    has_apart = False
    for place in range(len(table)):
        number, bits = np.int64(table[place, 0]), table[place, 1]
        if sizes[number] == 0:
            continue
        if seen[number]:
            return False
        if starts[number] < 0:
            seen[number] = True
            continue
        its_order, its_ends, its_apart = order[:0], ends[:0], apart[:0]
        if bits & (_SORTED | _MARKED):
            for key in keys:
                if key == number:
                    return False
                if not seen[key]:  # zero in every row
                    start = starts[key] * room
                    memory[start : start + sizes[key] * rows] = 0
                    seen[key] = True
        if bits & _SORTED:
            if not len(ends):
                words[:] = _ZERO
                for key in keys:
                    start = starts[key] * room
                    if sizes[key] == 1:
                        for row in range(rows):
                            words[row] = words[row] << np.uint64(8) | np.uint64(memory[start + row])
                    elif sizes[key] == 2:
                        half = memory[start : start + 2 * rows].view(np.uint16)
                        for row in range(rows):
                            words[row] = words[row] << np.uint64(16) | np.uint64(half[row])
                    else:
                        whole = memory[start : start + 4 * rows].view(np.uint32)
                        for row in range(rows):
                            words[row] = words[row] << np.uint64(32) | np.uint64(whole[row])
                count = number_keys(words, np.full(_FEW, -1, np.int32), np.empty(_FEW, np.uint64), numbers)
                if count < 0:
                    return False
                ends = order_by_group(numbers, count, order) if count > 1 else np.full(1, rows, np.int64)
            its_order, its_ends = order, ends
            if shift != _ZERO and bits & np.uint64(PREDICTOR_BITS) == np.uint64(STREAM):
                if not len(stream_ends):
                    stream_ends = sort_streams(words, shift, numbers, order, ends, of_stream, stream_order)
                    if not len(stream_ends):
                        return False
                its_order, its_ends = stream_order, stream_ends
            if len(its_ends) == 1:
                its_order, its_ends = order[:0], ends[:0]
        if bits & _MARKED:
            if not has_apart:
                has_apart = True
                apart = _rows_apart(memory, starts[kind] * room if kind >= 0 else -1, rows)
            its_apart = apart
        start, size = starts[number] * room, sizes[number]
        if size == 8:
            wides = memory[start : start + 8 * rows].view(np.uint64)
            status = restore(planes, table[place], its_order, its_ends, its_apart, wides)
        elif size == 4:
            halves = memory[start : start + 4 * rows].view(np.uint32)
            status = restore(planes, table[place], its_order, its_ends, its_apart, halves)
        elif size == 2:
            quarters = memory[start : start + 2 * rows].view(np.uint16)
            status = restore(planes, table[place], its_order, its_ends, its_apart, quarters)
        else:
            status = restore(planes, table[place], its_order, its_ends, its_apart, memory[start : start + rows])
        if status == NARROW:
            wide = np.empty(rows, np.uint64)
            status = restore(planes, table[place], its_order, its_ends, its_apart, wide)
            for row in range(rows):
                word = wide[row]
                for at in range(start + size * row, start + size * (row + 1)):
                    memory[at] = np.uint8(word & np.uint64(255))
                    word >>= np.uint64(8)
                if word != _ZERO:
                    return False
        if status != 0:
            return False
        seen[number] = True
    for missing in range(256):
        if starts[missing] >= 0 and not seen[missing]:
            start = starts[missing] * room
            memory[start : start + sizes[missing] * rows] = 0
    return True
