"""Best bids and offers of the books that an engine keeps."""

from __future__ import annotations

import re
from typing import Final

from tickplant.derive.derivation import Bench, Derivation, OfTicks, Stream
from tickplant.derive.series import parse_series
from tickplant.records.channels import BBO_CHANNEL
from tickplant.records.layouts import Kind, Schema


def _make(bench: Bench) -> Stream:
    settings = bench.settings
    if not any(parse_series(one.name).every_ns for one in settings.series):
        return OfTicks(bench.books)
    from tickplant.derive.sampled_books import SampledBooks  # noqa: PLC0415  # numba

    return SampledBooks(bench.books, settings.series, bench.instrument, bench.line, settings.own)


BEST_OFFERS: Final = Derivation(
    schema=Schema.BBO,
    make=_make,
    channel=lambda _number, _names: BBO_CHANNEL,
    channels=re.compile(BBO_CHANNEL),
    examples=lambda _: [BBO_CHANNEL],
    begins=Kind.CLEAR,
    restated=True,
    reference="books.plain_books.DictBooks",
)
