"""The running of indicators over a feed: rows of bars, trades or best bids and offers in, VALUE records out.

A kernel remembers all it needs in a vector, one for each series and symbol, so batches may be cut anywhere; the records
come in the order of the ticks that made them, and of one tick in the order of the series. All ids that a symbol has
had are one line of rows, as in `Store.derive`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Made, Series
from tickplant.derive.indicator import Floats, Indicator
from tickplant.derive.indicators.catalogue import indicator
from tickplant.derive.row_columns import MADE_BY, SCHEMAS, row_column, rows_of, value_records
from tickplant.derive.series import are_bars, bars_series, is_wanted, parse_series
from tickplant.derive.series_stream import SeriesStream, by_key, in_order
from tickplant.errors import DeriveError
from tickplant.instruments import Instrument
from tickplant.records.arrays import grown
from tickplant.records.layouts import VALUE, Schema
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, VALUE)
_NONE: Final[Mapping[str, Indicator]] = {}


class RunningSeries(NamedTuple):
    """A series as it runs."""

    number: int
    place: int
    indicator: Indicator
    parameters: Floats
    rows: Schema  # which records are its rows
    rows_of: int  # those whose column `Facts.series` has this number; 0: all
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers its state takes."""
        return self.indicator.state_size(self.parameters.tolist())


def running(series: Sequence[Series], own: Mapping[str, Indicator] = _NONE) -> list[RunningSeries]:
    """The series of indicators among these. Raises DeriveError for a name that no indicator has.

    `own`: by name of the series, where its indicator is a user's.
    """
    numbers = {one.name: one.number for one in series}
    made: list[RunningSeries] = []
    for number, name, symbols, _ in series:
        if are_bars(name):
            continue
        said = parse_series(name)
        found = own.get(name) or indicator(said.indicator)
        names = [parameter.name for parameter in found.parameters]
        parameters = found.settle(dict(zip(names, said.parameters, strict=False)))
        rows, rows_of = SCHEMAS[found.over], said.bars_s
        if said.rule:
            rows, rows_of = Schema.TRADE_BAR, numbers[bars_series(said.over)]
        made.append(RunningSeries(number, len(made), found, parameters, rows, rows_of, symbols))
    return made


class ValueStream(SeriesStream):
    """Values of one feed; see `derivation.KeptStream`. The key of a memory is the first id of the symbol.

    Args:
        series: which ones.
        instrument: gives the row of an instrument id.
        line: gives the first id of the symbol that an id is of.
        own: by name of the series, where its indicator is a user's. Such a series ends where its kernel fails.
    """

    def __init__(
        self,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        line: Callable[[int], int],
        own: Mapping[str, Indicator] = _NONE,
    ) -> None:
        self._series = running(series, own)
        super().__init__({one.number: one.state_size for one in self._series})
        self._schemas = list(dict.fromkeys(one.rows for one in self._series))
        self._instrument = instrument
        self._first_of = line
        self._of_line: dict[int, list[RunningSeries]] = {}
        self._lines = np.zeros(64, np.int64)  # by instrument id; 0: not looked up yet
        self._price_unit, self._size_unit = np.ones(64), np.ones(64)

    def reserve(self, instrument_id: int) -> None:
        """Have room for every id up to this one."""
        if instrument_id >= len(self._lines):
            self._lines = grown(self._lines, 2 * instrument_id)
            old = len(self._price_unit)
            self._price_unit, self._size_unit = (
                grown(unit, 2 * instrument_id) for unit in (self._price_unit, self._size_unit)
            )
            self._price_unit[old:] = self._size_unit[old:] = 1.0

    def apply(self, made: Made) -> Records:
        """The values of the rows that a batch has made."""
        parts: list[tuple[int, Records]] = []
        for schema in self._schemas:
            rows = rows_of(schema, made[schema])
            if len(rows) and self.from_seq:
                rows = rows[rows[MADE_BY[schema]] >= self.from_seq]
            for line, own in by_key(self._lines_of(rows["instrument"]), rows):
                series = (one for one in self._of_line[line] if one.rows == schema)
                parts += [(one.place, self._values(one, line, own)) for one in series]
        return in_order(parts, VALUE)

    def _lines_of(self, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The first id of the symbol that each of these is of."""
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
        self._price_unit[id_], self._size_unit[id_] = 10.0**row.price_scale, 10.0**row.size_scale
        self._of_line[line] = [one for one in self._series if is_wanted(one.symbols, row.venue, row.symbol)]

    def _values(self, one: RunningSeries, line: int, rows: Records) -> Records:
        if one.rows_of:
            fit = rows[FACTS[one.rows].series] == one.rows_of
            rows = rows if fit.all() else rows[fit]
        if not len(rows):
            return _NOTHING
        state = self.state(one.place, line)
        columns = [row_column(rows, name, self._price_unit, self._size_unit) for name in one.indicator.inputs]
        out = np.empty((len(one.indicator.outputs), len(rows)))
        try:
            one.indicator.kernel(np.ascontiguousarray(columns), one.parameters, state, out)
        except DeriveError:  # of a user's indicator, which has been reported: the series begins anew another time
            self.forget(one.place)
            self._of_line = {key: [each for each in left if each != one] for key, left in self._of_line.items()}
            return _NOTHING
        return value_records(rows, one.rows, one.number, out)


def warm_up(series: Sequence[Series]) -> None:
    """Compile, or load, the kernels of these series."""
    for one in running(series):
        one.indicator.warm_up_kernel(one.parameters)
