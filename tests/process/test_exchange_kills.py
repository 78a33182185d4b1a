"""Exports and imports killed with SIGKILL at any step: no half file under a final name; another run does the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exchange_victim import do
from made_past import fill
from made_records import START_NS, make_records, make_ticks

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify

VICTIM = Path(__file__).parents[1] / "support" / "exchange_victim.py"
DAY_NS = 86_400 * 10**9

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of two symbols, whose sizes are whole, so that every form holds them."""
    folder = tmp_path_factory.mktemp("store")
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "B/B"):
        table.register("venue", symbol, 8, 0)
    ticks = make_ticks(300, instruments=2, start_ns=START_NS)
    ticks["ts_recv"] += np.arange(300) // 150 * DAY_NS
    fill(folder, Schema.TICK, "feed", ticks)
    best = make_records(Schema.BBO, 60)
    best["instrument"] = 1
    best["ts_recv"] += START_NS
    fill(folder, Schema.BBO, "engine", best)
    return folder


STRIDE = pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.proof)])
"""At each step, or at one of so many."""


def kill(work: str, source: Path, root: Path, stride: int) -> list[Path]:
    words = [sys.executable, str(VICTIM), work, str(source), str(root), str(stride)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(root.iterdir())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@STRIDE
@pytest.mark.parametrize("work", ["parquet", "tardis", "dbn"])
def test_a_killed_export_leaves_whole_files_and_the_next_one_the_rest(
    data_dir: Path, tmp_path: Path, work: str, stride: int
) -> None:
    (tmp_path / "killed").mkdir()
    do(work, data_dir, tmp_path / "whole")
    whole = files_in(tmp_path / "whole")
    assert len(whole) >= 8
    left = kill(work, data_dir, tmp_path / "killed", stride)
    assert len(left) > 20 // stride
    for folder in left:
        found = files_in(folder)
        final = {name: data for name, data in found.items() if not name.endswith(".part")}
        assert final.items() <= whole.items(), folder.name
        written = [name for name in final if "_tickplant" not in name]
        before = {name: (folder / name).stat().st_mtime_ns for name in written}
        do(work, data_dir, folder)
        assert files_in(folder) == whole, folder.name
        kept = [name for name in written if (folder / name).stat().st_mtime_ns == before[name]]
        assert len(kept) >= len(written) - 2, folder.name  # those of the day that was being written


@STRIDE
@pytest.mark.parametrize("work", ["set", "table"])
def test_a_killed_import_is_a_sound_store_and_the_next_one_completes_it(
    data_dir: Path, tmp_path: Path, work: str, stride: int
) -> None:
    source = tmp_path / ("out" if work == "set" else "it.csv")
    if work == "set":
        do("parquet", data_dir, source)
    else:
        rows = [f"{1_700_000_000_000_000 + place},buy,{place}.5,{place}\n" for place in range(1, 200)]
        source.write_text("timestamp,side,price,amount\n" + "".join(rows))
    (tmp_path / "killed").mkdir()
    do(work, source, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert sum(map(len, expected.values())) > 3000
    left = kill(work, source, tmp_path / "killed", stride)
    assert len(left) > 10 // stride
    for folder in left:
        assert verify(folder).ok, folder.name
        for key, data in contents(folder).items():
            assert expected[key].startswith(data), folder.name
        do(work, source, folder)
        assert contents(folder) == expected, folder.name
        assert verify(folder).ok, folder.name


def contents(folder: Path) -> dict[tuple[str, Schema], bytes]:
    store = Store(folder)
    return {
        (name, schema): b"".join(part.tobytes() for part in store.read(name, schema, Selection()))
        for schema in (Schema.TICK, Schema.BBO)
        for name in store.producers(schema)
    }
