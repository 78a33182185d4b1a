"""The fork server alone: what it forks, whose child that is, and what becomes of a start when the server dies."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from plant_process import wait_for

from tickplant.kernels import JIT_ENABLED
from tickplant.plant.child import Child, ChildPlan
from tickplant.plant.fork_server import Progress, Ready
from tickplant.plant.launcher import ForkServer
from tickplant.runtime.config import PlantConfig
from tickplant.runtime.lineage import PR_SET_CHILD_SUBREAPER, prctl

MODULE = "forked_child"


class Told(msgspec.Struct):
    text: str


@pytest.fixture(autouse=True)
def subreaper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a supervisor is; and children find the module of this test."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)


@pytest.fixture
def server() -> Iterator[ForkServer]:
    one = ForkServer()
    one.warm([MODULE])
    yield one
    one.close()


def messages(server: ForkServer) -> list[Progress | Ready]:
    """What a server says until it is ready."""
    found: list[Progress | Ready] = []

    def ready() -> bool:
        said = server.receive()
        assert said is not None, server.words()
        found.extend(said)
        return server.ready

    wait_for("the fork server", ready)
    return found


def make_child(module: str = MODULE) -> Child:
    return Child(ChildPlan(name="one", role="feed", module=module, spec=lambda: Told("hello")), PlantConfig())


def wait_for_process(child: Child) -> None:
    assert child.channel is not None
    assert select.select([child.channel], [], [], 60)[0]
    assert child.adopt()


def finish(child: Child) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a child that ends by itself."""
    assert select.select([child.pidfd], [], [], 60)[0]
    texts = {is_stdout: os.read(fd, 1 << 16).decode() for fd, is_stdout in child.pipes.items()}
    return child.reap(), texts[True], texts[False]


def run(server: ForkServer) -> tuple[Child, dict[str, Any]]:
    child = make_child()
    child.start(server)
    if child.channel:
        wait_for_process(child)
    pid = child.pid
    code, out, err = finish(child)
    assert code == 0, err
    me = json.loads(out)
    assert me["pid"] == me["session"] == pid
    assert me["parent"] == os.getpid()
    assert me["spec"] == '{"text":"hello"}'
    return child, me


def test_a_forked_child_is_the_supervisors_own_with_a_name_and_nothing_that_is_the_servers(server: ForkServer) -> None:
    messages(server)
    for mask in (0o022, 0o077, 0o027):
        former = os.umask(mask)  # after the server's start
        _, me = run(server)
        os.umask(former)
        assert me["umask"] == mask
        assert me["command"].rstrip("\0") == "tickplant feed one"
        assert me["name"] == "one"
        assert me["threads"] == 1
        assert me["open"] == []


def test_a_child_may_be_asked_for_before_the_server_is_warm(server: ForkServer) -> None:
    assert not server.ready
    _, me = run(server)
    assert me["command"].startswith("tickplant feed one")


@pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")
def test_the_first_start_says_what_it_compiles_and_the_next_one_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    said = []
    for _ in range(2):
        server = ForkServer()
        server.warm([MODULE])
        said.append(messages(server))
        server.close()
    assert said == [[Progress(MODULE, 1, 1), Ready([MODULE])], [Ready([MODULE])]]


def test_the_modules_that_are_asked_for_last_are_those_that_count(server: ForkServer) -> None:
    server.warm(["json", MODULE])
    server.warm([MODULE, "calendar"])
    (ready,) = [message for message in messages(server) if isinstance(message, Ready)]
    assert {MODULE, "calendar"} <= set(ready.modules)
    server.warm([MODULE])  # there is nothing to do for that
    assert not server.ready
    assert messages(server) == [ready]


@pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")
def test_a_callable_of_a_module_can_be_named_to_warm_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    server = ForkServer()
    server.warm([f"{MODULE}:warm_up"])
    assert messages(server) == [Progress(f"{MODULE}:warm_up", 1, 1), Ready([f"{MODULE}:warm_up"])]
    server.close()


def test_a_start_that_is_called_off_leaves_no_process(server: ForkServer, reaped: Callable[[], int]) -> None:
    messages(server)
    child = make_child()
    child.start(server)
    child.terminate()
    assert child.alive and child.pid == 0
    assert child.reap() == -signal.SIGTERM
    assert not child.alive
    assert reaped() == 0  # it was forked, and ended without doing anything


@pytest.fixture
def reaped() -> Callable[[], int]:
    """The exit code of the next child of this process that nobody else waits for.

    Not of one that was there before: what a server of another test had under way is killed with it, and is inherited.
    """
    before = {child.pid for child in psutil.Process().children()}

    def reap() -> int:
        return os.waitstatus_to_exitcode(wait_for("a stranger", stranger)[1])

    def stranger() -> tuple[int, int] | None:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        return (ended.si_pid, ended.si_status) if ended and ended.si_pid not in before else None

    return reap


@pytest.mark.parametrize("stopped", [True, False], ids=["hung", "warming"])
def test_a_child_is_started_without_the_server_when_that_dies(server: ForkServer, stopped: bool) -> None:
    if stopped:
        messages(server)
        os.kill(server.pid, signal.SIGSTOP)
    child = make_child()
    child.start(server)
    assert child.channel is not None
    server.kill()
    wait_for_process(child)
    code, out, err = finish(child)
    assert code == 0, err
    assert json.loads(out)["command"].split("\0")[1:4] == ["-m", MODULE, "one"]
    wait_for("the end of the server", lambda: server.receive() is None)
    server.bury()
    assert server.pid == 0 and server.fds == []
    _, me = run(server)  # and so is the next one
    assert me["command"].split("\0")[1:3] == ["-m", MODULE]
    server.start()
    messages(server)
    _, me = run(server)
    assert me["command"].startswith("tickplant feed one")


def test_a_module_that_cannot_be_imported_ends_the_server_which_says_why(server: ForkServer) -> None:
    server.warm(["no_such_module"])
    wait_for("its end", lambda: server.receive() is None)
    assert "No module named 'no_such_module'" in server.words()
    server.bury()
    assert server.retry_s > time.monotonic() - 1


def test_a_killed_child_is_known_by_its_signal(server: ForkServer) -> None:
    messages(server)
    child = make_child()
    child.start(server)
    assert child.channel is not None
    assert select.select([child.channel], [], [], 60)[0]
    assert child.adopt()
    child.kill()
    assert select.select([child.pidfd], [], [], 60)[0]
    assert child.reap() in (-signal.SIGKILL, 0)  # it may have been quicker


@pytest.mark.parametrize("up_s", [0.0, 0.2, 60.0])
def test_pauses_grow_with_deaths_one_soon_after_the_other(up_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, ceiling: ceiling)
    settings = PlantConfig(restart_backoff_s=0.5, restart_cap_s=4.0, restart_intensity=100)
    child = Child(ChildPlan(name="one", role="feed", module=MODULE, spec=lambda: Told("")), settings)
    pauses, now_s = [], 1000.0
    for _ in range(6):
        child.ready_s = now_s
        now_s += up_s
        pauses.append(child.schedule_restart(now_s))
        now_s += pauses[-1]
    assert pauses == ([0.5] * 6 if up_s == 60.0 else [0.5, 1.0, 2.0, 4.0, 4.0, 4.0])
