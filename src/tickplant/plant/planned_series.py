"""The series of values that a configuration asks for, `[[engines.NAME.derive]]`: checked, named and numbered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from tickplant.derive.calendars import SOON_DAYS, days_left, end_sentence, path_of
from tickplant.derive.feature_sets import FeatureSet, are_features, parse_member
from tickplant.derive.indicator import SESSION_S, check_session_s, check_sessions
from tickplant.derive.own_places import installed, placed, why_not
from tickplant.derive.series import (
    NAME_BYTES,
    SeriesTable,
    bar_seconds,
    bars_series,
    parse_series,
    series_name,
    series_over,
    trade_bar_rule,
)
from tickplant.derive.settle import Asked, Settled
from tickplant.errors import DeriveError
from tickplant.plant.planned_calendars import keep_calendars, plan_calendar
from tickplant.plant.settling import settle_all
from tickplant.records.schemas import SERIES_FILE
from tickplant.runtime.config import Config, DeriveConfig, EngineConfig
from tickplant.runtime.endpoints import Wrong
from tickplant.runtime.job_specs import IndicatorRef, SeriesRef

MAX_SERIES: Final = 1024
"""Limit for the series of one engine."""

MAX_STATE: Final = 40_000
"""Limit for the numbers that a series keeps per instrument: they are stored with every checkpoint."""

Wanted = dict[str, tuple[str, ...]]
"""Patterns of VENUE.SYMBOL by name of the series; none: all symbols."""


class PlannedSeries(NamedTuple):
    """What the engines are to make."""

    by_engine: dict[str, Wanted]
    indicators: dict[str, IndicatorRef]  # users' own indicators in use, by name; broken ones have no series
    members: dict[str, tuple[str, ...]]  # of feature sets, by name of the series: their features

    def own_of(self, engine: EngineConfig) -> tuple[IndicatorRef, ...]:
        """Users' indicators that an engine uses."""
        asked = dict.fromkeys(one.indicator for one in engine.derive)
        return tuple(self.indicators[name] for name in asked if name in self.indicators)


def wanted_series(config: Config) -> PlannedSeries:
    """The series that the engines are to make. Raises ConfigError, which names the key at fault.

    A user's indicator that cannot be loaded or breaks its contract is not an error: the plant records without its
    series.
    """
    wrong = Wrong(config)
    for own_name, where in config.indicators.items():
        if why := why_not(own_name, where):
            raise wrong(f"indicators.{own_name}", why)
    asked = [(name, place, one) for name, engine in config.engines.items() for place, one in enumerate(engine.derive)]
    found: dict[str, Wanted] = {name: {} for name in config.engines}
    own: dict[str, IndicatorRef] = {}
    if not asked and not any(engine.features for engine in config.engines.values()):
        return PlannedSeries(found, own, {})
    places = placed(config.indicators, config.base)
    settled = iter(_settled([_anchored(one) for _, _, one in asked if one.indicator], places))
    table = SeriesTable(config.data_dir)
    for engine, place, one in asked:
        key = f"engines.{engine}.derive[{place}]"
        said = next(settled) if one.indicator else None
        if said and (said.source or said.broken):
            ref = own.get(one.indicator) or IndicatorRef(one.indicator, places[one.indicator], said.source)
            own[one.indicator] = ref if ref.broken else replace(ref, broken=said.broken)
            if said.broken:
                continue
        for name in _names(key, config.data_dir, config.engines[engine], one, said, wrong):
            if said and said.source and table.sources.get(name, said.source) != said.source:
                own[one.indicator] = replace(own[one.indicator], broken=_CHANGED.format(name))
                continue
            there = found[engine].get(name)
            # Listed twice, it is made for all symbols that either entry names.
            found[engine][name] = one.symbols if there is None else (there + one.symbols) * bool(there and one.symbols)
    broken = {name for name, ref in own.items() if ref.broken}
    members: dict[str, tuple[str, ...]] = {}
    for engine, names in found.items():
        for name in [name for name in names if indicator_of(name) in broken]:
            del names[name]
        members |= _features(engine, config.data_dir, config.engines[engine], names, broken, table.members, wrong)
        if len(names) > MAX_SERIES:
            raise wrong(f"engines.{engine}.derive", f"asks for {len(names):,} series; at most {MAX_SERIES:,} are made")
        if names and not config.engines[engine].checkpoint_s:
            message = "must not be 0: series go on from states, which are stored this often"
            raise wrong(f"engines.{engine}.checkpoint_s", message)
    return PlannedSeries(found, own, members)


_CHANGED: Final = "its source has changed since {} was stored: give the new one another name in [indicators]"


