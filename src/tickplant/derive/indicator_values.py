"""Values of indicators, a record for each row: a bar, a trade, a best bid and offer, or a sample of a book.

Samples of feature sets, which are VALUE records too, follow them.

The configuration names the series; `derive.series` numbers them.
"""

from __future__ import annotations

from typing import Final

from tickplant.derive.derivation import Bench, Derivation, KeptStream, Settings
from tickplant.derive.series import CHANNEL, are_bars, parse_series, series_channel
from tickplant.records.layouts import Schema


def _make(bench: Bench) -> KeptStream:
    from tickplant.derive.book_values import BookValues  # noqa: PLC0415
    from tickplant.derive.feature_stream import FeatureStream  # noqa: PLC0415  # numba
    from tickplant.derive.own_stream import JoinedStreams, OwnStream  # noqa: PLC0415
    from tickplant.derive.sampled_books import SampledBooks  # noqa: PLC0415
    from tickplant.derive.value_stream import ValueStream  # noqa: PLC0415

    (_, _, instrument, line, streams), own, sessions = bench, bench.settings.own, bench.settings.sessions
    series = bench.settings.series
    found: list[KeptStream] = [OwnStream(series, instrument, line, own)] if own else []
    if isinstance(books := streams.get(Schema.BBO), SampledBooks):
        found.append(BookValues(books, instrument))
    ours = [one for one in series if one.name not in own]
    if not found or any(not (are_bars(one.name) or one.members or parse_series(one.name).every_ns) for one in ours):
        found.insert(0, ValueStream(ours, instrument, line, sessions))
    values = found[0] if len(found) == 1 else JoinedStreams(series, *found)
    if any(one.members for one in series):
        return FeatureStream(values, series, instrument, line)
    return values


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
