"""The command for readers that want only the latest records."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant.cli.options import Setting, check_publish, config_option, examples, live_address
from tickplant.cli.output import say, waiting
from tickplant.client.conflated_topics import BOOKS
from tickplant.client.conflating_relay import ConflatingRelay
from tickplant.runtime.config import ClientLimits
from tickplant.runtime.config_reader import Reader


@click.command(epilog=examples("conflate binance.BTCUSDT.bbo --publish tcp://127.0.0.1:5700 --every 250"))
@click.argument("topics", nargs=-1, required=True)
@click.option(
    "--publish", required=True, metavar="ADDRESS", help="PUB address of the relay, such as tcp://127.0.0.1:5700."
)
@click.option(
    "--every",
    "every_ms",
    type=click.IntRange(10, 3_600_000),
    default=200,
    show_default=True,
    metavar="MS",
    help="Shortest interval between two records of one topic, in milliseconds.",
)
@config_option
@click.option(
    "--address", "--source", metavar="ADDRESS", help="The engine's PUB address.  [default: from the configuration]"
)
@click.option("--insecure", is_flag=True, help="Accept subscribers from other machines, without authentication.")
@click.option(
    "--limit",
    "settings",
    type=Setting(),
    multiple=True,
    help="Set a limit for clients by its key under [engines.NAME], such as max_connections=500.",
)
def conflate(
    topics: tuple[str, ...],
    publish: str,
    every_ms: int,
    file: Path | None,
    address: str | None,
    insecure: bool,
    settings: tuple[tuple[str, int | float], ...],
) -> None:
    """Republish only the latest record of each topic, at most once per interval.

    For dashboards, which subscribe to the relay as they would to the plant. TOPICS are as in `tickplant tail`. Books
    are left out, since every change of a book matters; bbo has their best prices.
    """
    for topic in topics:
        if topic.rpartition(".")[2] in BOOKS:
            raise click.UsageError(f"{topic}: books are not conflated; bbo has their best prices")
    check_publish("--publish", publish, insecure=insecure)
    limits = Reader("--limit").table(dict(settings), ClientLimits, "relay")
    source = live_address(address, file)
    with waiting(f"{source}: waiting for the engine's answer"):
        made = ConflatingRelay(*topics, source=source, address=publish, every_ms=every_ms, limits=limits)
    with made as relay:
        say(f"publishing the latest of {', '.join(topics)} every {every_ms} ms at {publish}; Ctrl-C ends it", err=True)
        relay.run()
