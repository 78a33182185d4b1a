"""Feature sets: named, versioned lists of values that are sampled together, at each row of a given kind.

A set is stored and published as series of VALUE records, four features per series: `feature_momentum-2-0.1s` has the
first four features of version 2 of the set momentum, sampled when a one-second bar closes. The store's table of series
lists the features of each, so that a version keeps its meaning for the life of a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from tickplant.derive.series import SeriesName, parse_series, series_name
from tickplant.errors import DeriveError

PREFIX: Final = "feature_"
"""Prefix of the names of a set's series; no indicator's name begins with it."""

WIDTH: Final = 4  # features per series: a VALUE record has four numbers
MAX_FEATURES: Final = 64
MAX_VERSION: Final = 999_999

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_MEMBER: Final = re.compile(r"([^:]+)(?::([1-4]))?", re.ASCII)


class Member(NamedTuple):
    """A feature: one output of a series."""

    series: str
    output: int  # from 1 on, as in `value_1`


def parse_member(text: str) -> Member:
    """`rsi-14.1m`, or `macd-12-26-9.1m:2` for the second output. Raises DeriveError."""
    found = _MEMBER.fullmatch(text)
    if found is None or parse_series(found[1]).indicator.startswith(PREFIX) or found[1].startswith("bars."):
        message = (
            f"{text!r} is not a feature: a series such as rsi-14.1m, or an output of one, such as macd-12-26-9.1m:2"
        )
        raise DeriveError(message, key="members")
    return Member(found[1], int(found[2] or 1))


class FeatureSet(NamedTuple):
    """One version of a set.

    Attributes:
        name: lower-case letters, digits and _.
        version: from 1 on; any change to the set needs a new version.
        on: the rows at which the set is sampled, as in names of series: `1s` (time bars: a clock that ticks only where
            there are trades), `bbo`, `trade`, `volume-50`.
        members: the features, as `parse_member` reads them.
    """

    name: str
    version: int
    on: str
    members: tuple[str, ...]

    def check(self) -> None:
        """Raise DeriveError, whose key is the field at fault, if the set is invalid."""
        if not _NAME.fullmatch(self.name):
            raise DeriveError(f"{self.name!r} is not a name: 1 to 40 of a-z, 0-9 and _, a letter first", key="name")
        if not 1 <= self.version <= MAX_VERSION:
            raise DeriveError(f"{self.version} is not a version: 1 to {MAX_VERSION}", key="version")
        if not 1 <= len(self.members) <= MAX_FEATURES:
            raise DeriveError(f"lists {len(self.members)} features: a set has 1 to {MAX_FEATURES}", key="members")
        if len(set(map(parse_member, self.members))) < len(self.members):
            raise DeriveError("a feature is listed twice", key="members")
        message = f"{self.on!r} is neither a length of bars, such as 1s, nor bbo, trade or a rule such as volume-50"
        try:
            on = parse_series(series_name("x", self.on))
        except DeriveError:
            raise DeriveError(message, key="on") from None
        if on.every_ns or (on.calendar and not on.rule):
            raise DeriveError(message, key="on")

    def series(self) -> dict[str, tuple[str, ...]]:
        """The series in which the set is stored: the features of each, by name."""
        label = f"{PREFIX}{self.name}-{self.version}"
        parts = range(0, len(self.members), WIDTH)
        return {
            series_name(f"{label}-{start // WIDTH}", self.on): self.members[start : start + WIDTH] for start in parts
        }


def are_features(name: str) -> bool:
    """Whether a series belongs to a feature set, not to an indicator."""
    return name.startswith(PREFIX)


def stored_sets(members: Mapping[str, tuple[str, ...]]) -> Iterator[FeatureSet]:
    """The sets in a table of series, given the features of each series, in the order in which they were added."""
    found: dict[tuple[str, int, str], dict[int, tuple[str, ...]]] = {}
    for name, part in members.items():
        said: SeriesName = parse_series(name)
        version, place = map(int, said.parameters)
        found.setdefault((said.indicator.removeprefix(PREFIX), version, said.over), {})[place] = part
    for (name, version, on), parts in found.items():
        yield FeatureSet(name, version, on, tuple(one for place in sorted(parts) for one in parts[place]))
