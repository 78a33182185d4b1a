"""Rare ways in which a plant can end, or never begin: shared memory, sockets, processes and ports are as before.

The common ones are in `test_plant.py`, kill -9 of all at once is in `test_kill.py`. That nothing is left behind is
looked at after every test (`conftest.py`).
"""

from __future__ import annotations

import contextlib
import gzip
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, tickplant, wait_for
from remains import NOTHING, Remains

import tickplant as tp
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.shm.ring import Ring
from tickplant.store.reader import Store

pytestmark = pytest.mark.usefixtures("unmeasured")


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
        return True
    return False


def expect_as_before(running: PlantProcess, left_behind: Callable[[], Remains]) -> None:
    """Nothing of the plant is on the machine, and what it stored is in order."""
    wait_for("the children to end", lambda: not running.pids())
    wait_for("nothing to be left", lambda: left_behind() == NOTHING)
    port = int(running.publish.rpartition(":")[2])
    assert is_free(port) and is_free(port + 1)
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def has_ticks(running: PlantProcess) -> bool:
    return bool(running.process_named("binance")["counters"].get("ticks", 0) > 300)


def test_a_busy_plant_that_is_stopped_has_stored_all_that_had_reached_a_ring(tmp_path: Path) -> None:
    with plant(tmp_path, DEMO, rate=20_000) as running, contextlib.ExitStack() as held:
        rings = {
            (producer, schema): held.enter_context(
                Ring.attach(cfg.ring_name(running.plant_id, producer, schema.name.lower()), schema, tmp_path)
            )
            for producer, schema in (("binance", Schema.TICK), ("engine", Schema.BBO), ("engine", Schema.BAR))
        }
        wait_for("load", lambda: rings["binance", Schema.TICK].head > 100_000)
        assert running.stop() == 0
        assert running.segments() == set()
        store = Store(running.data_dir)
        # Unlinked they are, but not gone as long as we hold them.
        assert {key: store.next_seq(*key) for key in rings} == {key: ring.head for key, ring in rings.items()}
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("sim", '"market"\nws_url = "ws://127.0.0.1:1"', "cannot be combined with"),
        ("sim", '"nowhere"', "nowhere"),
        ("ws_url", '"127.0.0.1"', "is not an address"),
        ("venue", "binance", "plant.toml"),
    ],
)
def test_a_configuration_that_is_wrong_starts_nothing(
    tmp_path: Path, left_behind: Callable[[], Remains], key: str, value: str, told: str
) -> None:
    text = DEMO.format(port=free_port(), rate=100)
    file = tmp_path / "plant.toml"
    lines = [line for line in text.splitlines() if not line.startswith(("sim =", f"{key} ="))]
    at = lines.index("[feeds.binance]") + 1
    file.write_text("\n".join([*lines[:at], f"{key} = {value}", *lines[at:]]))
    done = tickplant("up", "-c", file)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind() == NOTHING
    assert not (tmp_path / "data").exists()


@pytest.mark.long
def test_a_plant_that_never_comes_up_leaves_nothing_when_it_is_stopped(
    tmp_path: Path, left_behind: Callable[[], Remains]
) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        (tmp_path / "plant.toml").write_text(DEMO.format(port=port, rate=100))
        running = PlantProcess(tmp_path / "plant.toml")
        try:
            wait_for("the complaint", lambda: "is already in use" in running.errors.read_text())
            assert running.publish in running.errors.read_text()
            assert running.stop(signal.SIGINT) == 0
        finally:
            running.clean_up()
    expect_as_before(running, left_behind)


@pytest.mark.long
def test_a_plant_whose_venue_cannot_be_reached_leaves_nothing_when_it_is_stopped(
    tmp_path: Path, left_behind: Callable[[], Remains]
) -> None:
    nobody = free_port()
    text = DEMO.replace('sim = "market"', f'ws_url = "ws://127.0.0.1:{nobody}"\nrest_url = "http://127.0.0.1:{nobody}"')
    with plant(tmp_path, text, wait=False) as running:
        log = running.data_dir / "log" / "plant.log"
        wait_for("the complaint", lambda: log.exists() and str(nobody) in log.read_text())
        assert running.stop() == 0
        expect_as_before(running, left_behind)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a plant has stored in a few seconds."""
    with plant(tmp_path_factory.mktemp("stored"), DEMO, rate=2000) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("ticks", 0) > 5000)
        running.stop()
    return running.data_dir


@contextlib.contextmanager
def command(*words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tickplant", *map(str, words)], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_a_replay_that_is_interrupted_leaves_nothing(store: Path, left_behind: Callable[[], Remains]) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with command("replay", "--data", store, "--speed", "0.01", "--bind", address) as process:
        with tp.subscribe("binance", address=address, timeout=DEADLINE_S) as messages:
            next(messages)
            assert len(left_behind().segments) == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0
        wait_for("nothing to be left", lambda: left_behind() == NOTHING)
    assert tickplant("verify", "--data", store).returncode == 0


@pytest.mark.long
def test_an_ingest_that_is_interrupted_leaves_nothing_and_what_it_stored_is_in_order(
    tmp_path: Path, left_behind: Callable[[], Remains]
) -> None:
    trade = (
        '{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":%d,"p":"1.00","q":"1.00","T":1700000000000,"m":true,"M":true}'
    )
    file = tmp_path / "recording.gz"
    with gzip.open(file, "wt", compresslevel=1) as recording:
        for ident in range(600_000):
            recording.write(f"{1_700_000_000_000_000_000 + ident * 1000} {trade % ident}\n")
    for attempt in range(8):  # it may be over before it is interrupted
        data_dir = tmp_path / f"data-{attempt}"
        if code := interrupted(data_dir, file, left_behind):
            break
    assert code == 1, "it was over each time"
    verified = tickplant("verify", "--data", data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def interrupted(data_dir: Path, file: Path, left_behind: Callable[[], Remains]) -> int:
    """Interrupt an ingest once something is stored. Returns its exit code, 0 where it was over by then."""
    with command("ingest", file, "--venue", "binance", "--data", data_dir) as process:
        wait_for("the first records on disk", lambda: any(data_dir.glob("journal/**/*.tpj")), timeout_s=DEADLINE_S)
        process.send_signal(signal.SIGINT)
        if not (code := process.wait(DEADLINE_S)):
            return code
        assert process.stderr is not None
        assert b"was not stored completely: stopped" in process.stderr.read()
        wait_for("nothing to be left", lambda: left_behind() == NOTHING)
    return code


@pytest.mark.long
def test_an_engine_keeps_no_descriptor_of_a_subscriber_that_has_gone(tmp_path: Path) -> None:
    with plant(tmp_path, DEMO) as running:
        wait_for("ticks", lambda: has_ticks(running))
        pid = running.process_named("engine")["pid"]
        with tp.subscribe("binance", address=running.publish) as messages:
            next(messages)
        wait_for("no subscription", lambda: running.process_named("engine")["counters"]["subscriptions"] == 0)
        before = psutil.Process(pid).num_fds()
        for _ in range(20):
            with tp.subscribe("binance", address=running.publish) as messages:
                next(messages)
        wait_for("as many descriptors as before", lambda: psutil.Process(pid).num_fds() <= before, timeout_s=30)
