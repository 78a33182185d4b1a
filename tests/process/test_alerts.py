"""Alerts and dashboard of deploy/ before a real Prometheus that scrapes a real plant: each fault fires its alert."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from plant_process import DEMO, PlantProcess, free_port, plant, wait_for
from prometheus_process import CONFIG, RULES, Prometheus, program, prometheus, quick
from small_disk import fill, small_disk

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "tickplant.json"
SCRAPE_S = 3
FIRES_S = 90.0
QUICK = {"[15m]": "[60s]", "[5m]": "[20s]", "tickplant_symbol_age_seconds > 300": "tickplant_symbol_age_seconds > 8"}
"""What a test waits for instead; every other threshold is that of the rules."""

PROVED_BY_PROMTOOL = {"TickplantCountsOff", "TickplantDiskFullSoon", "TickplantCalendarEnds"}
OF_A_DISK = {"TickplantDiskFilling", "TickplantCannotWork"}
ROOT = os.geteuid() == 0  # who may mount a small disk
FIRED: set[str] = set()

PLANT = (
    (
        DEMO.replace(
            "[plant]\n",
            "[plant]\nhang_s = 120.0\nrestart_backoff_s = 0.1\nrestart_intensity = 3\nfatal_retry_s = 20.0\n",
        )
        .replace("[sims.market]\n", "[sims.market]\nport = {{sim}}\n")
        .replace("[feeds.binance]\n", "[feeds.binance]\nring_records = 8192\nreconnect_cap_s = 4.0\n")
    )
    + """
[feeds.odd]
venue = "binance"
symbols = ["BNBUSDT"]
channels = ["trade", "quote"]
ws_url = "{odd_ws}"
rest_url = "{odd_rest}"

[gateways.web]
port = {gateway}
requests_per_s = 100000.0
"""
)

BEHIND_S = 5
SHIFTED = f"""
import time
now_ns = time.time_ns
time.time_ns = lambda: now_ns() - {BEHIND_S} * 10**9
from tickplant.sim.__main__ import main
main()
"""
"""A venue whose clock is behind."""


class Watched:
    """A plant and the Prometheus that watches it."""

    def __init__(self, running: PlantProcess, seen: Prometheus, sim_port: int) -> None:
        self.plant = running
        self.seen = seen
        self._sim = f"http://127.0.0.1:{sim_port}/sim/fault"

    def fault(self, **fault: Any) -> None:
        answer = httpx.post(self._sim, json=fault, timeout=90.0, trust_env=False)
        assert answer.status_code == 200, answer.text

    def pid(self, name: str) -> int:
        return int(self.plant.process_named(name)["pid"])

    @contextlib.contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def expect(self, name: str, **labels: str) -> dict[str, str]:
        """Wait until an alert fires."""
        fires = wait_for(f"{name} {labels}", lambda: self.seen.firing(name, **labels), timeout_s=FIRES_S)
        FIRED.add(name)
        return fires[0]

    def expect_calm(self, *names: str) -> None:
        """Wait until none of these fires."""
        fires: list[str] = []

        def calm() -> bool:
            fires[:] = [name for name in names if self.seen.firing(name)]
            return not fires

        with contextlib.suppress(AssertionError):
            wait_for("calm", calm, timeout_s=FIRES_S + 60)
        assert not fires

    def lag(self, reader: str) -> int:
        ring = next(ring for ring in self.plant.status()["rings"] if ring["producer"] == "binance")
        return int(ring["lag"][reader])


@contextlib.contextmanager
def shifted_venue() -> Iterator[dict[str, Any]]:
    spec = json.dumps({"venue": "binance", "symbols": ["BNBUSDT"], "messages_per_s": 20.0})
    process = subprocess.Popen([sys.executable, "-c", SHIFTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    try:
        process.stdin.write(spec.encode())
        process.stdin.close()
        yield dict(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def leaves_nothing() -> None:
    """Their plant is looked at when it has ended, not after each test: its engine opens rings anew meanwhile."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    program("prometheus")
    folder = tmp_path_factory.mktemp("alerts")
    gateway, sim = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        if ROOT:
            stack.enter_context(small_disk(folder / "data", 128 << 20))
        odd = stack.enter_context(shifted_venue())
        own = {
            "gateway": gateway,
            "odd_ws": f"ws://127.0.0.1:{odd['port']}",
            "odd_rest": f"http://127.0.0.1:{odd['port']}",
        }
        text = PLANT.replace("{{sim}}", str(sim))
        for name, value in own.items():
            text = text.replace(f"{{{name}}}", str(value))
        running = stack.enter_context(plant(folder, text, rate=500.0))
        rules = quick(RULES.read_text(encoding="utf-8"), QUICK)
        seen = stack.enter_context(prometheus(folder, f"127.0.0.1:{gateway}", rules, SCRAPE_S))
        one = Watched(running, seen, sim)

        def scraped() -> bool:
            return bool(seen.ask("query", query="tickplant_healthy == 1 and on () count(up offset 20s)")["result"])

        wait_for("a well plant to be scraped for a while", scraped)
        yield one


