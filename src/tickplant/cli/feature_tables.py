"""The command for feature sets: a table from the store, or a live Arrow stream."""

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
    examples,
    json_option,
    output_option,
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


@click.command(
    epilog=examples(
        "features momentum binance BTCUSDT -o momentum.parquet", "features momentum --publish tcp://127.0.0.1:5600"
    )
)
@click.argument("name")
@click.argument("venue", default="")
@click.argument("symbol", default="")
@config_option
@data_option
@click.option("--version", type=int, help="Version of the set.  [default: the newest]")
@range_options
@output_option(SUFFIXES)
@click.option(
    "--publish", metavar="ADDRESS", help="Publish live samples as Arrow at this PUB address: tcp://127.0.0.1:5600."
)
@click.option(
    "--address",
    "--source",
    default=DEFAULT_PUBLISH,
    show_default=True,
    metavar="ADDRESS",
    help="With --publish: the engine's PUB address.",
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
    publish: str | None,
    address: str,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Print, write or publish the samples of feature set NAME.

    Without SYMBOL, the command covers all symbols of VENUE; without both, the whole store. The samples are those
    stored; with --publish, those that the plant makes from now on.
    """
    check_range(start, end)
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store:
        if publish:
            _relay(set_of(store, name, version), address, publish, venue, symbol)
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
