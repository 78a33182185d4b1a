"""The command for feature sets: as a table from the store, or live as Arrow."""

from __future__ import annotations

from pathlib import Path

import click
import zmq

from tickplant.cli.options import (
    check_publish,
    check_range,
    config_option,
    data_dir_of,
    data_option,
    json_option,
    range_options,
)
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import open_store, skip_damage_option, write_table
from tickplant.derive.feature_sets import FeatureSet
from tickplant.errors import SubscribeError
from tickplant.runtime.config import DEFAULT_PUBLISH
from tickplant.store.feature_relay import FeatureRelay
from tickplant.store.feature_rows import set_of
from tickplant.store.row_files import SUFFIXES
from tickplant.store.selection import Clock


@click.command()
@click.argument("name")
@click.argument("venue", default="")
@click.argument("symbol", default="")
@config_option
@data_option
@click.option("--version", type=int, help="Of the set.  [default: the newest]")
@range_options
@click.option("-o", "out", type=click.Path(path_type=Path), help=f"File to write: {', '.join(SUFFIXES)}.")
@click.option("--publish", "address", help="Publish it live, as Arrow, at this PUB address: tcp://127.0.0.1:5600.")
@click.option(
    "--source", default=DEFAULT_PUBLISH, show_default=True, help="With --publish: where the engine publishes."
)
@skip_damage_option
@json_option
def features(
    name: str,
    venue: str,
    symbol: str,
    file: Path | None,
    data_dir: Path | None,
    version: int | None,
    start: int | None,
    end: int | None,
    clock: Clock,
    out: Path | None,
    address: str | None,
    source: str,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Print or write the samples of the feature set NAME that are stored, or publish them live.

    Without SYMBOL, of all symbols of VENUE; without both, of all.
    """
    check_range(start, end)
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store:
        if address:
            _relay(set_of(store, name, version), source, address, venue, symbol)
            return
        found = store.features(name, venue or None, symbol or None, version=version, clock=clock, start=start, end=end)
        count = write_table(found, out, as_json=as_json)
    if out is not None and as_json:
        say_json({"file": str(out), "rows": count})
        return
    say(f"{name} {found.features.version}: {count:,} rows", err=out is None)


def _relay(found: FeatureSet, source: str, address: str, venue: str, symbol: str) -> None:
    check_publish("--publish", address)
    try:
        with FeatureRelay(found, source, address, venue=venue, symbol=symbol) as relay:
            say(f"publishing {found.name} {found.version} at {address}; Ctrl-C ends it", err=True)
            for _ in relay.publish():
                pass
    except zmq.ZMQError as error:
        raise SubscribeError(f"{address}: cannot be opened: {error}") from None
