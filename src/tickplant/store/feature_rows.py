"""Samples of feature sets from stored values and rows, by the engine's rule.

So a set has a history from before an engine made it. For the time since, the samples are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Series
from tickplant.derive.feature_sets import FeatureSet, parse_member, stored_sets
from tickplant.derive.feature_stream import SampledSeries, sample, sampled
from tickplant.derive.row_columns import MADE_BY, rows_of
from tickplant.errors import DeriveError
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.records.schemas import FACTS
from tickplant.store.selection import Clock
from tickplant.store.value_table import Columns, ValueTable

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]


class SymbolName(NamedTuple):
    """The symbol that samples belong to."""

    venue: str
    symbol: str


class Features(ValueTable):
    """Samples of one set, one per row, symbol by symbol in the order of ticks. Nothing is read before it is needed.

    Memory holds, for one symbol, the set's values up to the end of the range, and the rows in the range.
    """

    def __init__(
        self,
        store: Store,
        symbols: Iterable[tuple[str, str]],
        features: FeatureSet,
        *,
        range_ns: tuple[int | None, int | None] = (None, None),
        clock: Clock = "recv",
    ) -> None:
        super().__init__(store, features.members)
        self.features = features
        self._symbols = [SymbolName(*one) for one in symbols]
        self._range_ns = range_ns
        self._clock = clock
        self._series = _series(store, features)

    def blocks(self) -> Iterator[tuple[SymbolName, Columns]]:
        """The samples of each symbol with any in the range: ts_event, ts_recv and the features.

        Raises DamageError.
        """
        for symbol in self._symbols:
            rows = self._rows(symbol)
            if len(rows):
                values = self._samples(symbol, rows[MADE_BY[self._series[0].rows]])
                columns: Columns = {name: np.ascontiguousarray(rows[name]) for name in ("ts_event", "ts_recv")}
                yield symbol, columns | dict(zip(self.features.members, values, strict=True))

    def _rows(self, symbol: SymbolName) -> Records:
        one = self._series[0]
        start, end = self._range_ns
        kinds = [Kind.TRADE] if one.rows is Schema.TICK else None
        parts = [np.zeros(0, DTYPES[one.rows])]
        for records in self._store.query(
            *symbol, schema=one.rows, kinds=kinds, start_ns=start, end_ns=end, clock=self._clock
        ):
            rows = rows_of(one.rows, records)
            parts.append(rows[rows[FACTS[one.rows].series] == one.rows_of] if one.rows_of else rows)
        return _by_tick(np.concatenate(parts), MADE_BY[one.rows])

    def _samples(self, symbol: SymbolName, rows: NDArray[np.uint64]) -> list[NDArray[np.float64]]:
        """The value of each feature at each row."""
        wanted = np.unique([number for one in self._series for number, _ in one.members])
        stored = self._store.query(*symbol, schema=Schema.VALUE)
        own = [records[np.isin(records["series"], wanted)] for records in stored]
        values = _by_tick(np.concatenate([np.zeros(0, DTYPES[Schema.VALUE]), *own]), "source_seq")
        found: list[NDArray[np.float64]] = []
        for one in self._series:
            members = [values[values["series"] == number] for number, _ in one.members]
            outputs = [member[f"value_{output}"] for member, (_, output) in zip(members, one.members, strict=True)]
            seqs = [member["source_seq"] for member in members]
            found += list(sample(rows, seqs, outputs, np.zeros(2 * len(members))))
        return found


def _by_tick(records: Records, made_by: str) -> Records:
    """The records in the order of the ticks that made them."""
    return records[np.argsort(records[made_by], kind="stable")]


def _series(store: Store, features: FeatureSet) -> Sequence[SampledSeries]:
    """The series of a set, by a store's numbers. Raises DeriveError, which names what is not stored."""
    table = store.series
    numbers = {name: number for number, name in enumerate(table.names, 1)}
    for text in features.members:
        if parse_member(text).series not in numbers:
            raise DeriveError(f"{parse_member(text).series} is not stored: have an engine make it", key="members")
    known = [Series(number, name) for name, number in numbers.items() if name not in features.series()]
    own = [Series(0, name, members=members) for name, members in features.series().items()]
    try:
        return sampled([*known, *own])
    except KeyError:
        raise DeriveError(f"bars of {features.on} are not stored: have an engine make them", key="on") from None


def set_of(store: Store, name: str, version: int | None) -> FeatureSet:
    """The set of this name that an engine has made: the given version, or the newest. Raises DeriveError."""
    there = list(stored_sets(store.series.members))
    found = [one for one in there if one.name == name and version in (None, one.version)]
    if not found:
        names = ", ".join(f"{one.name} {one.version}" for one in there) or "none"
        raise DeriveError(f"no such feature set is stored; the store has {names}", key=name)
    return max(found, key=lambda one: one.version)
