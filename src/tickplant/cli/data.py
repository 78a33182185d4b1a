"""Commands that read the store."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tickplant.cli.options import Time, check_range, config_option, data_dir_of, data_option, json_option
from tickplant.cli.output import TerminalText, say, say_json
from tickplant.cli.stored import check_store, open_store, skip_damage_option
from tickplant.plant.console import Progress
from tickplant.records.layouts import Kind, Schema
from tickplant.store.export import SUFFIXES, export
from tickplant.store.reconcile import FeedSummary
from tickplant.store.selection import Clock
from tickplant.store.verify import Report
from tickplant.store.verify import verify as verify_store


@click.command()
@click.argument("venue")
@click.argument("symbol")
@config_option
@data_option
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.name.lower() for kind in Kind]),
    help="Only this kind of tick; may be given more than once.",
)
@click.option(
    "--schema",
    type=click.Choice([schema.name.lower() for schema in Schema]),
    default="tick",
    show_default=True,
    help="Ticks, or what the engine derived from them.",
)
@click.option("--start", type=Time(), help="First time, inclusive: RFC 3339 or integer nanoseconds.")
@click.option("--end", type=Time(), help="Last time, exclusive.")
@click.option(
    "--clock",
    type=click.Choice(["recv", "event"]),
    default="recv",
    show_default=True,
    help="The clock of --start and --end: when a record was received, or the venue's own time.",
)
@click.option("--float", "as_float", is_flag=True, help="Prices and sizes as float64 instead of exact decimals.")
@click.option("-o", "out", type=click.Path(path_type=Path), help=f"File to write: {', '.join(SUFFIXES)}.")
@skip_damage_option
@json_option
def query(
    venue: str,
    symbol: str,
    file: Path | None,
    data_dir: Path | None,
    kinds: tuple[str, ...],
    schema: str,
    start: int | None,
    end: int | None,
    clock: Clock,
    as_float: bool,
    out: Path | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Print what is stored of SYMBOL, or write it to a file: Parquet, Arrow, CSV or JSON lines."""
    check_range(start, end)
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store:
        rows = export(
            store,
            venue,
            symbol,
            as_float=as_float,
            schema=Schema[schema.upper()],
            kinds=kinds or None,
            start_ns=start,
            end_ns=end,
            clock=clock,
        )
        if out is None:
            stdout = sys.stdout.buffer
            shown = TerminalText(stdout, json=as_json) if sys.stdout.isatty() else stdout
            count = rows.write_text(shown, "jsonl" if as_json else "csv")
            stdout.flush()
        else:
            with Progress(f"writing {out}", unit="rows"):
                count = rows.write(out)
    if not count:
        say(f"nothing of {venue} {symbol} is stored that fits", err=True)
    if out is not None and as_json:
        say_json({"file": str(out), "rows": count})
    elif out is not None:
        say(f"{out}: {count:,} rows")


@click.command()
@config_option
@data_option
@json_option
def verify(file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Check every stored byte, prove that nothing is missing and that all counts add up, and list the gaps.

    Exit code 1 on damage, and where counts do not add up.
    """
    store = data_dir_of(data_dir, file)
    check_store(store)
    with Progress("checking", unit="bytes") as progress:
        report = verify_store(store, progress=lambda done, _: progress.show(done))
    if as_json:
        say_json(report)
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(report: Report) -> None:
    for journal in report.journals:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in journal.kinds.items())
        say(
            f"{journal.producer} {journal.schema}: {journal.records:,} records in {journal.chunks:,} chunks, "
            f"{journal.bytes / max(1, journal.records):.2f} bytes each{f' ({kinds})' if kinds else ''}"
        )
    for feed in report.feeds:
        say(_verdict(feed))
    for gap in report.gaps:
        count = f"{gap.missing:,} records" if not gap.unknown else f"at least {gap.missing:,} records"
        say(f"gap: {gap.day} {gap.venue} {gap.symbol} {gap.stream}: {gap.gaps} x {gap.cause}, {count} missing")
    for one in report.removed:
        what = f" of {', '.join(one.channels)}" if one.channels else ""
        say(f"removed on purpose: {one.day} {one.venue} {one.symbol} {one.schema}: {one.records:,} records{what}")
    for problem in report.problems:
        say(f"{problem.kind}: {problem.path} at byte {problem.offset}: {problem.text}")
    verdict = "whole" if report.ok else "DAMAGED" if report.reconciled else "MISCOUNTED"
    say(f"{report.data_dir}: {verdict}, {report.records:,} records, {len(report.gaps)} kinds of gaps")


def _verdict(feed: FeedSummary) -> str:
    """One line: what was counted, whether it adds up, and what was not counted."""
    if not feed.lives:
        return f"{feed.producer}: no account in {feed.records:,} records"
    counts = "; ".join(str(account) for account in feed.balances if account.count or account.off)
    verdict = "reconciled" if feed.reconciled else "NOT RECONCILED"
    left = feed.records - feed.accounted
    beyond = f"; {left:,} records came after the last account of a feed that was killed or still runs" if left else ""
    return f"{feed.producer}: {verdict}: {counts}{beyond}"
