"""Journals whose writer was killed with SIGKILL, at every step of its work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from journal_victim import MODES, RECORDS
from made_records import make_ticks

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.journal import Journal

TICKS = make_ticks(RECORDS)
VICTIM = Path(__file__).parents[1] / "support" / "journal_victim.py"


def run_victim(*words: str) -> str:
    """Run it to its end."""
    done = subprocess.run(
        [sys.executable, str(VICTIM), *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stored(data_dir: Path) -> bytes:
    return b"".join(block.tobytes() for block in Store(data_dir).read("feed", Schema.TICK, Selection()))


def promised(data_dir: Path) -> int:
    """The last durable seq that a flush returned."""
    lines = (data_dir / "durable").read_text().split() if (data_dir / "durable").exists() else []
    return int(lines[-1]) if lines else 0


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A data directory for each step and moment at which a writer was killed."""
    root = tmp_path_factory.mktemp("killed")
    run_victim("at", str(root))
    return sorted(root.iterdir())


def test_a_writer_is_killed_at_every_step(killed: list[Path]) -> None:
    for mode in MODES:
        assert sum(path.name.startswith(mode) for path in killed) > 20


def test_what_was_durable_is_read_exactly_whatever_the_step(killed: list[Path]) -> None:
    for data_dir in killed:
        data = stored(data_dir)
        assert data == TICKS.tobytes()[: len(data)], data_dir.name
        assert len(data) // TICKS.itemsize >= promised(data_dir), data_dir.name


def test_a_restarted_writer_continues_without_hole_or_double(killed: list[Path]) -> None:
    for data_dir in killed:
        before = len(stored(data_dir)) // TICKS.itemsize
        journal = Journal(data_dir, Schema.TICK, "feed")
        assert journal.next_seq == before, data_dir.name
        journal.append(TICKS[before:])
        journal.close()
        assert stored(data_dir) == TICKS.tobytes(), data_dir.name
        instruments = InstrumentTable.load(data_dir / "instruments.jsonl")
        for symbol in ("AAA", "BBB", "CCC"):
            instruments.register("venue", symbol, 8, 8)
        report = verify(data_dir)
        assert report.ok, (data_dir.name, report.problems)
        assert report.records == RECORDS


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_killed_again_and_again_even_while_recovering_gets_there(tmp_path: Path, seed: int) -> None:
    lives = int(run_victim("chain", str(tmp_path), str(seed)))
    assert lives > 2
    assert stored(tmp_path) == TICKS.tobytes()
