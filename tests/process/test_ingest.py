"""`tickplant ingest` as a user runs it: hours one after another, killed at any place, repeated; ticks and all that is
derived of them are those of one undisturbed ingest."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plant_process import tickplant, wait_for
from recorded_store import market, write

from tickplant.errors import ControlError
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, Status
from tickplant.runtime.control_client import ControlClient
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

LIMIT_S = 900.0
"""Of a test, and of each of its commands: how long an ingest takes on a busy machine is no part of these tests."""

pytestmark = [pytest.mark.timeout(LIMIT_S), pytest.mark.usefixtures("unmeasured")]

VENUE = "binance-usdm"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return tickplant(*words, timeout_s=LIMIT_S)


def ingest(data_dir: Path, recording: Path) -> dict[str, Any]:
    done = run("ingest", recording, "--venue", VENUE, "--data", data_dir, "--json")
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def stored(data_dir: Path, schema: Schema) -> np.ndarray[Any, Any]:
    store = Store(data_dir)
    (producer,) = store.producers(schema)
    return np.concatenate([*store.read(producer, schema, Selection())])


def check_same(data_dir: Path, expected_dir: Path) -> None:
    for schema in (Schema.TICK, Schema.BBO, Schema.BAR):
        assert (stored(data_dir, schema) == stored(expected_dir, schema)).all(), schema
    verified = run("verify", "--data", data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def pids_of(data_dir: Path) -> dict[str, int] | None:
    """The processes of an ingest, by role; None until all are there."""
    client = ControlClient(cfg.control_address(cfg.run_dir(cfg.plant_id(data_dir))), "test")
    try:
        reply = client.request(GetStatus(), timeout_s=0.5)
    except ControlError:
        return None
    finally:
        client.close()
    assert isinstance(reply, Status)
    pids = {process.role: process.pid for process in reply.processes if process.pid}
    return pids | {"supervisor": reply.pid} if pids.keys() >= {"writer", "engine", "feed"} else None


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return market(5, 30_000)


@pytest.fixture(scope="module")
def undisturbed(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ingest(folder / "data", write(folder / "whole.rec", lines))
    return folder / "data"


@pytest.mark.long
def test_a_killed_ingest_that_is_repeated_stores_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    recording = write(tmp_path / "whole.rec", market(5, 90_000))
    undisturbed = tmp_path / "undisturbed"
    ingest(undisturbed, recording)
    kills = (("engine",), ("feed",), ("writer", "engine", "feed", "supervisor"))
    for attempt in range(5):
        data_dir = tmp_path / f"data-{attempt}"
        if all(kill_while_storing(data_dir, recording, victims) for victims in kills):
            break
    else:
        raise AssertionError("an ingest was over before it could be killed, each time")
    summary = ingest(data_dir, recording)
    assert summary["repeated"] > 0
    check_same(data_dir, undisturbed)


def kill_while_storing(data_dir: Path, recording: Path, victims: tuple[str, ...]) -> bool:
    """Kill these processes of an ingest when it has stored something. Returns whether it was not over by then."""
    before = stored_bytes(data_dir)
    command = [sys.executable, "-m", "tickplant", "ingest", recording, "--venue", VENUE, "--data", data_dir]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:

        def over() -> bool:
            code = process.poll()
            assert not code, process.stderr and process.stderr.read()
            return code is not None

        pids = wait_for("its processes", lambda: over() or pids_of(data_dir), timeout_s=LIMIT_S)
        wait_for("something on disk", lambda: over() or stored_bytes(data_dir) > before, timeout_s=LIMIT_S)
        for role in victims if isinstance(pids, dict) and not over() else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[role], signal.SIGKILL)
        return process.wait(LIMIT_S) != 0


def stored_bytes(data_dir: Path) -> int:
    """Of journals."""
    return sum(path.stat().st_size for path in data_dir.rglob("*.tpj"))


@pytest.mark.long
def test_hours_in_order_give_the_derived_records_of_one_recording_and_out_of_order_are_refused(
    tmp_path: Path, lines: list[bytes], undisturbed: Path
) -> None:
    data_dir, hours = tmp_path / "data", [write(tmp_path / "b", lines[10_000:]), write(tmp_path / "a", lines[:10_000])]
    for hour in reversed(hours):
        ingest(data_dir, hour)
    for schema in (Schema.BBO, Schema.BAR):
        found, expected = stored(data_dir, schema), stored(undisturbed, schema)
        names = [name for name in found.dtype.names or () if name != "source_seq"]  # an account more is in between
        assert (found[names] == expected[names]).all(), schema
    # What is older than the store and not in it is told; what is in it adds nothing.
    older = tmp_path / "older"
    ingest(older, hours[0])
    done = run("ingest", hours[1], "--venue", VENUE, "--data", older)
    assert done.returncode == 1
    assert "ingest recordings in time order" in done.stderr
    assert "Traceback" not in done.stderr
    for words, code in ((), 1), (("--again",), 0):
        done = run("ingest", hours[1], "--venue", VENUE, "--data", data_dir, *words)
        assert done.returncode == code, done.stderr
        assert "the whole recording is already stored; nothing was added" in done.stderr
        assert ("use --again to exit with 0" in done.stderr) == bool(code)
