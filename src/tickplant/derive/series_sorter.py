"""Sorts a batch of derived records into topics, by instrument and series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import ANY_STRIDED_RECORDS, array_at, direct, kernel, noted
from tickplant.records import fanout
from tickplant.records.arrays import note
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]
Places = tuple[int, int, int]

# Words of a memory, see `kernels.noted`. The first two places take three words each:
_INSTRUMENT, _SERIES, _NUMBERS, _PLACES, _WIDTH = 0, 3, 6, 8, 10
_MEMORY_WORDS: Final = 11

_OTHER: Final = -1  # returned for a record of another series
_SCATTERED: Final = -2
_WORD: Final = np.dtype(np.int64)
_UNSIGNED: Final = np.dtype(np.uint64)
_PLACE_TYPE: Final = np.dtype(np.uint32)


@kernel
def topic_keys(
    words: fanout.Words,
    instrument: Places,
    series: Places,
    numbers: NDArray[np.uint64],
    places: NDArray[np.uint32],
    keys: NDArray[np.uint32],
) -> int:
    """The topic of each record: `instrument id * len(numbers) + place of its series' number`.

    Args:
        words: the records as rows of u8.
        instrument: where the id is in a row: the word, its lowest bit there, and a mask of its length.
        series: likewise for the number of the series.
        numbers: the series' numbers, ascending.
        places: the place of each number.
        keys: to fill.

    Returns:
        The highest key, or -1 if a record is of another series.
    """
    highest = 0
    for i in range(len(words)):
        id_ = words[i, instrument[0]] >> np.uint64(instrument[1]) & np.uint64(instrument[2])
        number = words[i, series[0]] >> np.uint64(series[1]) & np.uint64(series[2])
        low, high = 0, len(numbers)
        while low < high:
            middle = (low + high) >> 1
            if numbers[middle] < number:
                low = middle + 1
            else:
                high = middle
        if low == len(numbers) or numbers[low] != number:
            return -1
        key = int(id_) * len(numbers) + int(places[low])
        keys[i] = key
        highest = max(highest, key)
    return highest


@kernel
def find_keys(records: Any, keys: NDArray[np.uint32], address: int) -> int:
    """`topic_keys` of records, with the memory at `address`; _SCATTERED if the records are not contiguous."""
    memory = array_at(address, (_MEMORY_WORDS,), _WORD)
    width = memory[_WIDTH]
    if len(records) > 1 and records.strides[0] != 8 * width:
        return _SCATTERED
    return topic_keys(
        array_at(records.ctypes.data, (len(records), width), _UNSIGNED),
        (memory[_INSTRUMENT], memory[_INSTRUMENT + 1], memory[_INSTRUMENT + 2]),
        (memory[_SERIES], memory[_SERIES + 1], memory[_SERIES + 2]),
        noted(memory, _NUMBERS, _UNSIGNED),
        noted(memory, _PLACES, _PLACE_TYPE),
        keys,
    )


class SeriesSorter:
    """Sorts records of one schema; `numbers` are the numbers of its series, in any order."""

    def __init__(self, schema: Schema, numbers: Sequence[int]) -> None:
        self._schema = schema
        self.numbers = tuple(numbers)
        order = np.argsort(np.array(numbers, np.int64), kind="stable")
        self._sorted = np.array(numbers, np.uint64)[order]
        self._places = order.astype(np.uint32)
        self._memory = np.zeros(_MEMORY_WORDS, np.int64)
        self._memory[_INSTRUMENT : _INSTRUMENT + 3] = _place_of(schema, "instrument")
        if FACTS[schema].series:  # otherwise all records have the number 0
            self._memory[_SERIES : _SERIES + 3] = _place_of(schema, FACTS[schema].series)
        self._memory[_WIDTH] = DTYPES[schema].itemsize // 8
        note(self._memory, _NUMBERS, self._sorted, self._places)
        self._address: int = self._memory.ctypes.data
        self._slots = np.full(64, -1, np.int32)
        self._masks = np.ones(64, np.uint32)
        none = np.zeros((0, DTYPES[schema].itemsize // 8), np.uint64), np.zeros(0, np.uint32)
        self._find = direct(find_keys, ANY_STRIDED_RECORDS, none[1], 0)
        self._group: Callable[..., tuple[fanout.Words, NDArray[np.int64], NDArray[np.int64]]] = direct(
            fanout.group, *none, self._masks, 1, self._slots
        )

    def keys(self, records: Records) -> tuple[NDArray[np.uint32], int]:
        """The key of each record, `id * len(numbers) + place of the number`, and the highest key.

        Raises KeyError for a record of an unnamed series.
        """
        keys = np.empty(len(records), np.uint32)
        return keys, self.find_keys(records, keys)

    def find_keys(self, records: Records, keys: NDArray[np.uint32]) -> int:
        """Write the records' keys to `keys`, which may be longer; returns the highest. Raises KeyError as `keys`."""
        highest = self._find(records, keys, self._address)
        if highest == _SCATTERED:
            highest = self._find(records.copy(), keys, self._address)
        if highest == _OTHER:
            raise KeyError(f"a record of a series of {self._schema.name} that was not named")
        return highest

    def sort(self, records: Records) -> tuple[fanout.Words, NDArray[np.int64], NDArray[np.int64]]:
        """As `fanout.group`: rows of words, keys as in `keys`, and where each begins. Raises KeyError as `keys`."""
        keys, highest = self.keys(records)
        if len(records) > len(self._masks):
            self._masks = np.ones(2 * len(records), np.uint32)
        if highest >= len(self._slots):
            self._slots = np.full(2 * highest, -1, np.int32)
        return self._group(_words(records), keys, self._masks[: len(records)], 1, self._slots)


def _words(records: Records) -> fanout.Words:
    """The records as rows of words."""
    return np.ascontiguousarray(records).view(np.uint64).reshape(len(records), -1)


def _place_of(schema: Schema, name: str) -> Places:
    """Where a field is in a row of words: the word, its lowest bit there, and a mask of its length."""
    fields = DTYPES[schema].fields
    assert fields
    dtype, offset = fields[name][:2]
    return offset // 8, 8 * (offset % 8), (1 << 8 * dtype.itemsize) - 1
