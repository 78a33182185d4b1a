"""A key that is planted in a plant: whatever the venue does with it, nothing that the plant writes or shows has it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from plant_process import PlantProcess, plant, tickplant, wait_for
from websockets.sync.server import ServerConnection, serve

from tickplant.runtime.recorded_lines import Recording
from tickplant.venues import VENUES

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("unmeasured")]

KEY = "Kq7+planted/9=zz&Y"
SECOND = "S3cond-of-the-two.77"
FORMS = [
    form.encode()
    for value in (KEY, SECOND)
    for form in (value, quote(value), quote(value, safe=""), base64.b64encode(value.encode()).decode())
]
SUPPORT = Path(__file__).parents[1] / "support" / "keyed_plant"

PLANT = """
[plant]
data = "data"
heartbeat_s = 0.1
restart_backoff_s = 0.05
log_level = "debug"

[feeds.keyed]
venue = "keyed"
symbols = ["BTC-USD"]
channels = ["trade"]
credentials = "the-venue"
capture = true
ws_url = "WS"
rest_url = "REST"

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
flush_s = 0.1
"""


class KeyedServer:
    """The venue: says everything that it was told, in every form."""

    def __init__(self) -> None:
        self.denies = False
        self.keys: list[str] = []

    def talk(self, connection: ServerConnection) -> None:
        for text in connection:
            message = json.loads(text)
            if message["op"] == "auth":
                key = message["user"]
                self.keys.append(key)
                if self.denies:
                    connection.send(json.dumps({"type": "denied", "text": f"{key} is no key"}))
                    continue
                connection.send(json.dumps({"type": "welcome", "text": f"hello {key}", "again": key}))
                connection.send(f"no json: {key} {quote(key)} {base64.b64encode(key.encode()).decode()}")
                connection.send(json.dumps({"type": "trade", "product": f"{key}"}))
                continue
            connection.send(json.dumps({"type": "answer", "id": message["id"], "error": ""}))
            for number in range(20):
                trade = {"type": "trade", "product": "BTC-USD", "id": number + 1, "price": "1.5", "size": "2"}
                connection.send(json.dumps(trade | {"side": "buy", "time": "2026-09-01T12:00:00Z"}))


@pytest.fixture
def venue() -> Iterator[tuple[KeyedServer, str]]:
    keyed = KeyedServer()
    with serve(keyed.talk, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield keyed, f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def text(venue: tuple[KeyedServer, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A configuration, and the environment in which the venue is known."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setitem(VENUES, "keyed", VENUES["binance"])  # so that this process forgets it afterwards
    runpy.run_path(str(SUPPORT / "sitecustomize.py"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return PLANT.replace("WS", f"ws://{venue[1]}").replace("REST", f"http://{venue[1]}")


@pytest.fixture(params=["file", pytest.param("environment", marks=pytest.mark.long)])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Where the key comes from."""
    del text
    if request.param == "environment":
        monkeypatch.setenv("TICKPLANT_SECRET_THE_VENUE__KEY", KEY)
        monkeypatch.setenv("TICKPLANT_SECRET_THE_VENUE__SECOND", SECOND)
    else:
        path = Path(os.environ["XDG_CONFIG_HOME"]) / "tickplant" / "credentials" / "the-venue"
        path.parent.mkdir(parents=True)
        path.write_text(f'key = "{KEY}"\nsecond = "{SECOND}"\n')
        path.chmod(0o600)
    return str(request.param)


def found(data: bytes) -> list[bytes]:
    return [form for form in FORMS if form in data]


