"""Runs indicators over samples of books: samples of `SampledBooks` in, VALUE records out.

One call runs all built-in series over a batch's samples; users' series are called one by one, guarded. The state of a
series and symbol is stored like any other, together with the open interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.book_samples import NOTHING, queues_of
from tickplant.derive import sample_kernels as k
from tickplant.derive.derivation import Made
from tickplant.derive.indicator import COLUMNS, Floats
from tickplant.derive.row_columns import book_columns
from tickplant.derive.running_series import BookSeries
from tickplant.derive.sampled_books import SampledBooks
from tickplant.derive.series_stream import SeriesStream
from tickplant.errors import DeriveError
from tickplant.kernel_calls import pointer
from tickplant.kernels import direct
from tickplant.records.arrays import grown
from tickplant.records.layouts import VALUE
from tickplant.records.merge import join_records
from tickplant.records.schemas import VALUES

if TYPE_CHECKING:
    from tickplant.instruments import Instrument

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, VALUE)
_FIRST: Final = 64
"""Initial room for ids and lines."""
_OPEN: Final = 2
"""A state begins with this many numbers, which say which interval is open: the bits of `since`, and the instrument."""


class BookValues(SeriesStream):
    """Values of one feed; see `derivation.KeptStream`. States are kept by the first id of the symbol.

    Args:
        books: the feed's books; they take a batch before `apply` does. A user's series ends when its kernel fails.
        instrument: returns the row of an instrument id.
    """

    def __init__(self, books: SampledBooks, instrument: Callable[[int], Instrument]) -> None:
        books.begin_anew()
        series = books.series
        super().__init__({one.number: _OPEN + one.state_size for one in series})
        self._books = books
        self._instrument = instrument
        self._has_own = any(one.own for one in series)
        self._table, self._columns, self._parameters = _tables(series)
        kernels = [
            0 if one.own else pointer(one.indicator.kernel, *one.indicator.row_of_ones(one.parameters))
            for one in series
        ]
        self._kernels = np.array(kernels, np.int64)
        self._units = np.ones((_FIRST, 2))
        self._known = np.zeros(_FIRST, np.bool_)  # instruments whose units are known
        self._runs, self._bounds = np.zeros(0, k.BOOK_RUN), np.zeros((1, 2), np.int64)  # built-in ones; bounds by slot
        self._series_of: list[list[BookSeries]] = [[]]  # by slot
        self._place_of = np.zeros(1 + max((one.number for one in series), default=0), np.int64)  # by number
        self._place_of[[one.number for one in series]] = [one.place for one in series]
        self._run: Callable[..., tuple[int, int]] = direct(
            k.run_samples, books.samples, books.levels, *self._to_run(_NOTHING)
        )

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        old = len(self._units)
        if instrument_id >= old:
            self._units, self._known = grown(self._units, 2 * instrument_id), grown(self._known, 2 * instrument_id)
            self._units[old:] = 1.0

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """What each series remembers."""
        self._learn_lines()
        for slot, series in enumerate(self._series_of):
            since, instrument = self._books.memory(slot)
            for one in series if since else ():
                vector = self.state(one.place, self._books.keys[slot])
                vector[:1].view(np.int64)[0], vector[1] = since, instrument
                if one.follows:
                    vector[_OPEN:].view(np.int64)[:] = self._books.followed(slot, follower_of(series, one))
        return super().states()

    def restore(self, records: Records, from_seq: int) -> None:
        """Continue from a stored set of states."""
        super().restore(records, from_seq)
        for place, key in list(self._begins):
            vector = self.state(place, key)
            if slot := self._books.slot(key):
                self._books.remember(slot, int(vector[:1].view(np.int64)[0]), int(vector[1]))
                one = self._books.series[place]
                if one.follows:
                    number = follower_of(self._books.wanted(slot), one)
                    self._books.follow_again(slot, number, vector[_OPEN:].view(np.int64).tolist(), from_seq)

    def apply(self, made: Made) -> Records:
        """The values of the samples from the books' last batch."""
        samples = self._books.samples
        if not len(samples):
            return _NOTHING
        self._learn_lines()
        self._learn_units(samples["instrument"])
        bounds = self._bounds[samples["slot"]]
        out = np.zeros(int((bounds[:, 1] - bounds[:, 0]).sum()), VALUE)
        written, failed = self._run(samples, self._books.levels, *self._to_run(out))
        if failed >= 0:
            raise DeriveError("its kernel has raised an error", key=self._books.series[failed].indicator.name)
        if not self._has_own:
            return out[:written]
        parts = [out[:written]]
        for sample in samples[samples["source_seq"] >= self.from_seq]:
            own = [one for one in self._series_of[sample["slot"]] if one.own]
            parts += [self._value(one, sample) for one in own if _is_row(one, sample)]
        records = join_records(parts)
        return records[np.lexsort((self._place_of[records["series"]], records["source_seq"]))]

    def _to_run(self, out: Records) -> tuple[Any, ...]:
        tables = self._runs, self._table, self._columns, self._parameters, self._pool, self._kernels, self._units
        return self.from_seq, self._bounds, *tables, out

    def _learn_lines(self) -> None:
        """Add the series of lines that the books have opened since."""
        for slot in range(len(self._series_of), len(self._books.keys)):
            series = self._books.wanted(slot)
            begins = [
                (
                    one.place,
                    self.begin_state(one.place, self._books.keys[slot]) + _OPEN,
                    follower_of(series, one) if one.follows else NOTHING,
                )
                for one in series
            ]
            ours = [run for run, one in zip(begins, series, strict=True) if not one.own]
            first = len(self._runs)
            self._runs = np.concatenate([self._runs, np.array(ours, k.BOOK_RUN)])
            self._bounds = np.concatenate([self._bounds, [[first, len(self._runs)]]])
            self._series_of.append(series)

    def _learn_units(self, ids: NDArray[np.uint32]) -> None:
        unknown = ids[~self._known[ids]]
        for id_ in set(unknown.tolist()) if len(unknown) else ():
            row = self._instrument(id_)
            self._units[id_], self._known[id_] = (10.0**row.price_scale, 10.0**row.size_scale), True

    def _value(self, one: BookSeries, sample: np.void) -> Records:
        """The value of a user's series at a sample that is one of its rows."""
        slot, instrument = int(sample["slot"]), int(sample["instrument"])
        record = np.zeros(1, VALUE)
        for name in ("ts_recv", "source_seq", "instrument"):
            record[name] = sample[name]
        record["ts_event"] = (sample["since"] // one.every_ns + 1) * one.every_ns
        record["series"] = one.number
        out = np.full((len(one.indicator.outputs), 1), np.nan)
        if one.follows:
            (sample,) = queues_of(np.array([sample]), follower_of(self._books.wanted(slot), one))
        if sample["known"]:
            middle, end = sample["begin"] + sample["bids"], sample["begin"] + sample["bids"] + sample["asks"]
            sides = self._books.levels[sample["begin"] : middle], self._books.levels[middle:end]
            width = min(one.depth, max(1, len(sides[0]), len(sides[1])))
            columns = book_columns(*sides, one.indicator.inputs, width, *self._units[instrument].tolist())
            state = self.state(one.place, self._books.keys[slot])[_OPEN:]
            try:
                one.indicator.kernel(columns.reshape(len(columns), 1, width), one.parameters, state, out)
            except DeriveError:  # already reported; a run from stored states begins this series anew
                self.forget(one.place)
                self._series_of = [[each for each in series if each.place != one.place] for series in self._series_of]
                return _NOTHING
        for place, name in enumerate(VALUES):
            record[name] = out[place] if place < len(out) else np.nan
        return record


def follower_of(series: Sequence[BookSeries], one: BookSeries) -> int:
    """The number of a series' follower among those of its line."""
    return [each.place for each in series if each.follows].index(one.place)


def _is_row(one: BookSeries, sample: np.void) -> bool:
    """Whether a sample is a row of a series: whether one of its instants lies between the sample's times."""
    return bool(sample["since"] // one.every_ns != sample["ts_recv"] // one.every_ns)


def _tables(series: Sequence[BookSeries]) -> tuple[Records, NDArray[np.int64], Floats]:
    """BOOK_SERIES by place, and the columns and parameters that they point to."""
    table = np.zeros(len(series), k.BOOK_SERIES)
    columns: list[int] = []
    begins: dict[tuple[str, ...], int] = {}
    for one in series:
        inputs = one.indicator.inputs
        if inputs not in begins:
            begins[inputs] = len(columns)
            columns += [COLUMNS["book"].index(name) for name in inputs]
        row = table[one.place]
        row["number"], row["state_size"] = one.number, one.state_size
        row["every_ns"], row["depth"] = one.every_ns, one.depth
        row["inputs"], row["columns"], row["outputs"] = len(inputs), begins[inputs], len(one.indicator.outputs)
        row["parameters"] = len(one.parameters)
    table["parameter"] = np.cumsum(table["parameters"]) - table["parameters"]
    return table, np.array(columns, np.int64), np.concatenate([np.zeros(0), *(one.parameters for one in series)])
