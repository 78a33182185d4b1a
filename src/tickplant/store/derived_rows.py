"""The rows over which an indicator is computed, read from a store day by day: bars, trades, best bids and offers.

`derived_books` makes samples of books. If the engine stored bars of the requested length, those are read; otherwise
bars are made from the stored trades, by the engine's kernel. A bar that is open at the end of a day is carried to the
next day as plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive import bar_kernels
from tickplant.derive.calendars import calendar_of
from tickplant.derive.derivation import Series
from tickplant.derive.indicator import Floats, Over
from tickplant.derive.row_columns import SCHEMAS, row_column, rows_of
from tickplant.derive.series import bars_series, parse_series
from tickplant.derive.trade_bar_kernels import STATE_SIZE
from tickplant.derive.trade_bar_stream import TradeBars
from tickplant.instruments import Instrument
from tickplant.records.layouts import BAR, Kind, Schema
from tickplant.store.daily_files import DAY_NS
from tickplant.store.segments import Range
from tickplant.store.selection import Selection

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]
Carried = dict[str, NDArray[Any]]

LOOKED_AT: Final = 4
"""How many parts of the stored bars are searched for a length that the engine may have made."""
IDENTITY: Final = ("producer", "epoch", "first_seq", "last_seq", "payload_checksum", "header_checksum")
"""Header fields that identify the content of a chunk."""


class Block(NamedTuple):
    """Rows: times in ns, int64 (rows,), and the inputs of kernels; None if no row has a value."""

    ts_event: NDArray[np.int64]
    ts_recv: NDArray[np.int64]
    inputs: Floats | None


class DerivedRows:
    """The rows of one symbol for one indicator."""

    def __init__(
        self,
        store: Store,
        instruments: Sequence[Instrument],
        over: Over,
        inputs: Sequence[str],
        interval_s: int,
        rule: str = "",
    ) -> None:
        """Prepare to read rows. If they are bars, `rule` (`volume-50`) or else `interval_s` says which bars."""
        self._store = store
        self._inputs = inputs
        self._interval_s = interval_s
        self._rows_by_id = {row.id: row for row in instruments}
        self._rule = rule if over == "bar" else ""
        self._number = _number(store, self._rule)
        calendar = parse_series(bars_series(self._rule)).calendar if self._rule else ""
        self._calendar = calendar_of(store.data_dir, calendar) if calendar else None
        self._ids = frozenset(self._rows_by_id)
        size = max(self._ids) + 1
        self._price_unit, self._size_unit = np.ones(size), np.ones(size)
        for row in instruments:
            self._price_unit[row.id] = 10.0**row.price_scale
            self._size_unit[row.id] = 10.0**row.size_scale
        self._made = over == "bar" and not self._is_stored()
        self.schema = Schema.TICK if self._made else Schema.TRADE_BAR if self._rule else SCHEMAS[over]
        made = Schema.TRADE_BAR if self._rule else Schema.BAR
        self._kind_of_rows = made if self._made else self.schema
        kinds = frozenset({int(Kind.TRADE)}) if self.schema == Schema.TICK else None
        self._selection = Selection(ids=self._ids, kinds=kinds)

    def _is_stored(self) -> bool:
        if self._rule:
            bars = self._store.scan(schema=Schema.TRADE_BAR, ids=self._ids)
            return self._number > 0 and any((part["series"] == self._number).any() for part in islice(bars, LOOKED_AT))
        parts = self._store.scan(schema=Schema.BAR, ids=self._ids)
        return any((part["interval_s"] == self._interval_s).any() for part in islice(parts, LOOKED_AT))

    def chunks_by_day(self) -> dict[int, bytes]:
        """The identity of the chunks behind each day with rows, by day since the epoch, in order; from indexes only."""
        units = self._price_unit.tolist(), self._size_unit.tolist()
        sessions = self._calendar.digest if self._calendar and self._made else ""
        scales = repr((sorted(self._ids), *units, self._made, STATE_SIZE if self._rule else 0, sessions))
        return chunks_by_day(self._store, self.schema, self._selection, scales)

    def read(self, day: int, carried: Carried) -> Iterator[Block]:
        """Rows received on a UTC day, chunk by chunk; an open bar at its end is put into `carried`.

        Raises DamageError.
        """
        kinds = [Kind.TRADE] if self.schema == Schema.TICK else None
        for found in self._store.scan(
            schema=self.schema, ids=self._ids, kinds=kinds, start_ns=day * DAY_NS, end_ns=(day + 1) * DAY_NS
        ):
            records = found
            if self._made:
                records = self._trade_bars(records, carried) if self._rule else self._bars(records, carried)
            elif self.schema == Schema.BAR:
                records = records[records["interval_s"] == self._interval_s]
            elif self._rule:
                records = records[records["series"] == self._number]
            records = rows_of(self._kind_of_rows, records)
            if len(records):
                columns = [row_column(records, name, self._price_unit, self._size_unit) for name in self._inputs]
                event, recv = (np.ascontiguousarray(records[name]) for name in ("ts_event", "ts_recv"))
                yield Block(event, recv, np.ascontiguousarray(columns, np.float64))

    def _trade_bars(self, ticks: Records, carried: Carried) -> Records:
        """The trade bars that these ticks close, by the engine's rule: each id of the symbol has bars of its own."""
        sessions = {self._calendar.name: self._calendar.sessions} if self._calendar else {}
        bars = TradeBars([Series(1, bars_series(self._rule))], self._rows_by_id.__getitem__, sessions)
        for name, vector in carried.items():
            bars.state(0, int(name))[:] = vector
        found = bars.apply({Schema.TICK: ticks})
        carried.update({str(id_): vector for _, id_, vector in bars.states()})
        return found

    def _bars(self, ticks: Records, carried: Carried) -> Records:
        """The bars that these trades close, by the engine's rule: see `bars.Bars`."""
        if not carried:
            carried["bars"] = np.zeros((2, 1), BAR)
            carried["closed_until"] = np.zeros((2, 1), np.int64)
            carried["next_end"] = np.full(2, bar_kernels.NEVER, np.int64)
        # All ids that the symbol has had share one line of bars, in row 1; the bars then get the id back.
        line = ticks.copy()
        line["instrument"] = 1
        out = np.zeros(len(line), BAR)
        lengths, tally = np.array([self._interval_s]), np.zeros(len(bar_kernels.TALLY), np.int64)
        _, written = bar_kernels.apply_ticks(
            line, 0, lengths, carried["bars"], carried["closed_until"], carried["next_end"], out, tally
        )
        bars = out[:written]
        bars["instrument"] = ticks["instrument"][-1] if len(ticks) else 0
        return bars


def chunks_by_day(store: Store, schema: Schema, selection: Selection, further: str) -> dict[int, bytes]:
    """The identity of the chunks behind each day with selected records, each with `further`, which affects all days."""
    found: dict[int, list[bytes]] = {}
    for producer in store.producers(schema):
        for stretch in store.stretches(Range(producer, schema, selection)):
            for chunk in stretch.chunks:
                header = chunk.entry["header"]
                named = repr([int(header[name]) for name in IDENTITY] + [stretch.first_seq, stretch.last_seq])
                first, last = int(header["ts_recv_min"]) // DAY_NS, int(header["ts_recv_max"]) // DAY_NS
                for day in range(first, last + 1):
                    found.setdefault(day, []).append(named.encode())
    return {day: b"\n".join([further.encode(), *found[day]]) for day in sorted(found)}


def _number(store: Store, rule: str) -> int:
    """The series number of the trade bars of a rule; 0 if the store has none."""
    names = store.series.names if rule else []
    return names.index(bars_series(rule)) + 1 if rule and bars_series(rule) in names else 0