def written(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of these folders; captures as the lines that are in them."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()
                if path.name.endswith(".rec.zst"):
                    yield path, b"\n".join(line for block in Recording(path).blocks() for line in block)


def shown(running: PlantProcess) -> Iterator[tuple[str, bytes]]:
    """What /proc shows of each process, and what commands say."""
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 3  # fork server, writer, engine; a feed that is denied comes and goes
    for pid in (running.process.pid, *(child.pid for child in children)):
        for name in ("cmdline", "environ", "comm"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield f"{pid} {name}", Path(f"/proc/{pid}/{name}").read_bytes()
    for words in (["status"], ["status", "--json"], ["config", "check"], ["symbols", "list"]):
        done = tickplant(*words, "-c", running.file)
        yield " ".join(words), (done.stdout + done.stderr).encode()


def check(running: PlantProcess, folder: Path) -> None:
    for name, data in shown(running):
        assert not found(data), name
    check_files(running, folder)


def check_files(running: PlantProcess, folder: Path) -> None:
    looked = 0
    for path, data in written(running.data_dir, folder):
        if "settings" not in path.parts:
            assert not found(data), path
            looked += 1
    assert looked > 5


def core_dumps(folder: Path) -> bool:
    """Whether this machine writes a core dump into the working directory of a process that aborts."""
    unlimit = "import os, resource as r; r.setrlimit(r.RLIMIT_CORE, (r.RLIM_INFINITY,) * 2)"
    subprocess.run([sys.executable, "-c", f"{unlimit}; os.abort()"], cwd=folder, check=False)
    return bool([*folder.glob("core*")])


def allow_core_dumps() -> Any:
    hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard[1], hard[1]))
    return hard


def test_a_key_is_nowhere(
    tmp_path: Path, venue: tuple[KeyedServer, str], text: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    before = allow_core_dumps()
    try:
        with plant(work, text) as running:
            wait_for("trades", lambda: running.process_named("keyed")["counters"].get("kinds", {}).get("trade", 0) > 9)
            assert set(venue[0].keys) == {KEY}
            counters = running.process_named("keyed")["counters"]
            assert counters["rejected"] >= 2 and counters["ignored_kinds"]["welcome"] >= 1
            wait_for("a capture", lambda: running.process_named("keyed")["counters"]["captured"] > 9)
            captured = b"".join(data for path, data in written(running.data_dir / "capture"))
            assert b"hello ***" in captured and b'"op":"auth"' not in captured
            check(running, work)
            feed = running.process_named("keyed")["pid"]
            limits = Path(f"/proc/{feed}/limits").read_text()
            assert "Max core file size        0                    0" in limits
            assert int(Path(f"/proc/{feed}/coredump_filter").read_text(), 16) == 0
            os.kill(feed, 6)
            wait_for("another feed", lambda: running.process_named("keyed")["pid"] not in (0, feed))
            wait_for("trades", lambda: running.process_named("keyed")["counters"].get("frames", 0) > 9)
            assert not [path for path in work.rglob("core*") if path.is_file()]
            check(running, work)
            assert running.stop() == 0
            check_files(running, work)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    if source == "file" and core_dumps(tmp_path / "settings"):
        assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0  # so that one of the feed would have been written


@pytest.mark.long
def test_a_key_that_the_venue_refuses_is_in_no_error(
    tmp_path: Path, venue: tuple[KeyedServer, str], text: str, source: str
) -> None:
    del source
    venue[0].denies = True
    work = tmp_path / "work"
    work.mkdir()
    with plant(work, text, wait=False) as running:
        log = running.data_dir / "log" / "plant.log"
        wait_for("its end", lambda: log.exists() and b"keyed ended with exit code 1" in log.read_bytes())
        wait_for("its words", lambda: b"is no key" in running.errors.read_bytes())
        assert KEY in venue[0].keys
        check(running, work)
        running.stop()
        check_files(running, work)


def test_a_credential_that_is_nowhere_is_missed_before_anything_starts(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(text.format(port=12345))
    for words in (("config", "check"), ("up",)):
        done = tickplant(*words, "-c", file)
        assert done.returncode == 2
        assert 'there is no credential "the-venue": write it to ' in done.stderr
        assert "or set TICKPLANT_SECRET_THE_VENUE__KEY" in done.stderr
