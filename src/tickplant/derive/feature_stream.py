"""Sampling of feature sets over a feed: adds VALUE records with samples to a stream of values.

A sample at a row holds the last value of each feature that the ticks up to and including the row's own have produced:
all that was known then, and nothing later. So it does not depend on a clock or on batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import KeptStream, Made, Series
from tickplant.derive.feature_sets import parse_member
from tickplant.derive.indicator import Floats
from tickplant.derive.row_columns import MADE_BY, rows_of, value_records
from tickplant.derive.series import bars_series, is_wanted, parse_series
from tickplant.derive.series_stream import SeriesStream, by_key, in_order
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, VALUE, Schema
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]
Seqs = NDArray[np.uint64]


class SampledSeries(NamedTuple):
    """A running series of samples."""

    number: int
    members: tuple[tuple[int, int], ...]  # number of the series, or 0 if it does not run, and the output
    rows: Schema
    rows_of: int  # only rows with this number in the column `Facts.series`; 0: all
    symbols: tuple[str, ...]


def sampled(series: Sequence[Series]) -> list[SampledSeries]:
    """The series of feature sets among these."""
    numbers = {one.name: one.number for one in series}
    made = []
    for one in series:
        if not one.members:
            continue
        said = parse_series(one.name)
        rows, of = (Schema.BAR, said.bars_s) if said.bars_s else (Schema.TICK, 0)
        if said.over == "bbo":
            rows = Schema.BBO
        elif said.rule:
            rows, of = Schema.TRADE_BAR, numbers[bars_series(said.over)]
        members = [parse_member(text) for text in one.members]
        known = tuple((numbers.get(member.series, 0), member.output) for member in members)
        made.append(SampledSeries(one.number, known, rows, of, one.symbols))
    return made


def sample(rows: Seqs, seqs: Sequence[Seqs], values: Sequence[Floats], state: Floats) -> Floats:
    """For each member and row, the last value whose seq does not exceed the row's; float64 (members, rows).

    Args:
        rows: `source_seq` of the rows, in order.
        seqs: for each member, `source_seq` of its values, in order.
        values: for each member, its values.
        state: (2 * members,): for each member, whether it has had a value, and the last one; updated in place.
    """
    out = np.empty((len(seqs), len(rows)))
    for place, (own, value) in enumerate(zip(seqs, values, strict=True)):
        known, last = 2 * place, 2 * place + 1
        before = state[last] if state[known] else np.nan
        out[place] = np.concatenate([[before], value])[np.searchsorted(own, rows, side="right")]
        if len(own):
            state[known], state[last] = 1.0, value[-1]
    return out


class FeatureStream(SeriesStream):
    """Values of one feed and samples of them; see `derivation.KeptStream`.

    Args:
        values: the stream of the values.
        series: those of the sets, and those that the sets sample.
        instrument: returns the row of an instrument id.
        line: returns the first id of the symbol that an instrument id belongs to.
    """

    def __init__(
        self,
        values: KeptStream,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        line: Callable[[int], int],
    ) -> None:
        self._values = values
        self._sampled = sampled(series)
        super().__init__({one.number: 2 * len(one.members) for one in self._sampled})
        self._instrument = instrument
        self._line = line
        self._of_id: dict[int, int] = {}
        self._of_line: dict[int, list[int]] = {}  # places of the series wanted for a symbol

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        self._values.reserve(instrument_id)

    def states(self) -> Iterator[tuple[int, int, Floats]]:
        """What each series remembers."""
        return chain(self._values.states(), super().states())

    def restore(self, records: Records, from_seq: int) -> None:
        """Continue from a stored set of states."""
        self._values.restore(records, from_seq)
        super().restore(records, from_seq)

    def apply(self, made: Made) -> Records:
        """The values of a batch's rows, and the samples that follow each."""
        values = self._values.apply(made)
        parts: list[tuple[int, Records]] = [(0, values)]
        of_line = dict(by_key(self._lines(values), values))
        rows: dict[tuple[Schema, int], Records] = {}
        for schema in {one.rows for one in self._sampled} & made.keys():
            found = rows_of(schema, made[schema])
            found = found[found[MADE_BY[schema]] >= self.from_seq] if self.from_seq else found
            rows |= {(schema, line): own for line, own in by_key(self._lines(found), found)}
        for line in {*of_line, *(line for _, line in rows)}:
            own = of_line.get(line, values[:0])
            for place in self._of_line[line]:
                one = self._sampled[place]
                there = rows.get((one.rows, line), np.zeros(0, DTYPES[one.rows]))
                parts.append((place + 1, self._samples(place, line, own, there)))
        return in_order(parts, VALUE)

    def _samples(self, place: int, line: int, values: Records, rows: Records) -> Records:
        one = self._sampled[place]
        if one.rows_of and len(rows):
            rows = rows[rows[FACTS[one.rows].series] == one.rows_of]
        members = [values[values["series"] == number] for number, _ in one.members]
        out = sample(
            rows[MADE_BY[one.rows]],
            [member["source_seq"] for member in members],
            [member[f"value_{output}"] for member, (_, output) in zip(members, one.members, strict=True)],
            self.state(place, line),
        )
        return value_records(rows, one.rows, one.number, out)

    def _lines(self, records: Records) -> NDArray[np.int64]:
        """For each record, the first id of the symbol that its instrument belongs to."""
        ids, places = np.unique(records["instrument"], return_inverse=True)
        for id_ in ids.tolist():
            if id_ not in self._of_id:
                row = self._instrument(id_)
                self._of_id[id_] = line = self._line(id_)
                wanted = (is_wanted(one.symbols, row.venue, row.symbol) for one in self._sampled)
                self._of_line[line] = [place for place, this in enumerate(wanted) if this]
        return np.array([self._of_id[id_] for id_ in ids.tolist()], np.int64)[places]
