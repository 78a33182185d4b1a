"""The README's examples run as they stand, on a plant of their own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from plant_process import DEADLINE_S, PlantProcess, plant, wait_for

pytestmark = pytest.mark.usefixtures("unmeasured")

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """The code block that follows `<!-- test: name -->`."""
    match = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert match, f"the README has no example {name}"
    return match[1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # a generator fixture
    with plant(tmp_path_factory.mktemp("readme")) as started:

        def busy() -> bool:
            counters = started.process_named("binance")["counters"]
            return bool(counters.get("kinds", {}).get("trade", 0) > 50 and counters["ticks"] > 3000)

        wait_for("trades and a book", busy)
        yield started


@pytest.mark.parametrize("name", ["attach", "subscribe"])
def test_a_python_example_runs(running: PlantProcess, name: str) -> None:
    code = example(name)
    assert "tcp://127.0.0.1:5555" in code
    code = code.replace("tcp://127.0.0.1:5555", running.publish)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "binance.BTCUSDT" in done.stdout


def test_the_shell_examples_run(running: PlantProcess) -> None:
    for line in example("query").splitlines():
        words = shlex.split(line.removeprefix("$ "))
        assert words[0] == ".venv/bin/tickplant"
        if words[1] == "replay":
            continue  # waits for its subscriber; test_replay.py plays
        words += ["-c", str(running.file)]
        done = subprocess.run(
            [sys.executable, "-m", "tickplant", *words[1:]],
            capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=running.file.parent,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (running.file.parent / "trades.parquet").stat().st_size > 0


def test_every_file_that_the_readme_names_exists() -> None:
    root = Path(__file__).parents[2]
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (root / link).exists(), link
