"""The command line: one module per group of commands; this one contains what they share.

Errors are sentences on stderr, never tracebacks (`failures.py`). Exit codes: 0 if done, or if the reader of the output
has stopped reading; 1 if the data or the plant is not well; 2 for wrong usage.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click
from click.shell_completion import shell_complete

from tickplant.cli.failures import check_descriptors, tell
from tickplant.cli.output import finish_streams, prepare_streams

COMMANDS: Final = {
    "up": ("launch", "Launch the plant and stay attached until Ctrl-C."),
    "status": ("plant", "Show the state of the running plant."),
    "top": ("top", "Watch the running plant in the terminal: processes, rings and gaps."),
    "stop": ("plant", "Drain the running plant into the store, then end the plant."),
    "restart": ("plant", "Restart the process NAME; it resumes where it stopped."),
    "resync": ("plant", "Fetch the book of SYMBOL again, or all books of FEED."),
    "symbols": ("feed_symbols", "Add, remove or list the symbols of a feed."),
    "config": ("plant", "Check a configuration."),
    "tail": ("live", "Subscribe to TOPICS and print their records live."),
    "conflate": ("conflate", "Republish only the latest record of each topic, at most once per interval."),
    "book": ("live", "Show the book of SYMBOL: live, or from the store with --at or --data."),
    "query": ("data", "Print the stored records of SYMBOL, or write them as Parquet, Arrow, CSV or JSON lines."),
    "derive": ("indicate", "Compute indicator NAME over stored data, or list all indicators."),
    "features": ("feature_tables", "Print, write or publish the samples of feature set NAME."),
    "sql": ("statement", "Run an SQL STATEMENT over the store, in DuckDB's dialect."),
    "export": (
        "exchange",
        "Write the store as a Parquet data set, or as daily files in Tardis.dev or Databento format.",
    ),
    "import": ("exchange", "Store a Parquet data set written by `tickplant export`, or a single Parquet or CSV file."),
    "serve": ("serving", "Serve the store to other machines over Arrow Flight."),
    "verify": ("data", "Check every stored byte, prove that no record is missing, and list the gaps."),
    "compact": (
        "compact",
        "Pack finished days into daily files, one per symbol, and remove journal files no longer needed.",
    ),
    "ingest": ("recordings", "Store RECORDING, a file or a folder of files, through the pipeline of a live plant."),
    "replay": ("recordings", "Publish stored records again, exactly as a live plant published them."),
    "sim": ("recordings", "Simulate a venue on this machine: play the recording FILE, or run a synthetic market."),
}
"""Each command's module in this package, and the first sentence of its help: a command imports only what it needs."""


NAMES: Final = {"import": "import_"}
"""Commands whose function cannot have the command's name."""

_COMPLETE: Final = "_TICKPLANT_COMPLETE"


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415  # rarely needed

            near = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"no such command: {args[0]}; " + (f"did you mean {near[0]}?" if near else "see tickplant --help"))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tickplant.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, NAMES.get(cmd_name, cmd_name))
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{cmd_name} is not a command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tickplant")
def cli() -> None:
    """Record exchange market data and serve it live while it records."""


def main() -> None:
    """Entry point of the `tickplant` command."""
    prepare_streams()
    code = run(sys.argv[1:])
    finish_streams()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command to its end. Returns the exit code; every error is a sentence on standard error."""
    try:
        check_descriptors()
        code = _invoke(arguments)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:
        code = 0  # `tickplant query … | head`: the reader has stopped reading
    except Exception as error:
        code = tell(error)
    return code


def _invoke(arguments: list[str]) -> int:
    # Not `cli.main`, which handles errors in its own way.
    if completion := os.environ.get(_COMPLETE):
        return shell_complete(cli, {}, "tickplant", _COMPLETE, completion)
    try:
        with cli.make_context("tickplant", arguments) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    return code if isinstance(code, int) else 0
