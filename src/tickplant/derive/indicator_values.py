"""Values of indicators, a record for each row that one is computed over: a bar, a trade, a best bid and offer.

Which ones there are says the configuration; `derive.series` numbers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tickplant.derive.derivation import Bench, Derivation, Settings
from tickplant.derive.series import CHANNEL, are_bars, series_channel
from tickplant.records.layouts import Schema

if TYPE_CHECKING:
    from tickplant.derive.value_stream import ValueStream


def _make(bench: Bench) -> ValueStream:
    from tickplant.derive.value_stream import ValueStream  # noqa: PLC0415  # numba

    return ValueStream(bench.settings.series, bench.instrument, bench.line)


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
    reference="derive.plain_series.plain_values",
)
