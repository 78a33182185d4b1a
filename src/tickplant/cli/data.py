"""Commands that read the store."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tickplant.cli.options import (
    check_range,
    config_option,
    data_dir_of,
    data_option,
    examples,
    json_option,
    max_levels_of,
    output_option,
    range_options,
)
from tickplant.cli.output import TerminalText, say, say_json
from tickplant.cli.stored import check_store, open_store, schema_option, skip_damage_option
from tickplant.plant.console import Progress
from tickplant.plant.repair import repair as repair_store
from tickplant.records.layouts import Kind, Schema
from tickplant.store.coverage import CoverageGap, CoverageRow
from tickplant.store.deep_summary import DeepSummary
from tickplant.store.export import export
from tickplant.store.reconcile import FeedSummary
from tickplant.store.row_files import SUFFIXES
from tickplant.store.selection import Clock
from tickplant.store.verify import GapSummary, Report
from tickplant.store.verify import verify as verify_store
from tickplant.times import format_time


@click.command(
    epilog=examples(
        "query binance BTCUSDT --kind trade -o trades.parquet",
        "query binance BTCUSDT --start 2026-01-31 --where 'price > 60000' --columns ts_recv,price,size",
        "query binance BTCUSDT --schema bbo --json",
        "query --coverage",
    )
)
@click.argument("venue", default="")
@click.argument("symbol", default="")
@config_option
@data_option
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.name.lower() for kind in Kind]),
    metavar="KIND",
    help=f"Only ticks of this kind; repeatable. Kinds: {', '.join(kind.name.lower() for kind in Kind)}.",
)
@schema_option
@range_options
@click.option("--where", metavar="PREDICATE", help='Only rows that match, such as "price > 60000 and kind = trade".')
@click.option("--columns", metavar="NAMES", help="Only these columns, separated by commas.")
@click.option("--float", "as_float", is_flag=True, help="Print prices and sizes as float64 instead of exact decimals.")
@click.option(
    "--coverage", "covered", is_flag=True, help="Print what is stored and what is missing, per symbol and day, instead."
)
@output_option(SUFFIXES)
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
    where: str | None,
    columns: str | None,
    as_float: bool,
    covered: bool,
    out: Path | None,
    skip_damage: bool,
    as_json: bool,
) -> None:
    """Print the stored records of SYMBOL, or write them as Parquet, Arrow, CSV or JSON lines.

    --coverage prints one line per symbol and day: complete, with gaps, or missing. VENUE and SYMBOL are then optional.
    """
    check_range(start, end)
    if covered:
        if kinds or out or as_float or where or columns or schema != "tick" or clock != "recv":
            raise click.UsageError("--coverage takes only VENUE, SYMBOL, --start, --end and --json")
        with open_store(data_dir_of(data_dir, file), skip_damage=True) as store:
            rows = store.coverage(venue, symbol, start_ns=start, end_ns=end)
        _print_coverage(rows, as_json=as_json)
        if not rows:
            say(f"no stored record of {' '.join(filter(None, (venue, symbol))) or 'any symbol'} matches", err=True)
        return
    if not symbol:
        raise click.UsageError("name VENUE and SYMBOL; `tickplant query --coverage` lists them")
    with open_store(data_dir_of(data_dir, file), skip_damage=skip_damage) as store:
        asked = export(
            store,
            venue,
            symbol,
            as_float=as_float,
            schema=Schema[schema.upper()],
            kinds=kinds or None,
            start_ns=start,
            end_ns=end,
            clock=clock,
            where=where,
            columns=None if columns is None else [name.strip() for name in columns.split(",")],
        )
        if out is None:
            stdout = sys.stdout.buffer
            shown = TerminalText(stdout, json=as_json) if sys.stdout.isatty() else stdout
            count = asked.write_text(shown, "jsonl" if as_json else "csv")
            stdout.flush()
        else:
            with Progress(f"writing {out}", unit="rows") as progress:
                count = asked.write(out, progress=progress.show)
    if not count:
        say(f"no stored record of {venue} {symbol} matches", err=True)
    if out is not None and as_json:
        say_json({"file": str(out), "rows": count})
    elif out is not None:
        say(f"{out}: {count:,} rows")


def _print_coverage(rows: list[CoverageRow], *, as_json: bool) -> None:
    """Print a line for each symbol and day."""
    for row in rows:
        if as_json:
            say_json(row)
            continue
        what = f"{row.records:,} records" if row.records else "nothing is stored"
        if row.records:
            what += f" from {format_time(row.first_ns)[11:19]} to {format_time(row.last_ns)[11:19]}"
        if row.removed:
            what += f"; {row.removed:,} records removed by [retention]"
        for gap in row.gaps:
            what += f"; {gap.gaps:,} x {gap.cause} of {gap.stream}, {gap.length_ns / 1e9:,.3f} s, {_missing(gap)}"
        say(f"{row.day} {row.venue} {row.symbol} {row.state}: {what}")


@click.command(epilog=examples("verify", "verify --deep --data data"))
@config_option
@data_option
@click.option("--deep", is_flag=True, help="Recompute every derived record from the ticks, and compare.")
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="First repair what can be repaired, and name each repair. No plant may be running.",
)
@json_option
def verify(file: Path | None, data_dir: Path | None, deep: bool, mend: bool, as_json: bool) -> int:
    """Check every stored byte, prove that no record is missing, and list the gaps.

    The proof is arithmetic: what each feed received, made and stored must add up. The exit code is 1 on damage, on
    counts that do not add up, and, with --deep, on a derived record that differs from its ticks. A gap is no error.
    """
    store = data_dir_of(data_dir, file)
    check_store(store)
    if mend:
        for repair in repair_store(store):
            say(str(repair), err=True)
    with Progress("checking", unit="bytes") as progress:
        report = verify_store(
            store, deep=deep, max_levels=max_levels_of(file, data_dir), progress=lambda done, _: progress.show(done)
        )
    if as_json:
        say_json(report)
    else:
        _print(report)
    return 0 if report.ok else 1


def _missing(gap: GapSummary | CoverageGap) -> str:
    """How many records are missing in gaps, as far as known."""
    if gap.unknown and not gap.missing:
        return "an unknown number of records missing"
    return f"{'at least ' if gap.unknown else ''}{gap.missing:,} record{'s' * (gap.missing != 1)} missing"


def _print(report: Report) -> None:
    for journal in report.journals:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in journal.kinds.items())
        say(
            f"{journal.producer} {journal.schema}: {journal.records:,} records in {journal.chunks:,} chunks, "
            f"{journal.bytes / max(1, journal.records):.2f} bytes each{f' ({kinds})' if kinds else ''}"
        )
    for feed in report.feeds:
        say(_verdict(feed))
    for summary in report.deep:
        _print_deep(summary)
    for gap in report.gaps:
        say(f"gap: {gap.day} {gap.venue} {gap.symbol} {gap.stream}: {gap.gaps:,} x {gap.cause}, {_missing(gap)}")
    for one in report.removed:
        what = f" of {', '.join(one.channels)}" if one.channels else ""
        say(f"removed on purpose: {one.day} {one.venue} {one.symbol} {one.schema}: {one.records:,} records{what}")
    for problem in report.problems:
        say(f"{problem.kind}: {problem.path} at byte {problem.offset}: {problem.text}")
    wrong = any(summary.wrong for summary in report.deep)
    verdict = "whole" if report.ok else "WRONG" if wrong else "DAMAGED" if report.reconciled else "MISCOUNTED"
    say(f"{report.data_dir}: {verdict}, {report.records:,} records, {sum(gap.gaps for gap in report.gaps):,} gaps")


def _print_deep(summary: DeepSummary) -> None:
    """Print what was proved about the records derived from one feed, and what was not."""
    proved = f"{summary.checkpoints:,} checkpoints, {summary.bbo:,} bbo, {summary.bars:,} bars"
    for count, what in (
        (summary.trade_bars, "bars of trades"),
        (summary.values, "values"),
        (summary.states, "states"),
    ):
        proved += f", {count:,} {what}" if count else ""
    say(
        f"{summary.feed}: {summary.ticks:,} ticks folded again: {proved} agree, {summary.wrong:,} do not, "
        f"{summary.unproved:,} cannot be proved; {summary.lacking:,} that the ticks lead to are not stored"
    )
    for flaw in summary.flaws:
        say(f"derived: {flaw.engine} {flaw.schema} seq {flaw.seq}: {flaw.text}")
    if summary.stopped:
        say(f"{summary.feed}: nothing was folded behind damage: {summary.stopped}")


def _verdict(feed: FeedSummary) -> str:
    """A line that says what was counted, whether the counts add up, and what was not counted."""
    if not feed.lives:
        return f"{feed.producer}: no account in {feed.records:,} records"
    counts = "; ".join(str(account) for account in feed.balances if account.count or account.off)
    verdict = "reconciled" if feed.reconciled else "NOT RECONCILED"
    left = feed.records - feed.accounted
    beyond = f"; {left:,} records came after the last account of a feed that was killed or still runs" if left else ""
    return f"{feed.producer}: {verdict}: {counts}{beyond}"
