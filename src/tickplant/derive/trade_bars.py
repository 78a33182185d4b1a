"""Bars of trades closed by a rule: a number of trades, an amount of volume, money, imbalance or time, or sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tickplant.derive.derivation import Bench, Derivation, Series, Settings
from tickplant.derive.series import BARS_CHANNEL, are_bars, series_channel
from tickplant.records.layouts import Schema

if TYPE_CHECKING:
    from tickplant.derive.trade_bar_stream import TradeBars


def _series(settings: Settings) -> tuple[Series, ...]:
    return tuple(series for series in settings.series if are_bars(series.name))


def _make(bench: Bench) -> TradeBars:
    from tickplant.derive.trade_bar_stream import TradeBars  # noqa: PLC0415  # numba

    return TradeBars(_series(bench.settings), bench.instrument, bench.settings.sessions)


TRADE_BARS: Final = Derivation(
    schema=Schema.TRADE_BAR,
    make=_make,
    numbers=lambda settings: tuple(series.number for series in _series(settings)),
    channel=lambda number, names: series_channel(names[number - 1]),
    channels=BARS_CHANNEL,
    examples=lambda names: [series_channel(name) for name in names if are_bars(name)],
    kept=True,
    reference="derive.plain_trade_bars.PlainTradeBars",
)
