"""Commands that run a plant for one purpose: store a recording, play the store, or play a recording as a venue."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from tickplant.cli.options import (
    Number,
    check_publish,
    check_range,
    config_option,
    crossed_option,
    data_dir_of,
    data_option,
    examples,
    json_option,
    own_places,
    range_options,
)
from tickplant.cli.output import say, say_json
from tickplant.cli.replay_keys import ReplayKeys
from tickplant.cli.stored import open_store, skip_damage_option
from tickplant.errors import FeedError, StoreError
from tickplant.feeds import importers
from tickplant.plant import plans
from tickplant.plant.console import Progress
from tickplant.plant.ingest import ended, names_in
from tickplant.plant.planned_series import stored_series
from tickplant.plant.supervisor import Supervisor
from tickplant.runtime import config as cfg
from tickplant.runtime.config import Crossed, EngineConfig, PlantConfig
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import Plant, ReplaySpec, RingRef
from tickplant.runtime.recorded_lines import Recording
from tickplant.sim.dialect_table import DIALECTS
from tickplant.sim.server import run as run_sim
from tickplant.sim.spec import parse_spec
from tickplant.store.replay import wanted_ids
from tickplant.store.selection import Clock
from tickplant.times import format_time
from tickplant.venues import VENUES

DEFAULT_RATE = 200.0
"""Messages per second of a synthetic market."""

REPLAY_ADDRESS = "tcp://127.0.0.1:5565"
"""Differs from the live plant's, since both may run at once."""


class Speed(click.ParamType[float | str]):
    """A speed: a factor, or "max"."""

    name = "N|max"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """The factor, or "max"."""
        if value == "max":
            return "max"
        try:
            factor = float(str(value).removeprefix("x"))
        except ValueError:
            factor = 0.0
        if not 0 < factor < 1e6:
            self.fail(f"{value!r} is neither a factor such as 10 or 0.5 nor max", param, ctx)
        return factor


venue_option = click.option(
    "--venue",
    type=click.Choice(sorted(VENUES)),
    metavar="VENUE",
    help=f"Venue that sent the messages; not needed for DBN files. One of {', '.join(sorted(VENUES))}.",
)
speed_option = click.option(
    "--speed", type=Speed(), default=1.0, show_default=True, help="Multiple of real time, or max for no pauses."
)


_ALL_STORED = "the whole recording is already stored; nothing was added"

_BY_NAME = {"rejected": "rejects", "ignored": "ignored_kinds", "off_book": "off_book"}
"""Counters of a summary, and the feed's counters of the same by cause, kind or origin."""