def _features(
    engine: str,
    data_dir: Path,
    config: EngineConfig,
    names: Wanted,
    broken: set[str],
    stored: Mapping[str, tuple[str, ...]],
    wrong: Wrong,
) -> dict[str, tuple[str, ...]]:
    """The features of the series that store an engine's feature sets; the series are added to `names`."""
    made: dict[str, tuple[str, ...]] = {}
    for place, one in enumerate(config.features):
        key = f"engines.{engine}.features[{place}]"
        found = FeatureSet(one.name, one.version, one.on, one.members)
        try:
            found.check()
            _plan_sessions(data_dir, one.on)
        except DeriveError as error:
            raise wrong(f"{key}.{error.key}", error.why) from None
        for text in one.members:
            series = parse_member(text).series
            if series not in names and indicator_of(series) not in broken:
                there = ", ".join(name for name in names if name not in made) or "none"
                raise wrong(f"{key}.members", f"the engine does not make {series}: it makes {there}")
        said = parse_series(series_name("x", one.on))
        if said.bars_s and said.bars_s not in config.bar_s:
            raise wrong(f"{key}.on", f"the engine makes no bars of {one.on}: add {said.bars_s} to its bar_s")
        if said.rule:
            names.setdefault(bars_series(said.over), one.symbols)
        for name, members in found.series().items():
            if name in made or stored.get(name, members) != members:
                message = f"{one.version} of {one.name} has other features already: give this one another version"
                raise wrong(f"{key}.version", message)
            made[name] = members
            names[name] = one.symbols
    return made


def indicator_of(name: str) -> str:
    """The indicator of a series."""
    return parse_series(name).indicator


def _settled(asked: Sequence[DeriveConfig], places: dict[str, str]) -> list[Settled]:
    """The outcome for each entry. Indicators neither in `places` nor built in may be installed; those are added."""
    questions = [Asked(one.indicator, one.parameters, places.get(one.indicator, "")) for one in asked]
    found = settle_all(questions)
    offered = installed() if any(said.wrong_key == "indicator" for said in found) else {}
    for place, question in enumerate(questions):
        if found[place].wrong_key == "indicator" and not question.place and question.indicator in offered:
            places[question.indicator] = offered[question.indicator]
            found[place] = settle_all([replace(question, place=offered[question.indicator])])[0]
    return found


def _names(
    key: str, data_dir: Path, engine: EngineConfig, one: DeriveConfig, said: Settled | None, wrong: Wrong
) -> list[str]:
    """The series that an entry asks for: the bars of trades themselves, and an indicator over them."""
    try:
        rule = trade_bar_rule(one.bars)
        _plan_sessions(data_dir, rule)
    except DeriveError as error:
        raise wrong(f"{key}.bars", error.why) from None
    _check_sessions(key, data_dir, one, said, wrong)
    if said is None:
        if not one.bars:
            raise wrong(f"{key}.indicator", "is missing, and so is `bars`, for bars of trades")
        if not rule:
            message = (
                f"{one.bars} is not a rule for bars of trades, such as volume-50 or time-60; plain ones are in bar_s"
            )
            raise wrong(f"{key}.bars", message)
        for name in ("parameters", "every"):
            if getattr(one, name):
                raise wrong(f"{key}.{name}", "needs an indicator")
        return [bars_series(rule)]
    return [bars_series(rule)] * bool(rule) + [_name(key, engine, one, said, rule, wrong)]


def _anchored(one: DeriveConfig) -> DeriveConfig:
    """An indicator that begins with sessions of a calendar has no session length."""
    return replace(one, parameters={SESSION_S: 0.0, **one.parameters}) if one.sessions else one


def _plan_sessions(data_dir: Path, over: str) -> None:
    """Check that session bars can be made. Raises DeriveError, StoreError."""
    try:
        if trade_bar_rule(over) and (calendar := parse_series(bars_series(over)).calendar):
            plan_calendar(data_dir, calendar)
    except DeriveError as error:
        raise DeriveError(error.why, key="on") from None


def _check_sessions(key: str, data_dir: Path, one: DeriveConfig, said: Settled | None, wrong: Wrong) -> None:
    """Check that an indicator with `sessions` can begin with sessions, and that the calendar exists."""
    if one.sessions:
        begins = said is not None and not said.source and said.wrong_key != f"parameters.{SESSION_S}"
        try:
            check_sessions(one.indicator or "bars", begins=begins)
        except DeriveError as error:
            raise wrong(f"{key}.sessions", error.why) from None
        if not trade_bar_rule(f"session-{one.sessions}"):
            raise wrong(f"{key}.sessions", f"{one.sessions!r} is not the name of a calendar, such as XNYS")
        try:
            plan_calendar(data_dir, one.sessions)
        except DeriveError as error:
            raise wrong(f"{key}.sessions", error.why) from None
    if said and not said.source and not said.why:
        try:
            check_session_s(one.parameters, one.sessions)
        except DeriveError as error:
            raise wrong(f"{key}.parameters.{error.key}", error.why) from None


