"""Strangers, floods, deaths at the wrong moment: a plant goes on supervising, and ends with all stored or says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, shared_memory, tickplant, wait_for
from remains import NOTHING, Remains

import tickplant as tp
from tickplant.plant.lock_file import last_holder
from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, Heartbeat, encode

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("unmeasured")]

QUICK = DEMO.replace("[plant]\n", "[plant]\nrestart_backoff_s = 0.1\nrestart_cap_s = 0.2\nrestart_intensity = 100\n")
SLOW = DEMO.replace("[plant]\n", "[plant]\nrestart_backoff_s = 60\nrestart_cap_s = 60\n")


def ticks(running: PlantProcess) -> int:
    return int(running.process_named("binance")["counters"].get("ticks", 0))


def expect_whole(running: PlantProcess) -> None:
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@contextlib.contextmanager
def flood(address: str) -> Iterator[None]:
    """Status requests and forged reports without pause, on several connections, whose answers are thrown away."""
    over = threading.Event()
    frames = [encode(GetStatus()), encode(Heartbeat("binance", {"records": "xyz"})), b"\x81" * 2000]

    def send() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        lines = [context.socket(zmq.DEALER) for _ in range(4)]
        for line in lines:
            line.set(zmq.LINGER, 0)
            line.connect(address)
        while not over.is_set():
            for line in lines:
                with contextlib.suppress(zmq.Again):
                    for frame in frames * 20:
                        line.send(frame, zmq.NOBLOCK)
                with contextlib.suppress(zmq.Again):
                    while True:
                        line.recv(zmq.NOBLOCK)
        context.destroy(linger=0)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.long
def test_a_flooded_plant_is_supervised_found_and_stopped_and_its_files_are_its_users(tmp_path: Path) -> None:
    with plant(tmp_path, QUICK) as running, flood(cfg.control_address(cfg.run_dir(running.plant_id))):
        wait_for("ticks", lambda: ticks(running) > 300)
        killed = running.process_named("binance")["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_for("another feed", lambda: running.process_named("binance")["pid"] not in (0, killed))
        wait_for("its ticks", lambda: ticks(running) > 300)
        assert running.process_named("binance")["counters"].get("records") != "xyz"
        assert "has refused a Heartbeat in the name of 'binance'" in running.errors.read_text()

        # Another login session has another folder for sockets: the plant is found through its data.
        with tempfile.TemporaryDirectory() as elsewhere:
            session = {**os.environ, "XDG_RUNTIME_DIR": elsewhere}
            shown = tickplant("status", "-c", running.file, "--json", env=session)
            assert json.loads(shown.stdout)["pid"] == running.process.pid, shown.stderr

            made = [running.data_dir, *running.data_dir.rglob("*")]
            modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in made}
            assert modes == {(True, 0o750), (False, 0o640)}

            done = tickplant("stop", "-c", running.file, env=session)
            assert done.returncode == 0, done.stderr
        assert running.process.wait(DEADLINE_S) == 0
        assert running.segments() == set()
    expect_whole(running)


@pytest.mark.long
def test_what_a_writer_in_backoff_leaves_is_stored_at_the_end_and_a_killed_replay_is_cleared_by_the_next(
    tmp_path: Path, left_behind: Callable[[], Remains]
) -> None:
    with plant(tmp_path, SLOW, rate=2000) as running:
        wait_for("ticks", lambda: ticks(running) > 1000)

        def in_backoff() -> bool:
            writer = running.process_named("writer")
            if writer["pid"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(writer["pid"], signal.SIGKILL)
            return bool(writer["state"] == "backoff")

        wait_for("a writer that is to come back much later", in_backoff)
        before = ticks(running)
        wait_for("records that nobody stores", lambda: ticks(running) > before + 500)
        assert running.stop() == 0, running.errors.read_text()
        assert running.segments() == set()
    expect_whole(running)
    wait_for("nothing to be left", lambda: left_behind() == NOTHING)

    address = f"tcp://127.0.0.1:{free_port()}"
    words = ["replay", "--data", running.data_dir, "--speed", "0.01", "--bind"]
    command = [sys.executable, "-m", "tickplant", *map(str, words)]
    killed = subprocess.Popen([*command, address], stderr=subprocess.DEVNULL)
    with tp.subscribe("binance", address=address, timeout=DEADLINE_S) as messages:
        next(messages)
        dead = set(left_behind().segments)
        assert dead
        killed.kill()
        killed.wait()
    wait_for("its children to end", lambda: not left_behind().processes)
    assert dead <= shared_memory()
    address = f"tcp://127.0.0.1:{free_port()}"
    following = subprocess.Popen([*command, address], stderr=subprocess.DEVNULL)
    with tp.subscribe("binance", address=address, timeout=DEADLINE_S) as messages:
        next(messages)
        assert not dead & shared_memory()
        following.send_signal(signal.SIGINT)
        assert following.wait(DEADLINE_S) == 0
    wait_for("nothing to be left", lambda: left_behind() == NOTHING)


@pytest.mark.long
def test_a_stop_whose_supervisor_is_killed_says_so_and_the_next_start_stores_the_rest(tmp_path: Path) -> None:
    with plant(tmp_path, DEMO) as running:
        wait_for("ticks", lambda: ticks(running) > 300)
        writer = running.process_named("writer")["pid"]
        os.kill(writer, signal.SIGSTOP)
        with subprocess.Popen(
            [sys.executable, "-m", "tickplant", "stop", "-c", running.file], stderr=subprocess.PIPE, text=True
        ) as stopping:
            wait_for("the drain", lambda: running.process_named("writer")["state"] == "stopping")
            running.process.kill()
            _, told = stopping.communicate(timeout=DEADLINE_S)
        os.kill(writer, signal.SIGCONT)
        assert stopping.returncode == 1
        assert f"the supervisor, pid {running.process.pid}, was killed before everything was stored" in told
        running.process.wait()
        wait_for("the children to end", lambda: not running.pids())
        again = tickplant("stop", "-c", running.file)
        assert again.returncode == 1 and "no plant is up" in again.stderr
        second = PlantProcess(running.file)
        try:
            second.wait_until_up()
            wait_for("live books", lambda: second.process_named("engine")["counters"].get("books_live") == 2)
            assert second.stop() == 0
        finally:
            second.clean_up()
        assert running.segments() == set()
        assert last_holder(running.data_dir)[0].pid == 0
    expect_whole(running)


def test_a_run_folder_that_others_can_change_starts_nothing_and_is_not_believed(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as base:
        session = {**os.environ, "XDG_RUNTIME_DIR": "", "TMPDIR": base}
        parent = Path(base) / f"tickplant-{os.getuid()}"
        parent.mkdir()
        parent.chmod(0o777)
        (tmp_path / "plant.toml").write_text(DEMO.format(port=free_port(), rate=100))
        done = tickplant("up", "-c", tmp_path / "plant.toml", env=session)
        assert done.returncode == 1
        assert f"{parent}: the run folder is open to others" in done.stderr
        assert "Traceback" not in done.stderr
        assert list(parent.iterdir()) == []


def test_a_simulated_venue_at_any_rate_hears_that_it_is_to_end() -> None:
    spec = json.dumps({"messages_per_s": 1e9, "symbols": ["BTCUSDT"]})
    pipe = subprocess.PIPE
    words = [sys.executable, "-m", "tickplant.sim"]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            process.stdin.write(spec.encode())
            process.stdin.close()
            process.stdin = None  # `communicate` would write to it
            assert json.loads(process.stdout.readline())["ready"]
            wait_for("a market that cannot keep up", lambda: b"skips time" in process.stderr.readline())
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0
        finally:
            process.kill()
