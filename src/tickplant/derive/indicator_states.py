"""What indicators remember, as records: so that an engine which comes back goes on to the last bit.

A *set* has the states of all series of a feed before one tick. Its first record, of series 0, says in `value_1` how
many records follow and in `value_2` which `seq` the next VALUE record had: what was derived from ticks before is below
it. The others are the states, one after another, four numbers a record, padded with 0; their instrument is the first id
of their symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Bench, Derivation
from tickplant.records.layouts import STATE, Schema

if TYPE_CHECKING:
    from tickplant.derive.value_stream import ValueStream

Records = NDArray[np.void]
Floats = NDArray[np.float64]

WIDTH: Final = 4
_FIELDS: Final = tuple(f"value_{place}" for place in range(1, WIDTH + 1))


def pack_states(states: Iterable[tuple[int, int, Floats]], tick: np.void, next_value: int) -> Records:
    """A set of states: number of the series, first id of the symbol and vector of each, as STATE records, `seq` 0.

    Args:
        states: those that have numbers in them.
        tick: what comes next.
        next_value: `seq` of the next VALUE record.
    """
    taken = [(number, line, vector) for number, line, vector in states if len(vector)]
    counts = [-(-len(vector) // WIDTH) for _, _, vector in taken]
    records = np.zeros(1 + sum(counts), STATE)
    records["ts_event"], records["ts_recv"], records["source_seq"] = tick["ts_event"], tick["ts_recv"], tick["seq"]
    records["instrument"][0] = tick["instrument"]
    records["value_1"][0], records["value_2"][0] = len(records) - 1, next_value
    start = 1
    for count, (number, line, vector) in zip(counts, taken, strict=True):
        part = records[start : start + count]
        part["series"], part["instrument"] = number, line
        padded = np.zeros((count, WIDTH))
        padded.reshape(-1)[: len(vector)] = vector
        for place, name in enumerate(_FIELDS):
            part[name] = padded[:, place]
        start += count
    return records


def unpack_states(records: Records, sizes: Mapping[int, int]) -> dict[tuple[int, int], Floats]:
    """By number of the series and first id of the symbol, the vectors of a whole set.

    Args:
        records: the set.
        sizes: by number, how many numbers a state of the series takes; others are left out.
    """
    keys = records["series"].astype(np.int64) << 32 | records["instrument"]
    found: dict[tuple[int, int], Floats] = {}
    for part in np.split(records[1:], np.flatnonzero(np.diff(keys[1:])) + 1):
        if len(part) and (number := int(part["series"][0])) in sizes:
            numbers = np.stack([part[name] for name in _FIELDS], axis=1).reshape(-1)
            found[number, int(part["instrument"][0])] = numbers[: sizes[number]].copy()
    return found


class IndicatorStates:
    """The sets of one feed."""

    at_begin = True

    def __init__(self, values: ValueStream) -> None:
        self._values = values

    def at(self, tick: np.void, positions: Mapping[Schema, int]) -> list[Records]:
        """The set before a tick."""
        return [pack_states(self._values.states(), tick, positions[Schema.VALUE])]


STATES: Final = Derivation(
    schema=Schema.STATE,
    moment=lambda bench: IndicatorStates(_values_of(bench)),
    numbers=lambda settings: (0,) if settings.series else (),
    kept=True,
    reference="derive.indicator.Indicator",
)


def _values_of(bench: Bench) -> ValueStream:
    return cast("ValueStream", bench.streams[Schema.VALUE])
