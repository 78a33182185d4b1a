"""The command for readers that want the latest alone."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant.cli.options import Setting, check_publish, config_option, live_address
from tickplant.cli.output import say, waiting
from tickplant.client.conflated_topics import BOOKS
from tickplant.client.conflating_relay import ConflatingRelay
from tickplant.runtime.config import ClientLimits
from tickplant.runtime.config_reader import Reader


@click.command()
@click.argument("topics", nargs=-1, required=True)
@click.option("--publish", "address", required=True, help="PUB address of the relay, such as tcp://127.0.0.1:5700.")
@click.option(
    "--every",
    "every_ms",
    type=click.IntRange(10, 3_600_000),
    default=200,
    show_default=True,
    help="A topic is published at most once in so many milliseconds.",
)
@config_option
@click.option("--source", default=None, help="PUB address of the engine.  [default: that of the configuration]")
@click.option("--insecure", is_flag=True, help="Let other machines read it: the network is trusted.")
@click.option(
    "--limit",
    "settings",
    type=Setting(),
    multiple=True,
    help="What clients may cost the relay, under the names of an engine's settings, such as max_connections=500.",
)
def conflate(
    topics: tuple[str, ...],
    address: str,
    every_ms: int,
    file: Path | None,
    source: str | None,
    insecure: bool,
    settings: tuple[tuple[str, int | float], ...],
) -> None:
    """Publish the latest of TOPICS of a running plant, at most every so many milliseconds.

    For screens, which subscribe here as they would at the plant. A topic is venue.SYMBOL.channel, or the beginning of
    one, or has a * in it. Books by level and of orders are left out: no change of a book stands for another.
    """
    for topic in topics:
        if topic.rpartition(".")[2] in BOOKS:
            raise click.UsageError(f"{topic}: books are not conflated; bbo has their best prices")
    check_publish("--publish", address, insecure=insecure)
    limits = Reader("--limit").table(dict(settings), ClientLimits, "relay")
    source = live_address(source, file)
    with waiting(f"{source}: waiting for the engine's answer"):
        made = ConflatingRelay(*topics, source=source, address=address, every_ms=every_ms, limits=limits)
    with made as relay:
        say(f"publishing the latest of {', '.join(topics)} every {every_ms} ms at {address}; Ctrl-C ends it", err=True)
        relay.run()
