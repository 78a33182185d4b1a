"""Runs indicators over a feed: rows of bars, trades or best bids and offers in, VALUE records out.

A kernel keeps all its state in a vector, one for each series and symbol, so batches may be cut anywhere. Records are
ordered by the ticks that made them, then by series. All ids that a symbol has had form one line of rows, as in
`Store.derive`. One call runs all series over a batch; `value_kernels` explains selections and lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive import value_kernels as k
from tickplant.derive import value_memory as m
from tickplant.derive.derivation import NO_SESSIONS, Made, Series, Sessions
from tickplant.derive.indicator import COLUMNS, Floats
from tickplant.derive.running_series import RunningSeries, running
from tickplant.derive.series import is_wanted
from tickplant.derive.series_stream import SeriesStream
from tickplant.errors import DeriveError
from tickplant.instruments import Instrument
from tickplant.kernel_calls import pointer
from tickplant.kernels import direct
from tickplant.records.arrays import grown, note
from tickplant.records.layouts import DTYPES, VALUE, Schema
from tickplant.records.tick_arrays import SCATTERED_TICKS

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, VALUE)  # creating one costs as much as running a kernel
_SOURCES: Final = (Schema.TICK, Schema.BBO, Schema.BAR, Schema.TRADE_BAR)
"""The schemas of the sources in `value_kernels`, in their order."""
_TICK, *_MADE = _SOURCES  # looking a member up in its enumeration costs 60 ns
_EMPTY: Final = [np.zeros(0, DTYPES[schema]) for schema in _MADE]
_FIRST: Final = 64
"""Initial room for ids, lanes and runs."""
_ROWS: Final = 1024
"""Initial room for a batch's rows and for values."""


