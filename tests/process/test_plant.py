"""A plant as its user sees it: it starts, records, serves, and ends without a trace, however it is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, tickplant, wait_for
from value_proof import HAWKES, expect_hawkes_over_all_trades

from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, Status
from tickplant.runtime.control_client import ControlClient

QUICK = DEMO.replace("[plant]\n", "[plant]\nrestart_backoff_s = 0.1\nrestart_cap_s = 0.2\nrestart_intensity = 100\n")


def leaves_nothing(running: PlantProcess) -> None:
    assert running.segments() == set()
    wait_for("the children to end", lambda: not running.pids())
    assert not cfg.run_dir(running.plant_id).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_stopped_plant_has_stored_everything_and_leaves_no_trace(tmp_path: Path, number: signal.Signals) -> None:
    with plant(tmp_path) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("ticks", 0) > 500)
        status = running.status()
        assert status["healthy"]
        assert {process["state"] for process in status["processes"]} == {"running"}
        assert {process["name"] for process in status["processes"]} == {"market", "writer", "engine", "binance"}
        assert running.stop(number) == 0
        leaves_nothing(running)
        verified = tickplant("verify", "--data", running.data_dir)
        assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_start_stores_what_was_in_the_rings(tmp_path: Path) -> None:
    text = QUICK.replace("[engines.engine]\n", "[engines.engine]\ncheckpoint_s = 1\n") + HAWKES
    with plant(tmp_path, text) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("ticks", 0) > 500)
        # So values have to come through the end of their engine, and through that of all.
        os.kill(running.process_named("engine")["pid"], signal.SIGKILL)
        wait_for("a new engine", lambda: running.process_named("engine")["counters"].get("rebuilds") == 1)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        wait_for("the children to end", lambda: not running.pids())
        assert running.segments()
        second = PlantProcess(running.file)
        try:
            # It answers from its first moment on, while it still stores what was left.
            wait_for("its control socket", (cfg.run_dir(second.plant_id) / "control").exists)
            client = ControlClient(cfg.control_address(cfg.run_dir(second.plant_id)), "test")
            try:

                def status() -> Status:
                    answer = client.request(GetStatus(), timeout_s=DEADLINE_S)
                    assert isinstance(answer, Status)
                    return answer

                status()
                wait_for("health", lambda: status().healthy)
            finally:
                client.close()
            second.wait_until_up()
            wait_for("new ticks", lambda: second.process_named("binance")["counters"].get("ticks", 0) > 100)
            assert second.stop() == 0
            leaves_nothing(second)
        finally:
            second.clean_up()
        verified = tickplant("verify", "--data", running.data_dir, "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        expect_hawkes_over_all_trades(running.data_dir)


@pytest.mark.long
def test_killed_children_are_started_again_and_cost_the_others_nothing(tmp_path: Path) -> None:
    with plant(tmp_path, QUICK) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("ticks", 0) > 300)
        supervisor = psutil.Process(running.process.pid)
        before = supervisor.num_fds()
        for name in ("writer", "engine", "binance"):
            os.kill(running.process_named(name)["pid"], signal.SIGKILL)

        def back() -> bool:
            status = running.status()
            counts = {process["name"]: process["restarts"] for process in status["processes"]}
            return bool(status["healthy"]) and counts == {"writer": 1, "engine": 1, "binance": 1, "market": 0}

        wait_for("everybody to be back", back)
        wait_for("as many descriptors as before", lambda: supervisor.num_fds() <= before, timeout_s=30)
        assert running.stop() == 0
        leaves_nothing(running)
    verified = tickplant("verify", "--data", tmp_path / "data")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["up", "-c", "none.toml"], 2, "none.toml: cannot be read"),
        (["status", "--data", "nowhere"], 1, "no plant is up"),
        (["verify", "--data", "nowhere"], 1, "nowhere"),
        (["query", "binance", "BTCUSDT", "--data", "nowhere"], 1, "nowhere"),
        (["query", "binance", "BTCUSDT", "--data", ".", "--start", "yesterday"], 2, "neither a time such as"),
        (["ingest", "none.gz", "--venue", "binance", "--data", "d"], 1, "none.gz"),
        (["ingest", "none.gz", "--venue", "nyse", "--data", "d"], 2, "nyse"),
        (["sim", "none.gz", "--venue", "binance"], 1, "none.gz"),
        (["replay", "--data", "nowhere"], 1, "nowhere"),
        (["replay", "--data", ".", "--speed", "fast"], 2, "fast"),
        (["tail", "binance", "--address", "tcp://127.0.0.1:{port}", "--timeout", "0.3"], 1, "tcp://127.0.0.1:{port}"),
        (["launch"], 2, "launch"),
    ],
)
def test_a_users_mistake_is_a_sentence_and_an_exit_code(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    port = str(free_port())
    done = tickplant(*(word.replace("{port}", port) for word in words), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert told.replace("{port}", port) in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_there_for_every_command() -> None:
    listed = subprocess.run([sys.executable, "-m", "tickplant", "--help"], capture_output=True, text=True, check=True)
    for command in ["up", "status", "stop", "tail", "book", "query", "replay", "ingest", "sim", "verify", "config"]:
        assert f"  {command} " in listed.stdout


def test_a_plant_that_is_stopped_while_it_starts_ends_cleanly(tmp_path: Path) -> None:
    with plant(tmp_path, wait=False) as running:
        wait_for("the first child", running.pids)
        assert running.stop() == 0, running.errors.read_text()
        leaves_nothing(running)


@pytest.mark.long
def test_what_a_person_sees_of_a_running_plant(tmp_path: Path) -> None:
    with plant(tmp_path) as running:
        where = ["--address", running.publish]
        as_json = tickplant("tail", "binance.BTCUSDT.trade", "*.quote", *where, "-n", "20", "--json")
        assert as_json.returncode == 0, as_json.stderr
        rows = [json.loads(line) for line in as_json.stdout.splitlines()]
        assert len(rows) == 20
        assert {row["kind"] for row in rows} <= {"trade", "quote"}
        assert all(row["side"] in {"trade": ("buy", "sell"), "quote": ("bid", "ask")}[row["kind"]] for row in rows)
        assert all(len(row["price"].partition(".")[2]) == 8 for row in rows)

        for topic in ("binance.ETHUSDT.book", "*.bbo", "*.bar_1s"):
            shown = tickplant("tail", topic, *where, "--snapshot", "-n", "3")
            assert shown.returncode == 0, shown.stderr
            assert len(shown.stdout.splitlines()) == 3

        book = json.loads(tickplant("book", "binance", "BTCUSDT", *where, "--json", "--depth", "2").stdout)
        assert len(book["bids"]) == len(book["asks"]) == 2
        assert not book["stale"]
        assert float(book["bids"][0][0]) < float(book["asks"][0][0])
        unknown = tickplant("book", "binance", "NOSUCH", *where)
        assert unknown.returncode == 1
        assert "NOSUCH" in unknown.stderr

        assert "ring binance.tick" in tickplant("status", "-c", running.file).stdout
        assert tickplant("resync", "binance", "BTCUSDT", "-c", running.file).returncode == 0
        wait_for("the resync", lambda: running.process_named("binance")["counters"].get("resyncs", 0) >= 1)
        for words, why in (
            (("resync", "binance", "NOSUCH"), "binance has no symbol NOSUCH; it has BTCUSDT, ETHUSDT"),
            (("resync", "engine", "BTCUSDT"), "engine is not a feed"),
            (
                ("tail", "binance.BTCUSDT.trades", "--address", running.publish),
                "'binance.BTCUSDT.trades' is not a topic",
            ),
            (("tail", "binance..trade", "--address", running.publish), "'binance..trade' is not a topic"),
        ):
            refused = tickplant(*words, *(["-c", running.file] if words[0] == "resync" else []))
            assert (refused.returncode, refused.stdout) == (1, "")
            assert why in refused.stderr
        for absent, said in (
            ("binance.QUIET.trade", "binance.QUIET.trade: no such topic yet; waiting"),
            ("binance.BTCUSDT.rsi-13_1m", "waiting for its first record; channels of binance.BTCUSDT: "),
            ("binance.BTCUSD.trade", "waiting for its first record; similar topics: binance.BTCUSDT.trade, "),
        ):
            waiting = subprocess.Popen(
                [sys.executable, "-m", "tickplant", "tail", absent, *where],
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            assert waiting.stderr
            assert said.encode() in waiting.stderr.readline()
            assert waiting.poll() is None
            waiting.terminate()
            waiting.communicate()
        nobody = tickplant("restart", "nobody", "-c", running.file)
        assert nobody.returncode == 1
        assert "no process is named nobody" in nobody.stderr
        checked = tickplant("config", "check", running.file)
        assert checked.returncode == 0
        assert "[feeds.binance]" in checked.stdout

        second = tickplant("up", "-c", running.file)
        assert second.returncode == 1
        assert f"pid {running.process.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        assert running.status()["healthy"]

        done = tickplant("stop", "-c", running.file)
        assert done.returncode == 0, done.stderr
        assert running.process.wait(DEADLINE_S) == 0
        leaves_nothing(running)
        again = tickplant("stop", "-c", running.file)
        assert again.returncode == 1
        assert "no plant is up" in again.stderr


@pytest.mark.long
def test_a_plant_that_stood_still_blames_none_of_its_processes(tmp_path: Path) -> None:
    hang_s = 15.0
    with plant(tmp_path, DEMO.replace("[plant]\n", f"[plant]\nhang_s = {hang_s}\n")) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("ticks", 0) > 300)
        before = {process["name"]: process["pid"] for process in running.status()["processes"]}
        everybody = [running.process.pid, *before.values()]
        log = running.data_dir / "log" / "plant.log"
        try:
            for pid in reversed(everybody):
                os.kill(pid, signal.SIGSTOP)
            stopped_s = time.monotonic()
            wait_for("too long a silence", lambda: time.monotonic() > stopped_s + hang_s + 3)
            os.kill(running.process.pid, signal.SIGCONT)  # its children have said nothing yet
            wait_for("it to notice", lambda: "the supervisor stood still for " in log.read_text())
        finally:
            for pid in everybody:
                os.kill(pid, signal.SIGCONT)
        wait_for("reports", lambda: running.status()["healthy"])
        assert {process["name"]: process["pid"] for process in running.status()["processes"]} == before
        assert running.stop() == 0
