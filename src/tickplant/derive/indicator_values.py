"""Values of indicators, a record for each row that one is computed over: a bar, a trade, a best bid and offer.

Behind them are the samples of feature sets, which are such records too.

Which ones there are says the configuration; `derive.series` numbers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tickplant.derive.derivation import Bench, Derivation, KeptStream, Series, Settings
from tickplant.derive.series import CHANNEL, are_bars, series_channel
from tickplant.records.layouts import Schema


def _make(bench: Bench) -> KeptStream:
    from tickplant.derive.feature_stream import FeatureStream  # noqa: PLC0415  # numba
    from tickplant.derive.value_stream import ValueStream  # noqa: PLC0415

    series = bench.settings.series
    values = ValueStream(_of_indicators(series), bench.instrument, bench.line, bench.settings.own)
    if len(_of_indicators(series)) == len(series):
        return values
    return FeatureStream(values, series, bench.instrument, bench.line)


def _of_indicators(series: Sequence[Series]) -> list[Series]:
    """All but the samples of feature sets."""
    return [one for one in series if not one.members]


def _warm_up(settings: Settings) -> None:
    if _numbers(settings):
        from tickplant.derive.value_stream import warm_up  # noqa: PLC0415  # numba

        # Those of users are warm when they are loaded, and their time counts.
        warm_up([one for one in _of_indicators(settings.series) if one.name not in settings.own])


def _numbers(settings: Settings) -> tuple[int, ...]:
    return tuple(series.number for series in settings.series if not are_bars(series.name))


VALUES: Final = Derivation(
    schema=Schema.VALUE,
    make=_make,
    numbers=_numbers,
    channel=lambda number, names: series_channel(names[number - 1]),
    channels=CHANNEL,
    examples=lambda names: [series_channel(name) for name in names if not are_bars(name)],
    kept=True,
    warm_up=_warm_up,
    reference="derive.indicator.Indicator",
)
