"""The running of bars of trades over a feed: ticks in, TRADE_BAR records out, in the order of the ticks.

Bars are of an instrument id: one whose scales change begins anew under its new id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Made, Series
from tickplant.derive.series import is_wanted, parse_series
from tickplant.derive.series_stream import SeriesStream, by_key, in_order
from tickplant.derive.trade_bar_kernels import RULES, STATE_SIZE, apply_trades
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, TRADE_BAR, Flag, Kind, Schema

Records = NDArray[np.void]


class _Rule(NamedTuple):
    """A series, for one instrument."""

    place: int
    number: int
    rule: int  # place in RULES
    size: float  # in units of what the rule counts
    price_unit: float


class TradeBars(SeriesStream):
    """Bars of one feed; see `derivation.KeptStream`.

    Args:
        series: which ones: `bars.volume-50` and the like.
        instrument: gives the row of an instrument id.
    """

    def __init__(self, series: Sequence[Series], instrument: Callable[[int], Instrument]) -> None:
        super().__init__({one.number: STATE_SIZE for one in series})
        self._series = series
        self._instrument = instrument
        self._of_id: dict[int, list[_Rule]] = {}

    def reserve(self, instrument_id: int) -> None:
        """Nothing to do: room grows with the trades."""

    def apply(self, made: Made) -> Records:
        """The bars that a batch closes, and the corrections."""
        ticks = made[Schema.TICK]
        kinds = ticks["kind"]
        counts = (kinds == Kind.TRADE) | ((kinds == Kind.GAP) & (ticks["flags"] & Flag.ON_TRADE != 0))
        if self.from_seq:
            counts &= ticks["seq"] >= self.from_seq
        rows = ticks[counts]
        parts: list[tuple[int, Records]] = []
        for id_, own in by_key(rows["instrument"], rows):
            if id_ not in self._of_id:
                self._of_id[id_] = self._rules(self._instrument(id_))
            parts += [(one.place, self._bars(one, id_, own)) for one in self._of_id[id_]]
        return in_order(parts, TRADE_BAR)

    def _rules(self, row: Instrument) -> list[_Rule]:
        found = []
        price, volume = 10.0**row.price_scale, 10.0**row.size_scale
        units = {"tick": 1.0, "volume": volume, "dollar": price * volume, "imbalance": volume}
        for place, (number, name, symbols, _) in enumerate(self._series):
            if is_wanted(symbols, row.venue, row.symbol):
                said = parse_series(name)
                # A whole number of units: 0.07 * 100 is more than 7.
                size = max(1.0, float(np.rint(said.size * units[said.rule])))
                found.append(_Rule(place, number, RULES.index(said.rule), size, price))
        return found

    def _bars(self, one: _Rule, id_: int, ticks: Records) -> Records:
        vector = self.state(one.place, id_)
        out = np.zeros(len(ticks), TRADE_BAR)
        whole, ids = vector.view(np.int64), vector.view(np.uint64)
        bars = out[: apply_trades(ticks, one.rule, one.size, whole, ids, vector, out)]
        bars["vwap"] /= one.price_unit
        bars["series"] = one.number
        return bars


def warm_up() -> None:
    """Compile, or load, the kernel."""
    vector = np.zeros(STATE_SIZE)
    views = vector.view(np.int64), vector.view(np.uint64)
    apply_trades(np.zeros(1, TICK), 0, 1.0, *views, vector, np.zeros(1, TRADE_BAR))
