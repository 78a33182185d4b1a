"""The command line's help is made without importing the commands, and says what they say."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest

from tickplant.cli import COMMANDS, NAMES


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    module, sentence = COMMANDS[name]
    command = getattr(import_module(f"tickplant.cli.{module}"), NAMES.get(name, name))
    assert isinstance(command, click.Command) and command.help
    assert command.help.partition("\n\n")[0].replace("\n", " ").startswith(sentence)
    assert sentence.endswith(".") and sentence.count(". ") == 0


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("from tickplant.cli import cli; cli.main(['--help'], standalone_mode=False)", "zmq"),
        ("import tickplant; tickplant.TickplantError", "numpy"),
        ("import tickplant; tickplant.subscribe", "numba"),
        ("import tickplant.plant.supervisor, tickplant.plant.console", "numba"),
        ("import tickplant.plant.supervisor, tickplant.plant.console", "tickplant.writer"),
        ("import tickplant.plant.fork_server", "numpy"),
        ("import tickplant.plant.planned_series, tickplant.engine.engine_process", "exchange_calendars"),
        ("import tickplant.plant.planned_series", "pandas"),
    ],
)
def test_what_is_not_needed_is_not_imported(program: str, unwanted: str) -> None:
    look = f"\nimport sys\nassert not [n for n in sys.modules if n == {unwanted!r}], {unwanted!r}"
    done = subprocess.run([sys.executable, "-c", program + look], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
