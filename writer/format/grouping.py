"""Which rows of a chunk belong together: kernels that number and sort rows by their keys.

Each kernel stands next to a plain reference, `…_reference`; the property tests hold the two equal. Outside numba a
wrapping operation warns, so callers run under `np.errstate(over="ignore")`. Indices in these loops are unsigned: numba
checks signed ones for being negative.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel, part
from tickplant.writer.format.transform import Rows, Words

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_STRETCHES: Final = np.uint64(4)
_LAST: Final = np.uint64(3)
_FEW: Final = 256  # slots: a larger table is seldom needed
_COMPARED: Final = 8  # groups
_SAMPLED: Final = 16  # one row in this many
_LONG_RUN: Final = 8  # rows: in a shorter run, the branch at its end costs more than placing its rows
_HASH: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads keys over the table (Knuth, TAOCP 6.4)


@kernel
def join_keys(first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words) -> None:
    """Join up to three unsigned key columns into one word per row, the first one highest; empty ones are skipped."""
    if len(second) and len(third):  # in one pass, since ticks have three keys
        low, high = np.uint64(8 * third.itemsize), np.uint64(8 * (second.itemsize + third.itemsize))
        for row in range(len(keys)):
            keys[row] = np.uint64(first[row]) << high | np.uint64(second[row]) << low | np.uint64(third[row])
        return
    for row in range(len(keys)):
        keys[row] = first[row]
    if len(second):
        shift = np.uint64(8 * second.itemsize)
        for row in range(len(keys)):
            keys[row] = keys[row] << shift | np.uint64(second[row])
    if len(third):
        shift = np.uint64(8 * third.itemsize)
        for row in range(len(keys)):
            keys[row] = keys[row] << shift | np.uint64(third[row])


def join_keys_reference(first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words) -> None:
    """Plain `join_keys`."""
    for row in range(len(keys)):
        key = int(first[row])
        for column in (second, third):
            if len(column):
                key = key << 8 * column.itemsize | int(column[row])
        keys[row] = key


@kernel
def number_keys(keys: Words, slots: Rows, names: Words, numbers: Rows) -> int:
    """Number the distinct keys 0, 1, 2 … by first appearance, each row's number into `numbers`. Returns how many.

    `slots`, all -1, and `names` form a hash table whose size is a power of two. If it is too small for the keys, or the
    keys collide too often, the result is -1 and the caller retries with a larger table: one that grows in the loop is
    30 times slower.
    """
    mask = np.uint64(len(slots) - 1)  # indices are unsigned: numba checks signed ones for being negative
    count = 0
    probes = 8 * len(keys) + 1024  # many times more than keys need unless they were chosen to collide
    for row in range(len(keys)):
        key = keys[row]
        slot = ((key * _HASH) >> np.uint64(33)) & mask
        while names[slot] != key or slots[slot] < 0:
            if slots[slot] < 0:
                if 2 * count >= len(slots):
                    return -1
                slots[slot] = count
                names[slot] = key
                count += 1
                break
            slot = (slot + _ONE) & mask
            probes -= 1
            if probes < 0:
                return -1
        numbers[row] = slots[slot]
    return count


def number_keys_reference(keys: Words, numbers: Rows) -> int:
    """Plain `number_keys`, with a table that is always large enough."""
    known: dict[int, int] = {}
    for row, key in enumerate(keys.tolist()):
        numbers[row] = known.setdefault(key, len(known))
    return len(known)


@kernel
def link_rows(numbers: Rows, count: int, previous: Rows) -> None:
    """For each row, the nearest earlier row with the same number; if none, the row before (-1 for row 0)."""
    last = np.full(count, -1, np.int32)
    for row in range(len(numbers)):
        found = last[numbers[row]]
        previous[row] = found if found >= 0 else row - 1
        last[numbers[row]] = row


def link_rows_reference(numbers: Rows, count: int, previous: Rows) -> None:
    """Plain `link_rows`."""
    last: dict[int, int] = {}
    for row, number in enumerate(numbers.tolist()):
        assert number < count
        previous[row] = last.get(number, row - 1)
        last[number] = row


@kernel
def order_by_group(group: Rows, groups: int, order: Rows) -> NDArray[np.int64]:
    """Sort rows by group, stably: `order[position]` becomes the row at that position. Returns where groups end.

    In a counting sort, each row of a group waits for the position that the previous one leaves. So several stretches of
    the rows are sorted side by side, each with positions of its own, to shorten that chain of dependencies.
    """
    rows = np.uint64(len(group))
    stretch = rows // _STRETCHES
    places = np.zeros((_STRETCHES, groups), np.uint64)
    if groups <= _COMPARED:  # vectorised over rows, one group at a time
        for number in range(_STRETCHES):
            start = number * stretch
            its_rows = group[start : rows if number == _LAST else start + stretch]
            for place in range(groups):
                size, wanted = np.int32(0), np.int32(place)
                for row in range(len(its_rows)):
                    size += np.int32(its_rows[row] == wanted)
                places[number, place] = size
    else:
        for row in range(stretch):
            for number in range(_STRETCHES):
                places[number, np.uint64(group[number * stretch + row])] += _ONE
        for row in range(_STRETCHES * stretch, rows):
            places[_LAST, np.uint64(group[row])] += _ONE
    ends = np.empty(groups, np.int64)
    total = _ZERO
    for place in range(groups):
        for number in range(_STRETCHES):
            count = places[number, place]
            places[number, place] = total
            total += count
        ends[place] = total
    for offset in range(stretch):
        for number in range(_STRETCHES):
            here = number * stretch + offset
            its = np.uint64(group[here])
            position = places[number, its]
            order[position] = here
            places[number, its] = position + _ONE
    for row in range(_STRETCHES * stretch, rows):
        its = np.uint64(group[row])
        position = places[_LAST, its]
        order[position] = row
        places[_LAST, its] = position + _ONE
    return ends


def order_by_group_reference(group: Rows, groups: int, order: Rows) -> NDArray[np.int64]:
    """Plain `order_by_group`."""
    order[:] = np.argsort(group, kind="stable")
    return np.cumsum(np.bincount(group, minlength=groups))


@part
def _number_small(first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], numbers: Rows) -> int:
    """As `number_keys`, with a table of all possible keys: for one instrument with few kinds and sides. Else -1."""
    if not len(second) or not len(third):
        return -1
    same, most, most_low = True, np.uint64(0), np.uint64(0)
    for row in range(len(numbers)):
        same &= first[row] == first[0]
    for row in range(len(numbers)):
        most |= np.uint64(second[row])
        most_low |= np.uint64(third[row])
    if not same or most >= _FEW >> 3 or most_low >= 8:
        return -1
    for row in range(len(numbers)):  # vectorised, unlike the loop below
        numbers[row] = np.int32(second[row]) << np.int32(3) | np.int32(third[row])
    known = np.full(_FEW, -1, np.int32)
    count = 0
    for row in range(len(numbers)):
        its = np.uint64(np.uint32(numbers[row]))
        number = known[its]
        if number < 0:
            number = known[its] = count
            count += 1
        numbers[row] = number
    return count


@kernel
def sort_groups(
    first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words, numbers: Rows, order: Rows
) -> NDArray[np.int64]:
    """`join_keys`, `number_keys` and `order_by_group` in one call, for many small chunks. Returns where groups end.

    The result is empty if there are too many keys for a small table. For a single group, `order` is not written.
    """
    join_keys(first, second, third, keys)
    count = _number_small(first, second, third, numbers)
    if count < 0:
        count = number_keys(keys, np.full(_FEW, -1, np.int32), np.empty(_FEW, np.uint64), numbers)
    if count > 1:
        return order_by_group(numbers, count, order)
    return np.full(max(0, count), len(keys), np.int64)


def sort_groups_reference(
    first: NDArray[Any], second: NDArray[Any], third: NDArray[Any], keys: Words, numbers: Rows, order: Rows
) -> NDArray[np.int64]:
    """Plain `sort_groups`, for any number of groups."""
    join_keys_reference(first, second, third, keys)
    return order_by_group_reference(numbers, number_keys_reference(keys, numbers), order)


@part
def _in_runs(of_group: Rows, groups: Rows, starts: Words, numbers: Rows, sorted_rows: Rows) -> None:
    """`order_by_group` for streams whose rows come in long runs: no row's position waits for that of an earlier row.

    `of_group` holds the stream of each group; `starts` where each stream begins in `sorted_rows`.
    """
    rows, row = np.uint64(len(groups)), _ZERO
    while row < rows:
        stream = of_group[np.uint64(groups[row])]
        position = starts[stream]
        while row < rows and of_group[np.uint64(groups[row])] == stream:
            numbers[row] = stream
            sorted_rows[position] = row
            position += _ONE
            row += _ONE
        starts[stream] = position


@kernel
def sort_streams(
    keys: Words, shift: np.uint64, groups: Rows, order: Rows, ends: NDArray[np.int64], numbers: Rows, sorted_rows: Rows
) -> NDArray[np.int64]:
    """Number and sort rows by their keys without the lowest bits: like `sort_groups`, but from the order by whole keys.

    Only the first row of each group is read: `groups` gives the group of every row.
    """
    names = np.empty(len(ends), np.uint64)
    start = 0
    for group in range(len(ends)):
        row = order[start] if len(ends) > 1 else 0
        names[group] = keys[row] >> shift
        start = ends[group]
    of_group = np.empty(len(ends), np.int32)
    count = number_keys(names, np.full(_FEW, -1, np.int32), np.empty(_FEW, np.uint64), of_group)
    if count < 0:
        return np.empty(0, np.int64)
    changes = 0  # of stream, in a sample of the rows
    for row in range(_SAMPLED, len(groups), _SAMPLED):
        changes += of_group[np.uint64(groups[row])] != of_group[np.uint64(groups[row - 1])]
    if count > 1 and changes * _SAMPLED * _LONG_RUN <= len(groups):
        stream_ends, starts = np.zeros(count, np.int64), np.empty(count, np.uint64)
        for group in range(len(ends)):
            stream_ends[of_group[group]] += ends[group] - (ends[group - 1] if group else 0)
        total = 0
        for stream in range(count):  # `np.cumsum` and `astype` would cost every process that loads this kernel 17 MB
            starts[stream] = total
            total += stream_ends[stream]
            stream_ends[stream] = total
        _in_runs(of_group, groups, starts, numbers, sorted_rows)
        return stream_ends
    for row in range(len(keys)):
        numbers[row] = of_group[np.uint64(groups[row])]
    if count > 1:
        return order_by_group(numbers, count, sorted_rows)
    return np.full(count, len(keys), np.int64)


def sort_streams_reference(keys: Words, shift: int, numbers: Rows, sorted_rows: Rows) -> NDArray[np.int64]:
    """Plain `sort_streams`, from the keys alone."""
    return order_by_group_reference(numbers, number_keys_reference(keys >> np.uint64(shift), numbers), sorted_rows)