@click.command(
    epilog=examples(
        "ingest recording.gz --venue binance --data history",
        "ingest recordings --venue kraken --data history --json",
        "ingest glbx-mdp3-20260131.mbo.dbn.zst --data history",
    )
)
@click.argument("recording", type=click.Path(path_type=Path))
@venue_option
@click.option(
    "--data", "data_dir", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Store to add to."
)
@crossed_option
@click.option(
    "--again", is_flag=True, help="Exit with 0 if the whole recording is already stored. Nothing is stored twice."
)
@json_option
def ingest(recording: Path, venue: str | None, data_dir: Path, crossed: Crossed, again: bool, as_json: bool) -> int:
    """Store RECORDING, a file or a folder of files, through the pipeline of a live plant.

    RECORDING is text, plain, gzip or zstd. Each line is a receive time (s, ms, µs or ns, or RFC 3339), a space, and the
    frame as received. RECORDING may also be a Databento file (DBN, plain or zstd).

    Records that are already stored are skipped: the same command resumes a stopped ingest, and a recording that follows
    another one continues it. The exit code is 1 if the whole recording is already stored, unless --again is given.
    """
    Recording(recording)  # there is something to read
    importer = importers.find(recording)
    if importer and venue in (None, importer):
        importers.open_import(importer, recording)  # and it can be read
    elif importer:
        raise click.UsageError(f"{recording}: this is a {importer} file, not a {venue} recording: omit --venue")
    elif venue is None:
        raise click.UsageError(f"{recording}: the file does not name its venue: add --venue")
    venue = importer or venue or ""
    started_s = time.monotonic()
    with Progress(f"storing {recording.name}", unit="frames") as progress:
        names = names_in(data_dir.resolve(), venue)
        ended_before = ended(data_dir.resolve(), names.feed)
        plan = plans.ingest(
            recording,
            venue,
            data_dir.resolve(),
            names,
            settings=PlantConfig(),
            crossed=crossed,
            imported=bool(importer),
        )
        supervisor = Supervisor(plan, report=progress.report)
        code = supervisor.run(lambda: progress.show(supervisor.children[names.feed].counters.get("frames", 0)))
    if code or names.feed not in supervisor.done:
        raise StoreError(
            "the recording was not stored completely: " + "; ".join(supervisor.failed or ["stopped"]), path=recording
        )
    counters = supervisor.done[names.feed].counters
    kinds, off_book = counters.get("kinds"), counters.get("off_book")
    summary = {
        "frames": counters.get("frames", 0),
        "ticks": counters.get("ticks", 0),
        **(kinds if isinstance(kinds, dict) else {}),
        "rejected": counters.get("rejected", 0),
        "ignored": counters.get("ignored", 0),
        "off_book": sum(off_book.values()) if isinstance(off_book, dict) else 0,
        "gaps": counters.get("gaps", 0),
        "duplicates": counters.get("duplicates", 0),
        "repeated": counters.get("repeated", 0),
        "added": counters.get("added", 0),
        "checksums_ok": counters.get("checksums_ok", 0),
        "checksums_failed": counters.get("checksums_failed", 0),
        "seconds": round(time.monotonic() - started_s, 3),
    }
    if as_json:
        say_json(summary | {f"{name}_by_name": counters.get(key, {}) for name, key in _BY_NAME.items()})
    else:
        say(", ".join(f"{key} {value:,}" for key, value in summary.items()))
    if told := _what_was_known(recording, summary):
        say(told, err=True)
    if late := counters.get("late", 0):
        raise FeedError(
            f"{recording}: {late:,} events are older than the stored end of their streams and were left out: ingest "
            "recordings in time order, or ingest this one into a store of its own"
        )
    if summary["frames"] and summary["frames"] == summary["rejected"]:
        kept = data_dir / "rejects" / f"{names.feed}.jsonl"
        raise FeedError(f"{recording}: every frame was rejected (see {kept}): check --venue {venue}")
    if damage := counters.get("damage"):
        raise FeedError(f"{damage}; the readable part is stored")
    # A recording that was cut short after its last record adds none either, but ends for the first time.
    known = not summary["added"] and (summary["repeated"] or summary["duplicates"])
    if known and not again and ended(data_dir.resolve(), names.feed) == ended_before:
        raise FeedError(f"{recording}: {_ALL_STORED}; use --again to exit with 0")
    return 0


def _what_was_known(recording: Path, summary: Mapping[str, object]) -> str:
    """A sentence about what the store already had."""
    if not summary["added"]:
        return f"{recording}: {_ALL_STORED}" if summary["repeated"] or summary["duplicates"] else ""
    known = []
    if summary["repeated"]:
        known.append(f"the first {summary['repeated']:,} records, which an earlier ingest stored")
    if summary["duplicates"]:
        known.append(f"{summary['duplicates']:,} events with known ids")
    return f"{recording}: already stored and skipped: {'; '.join(known)}" if known else ""