def _name(key: str, engine: EngineConfig, one: DeriveConfig, said: Settled, rule: str, wrong: Wrong) -> str:
    if said.why:
        raise wrong(f"{key}.{said.wrong_key}", said.why)
    try:
        over = series_over(one.indicator, said.over, bars=one.bars, every=one.every)
    except DeriveError as error:
        raise wrong(f"{key}.{error.key}", error.why) from None
    if said.over == "bar" and not rule:
        length_s = bar_seconds(over)
        if length_s not in engine.bar_s:
            there = ", ".join(map(str, engine.bar_s)) or "none"
            raise wrong(f"{key}.bars", f"the engine makes no bars of {over}: add {length_s} to its bar_s ({there})")
    if said.state_size > MAX_STATE:
        size = f"{said.label} remembers {said.state_size:,} numbers of each instrument"
        raise wrong(f"{key}.parameters", f"{size}; at most {MAX_STATE:,} are stored")
    name = series_name(said.label, f"{over}-{one.sessions}" if one.sessions else over)
    if len(name) > NAME_BYTES:
        message = f"the name {name} is longer than {NAME_BYTES} characters: round the parameters"
        raise wrong(f"{key}.parameters", message)
    return name


def numbered(
    data_dir: Path, wanted: Wanted, *, add: bool, planned: PlannedSeries | None = None
) -> tuple[SeriesRef, ...]:
    """These series with their numbers in a store. With `add`, new ones are numbered for good. Raises StoreError.

    `planned`: holds sources and features of the series that have them.
    """
    if not wanted:
        return ()
    own, members = (planned.indicators, planned.members) if planned else ({}, {})
    if add:
        keep_calendars(data_dir, wanted)
    sources = {name: own[indicator].source for name in wanted if (indicator := indicator_of(name)) in own}
    numbers = SeriesTable(data_dir).numbers(wanted, add=add, sources=sources, members=members)
    return tuple(SeriesRef(numbers[name], name, symbols, members.get(name, ())) for name, symbols in wanted.items())


def ending_calendars(config: Config, planned: PlannedSeries) -> list[str]:
    """A sentence for each calendar of these series that ends soon, or has ended. Raises DeriveError, StoreError."""
    series = [name for wanted in planned.by_engine.values() for name in wanted]
    names = dict.fromkeys(calendar for name in series if (calendar := parse_series(name).calendar))
    left = {name: days_left(plan_calendar(config.data_dir, name).sessions, time.time_ns()) for name in names}
    return [end_sentence(name, days) for name, days in left.items() if days < SOON_DAYS]


class StoredSeries(NamedTuple):
    """The series that a replay makes."""

    series: tuple[SeriesRef, ...]
    indicators: tuple[IndicatorRef, ...]
    left_out: dict[str, str]  # series of users' indicators that cannot be made, by name, with the reason


def stored_series(data_dir: Path, places: Mapping[str, str] | None = None) -> StoredSeries:
    """All series that a store knows and that can be made. Raises StoreError.

    `places`: of users' indicators, in addition to the installed ones.
    """
    if not (data_dir / SERIES_FILE).exists():
        return StoredSeries((), (), {})
    table = SeriesTable(data_dir)
    where = {**installed(), **(places or {})} if table.sources else {}
    own: dict[str, IndicatorRef] = {}
    left_out: dict[str, str] = {}
    for name, said in _tried(table.sources, where):
        indicator = indicator_of(name)
        why = said.broken or said.why
        if not why and said.source != table.sources[name]:
            why = "its source has changed since the series was stored"
        if why:
            left_out[name] = why
        else:
            own[indicator] = IndicatorRef(indicator, where[indicator], said.source)
    lost = [name for name in table.names if are_features(name) and name not in table.members]
    left_out |= dict.fromkeys(lost, "the store does not say which features it has")
    for name in table.names:
        calendar = parse_series(name).calendar
        if calendar and not path_of(data_dir, calendar).exists():
            left_out[name] = f"the store has no sessions of {calendar}"
    made = tuple(
        SeriesRef(number, name, members=table.members.get(name, ()))
        for number, name in enumerate(table.names, 1)
        if name not in left_out
    )
    return StoredSeries(made, tuple(own.values()), left_out)


def _tried(names: Iterable[str], where: Mapping[str, str]) -> list[tuple[str, Settled]]:
    """The outcome for each series of a user's indicator, with default parameters."""
    nowhere = Settled(broken="nobody says where its indicator is: name it in [indicators] of the configuration")
    asked = {name: Asked(one, place=where[one]) for name in names if (one := indicator_of(name)) in where}
    found = dict(zip(asked, settle_all(list(asked.values())), strict=True))
    return [(name, found.get(name, nowhere)) for name in names]


def bars_of(series: Sequence[SeriesRef]) -> set[int]:
    """The lengths of the bars under these series, in seconds."""
    return {parse_series(one.name).bars_s for one in series} - {0}
