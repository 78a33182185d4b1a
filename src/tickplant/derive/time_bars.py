"""Bars of fixed length by the venue's clock. The number of their series is their length, `interval_s`."""

from __future__ import annotations

import re
from typing import Final

from tickplant.derive.derivation import Bench, Derivation, OfTicks, Settings
from tickplant.records.channels import bar_channel
from tickplant.records.layouts import Schema

LOOK_BACK_S: Final = 600
"""A fold begins this long, and at least two bar lengths, before the last stored derived record.

So an open bar is rebuilt whole, unless its instrument has been silent for longer; that bar begins anew."""


def _make(bench: Bench) -> OfTicks:
    from tickplant.derive.bars import Bars  # noqa: PLC0415  # numba

    return OfTicks(Bars(bench.settings.bar_s))


def _look_back_s(settings: Settings) -> int:
    return max([LOOK_BACK_S, *(2 * length_s for length_s in settings.bar_s)])


BARS: Final = Derivation(
    schema=Schema.BAR,
    make=_make,
    numbers=lambda settings: settings.bar_s,
    channel=lambda number, _names: bar_channel(number),
    channels=re.compile(r"bar_[1-9]\d{0,9}[smh]", re.ASCII),
    examples=lambda _: ["bar_1s"],
    look_back_s=_look_back_s,
    reference="books.plain_books.PlainBars",
)
