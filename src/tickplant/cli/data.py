"""Commands that read the store."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tickplant.cli.options import Time, config_option, data_dir_of, data_option, json_option
from tickplant.console import Progress
from tickplant.errors import StoreError
from tickplant.shm.records import Kind, Schema
from tickplant.writer.export import SUFFIXES, export
from tickplant.writer.reconcile import FeedSummary
from tickplant.writer.selection import Clock
from tickplant.writer.store import Store
from tickplant.writer.verify import Report
from tickplant.writer.verify import verify as verify_store


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
    as_json: bool,
) -> None:
    """Print what is stored of SYMBOL, or write it to a file: Parquet, Arrow, CSV or JSON lines."""
    store = data_dir_of(data_dir, file)
    if not store.is_dir():
        raise StoreError("there is no such data directory", path=store)
    rows = export(
        Store(store),
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
        rows.write_text(sys.stdout.buffer, "jsonl" if as_json else "csv")
        sys.stdout.buffer.flush()
        return
    with Progress(f"writing {out}", unit="rows"):
        count = rows.write(out)
    click.echo(msgspec.json.encode({"file": str(out), "rows": count}) if as_json else f"{out}: {count:,} rows")


@click.command()
@config_option
@data_option
@json_option
def verify(file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Check every stored byte, prove that nothing is missing and that all counts add up, and list the gaps.

    Exit code 1 on damage, and where counts do not add up.
    """
    with Progress("checking", unit="bytes") as progress:
        report = verify_store(data_dir_of(data_dir, file), progress=lambda done, _: progress.show(done))
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(report: Report) -> None:
    for journal in report.journals:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in journal.kinds.items())
        click.echo(
            f"{journal.producer} {journal.schema}: {journal.records:,} records in {journal.chunks:,} chunks, "
            f"{journal.bytes / max(1, journal.records):.2f} bytes each{f' ({kinds})' if kinds else ''}"
        )
    for feed in report.feeds:
        click.echo(_verdict(feed))
    for gap in report.gaps:
        count = f"{gap.missing:,} records" if not gap.unknown else f"at least {gap.missing:,} records"
        click.echo(f"gap: {gap.day} {gap.venue} {gap.symbol} {gap.stream}: {gap.gaps} x {gap.cause}, {count} missing")
    for problem in report.problems:
        click.echo(f"{problem.kind}: {problem.path} at byte {problem.offset}: {problem.text}")
    verdict = "whole" if report.ok else "DAMAGED" if report.reconciled else "MISCOUNTED"
    click.echo(f"{report.data_dir}: {verdict}, {report.records:,} records, {len(report.gaps)} kinds of gaps")


def _verdict(feed: FeedSummary) -> str:
    """One line: what was counted, whether it adds up, and what was not counted."""
    if not feed.lives:
        return f"{feed.producer}: no account in {feed.records:,} records"
    counts = "; ".join(str(account) for account in feed.balances if account.count or account.off)
    verdict = "reconciled" if feed.reconciled else "NOT RECONCILED"
    left = feed.records - feed.accounted
    beyond = f"; {left:,} records came after the last account of a feed that was killed or still runs" if left else ""
    return f"{feed.producer}: {verdict}: {counts}{beyond}"
