"""kill -9 of each process of a plant under load: what had reached a ring is stored once, and the books come back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from chaos.chaos_plant import Settings, chaos_plant
from chaos.kill import PROCESSES, kill_each
from chaos.report import kill_text
from plant_process import wait_for

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.mark.long
def test_what_reached_a_ring_is_stored_once_whoever_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    report = kill_each(tmp_path, 1, 7, 1000.0, said.append)
    told = "\n".join([*said, kill_text(report)])
    assert report.ok, told
    assert {row.process for row in report.rows} == set(PROCESSES)
    assert all(row.recovered == row.kills for row in report.rows), told


@pytest.mark.long
def test_a_child_that_hung_when_its_supervisor_was_killed_does_not_stop_the_next_start(tmp_path: Path) -> None:
    with chaos_plant(tmp_path, Settings(log=False)) as plant:
        plant.running.wait_until_up()
        children = {name: pid for name, pid in plant.pids().items() if name not in {"sim", "supervisor"}}
        for name in ("writer", "engine"):
            os.kill(children[name], signal.SIGSTOP)
        os.kill(plant.running.process.pid, signal.SIGKILL)
        plant.start_again()
        plant.running.wait_until_up()
        assert not set(children.values()) & set(plant.pids().values())
        wait_for(
            "the first process of the machine to reap them",
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in children.values()),
        )
        wait_for("new records", lambda: (ring := plant.ring()) is not None and ring.head > 1000)
        assert plant.running.stop() == 0
        assert plant.running.segments() == set()
