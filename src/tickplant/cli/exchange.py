"""Commands that move whole stores out of tickplant and back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from tickplant.cli.options import Time, check_range, config_option, data_dir_of, data_option, examples, json_option
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import open_store, schema_option, skip_damage_option
from tickplant.instruments import MAX_SCALE
from tickplant.plant.console import Progress
from tickplant.plant.lock_file import locked
from tickplant.records.layouts import Kind, Schema
from tickplant.store.day_exports import Form, export_days
from tickplant.store.dbn_files import DbnFiles
from tickplant.store.parquet_set import export_set
from tickplant.store.set_import import import_set
from tickplant.store.table_import import FIELDS, KINDS, UNITS_NS, import_table
from tickplant.store.tardis_files import TardisFiles

FORMS: Final[dict[str, type[TardisFiles] | type[DbnFiles]]] = {"tardis": TardisFiles, "dbn": DbnFiles}


@click.command(
    epilog=examples(
        "export parquet",
        "export tardis --format tardis --type trades --symbol BTCUSDT",
        "export dbn --format dbn --start 2026-01-31",
    )
)
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@data_option
@click.option("--venue", help="Only this venue.")
@click.option("--symbol", help="Only this symbol.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", *FORMS]),
    default="parquet",
    show_default=True,
    help="A Parquet data set, Tardis.dev's CSV, or Databento's DBN.",
)
@click.option(
    "--type",
    "sorts",
    multiple=True,
    metavar="TYPE",
    help="For tardis and dbn: only this type of file, such as trades or mbo; repeatable.",
)
@schema_option
@click.option("--start", type=Time(), help="First day to write: RFC 3339 or integer nanoseconds.")
@click.option("--end", type=Time(), help="End of the range, exclusive; its day is written whole.")
@skip_damage_option
@json_option
def export(
    folder: Path,
    file: Path | None,
    data_dir: Path | None,
    venue: str | None,
    symbol: str | None,
    form: str,
    sorts: tuple[str, ...],
    schema: str,
    start: int | None,
    end: int | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Write the store as a Parquet data set, or as daily files in Tardis.dev or Databento format.

    FOLDER gets one file per venue, symbol and UTC day, and with --format tardis or dbn one per type of data. Days that
    FOLDER already holds completely are skipped, so the same command resumes a stopped export and adds new days.
    """
    check_range(start, end)
    made = FORMS[form]() if form in FORMS else None
    _check_sorts(made, form, sorts, schema)
    with (
        open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store,
        Progress(f"writing {folder}", unit="records") as progress,
    ):
        if made is None:
            ids = None if venue is None and symbol is None else frozenset(row.id for row in store.select(venue, symbol))
            which = Schema[schema.upper()]
            count = export_set(store, folder, schema=which, ids=ids, start_ns=start, end_ns=end, progress=progress.show)
        else:
            count = export_days(
                store,
                folder,
                made,
                sorts=sorts,
                venue=venue,
                symbol=symbol,
                start_ns=start,
                end_ns=end,
                progress=progress.show,
            )
            for reason, number in made.left_out.items():
                if number:
                    say(f"left out, because {form} cannot express them: {number:,} {reason}", err=True)
    _tell(folder, count, "written", as_json=as_json)


def _check_sorts(form: Form | None, name: str, sorts: tuple[str, ...], schema: str) -> None:
    if form is None:
        if sorts:
            raise click.UsageError("--type needs --format tardis or dbn; for Parquet use --schema")
    elif schema != "tick":
        raise click.UsageError(f"--schema needs --format parquet; for {name} use --type")
    elif unknown := [sort for sort in sorts if sort not in form.sorts]:
        raise click.UsageError(f"{name} has no type {unknown[0]}; choose from {', '.join(form.sorts)}")


@click.command(
    "import",
    epilog=examples(
        "import parquet --data other",
        "import trades.csv --data other --venue binance --symbol BTCUSDT --map price=price --map size=amount "
        "--map ts_event=timestamp --time-unit us",
    ),
)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@config_option
@data_option
@click.option("--venue", help="Venue of the rows of a single file.")
@click.option("--symbol", help="Symbol of the rows of a single file.")
@click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="FIELD=COLUMN",
    help=f"The column of a single file that holds FIELD; repeatable. Fields: {', '.join(FIELDS)}.",
)
@click.option(
    "--kind",
    type=click.Choice([kind.name.lower() for kind in KINDS]),
    default="trade",
    show_default=True,
    help="Kind of the rows of a single file.",
)
@click.option("--time-unit", type=click.Choice(list(UNITS_NS)), help="Unit of times that are whole numbers.")
@click.option(
    "--price-scale", type=click.IntRange(0, MAX_SCALE), default=8, show_default=True, help="Decimals of a price."
)
@click.option(
    "--size-scale", type=click.IntRange(0, MAX_SCALE), default=8, show_default=True, help="Decimals of a size."
)
@json_option
def import_(
    source: Path,
    file: Path | None,
    data_dir: Path | None,
    venue: str | None,
    symbol: str | None,
    mapped: tuple[str, ...],
    kind: str,
    time_unit: str | None,
    price_scale: int,
    size_scale: int,
    as_json: bool,
) -> None:
    """Store a Parquet data set written by `tickplant export`, or a single Parquet or CSV file.

    A single file needs --venue, --symbol and a --map for price, size and a time. Records that are already stored are
    compared and skipped, so the same command resumes a stopped import.
    """
    target = data_dir_of(data_dir, file)
    pairs = [text.partition("=")[::2] for text in mapped]
    if not source.is_dir() and (venue is None or symbol is None or not all(column for _, column in pairs)):
        raise click.UsageError(
            "a single file needs --venue, --symbol and --map FIELD=COLUMN for price, size and a time"
        )
    fields = [field for field, _ in pairs]
    if twice := [field for field in fields if fields.count(field) > 1]:
        raise click.UsageError(f"--map {twice[0]} is given twice")
    with locked(target), Progress(f"storing {source}", unit="records") as progress:
        if source.is_dir():
            count = import_set(source, target, progress=progress.show)
        else:
            count = import_table(
                source,
                target,
                venue or "",
                symbol or "",
                dict(pairs),
                producer=f"import-{source.stem}",
                kind=Kind[kind.upper()],
                time_unit=time_unit,
                price_scale=price_scale,
                size_scale=size_scale,
                progress=progress.show,
            )
    _tell(target, count, "stored", as_json=as_json)


def _tell(path: Path, count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"path": str(path), "records": count})
    else:
        say(f"{path}: {count:,} records {done}")
