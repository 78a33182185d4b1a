"""Commands that change and show which symbols the feeds record."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant.cli.options import Group, config_option, data_dir_of, data_option, examples, json_option, load_config
from tickplant.cli.output import say, say_json
from tickplant.cli.plant import ask
from tickplant.errors import ControlError
from tickplant.plant.followed_symbols import FollowedSymbols
from tickplant.runtime.control import ChangeSymbols, FeedSymbols, GetStatus, Status, SymbolsChanged

TIMEOUT_S = 20.0  # longer than the plant waits for the venue


@click.group(cls=Group)
def symbols() -> None:
    """Add, remove or list the symbols of a feed."""


@symbols.command(epilog=examples("symbols add binance SOLUSDT"))
@click.argument("feed")
@click.argument("names", metavar="SYMBOL...", nargs=-1, required=True)
@config_option
@data_option
def add(feed: str, names: tuple[str, ...], file: Path | None, data_dir: Path | None) -> int:
    """Record more symbols with FEED, from now on and after each restart."""
    return _change(ChangeSymbols(feed, added=list(names)), data_dir_of(data_dir, file), "added")


@symbols.command(epilog=examples("symbols remove binance SOLUSDT"))
@click.argument("feed")
@click.argument("names", metavar="SYMBOL...", nargs=-1, required=True)
@config_option
@data_option
def remove(feed: str, names: tuple[str, ...], file: Path | None, data_dir: Path | None) -> int:
    """Stop recording these symbols with FEED. Their stored data stays."""
    return _change(ChangeSymbols(feed, removed=list(names)), data_dir_of(data_dir, file), "removed")


def _change(message: ChangeSymbols, data_dir: Path, verb: str) -> int:
    reply = ask(data_dir, message, timeout_s=TIMEOUT_S)
    if not isinstance(reply, SymbolsChanged):
        raise ControlError(f"the plant answered {type(reply).__name__}")
    for symbol, problem in reply.outcomes.items():
        say(f"{message.feed}: {symbol} is not {verb}: {problem}" if problem else f"{message.feed}: {symbol} is {verb}")
    return int(any(reply.outcomes.values()))


@symbols.command("list", epilog=examples("symbols list", "symbols list binance --json"))
@click.argument("feed", required=False)
@config_option
@data_option
@json_option
def list_symbols(feed: str | None, file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the symbols of FEED, or of all feeds: those of the running plant, else those of the configuration."""
    found = _symbols(file, data_dir)
    if feed is not None and feed not in found:
        raise ControlError(f"no feed is named {feed}; the feeds are {', '.join(found)}")
    for name, one in found.items():
        if feed not in (None, name):
            continue
        for symbol in [*one.symbols, *one.removed]:
            origin = "added" if symbol in one.added else "removed" if symbol in one.removed else "configured"
            if as_json:
                say_json({"feed": name, "symbol": symbol, "origin": origin})
            else:
                say(f"{name}  {symbol}{'' if origin == 'configured' else f'  {origin}'}")


def _symbols(file: Path | None, data_dir: Path | None) -> dict[str, FeedSymbols]:
    folder = data_dir_of(data_dir, file)
    try:
        reply = ask(folder, GetStatus())
    except ControlError:
        if data_dir is not None:
            raise
        return FollowedSymbols(load_config(file)).report()
    return reply.symbols if isinstance(reply, Status) else {}
