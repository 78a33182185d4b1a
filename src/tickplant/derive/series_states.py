"""What series remember, as records: so that an engine which comes back goes on to the last bit.

A *set* has the states of all series of a feed before one tick. Its first record, of series 0, says in `value_1` how
many records follow and in the fields of KEPT which `seq` the next record of each schema had: what was derived from
ticks before is below it. The others are the states, one after another, four numbers a record, padded with 0; their
instrument is the key that the stream has them by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Derivation, KeptStream
from tickplant.records.layouts import STATE, Schema

Records = NDArray[np.void]
Floats = NDArray[np.float64]

KEPT: Final = {Schema.VALUE: "value_2", Schema.TRADE_BAR: "value_3"}
"""Schemas of streams whose memory is stored, and the field of a set's first record that says how far each was."""

WIDTH: Final = 4
_FIELDS: Final = tuple(f"value_{place}" for place in range(1, WIDTH + 1))


def pack_states(states: Iterable[tuple[int, int, Floats]], tick: np.void, positions: Mapping[Schema, int]) -> Records:
    """A set of states: number of the series, key and vector of each, as STATE records, `seq` 0.

    Args:
        states: those that have numbers in them.
        tick: what comes next.
        positions: the next `seq` of each schema.
    """
    taken = [(number, key, vector) for number, key, vector in states if len(vector)]
    counts = [-(-len(vector) // WIDTH) for _, _, vector in taken]
    records = np.zeros(1 + sum(counts), STATE)
    records["ts_event"], records["ts_recv"], records["source_seq"] = tick["ts_event"], tick["ts_recv"], tick["seq"]
    records["instrument"][0] = tick["instrument"]
    records["value_1"][0] = len(records) - 1
    for schema, field in KEPT.items():
        records[field][0] = positions.get(schema, 0)
    start = 1
    for count, (number, key, vector) in zip(counts, taken, strict=True):
        part = records[start : start + count]
        part["series"], part["instrument"] = number, key
        padded = np.zeros((count, WIDTH))
        padded.reshape(-1)[: len(vector)] = vector
        for place, name in enumerate(_FIELDS):
            part[name] = padded[:, place]
        start += count
    return records


def unpack_states(records: Records, sizes: Mapping[int, int]) -> dict[tuple[int, int], Floats]:
    """By number of the series and key, the vectors of a whole set.

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


class SeriesStates:
    """The sets of one feed."""

    at_begin = True

    def __init__(self, streams: Iterable[KeptStream]) -> None:
        self._streams = list(streams)

    def at(self, tick: np.void, positions: Mapping[Schema, int]) -> list[Records]:
        """The set before a tick."""
        states = (state for stream in self._streams for state in stream.states())
        return [pack_states(states, tick, positions)]


STATES: Final = Derivation(
    schema=Schema.STATE,
    moment=lambda bench: SeriesStates(stream for stream in bench.streams.values() if isinstance(stream, KeptStream)),
    numbers=lambda settings: (0,) if settings.series else (),
    kept=True,
    reference="derive.indicator.Indicator",
)
