"""The series of values that a configuration asks for, `[[engines.NAME.derive]]`: checked, named and numbered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tickplant.derive.series import (
    NAME_BYTES,
    SeriesTable,
    bar_seconds,
    bars_series,
    parse_series,
    series_name,
    trade_bar_rule,
)
from tickplant.derive.settle import Asked, Settled
from tickplant.errors import ConfigError, DeriveError
from tickplant.records.schemas import SERIES_FILE
from tickplant.runtime.config import Config, DeriveConfig, EngineConfig
from tickplant.runtime.endpoints import Wrong
from tickplant.runtime.job_specs import SeriesRef

MAX_SERIES: Final = 1024
"""Of one engine."""

MAX_STATE: Final = 40_000
"""Numbers that a series may remember of an instrument: they are stored with every checkpoint."""

SETTLE_S: Final = 60.0

Wanted = dict[str, tuple[str, ...]]
"""By name of the series, patterns of VENUE.SYMBOL; none: all symbols."""


def wanted_series(config: Config) -> dict[str, Wanted]:
    """By engine, the series that it is to make. Raises ConfigError, which names the key at fault."""
    asked = [(name, place, one) for name, engine in config.engines.items() for place, one in enumerate(engine.derive)]
    if not asked:
        return {name: {} for name in config.engines}
    wrong = Wrong(config)
    indicators = [Asked(one.indicator, one.parameters) for _, _, one in asked if one.indicator]
    settled = iter(_settle(indicators) if indicators else ())
    found: dict[str, Wanted] = {name: {} for name in config.engines}
    for engine, place, one in asked:
        key = f"engines.{engine}.derive[{place}]"
        said = next(settled) if one.indicator else None
        for name in _names(key, config.engines[engine], one, said, wrong):
            there = found[engine].get(name)
            # Listed twice, it is made of all symbols that either names.
            found[engine][name] = one.symbols if there is None else (there + one.symbols) * bool(there and one.symbols)
    for engine, names in found.items():
        if len(names) > MAX_SERIES:
            raise wrong(f"engines.{engine}.derive", f"asks for {len(names):,} series; at most {MAX_SERIES:,} are made")
        if names and not config.engines[engine].checkpoint_s:
            message = "must not be 0: series go on from states that are stored so often"
            raise wrong(f"engines.{engine}.checkpoint_s", message)
    return found


def _names(key: str, engine: EngineConfig, one: DeriveConfig, said: Settled | None, wrong: Wrong) -> list[str]:
    """The series that an entry asks for: of bars of trades themselves, and of an indicator over them."""
    try:
        rule = trade_bar_rule(one.bars)
    except DeriveError as error:
        raise wrong(f"{key}.bars", error.why) from None
    if said is None:
        if not one.bars:
            raise wrong(f"{key}.indicator", "is missing, and so is `bars`, for bars of trades")
        if not rule:
            message = f"{one.bars} is no rule for bars of trades, such as volume-50; those of a length are in bar_s"
            raise wrong(f"{key}.bars", message)
        if one.parameters:
            raise wrong(f"{key}.parameters", "are an indicator's, and none is named")
        return [bars_series(rule)]
    return [bars_series(rule)] * bool(rule) + [_name(key, engine, one, said, rule, wrong)]


def _name(key: str, engine: EngineConfig, one: DeriveConfig, said: Settled, rule: str, wrong: Wrong) -> str:
    if said.why:
        raise wrong(f"{key}.{said.wrong_key}", said.why)
    if said.over != "bar" and one.bars:
        raise wrong(f"{key}.bars", f"{one.indicator} is over each {said.over}, not over bars")
    over = rule or said.over
    if over == "bar":
        over = one.bars or "1m"
        try:
            length_s = bar_seconds(over)
        except DeriveError as error:
            raise wrong(f"{key}.bars", error.why) from None
        if length_s not in engine.bar_s:
            there = ", ".join(map(str, engine.bar_s)) or "none"
            raise wrong(f"{key}.bars", f"the engine makes no bars of {over}: add {length_s} to its bar_s ({there})")
    if said.state_size > MAX_STATE:
        size = f"{said.label} remembers {said.state_size:,} numbers of each instrument"
        raise wrong(f"{key}.parameters", f"{size}; at most {MAX_STATE:,} are stored")
    name = series_name(said.label, over)
    if len(name) > NAME_BYTES:
        message = f"the name {name} is longer than {NAME_BYTES} characters: round the parameters"
        raise wrong(f"{key}.parameters", message)
    return name


def _settle(asked: Sequence[Asked]) -> list[Settled]:
    """What each amounts to: asked of a process that may import numba."""
    done = subprocess.run(
        [sys.executable, "-m", "tickplant.derive.settle"],
        input=msgspec.json.encode(asked),
        capture_output=True,
        timeout=SETTLE_S,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigError(f"the indicators cannot be loaded: {lines[-1]}")
    return msgspec.json.decode(done.stdout, type=list[Settled])


def numbered(data_dir: Path, wanted: Wanted, *, add: bool) -> tuple[SeriesRef, ...]:
    """These series with their numbers in a store. With `add` new ones are numbered for good. Raises StoreError."""
    if not wanted:
        return ()
    numbers = SeriesTable(data_dir).numbers(wanted, add=add)
    return tuple(SeriesRef(numbers[name], name, symbols) for name, symbols in wanted.items())


def stored_series(data_dir: Path) -> tuple[SeriesRef, ...]:
    """All series that a store knows. Raises StoreError."""
    if not (data_dir / SERIES_FILE).exists():
        return ()
    return tuple(SeriesRef(number, name) for number, name in enumerate(SeriesTable(data_dir).names, 1))


def bars_of(series: Sequence[SeriesRef]) -> set[int]:
    """The lengths of the bars that series are over, seconds."""
    return {parse_series(one.name).bars_s for one in series} - {0}
