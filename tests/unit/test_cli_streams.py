"""The command line as a process: closed and full streams, terminals, and an interrupt while it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_store import make_cli_store
from plant_process import tickplant

from tickplant.instruments import InstrumentTable

SHELL = ["bash", "-o", "pipefail", "-c"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cli_store(tmp_path_factory.mktemp("cli") / "data")


def shell(script: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which `$t` is the command and `$d` the store."""
    command = f"{sys.executable} -m tickplant"
    return subprocess.run(
        [*SHELL, script.replace("$t", command).replace("$d", str(data))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("module", ["click", "msgspec"])
def test_an_interrupt_while_the_command_line_is_loaded_ends_it_in_silence(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "tickplant", "verify"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("$t query venue AAA --data $d | head -1", 0, ""),
        ("$t verify --data $d | true", 0, ""),
        ("$t query venue AAA --data $d > /dev/full", 1, "tickplant: standard output: No space left on device\n"),
        ("$t --help > /dev/full", 1, "tickplant: standard output: No space left on device\n"),
        ("$t verify --data $d >&-", 1, "tickplant: standard output: Bad file descriptor\n"),
        ("$t verify --data $d <&- >&- 2>&-", 1, ""),
        ("$t verify --data $d --nonsense 2> /dev/full", 2, ""),
        ("ulimit -n 20; $t verify --data $d", 1, "tickplant: this process may open 20 files but needs 64"),
    ],
)
def test_streams_that_are_closed_full_or_left(script: str, code: int, error: str, data: Path) -> None:
    done = shell(script, data)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(error)
    assert error or not done.stderr


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_terminal_that_does_not_know_utf_8_or_is_narrow(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "日本", 0, 0)
    done = tickplant("book", "venue", "日本", "--data", tmp_path, env=os.environ | environment | {"COLUMNS": "1"})
    if "LC_ALL" in environment:  # where the argument does not mean what was typed
        assert (done.returncode, done.stderr[:10]) == (1, "tickplant:")
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("venue \\u65e5\\u672c ")