def test_the_rules_and_their_proofs_hold() -> None:
    promtool = program("promtool")
    for words in (("check", "config", CONFIG), ("test", "rules", RULES.with_suffix(".test.yml"))):
        done = subprocess.run([promtool, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_well_plant_fires_nothing_but_the_alert_about_a_clock(watched: Watched) -> None:
    labels = watched.expect("TickplantClockOff")
    assert (labels["process"], labels["venue"]) == ("odd", "binance")
    found = watched.seen.ask("query", query='tickplant_feed_clock_offset_seconds{process="odd"}')["result"]
    assert BEHIND_S <= float(found[0]["value"][1]) < BEHIND_S + 5
    watched.expect_calm(*(name for name in names() if name != "TickplantClockOff"))


def names() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))


def test_every_expression_of_the_dashboard_has_an_answer(watched: Watched) -> None:
    instance = watched.seen.ask("query", query="tickplant_supervisor_up")["result"][0]["metric"]["instance"]
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    empty = []
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$instance", instance).replace("$__rate_interval", "20s")
            if not watched.seen.ask("query", query=query)["result"]:
                empty.append(target["expr"])
    assert all(query.endswith("> 0") for query in empty), empty
    notes = board["annotations"]["list"][0]["target"]["expr"].replace("$instance", instance)
    assert watched.seen.ask("query", query=notes)["resultType"] == "vector"


def test_a_venue_that_sends_garbage_and_refuses_connections(watched: Watched) -> None:
    watched.fault(fault="garbage", count=3000)
    assert watched.expect("TickplantFramesRejected")["process"] == "binance"
    watched.expect("TickplantSlowDecoding", process="binance")
    watched.expect("TickplantGaps", process="binance", cause="rejected")
    assert not watched.seen.firing("TickplantGaps", cause="disconnect")
    watched.fault(fault="refuse-connection", count=8)
    watched.fault(fault="disconnect")
    watched.expect("TickplantDisconnected", process="binance")
    watched.expect("TickplantGaps", process="binance", cause="disconnect")
    watched.expect_calm("TickplantDisconnected")


def test_a_venue_that_falls_silent(watched: Watched) -> None:
    with watched.stopped(watched.pid("market")):
        labels = watched.expect("TickplantSymbolStale", symbol="BTCUSDT")
        assert labels["venue"] == "binance"
        assert not watched.seen.firing("TickplantSymbolStale", symbol="BNBUSDT")
    watched.expect_calm("TickplantSymbolStale")


def test_an_engine_that_is_late_and_one_that_is_overtaken(watched: Watched) -> None:
    with watched.stopped(watched.pid("engine")):
        wait_for("it to be late", lambda: watched.lag("engine") > 4096)
    watched.expect("TickplantPublishedLate", process="engine")
    assert not watched.seen.firing("TickplantEngineOverrun")
    with watched.stopped(watched.pid("engine")):
        wait_for("it to be overtaken", lambda: watched.lag("engine") > 10_000)
    watched.expect("TickplantEngineOverrun", process="engine")


def test_a_writer_that_stands_still(watched: Watched) -> None:
    with watched.stopped(watched.pid("writer")):
        watched.expect("TickplantRingFilling", producer="binance", schema="tick", reader="writer")
        watched.expect("TickplantRecordsDropped", process="binance")
    watched.expect("TickplantGaps", process="binance", cause="ring_full")
    watched.expect("TickplantStoredLate", process="writer")
    watched.expect_calm("TickplantRingFilling")


def test_a_supervisor_and_a_gateway_that_hang(watched: Watched) -> None:
    with watched.stopped(watched.plant.process.pid):
        watched.expect("TickplantSupervisorSilent")
        assert watched.seen.ask("query", query="up")["result"][0]["value"][1] == "1"
    with watched.stopped(watched.pid("web")):
        watched.expect("TickplantGatewayDown")
    watched.expect_calm("TickplantSupervisorSilent", "TickplantGatewayDown")


def test_a_process_that_dies_again_and_again(watched: Watched) -> None:
    for _ in range(4):
        os.kill(wait_for("it to run", lambda: watched.pid("odd")), signal.SIGKILL)
        wait_for("its end to be seen", lambda: watched.plant.process_named("odd")["state"] != "running")
        with contextlib.suppress(AssertionError):
            wait_for("its successor", lambda: watched.plant.process_named("odd")["state"] == "running", timeout_s=15.0)
    watched.expect("TickplantProcessDown", process="odd", role="feed")
    watched.expect("TickplantUnhealthy")
    watched.expect("TickplantProcessRestarts", process="odd")
    watched.expect_calm("TickplantProcessDown", "TickplantUnhealthy")


@pytest.mark.skipif(not ROOT, reason="only root can mount a small disk")
def test_a_disk_that_fills(watched: Watched) -> None:
    ballast = fill(watched.plant.data_dir)
    watched.expect("TickplantDiskFilling")
    watched.expect("TickplantCannotWork", process="writer", role="writer")
    ballast.unlink()
    watched.expect_calm("TickplantDiskFilling", "TickplantCannotWork")


def test_every_alert_was_caused_or_is_proved(watched: Watched) -> None:
    """By the tests above, so this one holds only behind all of them."""
    assert {*FIRED, *PROVED_BY_PROMTOOL, *(set() if ROOT else OF_A_DISK)} == set(names())
    assert watched.plant.stop() == 0
