"""`tickplant compact`: finished days of the journal become daily files, now."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tickplant.cli.options import config_option, data_dir_of, data_option, json_option, load_config
from tickplant.cli.output import say, say_json
from tickplant.cli.stored import check_store
from tickplant.plant.console import Progress
from tickplant.runtime.config import StoreConfig
from tickplant.store.compaction import Compacted, Compaction, compaction_lock
from tickplant.store.compactor import policy_of
from tickplant.writer.journal import Files


@click.command()
@config_option
@data_option
@click.option("--open-days", is_flag=True, help="Also what is there of a day that is not over.")
@click.option(
    "--keep-journal",
    "keep_journal_h",
    type=click.IntRange(min=0),
    metavar="HOURS",
    help="How long journal files stay that are in daily files.  [default: that of the configuration, 24]",
)
@json_option
def compact(
    file: Path | None, data_dir: Path | None, open_days: bool, keep_journal_h: int | None, as_json: bool
) -> int:
    """Make daily files of finished days, one a symbol, and remove what is not needed any more.

    A plant does so by itself; both may run at once. Exit code 1 where something could not be done.
    """
    settings = load_config(file).store if file or data_dir is None else StoreConfig()
    store = data_dir_of(data_dir, file)
    check_store(store)
    if keep_journal_h is not None:
        settings = msgspec.structs.replace(settings, keep_journal_h=keep_journal_h)
    policy = policy_of(msgspec.structs.replace(settings, open_days=open_days or settings.open_days))
    with Progress("compacting", unit="records") as progress, compaction_lock(store, Files()):
        records = 0

        def show(count: int) -> None:
            nonlocal records
            records += count
            progress.show(records)

        done = Compaction(store, policy, progress=show).run()
    if as_json:
        say_json(done)
    else:
        _print(done)
    return 1 if done.trouble else 0


def _print(done: Compacted) -> None:
    for text in done.damage:
        say(f"stays in the journal: {text}", err=True)
    for text in done.trouble:
        say(f"not done: {text}", err=True)
    each = f", {done.bytes / done.records:.2f} bytes each" if done.records else ""
    doubles = f"; {done.doubles:,} trades have the venue's id of another one" if done.doubles else ""
    say(f"{done.records:,} records in {done.spans} spans of daily files{each}{doubles}")
    say(f"{done.journal_files} journal files removed, {done.journal_bytes / 2**20:.1f} MiB")
