"""`tickplant compact`: finished days of the journal become daily files, now."""

from __future__ import annotations

import contextlib
from datetime import date
from pathlib import Path

import click
import msgspec

from tickplant.cli.options import config_option, data_dir_of, data_option, examples, json_option, load_config
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import check_store
from tickplant.plant.console import Progress
from tickplant.runtime.config import StoreConfig
from tickplant.store.compaction import Compacted, Compaction, compaction_lock
from tickplant.store.compactor import policy_of
from tickplant.writer.journal import Files


@click.command(epilog=examples("compact", "compact --open-days --data data", "compact --exported 2026-01-31"))
@config_option
@data_option
@click.option("--open-days", is_flag=True, help="Include the days that have not ended yet.")
@click.option(
    "--keep-journal",
    "keep_journal_h",
    type=click.IntRange(min=0),
    metavar="HOURS",
    help="How long to keep journal files that are already packed.  [default: from the configuration, else 24]",
)
@click.option(
    "--exported", "exported_day", metavar="DAY", help="First mark all days up to DAY, such as 2026-01-31, as exported."
)
@click.option("--venue", default="", help="With --exported: only this venue.")
@click.option("--symbol", "symbols", multiple=True, help="With --exported: only this symbol; repeatable.")
@json_option
def compact(
    file: Path | None,
    data_dir: Path | None,
    open_days: bool,
    keep_journal_h: int | None,
    exported_day: str | None,
    venue: str,
    symbols: tuple[str, ...],
    as_json: bool,
) -> int:
    """Pack finished days into daily files, one per symbol, and remove journal files no longer needed.

    A running plant does the same every `compact_every_s`; both may run at once. The exit code is 1 if some day could
    not be packed.
    """
    if exported_day is None and (venue or symbols):
        raise click.UsageError("--venue and --symbol need --exported")
    if exported_day is not None and not _is_day(exported_day):
        raise click.BadParameter(f"{exported_day!r} is not a day such as 2026-01-31", param_hint="--exported")
    config = load_config(file) if file or data_dir is None else None
    settings, rules = (config.store, config.retention) if config else (StoreConfig(), {})
    store = data_dir_of(data_dir, file)
    check_store(store)
    if keep_journal_h is not None:
        settings = msgspec.structs.replace(settings, keep_journal_h=keep_journal_h)
    policy = policy_of(msgspec.structs.replace(settings, open_days=open_days or settings.open_days), rules)
    with Progress("compacting", unit="records") as progress, compaction_lock(store, Files()):
        records = 0

        def show(count: int) -> None:
            nonlocal records
            records += count
            progress.show(records)

        compaction = Compaction(store, policy, progress=show)
        marked = 0 if exported_day is None else compaction.removal().mark_exported(exported_day, venue, symbols)
        done = compaction.run()
    if as_json:
        say_json(done)
    else:
        if exported_day is not None:
            say(f"{marked} daily files marked as exported")
        _print(done)
    return 1 if done.trouble else 0


def _is_day(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return len(text) == 10 and bool(date.fromisoformat(text))
    return False


def _print(done: Compacted) -> None:
    for text in done.damage:
        say(f"stays in the journal: {text}", err=True)
    for text in done.trouble:
        say(f"not done: {text}", err=True)
    each = f", {done.bytes / done.records:.2f} bytes each" if done.records else ""
    doubles = f"; {done.doubles:,} trades repeat a venue id" if done.doubles else ""
    say(f"{done.records:,} records in {done.spans} spans of daily files{each}{doubles}")
    say(f"{done.journal_files} journal files removed, {done.journal_bytes / 2**20:.1f} MiB")
    if done.removed:
        say(f"{done.removed:,} records removed by [retention], {done.removed_bytes / 2**20:.1f} MiB")
