"""The series of users' indicators over a feed, one guarded call per series and symbol, merged with built-in ones.

A user's code never runs inside the call that runs the built-in series (`value_stream`): it may raise, and it has a CPU
budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import KeptStream, Made, Series
from tickplant.derive.indicator import Floats, Indicator
from tickplant.derive.row_columns import MADE_BY, row_column, rows_of, value_records
from tickplant.derive.running_series import RunningSeries, running
from tickplant.derive.series import is_wanted
from tickplant.derive.series_stream import SeriesStream, by_key, in_order
from tickplant.errors import DeriveError
from tickplant.instruments import Instrument
from tickplant.records.arrays import grown
from tickplant.records.layouts import VALUE
from tickplant.records.merge import join_records
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, VALUE)


class OwnStream(SeriesStream):
    """Values of one feed; see `derivation.KeptStream`. States are kept by the first id of the symbol.

    Args:
        series: all wanted series.
        instrument: returns the row of an instrument id.
        line: returns the first id of the symbol that an instrument id belongs to.
        own: the indicators of users, by name of the series. A series ends when its kernel fails.
    """

    def __init__(
        self,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        line: Callable[[int], int],
        own: Mapping[str, Indicator],
    ) -> None:
        self._series = running(series, own)
        super().__init__({one.number: one.state_size for one in self._series})
        self._schemas = list(dict.fromkeys(one.rows for one in self._series))
        self._instrument = instrument
        self._first_of = line
        self._of_line: dict[int, list[RunningSeries]] = {}
        self._lines = np.zeros(64, np.int64)  # by instrument id; 0: not looked up yet
        self._units = np.ones((2, 64))  # divisors of prices and sizes, by instrument id

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        old = len(self._lines)
        if instrument_id >= old:
            self._lines = grown(self._lines, 2 * instrument_id)
            self._units = np.concatenate([self._units, np.ones((2, len(self._lines) - old))], axis=1)

    def apply(self, made: Made) -> Records:
        """The values of the rows that a batch has produced."""
        parts: list[tuple[int, Records]] = []
        for schema in self._schemas:
            if schema not in made:
                continue
            rows = rows_of(schema, made[schema])
            if len(rows) and self.from_seq:
                rows = rows[rows[MADE_BY[schema]] >= self.from_seq]
            for line, own in by_key(self._lines_of(rows["instrument"]), rows):
                series = (one for one in self._of_line[line] if one.rows == schema)
                parts += [(one.place, self._values(one, line, own)) for one in series]
        return in_order(parts, VALUE)

    def _lines_of(self, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The first id of the symbol that each of these ids belongs to."""
        lines = self._lines[ids]
        if not lines.all():
            for id_ in np.unique(ids[lines == 0]).tolist():
                self._learn(id_)
            lines = self._lines[ids]
        return lines

    def _learn(self, id_: int) -> None:
        row = self._instrument(id_)
        line = self._first_of(id_)
        self._lines[id_] = line
        self._units[:, id_] = 10.0**row.price_scale, 10.0**row.size_scale
        self._of_line[line] = [one for one in self._series if is_wanted(one.symbols, row.venue, row.symbol)]

    def _values(self, one: RunningSeries, line: int, rows: Records) -> Records:
        if one.rows_of:
            fit = rows[FACTS[one.rows].series] == one.rows_of
            rows = rows if fit.all() else rows[fit]
        if not len(rows):
            return _NOTHING
        state: Floats = self.state(one.place, line)
        columns = [row_column(rows, name, *self._units) for name in one.indicator.inputs]
        out = np.empty((len(one.indicator.outputs), len(rows)))
        try:
            one.indicator.kernel(np.ascontiguousarray(columns), one.parameters, state, out)
        except DeriveError:  # already reported; a run from stored states begins this series anew
            self.forget(one.place)
            self._of_line = {key: [each for each in left if each != one] for key, left in self._of_line.items()}
            return _NOTHING
        return value_records(rows, one.rows, one.number, out)


class JoinedStreams:
    """Values of several streams, ordered by tick, then by series; a `KeptStream`."""

    def __init__(self, series: Sequence[Series], *streams: KeptStream) -> None:
        """`series`: all wanted series; `streams`: the streams that make them."""
        self._streams = streams
        self._place = np.zeros(1 + max(one.number for one in series), np.int64)  # by number of the series
        self._place[[one.number for one in series]] = np.arange(len(series))

    @property
    def counters(self) -> dict[str, int]:
        """The counters of all streams."""
        return {name: number for stream in self._streams for name, number in stream.counters.items()}

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        for stream in self._streams:
            stream.reserve(instrument_id)

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """What each series remembers."""
        return chain.from_iterable(stream.states() for stream in self._streams)

    def restore(self, records: Records, from_seq: int) -> None:
        """Continue from a stored set of states."""
        for stream in self._streams:
            stream.restore(records, from_seq)

    def apply(self, made: Made) -> Records:
        """The values of the rows that a batch has produced."""
        parts = [part for stream in self._streams if len(part := stream.apply(made))]
        if len(parts) < 2:
            return parts[0] if parts else _NOTHING
        records = join_records(parts)
        return records[np.lexsort((self._place[records["series"]], records["source_seq"]))]
