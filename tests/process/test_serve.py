"""`tickplant serve`, `export` and `import` as processes."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.flight as fl
import pytest
from plant_process import DEADLINE_S, wait_for
from small_store import RECORDS, make_store

from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

COMMAND = [sys.executable, "-m", "tickplant"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("taken_by", ["main", "another"])
def test_a_served_store_is_read_and_the_server_ends_when_asked(tmp_path: Path, taken_by: str) -> None:
    make_store(tmp_path)
    arguments = [*COMMAND, "serve", "--flight", "127.0.0.1:0", "--data", str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            with fl.connect(line.split(" on ")[1].strip()) as client:
                assert client.do_get(fl.Ticket(b"{}")).read_all().num_rows == RECORDS + 300

            def takes() -> bool:
                """Whether the signal has been sent: a thread that has served may be gone."""
                threads = sorted(int(path.name) for path in Path(f"/proc/{server.pid}/task").iterdir())
                thread = server.pid if taken_by == "main" else threads[-1]
                return bool(ctypes.CDLL(None).tgkill(server.pid, thread, signal.SIGTERM) == 0)

            wait_for("a thread that takes the signal", takes)
            assert server.wait(DEADLINE_S) == 0
        finally:
            server.kill()


def test_what_others_could_reach_is_not_served_in_the_open(tmp_path: Path) -> None:
    make_store(tmp_path)
    done = run("serve", "--flight", "0.0.0.0:0", "--data", tmp_path)
    assert done.returncode == 2
    assert "put a token into TICKPLANT_FLIGHT_TOKEN" in done.stderr


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    make_store(tmp_path)
    wrong = tmp_path / "cert.pem"
    wrong.write_text("no certificate")
    done = run("serve", "--flight", "127.0.0.1:0", "--data", tmp_path, "--tls-cert", wrong, "--tls-key", wrong)
    assert done.returncode == 1
    assert f"are {wrong} and {wrong} PEM files that belong together?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_a_store_goes_out_and_comes_back(tmp_path: Path) -> None:
    data = make_store(tmp_path / "data")
    out = run("export", tmp_path / "set", "--data", data)
    assert (out.returncode, out.stdout) == (0, f"{tmp_path / 'set'}: 1,500 records written\n"), out.stderr
    back = run("import", tmp_path / "set", "--data", tmp_path / "back")
    assert (back.returncode, back.stdout) == (0, f"{tmp_path / 'back'}: 1,500 records stored\n"), back.stderr
    for producer in ("feed", "other"):
        one, two = (
            b"".join(part.tobytes() for part in Store(where).read(producer, Schema.TICK, Selection()))
            for where in (data, tmp_path / "back")
        )
        assert one == two
