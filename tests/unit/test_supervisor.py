"""The supervisor with a child that does nothing: what is seen of it, when, and what it logs."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.live import Live

from tickplant.plant import supervisor
from tickplant.plant.child import READY_TIMEOUT_S, Child, ChildPlan
from tickplant.plant.console import LiveView
from tickplant.plant.plans import Plan
from tickplant.plant.supervisor import Supervisor
from tickplant.plant.supervisor_log import SupervisorLog, plant_log
from tickplant.runtime import config as cfg
from tickplant.runtime.config import PlantConfig
from tickplant.runtime.control import Role
from tickplant.runtime.job_specs import Plant
from tickplant.runtime.redaction import MASK

TICK_S = 300.0
"""So long that a turn of the loop which does not come at once is told apart on a busy machine too."""


class Nothing(msgspec.Struct):
    """The spec of a child that needs none."""


def plan_of(data_dir: Path, monkeypatch: pytest.MonkeyPatch, role: Role) -> Plan:
    """A plant of one child, `one`, that does nothing."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    plant_id = cfg.plant_id(data_dir)
    run_dir = cfg.run_dir(plant_id)
    plant = Plant(data_dir=str(data_dir), run_dir=str(run_dir), control=cfg.control_address(run_dir))
    child = ChildPlan(name="one", role=role, module="idle_child", spec=Nothing)
    return Plan(plant=plant, plant_id=plant_id, settings=PlantConfig(), rings=[], children=[child])


def test_a_plant_that_is_up_is_shown_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TICK_S", TICK_S)
    plan = plan_of(tmp_path, monkeypatch, "sim")
    one = Supervisor(plan, report=lambda _, __: None)
    seen: list[tuple[bool, float]] = []

    def look() -> None:
        seen.append((one.running, time.monotonic()))
        if one.running:
            os.kill(os.getpid(), signal.SIGTERM)  # which ends the turn of the loop as well

    assert one.run(look) == 0
    assert [running for running, _ in seen[:2]] == [False, True]
    assert seen[1][1] - one.children["one"].ready_s < TICK_S / 2


def test_the_live_view_says_whether_the_plant_starts_runs_or_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, monkeypatch, "sim")
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    hints = ("starting; the first start", "Ctrl-C stores", "stopping: storing the data in flight\x1b")
    seen: list[str] = []
    with Live(console=console, auto_refresh=False) as live:
        view = LiveView("plant", console, live)
        one = Supervisor(plan, report=view.report)

        def look() -> None:
            shown.truncate(shown.seek(0))
            view.show(one)
            now = next(hint for hint in hints if hint in shown.getvalue())
            if now not in seen:
                seen.append(now)
            if one.running:
                one.request_stop()

        assert one.run(look) == 0
        look()
    assert seen == list(hints)


@pytest.mark.parametrize(("role", "hung"), [("feed", True), ("compactor", False)])
def test_only_a_process_of_the_lowest_priority_may_be_silent_beyond_hang_s(role: Role, hung: bool) -> None:
    settings = PlantConfig()
    child = Child(ChildPlan(name="one", role=role, module="idle_child", spec=Nothing), settings)
    child.pid, child.state = os.getpid(), "starting"
    child.ready()
    assert not child.hung(child.seen_s + settings.hang_s - 1)
    assert child.hung(child.seen_s + settings.hang_s + 1) == hung
    assert child.hung(child.seen_s + READY_TIMEOUT_S + 1)


def test_that_a_child_is_killed_is_said_once_however_long_it_takes_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, monkeypatch, "feed")
    told: list[str] = []
    one = Supervisor(plan, report=lambda _, sentence: told.append(sentence))
    lives: list[int] = []

    def look() -> None:
        pid = one.children["one"].pid if "one" in one.children else 0
        if pid and pid not in lives and len(lives) < 2:
            lives.append(pid)
            for later_s in (1e6, 2e6, 3e6):  # it is not reaped before the next turn of the loop
                one._pool.kill_hung(later_s)
        elif len(lives) == 2 and pid != lives[1]:
            os.kill(os.getpid(), signal.SIGTERM)

    one.run(look)
    kills = [sentence for sentence in told if sentence.endswith("killed")]
    assert kills == [f"one (pid {pid}) has been silent for too long: killed" for pid in lives]


def test_the_supervisors_own_lines_have_the_keys_of_its_childrens_and_no_secret(tmp_path: Path) -> None:
    with plant_log(tmp_path) as file:
        log = SupervisorLog(file)
        log.warning("started", name="one", pid=7, api_key="Zk7-secret", odd=Path("x"))
        try:
            raise ValueError("of a request")
        except ValueError:
            log.exception("a request failed")
    first, second = map(json.loads, (tmp_path / "plant.log").read_text().splitlines())
    age_s = time.time() - datetime.fromisoformat(first.pop("timestamp")).timestamp()
    assert 0 <= age_s < 60
    assert first == {
        "event": "started",
        "process": "supervisor",
        "level": "warning",
        "name": "one",
        "pid": 7,
        "api_key": MASK,
        "odd": repr(Path("x")),
    }
    assert second["level"] == "error"
    assert second["exception"].endswith("ValueError: of a request\n")
