"""What streams of series have in common: a memory of each series and key, as a vector of float64, that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.series_states import unpack_states
from tickplant.records.arrays import grown
from tickplant.records.merge import join_records

Records = NDArray[np.void]
Floats = NDArray[np.float64]


class SeriesStream:
    """Base of `derivation.KeptStream`s. The key of a memory is an instrument id: which one says the stream.

    Args:
        sizes: by number of the series, in order, how many numbers a memory takes.
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        self.from_seq = 0  # what ticks before have made is in the states
        self._sizes = dict(sizes)
        self._size_of = list(sizes.values())  # by place
        self._places = {number: place for place, number in enumerate(sizes)}
        self._begins: dict[tuple[int, int], int] = {}  # by place of the series and key, where the memory begins
        self._used = 0
        self._pool = np.zeros(1024)

    @property
    def counters(self) -> dict[str, int]:
        """Nothing that others do not count."""
        return {}

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """What each series remembers: its number, the key, the vector; in order."""
        numbers = list(self._sizes)
        for place, key in sorted(self._begins):
            yield numbers[place], key, self.state(place, key)

    def restore(self, records: Records, from_seq: int) -> None:
        """Go on from a stored set of states with what the tick `from_seq` makes.

        Series that run and are not in the set begin anew.
        """
        self.from_seq = from_seq
        for (number, key), vector in unpack_states(records, self._sizes).items():
            self.state(self._places[number], key)[:] = vector

    def state(self, place: int, key: int) -> Floats:
        """The memory of a series, zeros at first; to be written to, until the next one is begun."""
        begin = self.begin_state(place, key)
        return self._pool[begin : begin + self._size_of[place]]

    def begin_state(self, place: int, key: int) -> int:
        """Where the memory of a series begins in the pool."""
        begin = self._begins.get((place, key))
        if begin is None:
            begin = self._begins[place, key] = self._used
            self._used += self._size_of[place]
            if self._used > len(self._pool):
                self._pool = grown(self._pool, 2 * self._used)
        return begin

    def forget(self, place: int) -> None:
        """Have no memory of a series: whoever goes on from the stored states begins it anew."""
        for key in [key for key in self._begins if key[0] == place]:
            del self._begins[key]


def in_order(parts: Sequence[tuple[int, Records]], dtype: np.dtype[np.void]) -> Records:
    """Records of several series, given with the places of these, by the tick that made them and by place."""
    parts = [(place, part) for place, part in parts if len(part)]
    if len(parts) < 2:
        return parts[0][1] if parts else np.zeros(0, dtype)
    records = join_records([part for _, part in parts])
    places = np.concatenate([np.full(len(part), place) for place, part in parts])
    return records[np.lexsort((places, records["source_seq"]))]


def by_key(keys: NDArray[np.integer], rows: Records) -> Iterator[tuple[int, Records]]:
    """The rows of each key, in order, keys in ascending order."""
    if not len(rows):
        return
    if (keys == keys[0]).all():
        yield int(keys[0]), rows
        return
    order = np.argsort(keys, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        yield int(keys[part[0]]), rows[part]
