"""What streams of series share: a stored state, a vector of float64, for each series and key."""

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
    """Base of `derivation.KeptStream`s. The key of a state is an instrument id, chosen by the stream.

    Args:
        sizes: how many numbers a state takes, by number of the series, in order.
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        self.from_seq = 0  # the states include what earlier ticks have made
        self._sizes = dict(sizes)
        self._size_of = list(sizes.values())  # by place
        self._places = {number: place for place, number in enumerate(sizes)}
        self._begins: dict[tuple[int, int], int] = {}  # where a state begins, by place of the series and key
        self._used = 0
        self._pool = np.zeros(1024)

    @property
    def counters(self) -> dict[str, int]:
        """Empty: others count everything."""
        return {}

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """Each series' states, in order: number of the series, key, vector."""
        numbers = list(self._sizes)
        for place, key in sorted(self._begins):
            yield numbers[place], key, self.state(place, key)

    def restore(self, records: Records, from_seq: int) -> None:
        """Continue from a stored set of states, with the rows that the tick `from_seq` makes.

        Running series that are not in the set begin anew.
        """
        self.from_seq = from_seq
        for (number, key), vector in unpack_states(records, self._sizes).items():
            self.state(self._places[number], key)[:] = vector

    def state(self, place: int, key: int) -> Floats:
        """A series' state for a key, initially zeros. The view may be written to until the next state begins."""
        begin = self.begin_state(place, key)
        return self._pool[begin : begin + self._size_of[place]]

    def begin_state(self, place: int, key: int) -> int:
        """Where a series' state for a key begins in the pool."""
        begin = self._begins.get((place, key))
        if begin is None:
            begin = self._begins[place, key] = self._used
            self._used += self._size_of[place]
            if self._used > len(self._pool):
                self._pool = grown(self._pool, 2 * self._used)
        return begin

    def forget(self, place: int) -> None:
        """Drop all states of a series: a run from the stored states begins the series anew."""
        for key in [key for key in self._begins if key[0] == place]:
            del self._begins[key]


def in_order(parts: Sequence[tuple[int, Records]], dtype: np.dtype[np.void]) -> Records:
    """Records of several series, each given with its place, ordered by the tick that made them, then by place."""
    parts = [(place, part) for place, part in parts if len(part)]
    if len(parts) < 2:
        return parts[0][1] if parts else np.zeros(0, dtype)
    records = join_records([part for _, part in parts])
    places = np.concatenate([np.full(len(part), place) for place, part in parts])
    return records[np.lexsort((places, records["source_seq"]))]


def by_key(keys: NDArray[np.integer], rows: Records) -> Iterator[tuple[int, Records]]:
    """The rows of each key, in order; keys ascending."""
    if not len(rows):
        return
    if (keys == keys[0]).all():
        yield int(keys[0]), rows
        return
    order = np.argsort(keys, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        yield int(keys[part[0]]), rows[part]
