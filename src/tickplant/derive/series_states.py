"""States of series as records, so that a recovered engine continues bit for bit.

A *set* holds the states of all series of a feed before one tick. Its first record, of series 0, gives in `value_1` the
number of records that follow, and in the fields of KEPT the `seq` of each schema's next record: records derived from
earlier ticks have a lower `seq`. The other records are the states, one after another, four numbers per record, padded
with 0; their instrument is the stream's key for the state.
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
"""Schemas of streams whose state is stored, and the field of a set's first record that says how far each was."""

WIDTH: Final = 4
_FIELDS: Final = tuple(f"value_{place}" for place in range(1, WIDTH + 1))


def pack_states(states: Iterable[tuple[int, int, Floats]], tick: np.void, positions: Mapping[Schema, int]) -> Records:
    """A set of states as STATE records, with `seq` 0.

    Args:
        states: number of the series, key and vector of each; empty vectors are left out.
        tick: the next tick.
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
    """The vectors of a whole set, by number of the series and key.

    Args:
        records: the set.
        sizes: how many numbers a state takes, by number of the series; other series are left out.
    """
    keys = records["series"].astype(np.int64) << 32 | records["instrument"]
    found: dict[tuple[int, int], Floats] = {}
    for part in np.split(records[1:], np.flatnonzero(np.diff(keys[1:])) + 1):
        if len(part) and (number := int(part["series"][0])) in sizes:
            numbers = np.stack([part[name] for name in _FIELDS], axis=1).reshape(-1)
            found[number, int(part["instrument"][0])] = numbers[: sizes[number]].copy()
    return found


class SeriesStates:
    """The sets of states of one feed."""

    at_begin = True

    def __init__(self, streams: Iterable[KeptStream]) -> None:
        self._streams = list(streams)

    def at(self, tick: np.void, positions: Mapping[Schema, int]) -> list[Records]:
        """The set of states before a tick."""
        states = (state for stream in self._streams for state in stream.states())
        return [pack_states(states, tick, positions)]


STATES: Final = Derivation(
    schema=Schema.STATE,
    moment=lambda bench: SeriesStates(stream for stream in bench.streams.values() if isinstance(stream, KeptStream)),
    numbers=lambda settings: (0,) if settings.series else (),
    kept=True,
    reference="derive.indicator.Indicator",
)
