"""The series of indicators as they run: what each is computed by, and over which records or samples of books."""

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
    """Parameters, and behind them the sessions that an indicator begins with; see `indicator.SESSION_S`."""
    return np.concatenate([parameters, sessions.reshape(-1).astype(np.float64)])


class RunningSeries(NamedTuple):
    """A series as it runs."""

    number: int
    place: int
    indicator: Indicator
    parameters: Floats
    rows: Schema  # which records are its rows
    rows_of: int  # those whose column `Facts.series` has this number; 0: all
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers its state takes."""
        return self.indicator.state_size(self.parameters.tolist())


class BookSeries(NamedTuple):
    """A series over samples of books as it runs."""

    number: int
    place: int
    indicator: Indicator
    parameters: Floats
    every_ns: int
    depth: int  # levels a side that it looks at
    follows: int  # samples for which a hypothetical order is followed; 0: it looks at the book itself
    own: bool  # a user's
    symbols: tuple[str, ...]

    @property
    def state_size(self) -> int:
        """How many numbers the kernel's state takes."""
        return self.indicator.state_size(self.parameters.tolist())


def running(
    series: Sequence[Series], own: Mapping[str, Indicator] = NONE, sessions: Mapping[str, Sessions] = NO_SESSIONS
) -> list[RunningSeries]:
    """The series of indicators over records: our own, or those of `own`. Raises DeriveError for an unknown indicator.

    Args:
        series: of indicators and of bars; those of users' indicators are left out without `own`.
        own: by name of the series, the indicators of users.
        sessions: by name of the calendar; of one that is missing there are none.
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
    """The series over samples of books, ours and those of `own`, in order. Raises DeriveError, as `running`."""
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
    """The indicator that a series is of, and its parameters."""
    said = parse_series(name)
    found = own.get(name) or indicator(said.indicator)
    names = [parameter.name for parameter in found.parameters]
    return found, found.settle(dict(zip(names, said.parameters, strict=False)))
