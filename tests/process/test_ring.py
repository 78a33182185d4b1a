"""Real processes around one ring, killed with SIGKILL: at every step of the protocol, and at random instants."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).parents[1] / "ring_driver.py"
KILLS = 150


def drive(directory: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(DRIVER), str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(directory.glob("*.bell")) == []
    findings: dict[str, Any] = json.loads(done.stdout)
    return findings


def test_a_process_killed_behind_any_step_is_replaced_without_loss_or_doubling(tmp_path: Path) -> None:
    findings = drive(tmp_path, "steps")
    assert len(findings) == 3 * 8 + 2 * 6
    assert {step: finding for step, finding in findings.items() if finding != "exact"} == {}


@pytest.mark.parametrize("seed", ["1", "2"])
def test_kills_at_random_instants_lose_and_double_nothing_and_every_overrun_is_counted(
    tmp_path: Path, seed: str
) -> None:
    findings = drive(tmp_path, "random", seed, str(KILLS))
    assert findings["exits"] == [-9, 0], "3 is a torn record, 4 a sleep over published records"
    assert sum(findings["died"].values()) == KILLS and min(findings["died"].values()) > 0
    assert findings["gating"] == findings["lossy"] == "exact"
    assert findings["published"] > 10_000
    assert findings["lost"]["gating"] == 0 < findings["lost"]["lossy"]
