"""Every block of docs/reading.md runs, as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_store import make_store

from tickplant.cli import run
from tickplant.store.reader import Store

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
BLOCKS = re.findall(r"^## (.*?)$|^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_store(folder / "data")
    return folder


def blocks(language: str) -> list[str]:
    return [text for _, kind, text in BLOCKS if kind == language]


def expected_vwap(folder: Path) -> float:
    trades = Store(folder / "data").trades("venue", "AAA", prices="float").numpy()
    return float(np.average(trades["price"], weights=trades["size"]))


@pytest.mark.parametrize("place", range(len(blocks("python"))))
def test_a_block_of_python_runs_and_gives_the_vwap(folder: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    monkeypatch.chdir(folder)
    text = blocks("python")[place]
    found: dict[str, object] = {}
    exec(compile(text, f"docs/reading.md, block {place}", "exec"), found)
    assert len(text.splitlines()) <= 10
    if "vwap" in found:
        vwap = found["vwap"]
        if not isinstance(vwap, np.ndarray):
            vwap = np.asarray(
                getattr(vwap, "to_numpy", lambda: vwap)() if not hasattr(vwap, "columns") else vwap["vwap"]
            )
        assert np.nanmean(np.asarray(vwap, float)) == pytest.approx(expected_vwap(folder))
    elif "highest" in found:
        trades = Store(folder / "data").trades("venue", "AAA", prices="integer").numpy()
        assert found["highest"] == trades["price"].max()
    else:
        assert "spread" in found


def test_each_command_prints_or_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(folder)
    (text,) = blocks("sh")
    outputs = []
    for line in text.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "tickplant"
        assert run(arguments) == 0, line
        outputs.append(capfdbinary.readouterr().out.decode())
    trades = Store(folder / "data").trades("venue", "AAA").arrow()
    assert outputs[0].splitlines()[0] == "symbol,trades,highest"
    assert outputs[0].splitlines()[1].startswith(f"AAA,{trades.num_rows},")
    written = pq.read_table(folder / "trades.parquet")
    assert written["seq"].to_pylist() == trades["seq"].to_pylist()
    assert outputs[2].splitlines()[0] == "ts_recv,price,size"


def test_what_is_wrong_with_a_statement_is_a_sentence(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = str(folder / "data")
    for statement, words in (
        ("select nothing from ticks", "nothing"),
        ("selec", "syntax error"),
        ("", "returns no rows"),
    ):
        assert run(["sql", statement, "--data", data]) == 1
        told = capfd.readouterr().err
        assert words in told
        assert "Traceback" not in told
    assert run(["sql", "select 1", "--data", data, "-o", "out.xlsx"]) == 2
    assert "has no known suffix" in capfd.readouterr().err