class ValueStream(SeriesStream):
    """Values of one feed; see `derivation.KeptStream`. States are kept by the first id of the symbol.

    Args:
        series: the series to run.
        instrument: returns the row of an instrument id.
        line: returns the first id of the symbol that an instrument id belongs to.
        sessions: sessions of the calendars that the series name, as in `Settings.sessions`.
    """

    def __init__(
        self,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        line: Callable[[int], int],
        sessions: Mapping[str, Sessions] = NO_SESSIONS,
    ) -> None:
        self._series = running(series, sessions=sessions)
        super().__init__({one.number: one.state_size for one in self._series})
        self._instrument = instrument
        self._first_of = line
        selections = sorted({(_SOURCES.index(one.rows), one.rows_of) for one in self._series})
        self._of_selection = [
            [one for one in self._series if (_SOURCES.index(one.rows), one.rows_of) == selection]
            for selection in selections
        ]
        self._selections = np.array(selections, k.SELECTION)
        self._table, self._columns, self._parameters = _tables(self._series)
        kernels = [pointer(one.indicator.kernel, *one.indicator.row_of_ones(one.parameters)) for one in self._series]
        self._kernels = np.array(kernels, np.int64)
        self._lane_of = np.full((_FIRST, len(selections)), k.NOT_KNOWN, np.int32)
        self._units = np.ones((_FIRST, 2))
        self._lanes, self._lane_count = np.zeros(_FIRST, k.LANE), 1  # the first is NOBODYS
        self._runs, self._run_count = np.zeros(_FIRST, k.RUN), 0
        self._known: dict[tuple[int, int], int] = {}  # lanes by line and selection
        self._chosen = np.zeros(_ROWS, k.CHOSEN)
        self._bounds = np.zeros(k.SOURCES + 1, np.int64)
        self._memory = np.zeros(m.WORDS, np.int64)
        self.address: int = self._memory.ctypes.data
        """Address of the memory that `value_memory.run_all` works in."""
        self._begin, self._out = 0, _NOTHING
        self._renew_out(_ROWS)
        self._note_addresses()
        self._run_all = direct(m.run_all, SCATTERED_TICKS, 0)

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """See `derivation.Folded`."""
        return m.run_all

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        old = len(self._units)
        if instrument_id >= old:
            self._lane_of, self._units = grown(self._lane_of, 2 * instrument_id), grown(self._units, 2 * instrument_id)
            self._lane_of[old:], self._units[old:] = k.NOT_KNOWN, 1.0
            self._note_addresses()

    def restore(self, records: Records, from_seq: int) -> None:
        """See `SeriesStream`."""
        super().restore(records, from_seq)
        self._memory[m.FROM_SEQ] = from_seq
        self._note_addresses()

    def apply(self, made: Made) -> Records:
        """The values of the rows that a batch has produced."""
        return self.finish(made, self._run(made[_TICK], made))

    def finish(self, made: Made, result: int) -> Records:
        """Do what the kernel has stopped for, `result`, until it has run over all rows. Returns the values."""
        if result == 0:
            return _NOTHING
        if result < 0:
            result = self._go_on(made, result)
        begin = self._begin
        end = self._begin = begin + result
        return self._out[begin:end]

    def _run(self, ticks: Records, made: Made) -> int:
        if len(made) > 1:
            note(self._memory, m.BESTS, *(made.get(schema, none) for schema, none in zip(_MADE, _EMPTY, strict=True)))
        return self._run_all(ticks, self.address)

    def _go_on(self, made: Made, result: int) -> int:
        """See `finish`. Returns the number of values."""
        memory, ticks = self._memory, made[_TICK]
        while result < 0:
            if result == -m.UNKNOWN:
                self._learn(int(memory[m.INSTRUMENT]), int(memory[m.SELECTED]))
            elif result == -m.ROWS_FULL:
                self._chosen = np.zeros(2 * int(memory[m.NEEDED]), k.CHOSEN)
            elif result == -m.OUT_FULL:
                self._renew_out(int(memory[m.NEEDED]))
            elif result == -m.SCATTERED:
                ticks = ticks.copy()
            else:
                failed = self._series[-result - m.FAILED]
                raise DeriveError("its kernel has raised an error", key=failed.indicator.name)
            self._note_addresses()
            result = self._run(ticks, made)
        return result

    def _renew_out(self, room: int) -> None:
        """Allocate new room for values: those returned earlier are views of the old room, which readers keep."""
        self._out = np.empty(max(_ROWS, room), VALUE)
        self._begin = self._memory[m.OUT_BEGIN] = 0
        self._memory[m.OUT], self._memory[m.OUT_END] = self._out.ctypes.data, len(self._out)

    def _note_addresses(self) -> None:
        """Tell the kernels where the arrays are now."""
        tables = self._table, self._columns, self._parameters, self._pool, self._kernels, self._chosen, self._bounds
        note(self._memory, 0, self._selections, self._lane_of, self._units, self._lanes, self._runs, *tables)

    def _learn(self, id_: int, selection: int) -> None:
        """Look up the lane of an instrument's rows."""
        row, line = self._instrument(id_), self._first_of(id_)
        self._units[id_] = 10.0**row.price_scale, 10.0**row.size_scale
        lane = self._known.get((line, selection))
        if lane is None:
            wanted = [one for one in self._of_selection[selection] if is_wanted(one.symbols, row.venue, row.symbol)]
            lane = self._known[line, selection] = self._open(line, selection, wanted) if wanted else k.NOBODYS
        self._lane_of[id_, selection] = lane

    def _open(self, line: int, selection: int, series: Sequence[RunningSeries]) -> int:
        """Open a new lane, with the states of its series."""
        lane, begin = self._lane_count, self._run_count
        self._lane_count, self._run_count = lane + 1, begin + len(series)
        if self._lane_count > len(self._lanes):
            self._lanes = grown(self._lanes, 2 * self._lane_count)
        if self._run_count > len(self._runs):
            self._runs = grown(self._runs, 2 * self._run_count)
        outputs = 0
        ranked = sorted(enumerate(series), key=lambda pair: self._table["columns"][pair[1].place])
        for at, (rank, one) in enumerate(ranked, begin):
            self._runs[at] = one.place, rank, outputs, self.begin_state(one.place, line)
            outputs += len(one.indicator.outputs)
        self._lanes[lane] = self._selections["source"][selection], begin, self._run_count, outputs, 0
        return lane


def _tables(series: Sequence[RunningSeries]) -> tuple[Records, NDArray[np.int64], Floats]:
    """SERIES by place, and the columns and parameters that they point to."""
    table = np.zeros(len(series), k.SERIES)
    columns: list[int] = []
    begins: dict[tuple[str, ...], int] = {}  # where the columns begin, by kind of rows and inputs
    for one in series:
        inputs = one.indicator.inputs
        if (key := (one.indicator.over, *inputs)) not in begins:
            begins[key] = len(columns)
            columns += [COLUMNS[one.indicator.over].index(name) for name in inputs]
        row = table[one.place]
        row["number"], row["state_size"] = one.number, one.state_size
        row["inputs"], row["columns"], row["outputs"] = len(inputs), begins[key], len(one.indicator.outputs)
        row["parameters"] = len(one.parameters)
    table["parameter"] = np.cumsum(table["parameters"]) - table["parameters"]
    return table, np.array(columns, np.int64), np.concatenate([np.zeros(0), *(one.parameters for one in series)])
