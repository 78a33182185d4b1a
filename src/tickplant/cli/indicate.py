"""The command that computes indicators over the store."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant.cli.options import (
    check_range,
    config_option,
    data_dir_of,
    data_option,
    examples,
    json_option,
    output_option,
    own_places,
    range_options,
)
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import open_store, skip_damage_option, write_table
from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.series import BARS, EVERY
from tickplant.errors import DeriveError
from tickplant.plant.console import Progress
from tickplant.store.derived_values import DerivedDay
from tickplant.store.row_files import SUFFIXES
from tickplant.store.selection import Clock


@click.command(
    epilog=examples(
        "derive",
        "derive rsi binance BTCUSDT --bars 1m --set period=14",
        "derive book_imbalance binance BTCUSDT --every 100ms -o imbalance.parquet",
    )
)
@click.argument("name", default="")
@click.argument("venue", default="")
@click.argument("symbol", default="")
@config_option
@data_option
@click.option(
    "--bars",
    default="",
    show_default=BARS,
    metavar="BARS",
    help="Bars that the indicator is computed over: 1s, 5m, 1h, 1d, volume-50, time-60, session-XNYS.",
)
@click.option(
    "--sessions", default="", metavar="CALENDAR", help="For vwap_session: the exchange calendar, such as XNYS."
)
@click.option(
    "--every",
    default="",
    show_default=EVERY,
    metavar="INTERVAL",
    help="For indicators over the book: the sampling interval, such as 100ms or 1m.",
)
@click.option(
    "--set", "given", multiple=True, metavar="KEY=NUMBER", help="Set a parameter, such as period=14; repeatable."
)
@range_options
@output_option(SUFFIXES)
@skip_damage_option
@json_option
def derive(
    name: str,
    venue: str,
    symbol: str,
    file: Path | None,
    data_dir: Path | None,
    bars: str,
    sessions: str,
    every: str,
    given: tuple[str, ...],
    start: int | None,
    end: int | None,
    clock: Clock,
    out: Path | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Compute indicator NAME over stored data, or list all indicators.

    NAME is a built-in indicator, one of [indicators] of the configuration, or a Python object: spreads.py:SPREAD_MEAN.

    Without SYMBOL, the command covers all symbols of VENUE; without both, the whole store. Results are cached in the
    store, and recomputed if their input changes.
    """
    if not name:
        _print_indicators(as_json=as_json)
        return
    check_range(start, end)
    parameters = dict(map(_parameter, given))
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store, Progress(name, "days") as progress:
        done: list[DerivedDay] = []

        def show(day: DerivedDay) -> None:
            done.append(day)
            progress.show(len(done))

        place = own_places(file, data_dir).get(name, "")
        found = store.derive(
            f"{name}={place}" if place else name,
            venue or None,
            symbol or None,
            bars=bars,
            sessions=sessions,
            every=every,
            clock=clock,
            start=start,
            end=end,
            progress=show,
            **parameters,
        )
        days = found.days
        count = write_table(found, out, as_json=as_json)
    kept = sum(day.cached for day in days)
    if out is not None and as_json:
        say_json({"file": str(out), "rows": count, "days": len(days), "cached": kept})
        return
    say(f"{found.label}: {count:,} rows; days: {len(days) - kept} computed, {kept} cached", err=out is None)


def _parameter(text: str) -> tuple[str, float]:
    """Name and value from text such as `period=14`. Raises DeriveError."""
    key, _, value = text.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise DeriveError(f"{value!r} is not a number: --set takes KEY=NUMBER, such as period=14", key=key) from None


def _print_indicators(*, as_json: bool) -> None:
    for one in INDICATORS.values():
        parameters = {parameter.name: parameter.default for parameter in one.parameters}
        if as_json:
            say_json({"name": one.name, "over": one.over, "parameters": parameters, "outputs": one.outputs})
        else:
            settings = " ".join(f"{key}={value:.6g}" for key, value in parameters.items())
            say(f"{one.name} over {one.over}s{f', {settings}' if settings else ''}: {one.formula}")
