"""The command line: one module per group of commands, and here what all of them share.

Errors are sentences on stderr, never tracebacks (`failures.py`). Exit codes: 0 done, or the reader of the output has
seen enough; 1 the data or the plant is not well; 2 wrong usage.
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
    "up": ("launch", "Launch the plant and stay with it until Ctrl-C."),
    "status": ("plant", "Show how the plant is."),
    "top": ("top", "Watch the plant at a terminal: processes, rings and gaps, in place."),
    "stop": ("plant", "Drain the plant into the store and end it."),
    "restart": ("plant", "Restart the process NAME; it goes on where it was."),
    "resync": ("plant", "Fetch the book of SYMBOL (or of all symbols) of FEED again."),
    "symbols": ("feed_symbols", "Add symbols to a feed that runs, remove some, or list them."),
    "config": ("plant", "Look at the configuration."),
    "tail": ("live", "Attach and print live records of TOPICS."),
    "conflate": ("conflate", "Publish the latest of TOPICS of a running plant, at most every so many milliseconds."),
    "book": ("live", "Show the book of SYMBOL: of the running plant, or with --at or --data of the store."),
    "query": ("data", "Print what is stored of SYMBOL, or write it to a file: Parquet, Arrow, CSV or JSON lines."),
    "derive": ("indicate", "Compute indicator NAME over what is stored, or list the indicators there are."),
    "features": (
        "feature_tables",
        "Print or write the samples of the feature set NAME that are stored, or publish them live.",
    ),
    "sql": (
        "statement",
        "Answer a STATEMENT of SQL, in DuckDB's dialect.",
    ),
    "export": ("exchange", "Write the store as a Parquet data set, or as files that others read, a day each."),
    "import": ("exchange", "Store the records of a Parquet data set that `tickplant export` wrote."),
    "serve": ("serving", "Serve the store to readers on other machines, over Arrow Flight."),
    "verify": (
        "data",
        "Check every stored byte, prove that nothing is missing and that all counts add up, and list the gaps.",
    ),
    "compact": ("compact", "Make daily files of finished days, one a symbol, and remove what is not needed any more."),
    "ingest": (
        "recordings",
        "Store RECORDING, a file or the files of a folder: through feed, ring, engine and writer, without loss.",
    ),
    "replay": (
        "recordings",
        "Play stored records as if they were live: through a ring and an engine, on the wire of a live plant.",
    ),
    "sim": (
        "recordings",
        "Serve a venue on this machine: play the recording FILE, or without it a synthetic market, protocol and all.",
    ),
}
"""Command to module of this package, and the first sentence of its help: a command imports only what it needs."""


NAMES: Final = {"import": "import_"}
"""Commands whose function cannot have their name."""

_COMPLETE: Final = "_TICKPLANT_COMPLETE"


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

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
        code = 0  # `tickplant query … | head`: the reader has seen enough
    except Exception as error:
        code = tell(error)
    return code


def _invoke(arguments: list[str]) -> int:
    # Not `cli.main`, which has an opinion of its own on errors.
    if completion := os.environ.get(_COMPLETE):
        return shell_complete(cli, {}, "tickplant", _COMPLETE, completion)
    try:
        with cli.make_context("tickplant", arguments) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    return code if isinstance(code, int) else 0
