"""The command line's help is made without importing the commands, and says what they say."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from made_past import fill as fill_journal
from made_records import make_ticks

from tickplant.cli import COMMANDS, NAMES, cli, run
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    module, sentence = COMMANDS[name]
    command = getattr(import_module(f"tickplant.cli.{module}"), NAMES.get(name, name))
    assert isinstance(command, click.Command) and command.help
    assert command.help.partition("\n\n")[0].replace("\n", " ").startswith(sentence)
    assert sentence.endswith(".") and sentence.count(". ") == 0


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand, by its words."""
    for name, (module, _) in COMMANDS.items():
        command = getattr(import_module(f"tickplant.cli.{module}"), NAMES.get(name, name))
        if isinstance(command, click.Group):
            yield from ((f"{name} {word}", one) for word, one in command.commands.items())
        else:
            yield name, command


def examples() -> Iterator[str]:
    for _, command in commands():
        head, _, lines = (command.epilog or "").partition("Examples:\n")
        yield from (line.removeprefix("  tickplant ") for line in lines.splitlines() if head == "\b\n")


def test_every_command_but_top_has_examples_and_every_option_a_sentence() -> None:
    for name, command in commands():
        assert "Examples:\n  tickplant " in (command.epilog or "") or name == "top", name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help and parameter.help.rstrip("].")[0].isupper(), f"{name} {parameter.name}"


@pytest.mark.parametrize("line", list(examples()))
def test_an_example_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("parquet", "trades.csv"):  # what `import` reads
        (tmp_path / name).touch()
    words = shlex.split(line)
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found, line
        command, words = found, words[1:]
    with command.make_context(line, words):
        pass


# Commands that read a store, or make one out of it, in the order in which they need each other.
RUN = ("query", "book", "derive", "sql", "export", "import parquet", "verify", "compact", "config")


def test_the_examples_that_need_a_store_alone_run_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[2]
    (tmp_path / "supervisor.toml").write_bytes((root / "supervisor.toml").read_bytes())
    (tmp_path / "deploy").symlink_to(root / "deploy")
    table = InstrumentTable.load(tmp_path / "data" / "instruments.jsonl")
    table.register("binance", "BTCUSDT", 8, 8)
    fill_journal(tmp_path / "data", Schema.TICK, "binance", make_ticks(500, instruments=1))
    done = 0
    for start in RUN:
        for line in examples():
            if line.startswith(start) and not (line.startswith("book") and "--data" not in line):
                code = run(shlex.split(line))
                said = capfd.readouterr().err
                assert code == 0, f"{line}: {said}"
                assert "Traceback" not in said
                done += 1
    assert done > 15
    assert (tmp_path / "trades.parquet").exists() and (tmp_path / "other" / "journal").is_dir()


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
