"""Runs bars of trades over a feed: ticks in, TRADE_BAR records out, in the order of the ticks.

Bars belong to an instrument id: an instrument whose scales change begins anew under its new id. One call folds a batch
into the bars of all series and instruments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive import trade_bar_kernels as k
from tickplant.derive.derivation import NO_SESSIONS, Made, Series, Sessions
from tickplant.derive.series import is_wanted, parse_series
from tickplant.derive.series_stream import SeriesStream
from tickplant.instruments import Instrument
from tickplant.kernels import direct
from tickplant.records.arrays import grown, joined, note
from tickplant.records.layouts import TRADE_BAR, Schema
from tickplant.records.tick_arrays import SCATTERED_TICKS

Records = NDArray[np.void]

_NOTHING: Final = np.zeros(0, TRADE_BAR)


class TradeBars(SeriesStream):
    """Bars of one feed; see `derivation.KeptStream`.

    Args:
        series: the series to make, such as `bars.volume-50`.
        instrument: returns the row of an instrument id.
        sessions: sessions of the calendars that the series name, as in `Settings.sessions`.
    """

    def __init__(
        self,
        series: Sequence[Series],
        instrument: Callable[[int], Instrument],
        sessions: Mapping[str, Sessions] = NO_SESSIONS,
    ) -> None:
        super().__init__({one.number: k.STATE_SIZE for one in series})
        self._series = series
        self._instrument = instrument
        self._rules, self._used_rules = np.zeros(64, k.RULE), 0
        self._of_id = np.full((64, 2), k.NOT_KNOWN, np.int64)
        self._sessions = np.concatenate([np.zeros((0, 2), np.int64), *sessions.values()])
        ends = np.cumsum([len(own) for own in sessions.values()], dtype=np.int64).tolist()
        self._calendars = dict(zip(sessions, zip([0, *ends], ends, strict=False), strict=True))
        self._out = np.zeros(max(1024, len(series)), TRADE_BAR)
        self._memory = np.zeros(k.MEMORY_WORDS, np.int64)
        self.address: int = self._memory.ctypes.data
        """Address of the memory that `trade_bar_kernels.fold_trades` works in."""
        self._note_addresses()
        self._fold = direct(k.fold_trades, SCATTERED_TICKS, 0)

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """See `derivation.Folded`."""
        return k.fold_trades

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        old = len(self._of_id)
        if instrument_id >= old:
            self._of_id = grown(self._of_id, 2 * instrument_id)
            self._of_id[old:] = k.NOT_KNOWN
            self._note_addresses()

    def restore(self, records: Records, from_seq: int) -> None:
        """See `SeriesStream`."""
        super().restore(records, from_seq)
        self._memory[k.FROM_SEQ] = from_seq
        self._note_addresses()

    def apply(self, made: Made) -> Records:
        """The bars that a batch closes, and its corrections."""
        ticks = np.ascontiguousarray(made[Schema.TICK])  # the kernel takes contiguous ticks
        return self.finish({Schema.TICK: ticks}, self._fold(ticks, self.address))

    def finish(self, made: Made, result: int) -> Records:
        """Do what the kernel has stopped for, `result`, until it has taken all ticks. Returns the bars."""
        if result == 0:
            return _NOTHING
        parts, ticks = [], made[Schema.TICK]
        try:
            while result < 0:
                parts.append(joined([self._out[: -1 - result]], TRADE_BAR))
                if (unknown := int(self._memory[k.INSTRUMENT])) >= 0:
                    self._learn(unknown)
                    self._note_addresses()
                result = self._fold(ticks, self.address)
        finally:
            self._memory[k.POSITION] = 0  # whatever failed, the next batch starts afresh
        return joined([*parts, self._out[:result]], TRADE_BAR)

    def _note_addresses(self) -> None:
        """Tell the kernel where the arrays are now."""
        note(self._memory, 0, self._of_id, self._sessions, self._pool, self._rules, self._out)

    def _learn(self, id_: int) -> None:
        """Look up the rules of an instrument."""
        row, first = self._instrument(id_), self._used_rules
        price, volume = 10.0**row.price_scale, 10.0**row.size_scale
        units = {"tick": 1.0, "volume": volume, "dollar": price * volume, "imbalance": volume, "time": 1e9}
        for place, (number, name, symbols, _) in enumerate(self._series):
            if is_wanted(symbols, row.venue, row.symbol):
                said = parse_series(name)
                # Rounded to whole units: 0.07 * 100 is more than 7.
                size = max(1.0, float(np.rint(said.size * units.get(said.rule, 1.0))))
                if self._used_rules == len(self._rules):
                    self._rules = grown(self._rules, 2 * self._used_rules)
                state, calendar = self.begin_state(place, id_), self._calendars.get(said.calendar, (0, 0))
                self._rules[self._used_rules] = number, k.RULES.index(said.rule), size, price, state, *calendar
                self._used_rules += 1
        self._of_id[id_] = first, self._used_rules
