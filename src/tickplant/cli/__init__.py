"""The command line: one module per group of commands, and here what all of them share.

Errors are sentences on stderr, never tracebacks. Exit codes: 0 done, 1 the data or the plant is not well,
2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from tickplant.errors import TickplantError
from tickplant.secrets import redact

COMMANDS: Final = {
    "up": ("launch", "Launch the plant and stay with it until Ctrl-C."),
    "status": ("plant", "Show how the plant is."),
    "stop": ("plant", "Drain the plant into the store and end it."),
    "restart": ("plant", "Restart the process NAME; it goes on where it was."),
    "resync": ("plant", "Fetch the book of SYMBOL (or of all symbols) of FEED again."),
    "config": ("plant", "Look at the configuration."),
    "tail": ("live", "Attach and print live records of TOPICS."),
    "book": ("live", "Show the book of SYMBOL: of the running plant, or with --at or --data of the store."),
    "query": ("data", "Print what is stored of SYMBOL, or write it to a file: Parquet, Arrow, CSV or JSON lines."),
    "verify": (
        "data",
        "Check every stored byte, prove that nothing is missing and that all counts add up, and list the gaps.",
    ),
    "ingest": ("pipeline", "Store the recording FILE: through feed, ring, engine and writer, without loss."),
    "replay": (
        "pipeline",
        "Play stored records as if they were live: through a ring and an engine, on the wire of a live plant.",
    ),
    "sim": (
        "pipeline",
        "Serve a venue on this machine: play the recording FILE, or without it a synthetic market, protocol and all.",
    ),
}
"""Command to module of this package, and the first sentence of its help: a command imports only what it needs."""


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
        command = getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{cmd_name} is not a command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tickplant")
def cli() -> None:
    """Record exchange market data and serve it live while it records."""


def main() -> None:
    """Entry point of the `tickplant` command."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except TickplantError as error:
        click.echo(redact(f"tickplant: {error}"), err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:
        # `tickplant query … | head`: the reader has seen enough. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
