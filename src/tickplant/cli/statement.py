"""The command that runs SQL over a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tickplant.cli.options import config_option, data_dir_of, data_option, examples, json_option, output_option
from tickplant.cli.output import TerminalText, say, say_json
from tickplant.cli.stored import open_store, skip_damage_option
from tickplant.errors import TickplantError
from tickplant.plant.console import Progress
from tickplant.records.data_frames import need
from tickplant.store import tables
from tickplant.store.row_files import SUFFIXES, format_of, whole_file, write_arrow_text, write_batches
from tickplant.store.rows import BATCH_ROWS


@click.command(
    epilog=examples(
        'sql "select symbol, count(*) from trades group by all order by all"',
        "sql \"select * from trades where symbol = 'BTCUSDT'\" -o trades.parquet",
    )
)
@click.argument("statement")
@config_option
@data_option
@click.option("--float", "as_float", is_flag=True, help="Return prices and sizes as DOUBLE instead of exact decimals.")
@output_option(SUFFIXES)
@skip_damage_option
@json_option
def sql(
    statement: str,
    file: Path | None,
    data_dir: Path | None,
    as_float: bool,
    out: Path | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Run an SQL STATEMENT over the store, in DuckDB's dialect.

    The tables are ticks, bbo and bars; trades, quotes, levels, orders and gaps are views of ticks. The macro ns turns a
    time into integer nanoseconds: where recv_ns >= ns('2024-08-08T12:00Z').
    """
    kind = None if out is None else format_of(out)
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store:
        prices: Any = "float" if as_float else "decimal"
        connection = tables.duckdb(store.data_dir, prices=prices, on_damage=store.on_damage)
        try:
            answer = connection.sql(statement)
            if answer is None:
                raise TickplantError("the statement returns no rows: use SELECT")
            reader: Any = answer.to_arrow_reader(BATCH_ROWS)
            text: Any = "jsonl" if as_json or kind == "jsonl" else "csv"
            if out is None:
                stdout = sys.stdout.buffer
                shown = TerminalText(stdout, json=as_json) if sys.stdout.isatty() else stdout
                write_arrow_text(shown, text, reader, reader.schema)
                stdout.flush()
                return
            with Progress(f"writing {out}", unit="rows") as progress, whole_file(out) as target:
                if kind in ("csv", "jsonl"):
                    count = write_arrow_text(target, "csv" if kind == "csv" else "jsonl", reader, reader.schema)
                else:
                    count = write_batches(target, kind or "", reader.schema, reader, progress.show)
        except (need("duckdb").Error, RuntimeError) as error:
            raise TickplantError(f"DuckDB: {error}") from error
        finally:
            connection.close()
    if as_json:
        say_json({"file": str(out), "rows": count})
    else:
        say(f"{out}: {count:,} rows")
