"""Running series of indicators: what computes each, and over which records or samples of books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from tickplant.books.level_runs import UNBOUNDED
from tickplant.derive.derivation import NO_SESSIONS, Series, Sessions
from tickplant.derive.indicator import Floats, Indicator
from tickplant.derive.indicators.catalogue import indicator
from tickplant.derive.row_columns import SCHEMAS
from tickplant.derive.series import are_bars, bars_series, parse_series
from tickplant.records.layouts import Schema

NONE: Final[Mapping[str, Indicator]] = {}


def with_sessions(parameters: Floats, sessions: Sessions) -> Floats:
    """Parameters, followed by the sessions with which an indicator restarts; see `indicator.SESSION_S`."""
    return np.concatenate([parameters, sessions.reshape(-1).astype(np.float64)])


class RunningSeries(NamedTuple):
    """A running series."""

    number: int
    place: int
    indicator: Indicator
    parameters: Floats
    rows: Schema  # the schema of its rows
    rows_of: int  # only rows with this number in the column `Facts.series`; 0: all
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers the state takes."""
        return self.indicator.state_size(self.parameters.tolist())


class BookSeries(NamedTuple):
    """A running series over samples of books."""

    number: int
    place: int
    indicator: Indicator
    parameters: Floats
    every_ns: int
    depth: int  # levels per side that it reads
    follows: int  # samples for which a hypothetical order is followed; 0: the series reads the book itself
    own: bool  # whether its indicator is a user's
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers the kernel's state takes."""
        return self.indicator.state_size(self.parameters.tolist())


def running(
    series: Sequence[Series], own: Mapping[str, Indicator] = NONE, sessions: Mapping[str, Sessions] = NO_SESSIONS
) -> list[RunningSeries]:
    """The series of indicators over records: built-in ones, or those of `own`. Raises DeriveError if one is unknown.

    Args:
        series: series of indicators and of bars; without `own`, those of users' indicators must be left out.
        own: users' indicators, by name of the series.
        sessions: sessions by name of the calendar; a missing calendar has none.
    """
    numbers = {one.name: one.number for one in series}
    made: list[RunningSeries] = []
    for one in series:
        number, name, symbols = one.number, one.name, one.symbols
        said = parse_series(name)
        if are_bars(name) or one.members or said.every_ns or (own and name not in own):
            continue
        found, parameters = _indicator(name, own)
        if said.calendar in sessions and not said.rule:
            parameters = with_sessions(parameters, sessions[said.calendar])
        rows, rows_of = SCHEMAS[found.over], said.bars_s
        if said.rule:
            rows, rows_of = Schema.TRADE_BAR, numbers[bars_series(said.over)]
        made.append(RunningSeries(number, len(made), found, parameters, rows, rows_of, symbols))
    return made


def running_books(series: Sequence[Series], own: Mapping[str, Indicator] = NONE) -> list[BookSeries]:
    """The series over samples of books, built-in ones and those of `own`, in order. Raises DeriveError as `running`."""
    made: list[BookSeries] = []
    for number, name, symbols, members in series:
        said = parse_series(name)
        if said.every_ns and not members:
            found, parameters = _indicator(name, own)
            depth = UNBOUNDED if found.depth is None else found.depth(parameters.tolist())
            follows = found.follows(parameters.tolist()) if found.follows else 0
            own_one = name in own
            made.append(
                BookSeries(number, len(made), found, parameters, said.every_ns, depth, follows, own_one, symbols)
            )
    return made


def _indicator(name: str, own: Mapping[str, Indicator]) -> tuple[Indicator, Floats]:
    """The indicator of a series, and its parameters."""
    said = parse_series(name)
    found = own.get(name) or indicator(said.indicator)
    names = [parameter.name for parameter in found.parameters]
    return found, found.settle(dict(zip(names, said.parameters, strict=False)))
