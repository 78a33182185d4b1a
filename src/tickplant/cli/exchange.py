"""Commands that move whole stores out of tickplant and back."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant.cli.options import Time, check_range, config_option, data_dir_of, data_option, json_option
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import open_store, skip_damage_option
from tickplant.plant.console import Progress
from tickplant.plant.lock_file import locked
from tickplant.records.layouts import Schema
from tickplant.store.parquet_set import export_set
from tickplant.store.set_import import import_set


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@data_option
@click.option("--venue", help="Only of this venue.")
@click.option("--symbol", help="Only this symbol.")
@click.option(
    "--schema",
    type=click.Choice([schema.name.lower() for schema in Schema]),
    default="tick",
    show_default=True,
    help="Ticks, or what the engine derived from them.",
)
@click.option("--start", type=Time(), help="First day: RFC 3339 or integer nanoseconds.")
@click.option("--end", type=Time(), help="Last time, exclusive; its day is written whole.")
@skip_damage_option
@json_option
def export(
    folder: Path,
    file: Path | None,
    data_dir: Path | None,
    venue: str | None,
    symbol: str | None,
    schema: str,
    start: int | None,
    end: int | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Write the store as a Parquet data set: a file per venue, symbol and day of UTC.

    Days that are in FOLDER already, with all their records, are left alone: so an export that was stopped goes on, and
    one that is repeated adds what is new.
    """
    check_range(start, end)
    with (
        open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store,
        Progress(f"writing {folder}", unit="records") as progress,
    ):
        ids = None if venue is None and symbol is None else frozenset(row.id for row in store.select(venue, symbol))
        count = export_set(
            store, folder, schema=Schema[schema.upper()], ids=ids, start_ns=start, end_ns=end, progress=progress.show
        )
    _tell(folder, count, "written", as_json=as_json)


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@config_option
@data_option
@json_option
def import_(folder: Path, file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Store the records of a Parquet data set that `tickplant export` wrote.

    What is stored already is compared and not stored again: so an import that was stopped goes on.
    """
    target = data_dir_of(data_dir, file)
    with locked(target), Progress(f"storing {folder}", unit="records") as progress:
        count = import_set(folder, target, progress=progress.show)
    _tell(target, count, "stored", as_json=as_json)


def _tell(path: Path, count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"path": str(path), "records": count})
    else:
        say(f"{path}: {count:,} records {done}")
