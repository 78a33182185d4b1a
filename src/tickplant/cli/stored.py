"""What the commands that read a store share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tickplant.cli.options import F
from tickplant.cli.output import TerminalText, say
from tickplant.errors import DamageError, StoreError, TickplantError
from tickplant.records.layouts import Schema
from tickplant.store.daily_files import daily_root
from tickplant.store.reader import SKIP_HINT, Store
from tickplant.writer.index import Damage
from tickplant.writer.journal import journal_root

if TYPE_CHECKING:
    from tickplant.store.value_table import ValueTable


def skip_damage_option(function: F) -> F:
    """`--skip-damage`: continue after what cannot be read, and report what that was."""
    return click.option(
        "--skip-damage", is_flag=True, help="Skip damaged stretches and name them, instead of stopping at the first."
    )(function)


schema_option = click.option(
    "--schema",
    type=click.Choice([schema.name.lower() for schema in Schema]),
    default="tick",
    show_default=True,
    help="Record type: ticks, or records that the engine derived from them.",
)


@contextlib.contextmanager
def open_store(data_dir: Path, *, skip_damage: bool) -> Iterator[Store]:
    """The store of a command that reads it. Raises StoreError if there is none.

    With `skip_damage`, each damaged stretch is named once on standard error. Otherwise the error about the first one
    names the option.
    """
    check_store(data_dir)
    told: set[tuple[str, int]] = set()

    def tell(damage: Damage) -> None:
        if (damage.path, damage.offset) not in told:
            told.add((damage.path, damage.offset))
            say(f"left out: {damage}", err=True)

    try:
        yield Store(data_dir, on_damage=tell if skip_damage else None)
    except DamageError as error:
        raise TickplantError(f"{error}; {SKIP_HINT}") from error


def check_store(data_dir: Path) -> None:
    """Refuse a folder that is not a store. Raises StoreError."""
    if not data_dir.is_dir():
        raise StoreError("is not a directory" if data_dir.exists() else "no such data directory", path=data_dir)
    if not (journal_root(data_dir).is_dir() or daily_root(data_dir).is_dir()):
        raise StoreError("is not a tickplant store: it has neither a journal nor daily files", path=data_dir)


def write_table(table: ValueTable, out: Path | None, *, as_json: bool) -> int:
    """Write a table to a file, or print it as CSV or JSON lines. Returns the number of rows. Raises StoreError."""
    if out is not None:
        return table.write(out)
    stdout = sys.stdout.buffer
    shown = TerminalText(stdout, json=as_json) if sys.stdout.isatty() else stdout
    count = table.write_text(shown, "jsonl" if as_json else "csv")
    stdout.flush()
    return count
