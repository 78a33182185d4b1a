"""The running of indicators over a feed: rows of bars, trades or best bids and offers in, VALUE records out.

A kernel remembers all it needs in a vector, one for each series and symbol, so batches may be cut anywhere; the records
come in the order of the ticks that made them, and of one tick in the order of the series. All ids that a symbol has
had are one line of rows, as in `Store.derive`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Made, Series
from tickplant.derive.indicator import MAX_OUTPUTS, Floats, Indicator, Over
from tickplant.derive.indicator_states import unpack_states
from tickplant.derive.indicators.catalogue import indicator
from tickplant.derive.row_columns import SCHEMAS, row_column, trades_of
from tickplant.derive.series import is_wanted, parse_series
from tickplant.instruments import Instrument
from tickplant.records.arrays import grown
from tickplant.records.layouts import VALUE
from tickplant.records.merge import join_records

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, VALUE)


class RunningSeries(NamedTuple):
    """A series as it runs."""

    number: int
    place: int  # in the order of the configuration
    indicator: Indicator
    parameters: Floats
    over: Over
    bars_s: int
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers its state takes."""
        return self.indicator.state_size(self.parameters.tolist())


def running(series: Sequence[Series]) -> list[RunningSeries]:
    """What these series are. Raises DeriveError for a name that is none."""
    made = []
    for place, (number, name, symbols) in enumerate(series):
        said = parse_series(name)
        found = indicator(said.indicator)
        names = [parameter.name for parameter in found.parameters]
        parameters = found.settle(dict(zip(names, said.parameters, strict=False)))
        made.append(RunningSeries(number, place, found, parameters, found.over, said.bars_s, symbols))
    return made


class ValueStream:
    """Values of one feed; see `derivation.Stream`.

    Args:
        series: which ones.
        instrument: gives the row of an instrument id.
        line: gives the first id of the symbol that an id is of.
    """

    def __init__(
        self, series: Sequence[Series], instrument: Callable[[int], Instrument], line: Callable[[int], int]
    ) -> None:
        self.from_seq = 0  # what ticks before have made is in the states
        self._series = running(series)
        self._overs = list(dict.fromkeys(one.over for one in self._series))
        self._instrument = instrument
        self._first_of = line
        self._states: dict[tuple[int, int], Floats] = {}  # by place of the series and line
        self._of_line: dict[int, list[RunningSeries]] = {}
        self._lines = np.zeros(64, np.int64)  # by instrument id; 0: not looked up yet
        self._price_unit, self._size_unit = np.ones(64), np.ones(64)

    @property
    def counters(self) -> dict[str, int]:
        """Nothing that others do not count."""
        return {}

    def reserve(self, instrument_id: int) -> None:
        """Have room for every id up to this one."""
        if instrument_id >= len(self._lines):
            self._lines = grown(self._lines, 2 * instrument_id)
            old = len(self._price_unit)
            self._price_unit, self._size_unit = (
                grown(unit, 2 * instrument_id) for unit in (self._price_unit, self._size_unit)
            )
            self._price_unit[old:] = self._size_unit[old:] = 1.0

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """What each series remembers of each line: number of the series, the line's id, the vector; in order."""
        for place, line in sorted(self._states):
            yield self._series[place].number, line, self._states[place, line]

    def restore(self, records: Records, from_seq: int) -> None:
        """Go on from a stored set of states (`indicator_states`) with what the tick `from_seq` makes.

        Series that run and are not in the set begin anew.
        """
        self.from_seq = from_seq
        places = {one.number: one.place for one in self._series}
        sizes = {one.number: one.state_size for one in self._series}
        for (number, line), vector in unpack_states(records, sizes).items():
            self._states[places[number], line] = vector

    def apply(self, made: Made) -> Records:
        """The values of the rows that a batch has made."""
        parts: list[Records] = []
        places: list[NDArray[np.int64]] = []
        for over in self._overs:
            rows = made[SCHEMAS[over]]
            if over == "trade" and len(rows):
                rows = trades_of(rows)
            if len(rows) and self.from_seq:
                rows = rows[rows["seq" if over == "trade" else "source_seq"] >= self.from_seq]
            for line, own in self._by_line(rows):
                for one in self._of_line[line]:
                    if one.over == over and len(values := self._values(one, line, own)):
                        parts.append(values)
                        places.append(np.full(len(values), one.place))
        if not parts:
            return _NOTHING
        records = join_records(parts)
        return records[np.lexsort((np.concatenate(places), records["source_seq"]))] if len(parts) > 1 else records

    def _by_line(self, rows: Records) -> Iterator[tuple[int, Records]]:
        """Rows of each symbol of which something is wanted, in order."""
        if not len(rows):
            return
        ids = rows["instrument"]
        lines = self._lines[ids]
        if not lines.all():
            for id_ in np.unique(ids[lines == 0]).tolist():
                self._learn(id_)
            lines = self._lines[ids]
        if (lines == lines[0]).all():
            if self._of_line[int(lines[0])]:
                yield int(lines[0]), rows
            return
        order = np.argsort(lines, kind="stable")
        bounds = np.flatnonzero(np.diff(lines[order])) + 1
        for part in np.split(order, bounds):
            line = int(lines[part[0]])
            if self._of_line[line]:
                yield line, rows[part]

    def _learn(self, id_: int) -> None:
        row = self._instrument(id_)
        line = self._first_of(id_)
        self._lines[id_] = line
        self._price_unit[id_], self._size_unit[id_] = 10.0**row.price_scale, 10.0**row.size_scale
        self._of_line[line] = [one for one in self._series if is_wanted(one.symbols, row.venue, row.symbol)]

    def _values(self, one: RunningSeries, line: int, rows: Records) -> Records:
        if one.over == "bar":
            lengths = rows["interval_s"] == one.bars_s
            rows = rows if lengths.all() else rows[lengths]
        if not len(rows):
            return _NOTHING
        state = self._states.get((one.place, line))
        if state is None:
            state = self._states[one.place, line] = one.indicator.start(one.parameters.tolist())
        columns = [row_column(rows, name, self._price_unit, self._size_unit) for name in one.indicator.inputs]
        out = np.empty((len(one.indicator.outputs), len(rows)))
        one.indicator.kernel(np.ascontiguousarray(columns), one.parameters, state, out)
        records = np.zeros(len(rows), VALUE)
        for name in ("ts_event", "ts_recv", "instrument"):
            records[name] = rows[name]
        records["source_seq"] = rows["seq" if one.over == "trade" else "source_seq"]
        records["series"] = one.number
        for output in range(MAX_OUTPUTS):
            records[f"value_{output + 1}"] = out[output] if output < len(out) else np.nan
        return records


def warm_up(series: Sequence[Series]) -> None:
    """Compile, or load, the kernels of these series."""
    for one in running(series):
        state = one.indicator.start(one.parameters.tolist())
        inputs, out = np.ones((len(one.indicator.inputs), 1)), np.empty((len(one.indicator.outputs), 1))
        one.indicator.kernel(inputs, one.parameters, state, out)
