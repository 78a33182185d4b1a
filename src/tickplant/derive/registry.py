"""All derivations, in the order in which an engine applies them: each may use the output of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tickplant.derive.best_offers import BEST_OFFERS
from tickplant.derive.book_checkpoints import CHECKPOINTS
from tickplant.derive.derivation import Derivation, Settings
from tickplant.derive.indicator_values import VALUES
from tickplant.derive.series_states import STATES
from tickplant.derive.time_bars import BARS
from tickplant.derive.trade_bars import TRADE_BARS
from tickplant.records.channels import TICK_CHANNELS
from tickplant.records.layouts import Schema

DERIVATIONS: Final[tuple[Derivation, ...]] = (BEST_OFFERS, BARS, CHECKPOINTS, TRADE_BARS, VALUES, STATES)
BY_SCHEMA: Final = {one.schema: one for one in DERIVATIONS}
STREAMS: Final = tuple(one for one in DERIVATIONS if one.make)
"""The derivations that are made from each batch and published."""


def wanted(settings: Settings) -> list[Schema]:
    """The schemas that these settings produce."""
    return [one.schema for one in DERIVATIONS if one.numbers(settings)]


def channels_of(settings: Settings) -> dict[Schema, dict[int, str]]:
    """The published channels, by schema and number of the series."""
    names = names_in(settings)
    return {one.schema: {number: one.channel(number, names) for number in one.numbers(settings)} for one in STREAMS}


def names_in(settings: Settings) -> Sequence[str]:
    """Names of the series by number - 1; empty where the settings name none."""
    names = [""] * max((series.number for series in settings.series), default=0)
    for series in settings.series:
        names[series.number - 1] = series.name
    return names


def may_be_channel(text: str) -> bool:
    """Whether a channel of derived records may have this name."""
    return any(one.channels.fullmatch(text) for one in STREAMS)


def schema_of(channel: str) -> Schema:
    """The schema of records in a channel's topics. Raises ValueError if there is no such channel."""
    if channel in TICK_CHANNELS:
        return Schema.TICK
    found = [one.schema for one in STREAMS if one.channels.fullmatch(channel)]
    if not found:
        raise ValueError(f"{channel!r} is not a channel: {', '.join(TICK_CHANNELS)}, bbo, or one such as bar_1m")
    return found[0]
