"""A plant that is maltreated counts every frame and every record once: live in `status`, and afterwards in `verify`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from plant_process import PlantProcess, free_port, plant, tickplant, wait_for
from sim_process import sim_process

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

PLANT = """
[plant]
data = "data"
hang_s = 60
restart_backoff_s = 0.2
restart_cap_s = 0.2
[feeds.binance]
venue = "binance"
symbols = ["BTCUSDT"]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
ring_records = 4096
full_wait_ms = 1
[engines.engine]
publish = "tcp://127.0.0.1:{port}"
[writers.writer]
flush_s = 0.1
"""


def balance(running: PlantProcess, producer: str, total: str) -> dict[str, Any]:
    """One account of the status, all of which hold."""
    accounts = running.status()["accounts"]
    for account in accounts:
        assert account["off"] == 0 == account["count"] - sum(account["parts"].values()), account
    return next((a for a in accounts if (a["producer"], a["total"]) == (producer, total)), {"count": 0, "parts": {}})


def part(running: PlantProcess, total: str, name: str) -> int:
    return int(balance(running, "binance", total)["parts"].get(name, 0))


def test_all_counts_add_up_through_rejects_a_full_ring_and_a_killed_feed(tmp_path: Path) -> None:
    with sim_process(venue="binance", symbols=["BTCUSDT"], messages_per_s=1000.0) as sim:
        text = PLANT.format(ws_url=sim.ws_url, rest_url=sim.rest_url, port=free_port())
        with plant(tmp_path, text.replace("{", "{{").replace("}", "}}")) as running:
            wait_for("records", lambda: part(running, "tick published", "stored") > 2000)
            for _ in range(3):
                sim.fault("garbage")
            wait_for("rejects", lambda: part(running, "frames received", "rejected") >= 3)

            writer = running.process_named("writer")["pid"]
            os.kill(writer, signal.SIGSTOP)
            wait_for("drops", lambda: part(running, "ticks dropped", "untold") > 100)
            os.kill(writer, signal.SIGCONT)
            wait_for("gaps that tell of them", lambda: part(running, "ticks dropped", "told") > 100)

            # An account of all that is stored, and behind it records of which the killed feed never gave one.
            known = running.process_named("binance")["counters"].get("accounts", 0)
            wait_for("an account", lambda: running.process_named("binance")["counters"]["accounts"] >= known + 4)
            before = running.process_named("binance")
            os.kill(before["pid"], signal.SIGKILL)
            wait_for("another feed", lambda: running.process_named("binance")["pid"] not in (0, before["pid"]))
            wait_for("its ticks", lambda: balance(running, "binance", "ticks made")["count"] > 1000)
            shown = tickplant("status", "-c", running.file)
            assert shown.returncode == 0, shown.stdout
            assert "binance: frames received " in shown.stdout
            for producer, total in (
                ("binance", "ticks made"), ("binance", "tick published"), ("engine", "bbo made"),
                ("engine", "bbo published"), ("engine", "bar published"),
            ):  # fmt: skip
                wait_for(f"{total} by {producer}", lambda p=producer, t=total: balance(running, p, t)["count"] > 0)
            wait_for("the engine to read", lambda: balance(running, "engine", "binance published")["count"] > 0)
            assert running.stop() == 0
    verified = tickplant("verify", "--data", tmp_path / "data", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert report["ok"] and report["reconciled"]
    (feed,) = report["feeds"]
    assert (feed["producer"], feed["reconciled"], feed["lives"]) == ("binance", True, 2)
    journal = next(one for one in report["journals"] if (one["producer"], one["schema"]) == ("binance", "tick"))
    assert feed["records"] == journal["records"] > feed["accounted"] > 0
    totals = {name: sum(day[name] for day in feed["days"]) for name in ("received", "parsed", "rejected", "told")}
    assert totals["received"] == totals["parsed"] + totals["rejected"]
    assert totals["rejected"] >= 3
    ring_full = sum(gap["missing"] for gap in report["gaps"] if gap["cause"] == "ring_full")
    assert totals["told"] == ring_full > 100
    told = tickplant("verify", "--data", tmp_path / "data").stdout
    assert "binance: reconciled: frames received " in told
