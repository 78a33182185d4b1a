"""The processes of a plant: forked, the supervisor's own, small, without a secret, independent of the fork server."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from plant_process import DEMO, PlantProcess, plant, tickplant, wait_for

from tickplant.runtime import config as cfg

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("unmeasured")]

SECRET = "Zk7-that-nobody-may-see-9"
KEYED = DEMO.replace("[feeds.binance]\n", '[feeds.binance]\ncredentials = "venue"\ncapture = true\n').replace(
    "[plant]\n", "[plant]\nrestart_backoff_s = 0.1\nhang_s = 15.0\n"
)
CHILDREN = ("market", "writer", "engine", "binance")


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    path = tmp_path / "settings" / "tickplant" / "credentials" / "venue"
    path.parent.mkdir(parents=True)
    path.write_text(f'key = "{SECRET}"\n')
    path.chmod(0o600)
    return path


def pids(running: PlantProcess) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in running.status()["processes"]}


def fork_server(running: PlantProcess) -> int:
    """Its pid; 0 where there is none."""
    for child in psutil.Process(running.process.pid).children():
        if "tickplant.plant.fork_server" in child.cmdline():
            return int(child.pid)
    return 0


def is_forked(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"tickplant ")


def mib(pid: int, what: str = "Pss") -> float:
    found = re.search(rf"^{what}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def back(running: PlantProcess, name: str, former: int) -> Callable[[], Any]:
    def look() -> int:
        process = running.process_named(name)
        return process["pid"] if process["state"] == "running" and process["pid"] != former else 0

    return look


def kill(running: PlantProcess, name: str) -> int:
    """Kill a process of the plant; the pid of its successor, once that is ready."""
    former = pids(running)[name]
    psutil.Process(former).kill()
    return int(wait_for(f"{name} to be back", back(running, name, former)))


def texts(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.long
def test_a_plant_of_forked_processes(tmp_path: Path, credential: Path) -> None:
    with plant(tmp_path, KEYED) as running:
        supervisor = running.process.pid
        children = pids(running)
        assert tuple(children) == CHILDREN
        everybody = [supervisor, fork_server(running), *children.values()]

        # Each is the supervisor's own, in a session of its own, and says what it is.
        run_dir = str(cfg.run_dir(running.plant_id))
        for name, pid in children.items():
            process = psutil.Process(pid)
            command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
            assert process.ppid() == supervisor
            assert process.name() == name
            assert re.fullmatch(rf"tickplant \w+ {name}( {run_dir})?", command)

        # Small: what the supervisor has no use for it does not load, and what all use they share.
        maps = Path(f"/proc/{supervisor}/maps").read_text()
        assert not any(library in maps for library in ("llvmlite", "zstandard", "picows", "pyarrow"))
        assert mib(supervisor) < 50
        recovery_mib = 80  # of recent messages and their index, which the engine takes at its start
        assert sum(mib(pid) - mib(pid, "Pss_Shmem") for pid in everybody) < 300 + recovery_mib

        # No secret, and no spec, where other users could see it.
        for pid in everybody:
            for source in ("cmdline", "environ"):
                assert SECRET.encode() not in Path(f"/proc/{pid}/{source}").read_bytes()
            assert b"heartbeat_s" not in Path(f"/proc/{pid}/cmdline").read_bytes()

        # The fork server dies: nobody else does, and who has to be started meanwhile is.
        first_server = fork_server(running)
        psutil.Process(first_server).kill()
        kill(running, "writer")
        kill(running, "engine")
        assert {name: pids(running)[name] for name in ("market", "binance")} == {
            name: children[name] for name in ("market", "binance")
        }
        wait_for("another fork server", lambda: fork_server(running) not in (0, first_server))
        wait_for("a forked feed", lambda: is_forked(kill(running, "binance")))

        # It hangs: who waits for it is started without it.
        second_server = fork_server(running)
        log = running.data_dir / "log" / "plant.log"
        wait_for("it to be ready", lambda: log.read_bytes().count(b"the fork server is ready") == 2)
        psutil.Process(second_server).send_signal(signal.SIGSTOP)
        assert not is_forked(kill(running, "engine"))
        assert not psutil.pid_exists(second_server)
        wait_for("a healthy plant", lambda: running.status()["healthy"])
        assert running.stop() == 0
        assert not running.pids()
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout
    assert SECRET.encode() not in texts(tmp_path / "data") + running.errors.read_bytes()
    assert b"the fork server has ended" in (running.data_dir / "log" / "plant.log").read_bytes()


def test_a_credential_that_others_may_read_starts_nothing(tmp_path: Path, credential: Path) -> None:
    credential.chmod(0o644)
    (tmp_path / "plant.toml").write_text(KEYED.format(port=12345, rate=100))
    done = tickplant("up", "-c", tmp_path / "plant.toml")
    assert done.returncode == 2
    assert done.stderr == f"tickplant: {credential}: may be read or changed by others: run chmod 600 {credential}\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.long
@pytest.mark.parametrize("at", ["fork server", "supervisor"])
def test_a_kill_while_the_plant_starts_leaves_nobody(tmp_path: Path, at: str) -> None:
    with plant(tmp_path, wait=False) as running:
        server = wait_for("the fork server", lambda: fork_server(running))
        if at == "supervisor":
            running.process.kill()
            running.process.wait()
            wait_for("the others to end", lambda: not running.pids() and not psutil.pid_exists(server))
            return
        psutil.Process(server).kill()
        running.wait_until_up()
        wait_for("a healthy plant", lambda: running.status()["healthy"])
        assert running.stop() == 0
