"""Sorting a batch of derived records into topics: by instrument and series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import series_of
from tickplant.records import fanout
from tickplant.records.layouts import Schema
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]

_NOBODY: Final = np.zeros(0, np.bool_)


class SeriesSorter:
    """Sorts records of one schema; `numbers` are those of the series that occur, in any order."""

    def __init__(self, schema: Schema, numbers: Sequence[int]) -> None:
        self._schema = schema
        self.numbers = tuple(numbers)
        order = np.argsort(np.array(numbers, np.int64), kind="stable")
        self._sorted = np.array(numbers, np.uint64)[order]
        self._places = order.astype(np.uint32)
        self._slots = np.full(0, -1, np.int32)

    def sort(self, records: Records) -> tuple[fanout.Words, NDArray[np.int64], NDArray[np.int64]]:
        """As `fanout.group`: rows of words; keys, `id * len(numbers) + place of the number`; where each begins.

        Raises KeyError for a record of a series that was not named.
        """
        count = len(self.numbers)
        keys = np.ascontiguousarray(records["instrument"])  # one type for the kernels, however many records there are
        if FACTS[self._schema].series:
            series = series_of(self._schema, records)
            found = np.minimum(np.searchsorted(self._sorted, series), count - 1)
            if (self._sorted[found] != series).any():
                raise KeyError(f"a record of a series of {self._schema.name} that was not named")
            keys = keys * np.uint32(count) + self._places[found]
        slots = int(fanout.survey(keys, _NOBODY)[1]) + 1
        if slots > len(self._slots):
            self._slots = np.full(2 * slots, -1, np.int32)
        words = np.ascontiguousarray(records).view(np.uint64).reshape(len(records), -1)
        return fanout.group(words, keys, np.ones(len(records), np.uint32), 1, self._slots)