@click.command(
    epilog=examples(
        "replay --speed 10",
        "replay --data data --symbol BTCUSDT --start 2026-01-31 --speed max",
        "replay --publish tcp://127.0.0.1:5600 --paused",
    )
)
@config_option
@data_option
@click.option("--venue", default="", help="Only this venue.")
@click.option("--symbol", "symbols", multiple=True, help="Only this symbol; repeatable.")
@range_options
@speed_option
@skip_damage_option
@click.option("--paused", is_flag=True, help="Begin paused, until a key or a control message resumes.")
@click.option("--loop", is_flag=True, help="Start over at the end.")
@crossed_option
@click.option(
    "--publish",
    "--bind",
    default=REPLAY_ADDRESS,
    show_default=True,
    metavar="ADDRESS",
    help="PUB address to publish at; recovery requests use the next port.",
)
def replay(
    file: Path | None,
    data_dir: Path | None,
    venue: str,
    symbols: tuple[str, ...],
    start: int | None,
    end: int | None,
    clock: Clock,
    speed: float | str,
    skip_damage: bool,
    paused: bool,
    loop: bool,
    crossed: Crossed,
    publish: str,
) -> int:
    """Publish stored records again, exactly as a live plant published them.

    The replay begins with the first subscriber and ends after the last record. Several feeds are merged by the time
    that --clock names. Keys at a terminal: space pauses and resumes; "." steps one event; left and right seek by 10 s;
    up and down double and halve the speed; 1 is real time, m full speed; l loops; 0 seeks to the beginning; q quits.
    tickplant.ReplayControl does the same from a program.
    """
    check_range(start, end)
    check_publish("--publish", publish)
    store = data_dir_of(data_dir, file)
    with open_store(store, skip_damage=True) as opened:
        wanted_ids(opened, venue, symbols)
    plant_id = f"{cfg.plant_id(store)}r{os.getpid()}"
    spec = ReplaySpec(
        name="replay",
        plant=Plant(data_dir=str(store), run_dir="", control=""),
        ring=RingRef("", 0, ""),
        venue=venue,
        symbols=list(symbols),
        start_ns=start,
        end_ns=end,
        clock=clock,
        speed="max" if speed == "max" else float(speed),
        paused=paused,
        loop=loop,
        skip_damage=skip_damage,
    )
    engine = EngineConfig(publish=publish)
    series = stored_series(store, own_places(file, data_dir))
    for name, why in series.left_out.items():
        say(f"{name} is left out: {why}", err=True)
    plan = plans.replay(spec, engine, series, plant_id=plant_id, crossed=crossed)
    say(f"{store}: replay at {publish} begins with the first subscriber; Ctrl-C ends it", err=True)
    say(f"control address for tickplant.ReplayControl: {plan.plant.control}", err=True)
    with Progress(f"playing {store}", unit="records") as progress:
        supervisor = Supervisor(plan, report=progress.report)
        with ReplayKeys(plan.plant.control, beginning_ns=start or 0, paused=paused, loop=loop):
            code = supervisor.run(lambda: progress.show(_position(supervisor.children[spec.name].counters)))
    if supervisor.failed:
        raise StoreError("; ".join(supervisor.failed), path=store)
    if spec.name in supervisor.done:
        counters = supervisor.done[spec.name].counters
        left_out = counters.get("left_out")
        for damage in left_out if isinstance(left_out, dict) else ():
            say(f"left out: {damage}", err=True)
        say(f"replayed {counters.get('records', 0):,} records", err=True)
    return code


def _position(counters: Counters) -> str:
    """Where a replay is, and how it plays."""
    at_ns, records = counters.get("ts"), counters.get("records")
    shown = format_time(at_ns)[:23] if isinstance(at_ns, int) and at_ns else "not begun"
    words = [f"{records:,} records" if isinstance(records, int) else "", f"x{counters.get('speed', 1)}"]
    words += [word for word in ("paused", "loop") if counters.get(word)]
    return ", ".join([shown, *filter(None, words)])


@click.command(
    epilog=examples(
        "sim --venue kraken --symbol BTC/USD --rate 1000", "sim recording.gz --venue binance --port 0 --speed max"
    )
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--venue",
    required=True,
    type=click.Choice(sorted(DIALECTS)),
    metavar="VENUE",
    help=f"Venue to simulate: {', '.join(sorted(DIALECTS))}.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9443,
    show_default=True,
    help="Port to listen on; 0 takes any free port.",
)
@speed_option
@click.option(
    "--symbol", "symbols", multiple=True, help="Symbol of the synthetic market, such as BTCUSDT or BTC/USD; repeatable."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Seed of the synthetic market."
)
@click.option(
    "--rate",
    type=Number(0, 1e7, above=True),
    help="Messages per second: of the synthetic market (default 200), or of a Databento FILE, ignoring its times.",
)
@click.option("--loop", is_flag=True, help="Databento: play FILE in a loop, with new ids each time.")
@click.option("--key", default="", help="Databento: the API key that clients must present.")
def sim(
    file: Path | None,
    venue: str,
    host: str,
    port: int,
    speed: float | str,
    symbols: tuple[str, ...],
    seed: int,
    rate: float | None,
    loop: bool,
    key: str,
) -> None:
    """Simulate a venue on this machine: play the recording FILE, or run a synthetic market.

    The simulation speaks the protocol of the venue, checksums included; POST /sim/fault commits faults.
    """
    if file is not None and not file.exists():
        raise FeedError(f"{file}: no such file")
    wanted = {
        "venue": venue,
        "host": host,
        "port": port,
        "recording": str(file) if file else None,
        "speed": speed,
        "symbols": symbols,
        "seed": seed,
        "messages_per_s": rate or DEFAULT_RATE,
        "recording_per_s": rate if file else None,
        "loop": loop,
        "key": key,
    }
    spec = parse_spec(msgspec.json.encode(wanted))
    run_sim(spec, lambda at, number: say(f"{venue} is simulated at {at}:{number}; Ctrl-C ends it", err=True))
