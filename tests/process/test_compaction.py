"""A compaction that is killed with SIGKILL at any step loses nothing and doubles nothing, and the next one finishes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_days import MIDNIGHT_NS, everything, make_day_records, parts_of, register, write_journal

from tickplant.records.layouts import Schema
from tickplant.store.compaction import Compacted, Compaction, Policy
from tickplant.store.daily_files import DAY_NS, daily_dir, spans
from tickplant.store.reader import Store
from tickplant.store.verify import verify

VICTIM = Path(__file__).parents[1] / "support" / "compaction_victim.py"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day in a span, the beginning of another one, which a compaction joins with the rest, and a third one."""
    data_dir = tmp_path_factory.mktemp("template")
    register(data_dir)
    times = MIDNIGHT_NS - DAY_NS // 2 + np.arange(150) * (DAY_NS // 80)
    ticks = make_day_records(Schema.TICK, times, instruments=3)
    write_journal(data_dir, "feed", Schema.TICK, parts_of(ticks[:60], [20]))
    now_ns = MIDNIGHT_NS + DAY_NS // 4
    Compaction(data_dir, Policy(open_days=True), now_ns=lambda: now_ns).run()
    write_journal(data_dir, "feed", Schema.TICK, parts_of(ticks[60:], [30, 60]))
    return data_dir


def check(template: Path, root: Path, first: int, stride: int) -> int:
    """Kill at these steps, and look at what each left; how many there were."""
    expected = everything(template)
    words = [sys.executable, str(VICTIM), str(template), str(root), str(first), str(stride)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    left = sorted(root.iterdir())
    for data_dir in left:
        assert everything(data_dir) == expected, data_dir.name
        report = verify(data_dir)
        assert report.ok, (data_dir.name, report.problems)
        assert not Compaction(data_dir, Policy()).run().trouble, data_dir.name
        assert everything(data_dir) == expected, data_dir.name
        assert verify(data_dir).ok, data_dir.name
        assert Compaction(data_dir, Policy()).run() == Compacted()
        folder = daily_dir(data_dir, "feed", Schema.TICK)
        assert sorted(folder.iterdir()) == [span.path for span in spans(folder)], data_dir.name
        assert len(spans(folder)) == 3
        assert len(Store(data_dir).files("feed", Schema.TICK)) == 1
    return len(left)


def test_a_compaction_killed_at_some_steps(template: Path, tmp_path: Path) -> None:
    assert check(template, tmp_path, 5, 40) >= 6


@pytest.mark.long
def test_a_compaction_killed_at_every_step(template: Path, tmp_path: Path) -> None:
    assert check(template, tmp_path, 1, 1) > 150
