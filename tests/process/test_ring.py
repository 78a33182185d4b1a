"""Real processes around one ring, killed with SIGKILL: at every step of the protocol, and at random instants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1] / "support"
KILLS = 150


def drive(program: str, directory: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, str(TESTS / program), str(directory), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(directory.glob("*.bell")) == []
    findings: dict[str, Any] = json.loads(done.stdout)
    return findings


def test_a_process_killed_behind_any_step_is_replaced_without_loss_or_doubling(tmp_path: Path) -> None:
    findings = drive("ring_driver.py", tmp_path, "steps")
    assert len(findings) == 3 * 8 + 2 * 6
    assert {step: finding for step, finding in findings.items() if finding != "exact"} == {}


def test_a_process_killed_behind_any_store_to_the_segment_is_replaced_without_loss_or_doubling(tmp_path: Path) -> None:
    findings = drive("ring_stores.py", tmp_path, NUMBA_DISABLE_JIT="1")
    stores = Counter(name.partition(",")[0] for name in findings)
    assert set(stores) == {"producer", "gating consumer", "lossy consumer", "overtaken consumer"}
    assert min(stores.values()) > 8, stores
    assert {step: finding for step, finding in findings.items() if finding != "exact"} == {}


@pytest.mark.parametrize("seed", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_kills_at_random_instants_lose_and_double_nothing_and_every_overrun_is_counted(
    tmp_path: Path, seed: str
) -> None:
    findings = drive("ring_driver.py", tmp_path, "random", seed, str(KILLS))
    assert findings["exits"] == [-9, 0], "3 is a torn record, 4 a sleep over published records"
    assert sum(findings["died"].values()) == KILLS and min(findings["died"].values()) > 0
    assert findings["gating"] == findings["lossy"] == "exact"
    assert findings["published"] > 10_000
    assert findings["lost"]["gating"] == 0 < findings["lost"]["lossy"]
