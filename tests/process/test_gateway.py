"""A gateway in a real plant, with the examples of its page: kills, metrics, what it answers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, wait_for
from stream_reader import StreamReader
from value_proof import HAWKES, NAME, TOPIC, expect_hawkes_over_all_trades

from tickplant.gateway.metric_catalogue import COUNTED
from tickplant.runtime.config import GatewayConfig
from tickplant.runtime.job_specs import GatewaySpec, Plant
from tickplant.store.reader import Store

pytestmark = pytest.mark.usefixtures("unmeasured")
PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- test: ([\w-]+) -->\n```(\w+)\n(.*?)```", PAGE, re.DOTALL)
ADDRESS = "http://127.0.0.1:8088"
GATEWAY = """
[gateways.web]
port = {gateway}
requests_per_s = 100000.0
connections_per_address = 1000
downloads = 100

"""


class Running:
    """A plant and the address of its gateway."""

    def __init__(self, process: PlantProcess, address: str) -> None:
        self.plant = process
        self.address = address

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(self.address + path, timeout=DEADLINE_S)

    def get(self, path: str) -> httpx.Response:
        """The answer, once whoever has it answers the gateway in time."""

        def answered() -> httpx.Response | None:
            answer = self.ask(path)
            return None if answer.status_code in (503, 504) else answer

        return wait_for(path, answered)

    def metrics(self) -> str:
        """All of them: for those of others a scrape waits 2 s."""

        def whole() -> str:
            text = self.get("/metrics").text
            return text if "tickplant_supervisor_up 1" in text and "tickplant_symbol_age_seconds{" in text else ""

        return wait_for("a scrape that the supervisor and the engine have answered", whole)

    def up(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.ask("/healthz").status_code == 200
        return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    text = DEMO + HAWKES + GATEWAY.replace("{gateway}", str(port))
    with plant(tmp_path_factory.mktemp("gateway"), text, rate=300.0) as started:
        one = Running(started, f"http://127.0.0.1:{port}")
        wait_for("the gateway", one.up)
        question = "/api/v1/history/trades?venue=binance&symbol=BTCUSDT&limit=60"
        wait_for("stored trades", lambda: len(one.get(question).json().get("data", ())) == 60)
        yield one


def test_the_plant_names_its_gateway_when_that_answers(running: Running) -> None:
    wait_for("its address", lambda: f"open in a browser: {running.address}" in running.plant.errors.read_text())
    assert running.plant.status()["gateways"] == [running.address]
    assert running.plant.process_named("web")["state"] == "running"


def test_it_answers_from_engine_store_and_supervisor(running: Running) -> None:
    symbols = {one["symbol"]: one for one in running.get("/api/v1/instruments").json()["instruments"]}
    assert set(symbols) == {"BTCUSDT", "ETHUSDT"}
    assert {"trade", "quote", "book"} <= set(symbols["BTCUSDT"]["channels"])
    status = running.get("/api/v1/status").json()
    assert {one["name"] for one in status["processes"]} == {"market", "writer", "engine", "binance", "web"}

    book = running.get("/api/v1/book?venue=binance&symbol=BTCUSDT&depth=3").json()
    assert (len(book["bids"]), len(book["asks"]), book["stale"]) == (3, 3, False)
    query = "/api/v1/history/trades?venue=binance&symbol=BTCUSDT&limit=5&prices=integer&columns=seq,price"

    def stored() -> list[dict[str, Any]]:
        return list(running.get(query).json().get("data", []))

    rows = wait_for("stored trades", lambda: stored() if len(stored()) == 5 else None)
    expected = Store(running.plant.data_dir).trades("binance", "BTCUSDT", columns=["seq", "price"]).arrow()[:5]
    assert [(row["seq"], row["price"]) for row in rows] == [
        (seq, f"{price:.8f}")
        for seq, price in zip(expected["seq"].to_pylist(), expected["price"].to_pylist(), strict=True)
    ]


MAY_LACK = {"capture_lost", "clients_cut", "own_rows", "own_cpu_ns", "own_left_out", "calendar_days"}
"""Counters that a process reports only where there is something to count."""


def test_metrics_have_every_counter_and_stage_of_a_plant(running: Running) -> None:
    metrics = running.metrics()
    assert 'tickplant_process_up{process="writer",role="writer"} 1' in metrics
    for role, counted in COUNTED.items():
        (process,) = [one for one in running.plant.status()["processes"] if one["role"] == role]
        assert counted.keys() - process["counters"].keys() <= MAY_LACK
    samples = (line.rpartition(" ") for line in metrics.splitlines() if not line.startswith("#"))
    values = {name: float(number) for name, _, number in samples}
    for stage, process in (("venue", "binance"), ("plant", "engine"), ("durable", "writer")):
        assert values[f'tickplant_stage_{stage}_seconds_count{{process="{process}"}}'] > 0
        # One machine, one clock: nothing comes before it was sent.
        assert values[f'tickplant_stage_{stage}_seconds_sum{{process="{process}"}}'] > 0
    assert 0 <= values['tickplant_feed_clock_offset_seconds{process="binance",venue="binance"}'] < DEADLINE_S
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert values[f'tickplant_symbol_age_seconds{{venue="binance",symbol="{symbol}"}}'] < DEADLINE_S
    for reader in ("writer", "engine"):
        lag = f'{{producer="binance",schema="tick",reader="{reader}"}}'
        assert values[f"tickplant_ring_lag_high_water_records{lag}"] >= max(
            1, values[f"tickplant_ring_lag_records{lag}"]
        )


def read(running: Running, topics: str, reader: StreamReader, until: Callable[[], bool]) -> None:
    """Read a stream until something has come."""
    headers = {"last-event-id": reader.cursor} if reader.cursor else {}
    url = f"{running.address}/api/v1/stream?topics={topics}"
    deadline_s = time.monotonic() + DEADLINE_S
    with httpx.stream("GET", url, headers=headers, timeout=DEADLINE_S) as answer:
        assert answer.status_code == 200
        for part in answer.iter_raw():
            reader.feed(part)
            if until():
                return
            assert time.monotonic() < deadline_s
    raise AssertionError("the stream has ended")


def test_a_client_resumes_without_a_hole_when_the_gateway_is_killed(running: Running) -> None:
    reader = StreamReader()
    topics, trades = "binance.BTCUSDT", "binance.BTCUSDT.trade"
    before = {one["name"]: one["restarts"] for one in running.plant.status()["processes"]}

    def so_many(count: int) -> Callable[[], bool]:
        return lambda: len(reader.trades.get(trades, ())) >= count

    read(running, topics, reader, so_many(20))
    for _ in range(2):
        reader.forget()
        had = len(reader.trades[trades])
        pid = running.plant.process_named("web")["pid"]
        os.kill(pid, signal.SIGKILL)

        def new(pid: int = pid) -> bool:
            return running.plant.process_named("web")["pid"] not in (0, pid) and running.up()

        wait_for("a new one", new)
        read(running, topics, reader, so_many(had + 20))
    assert not reader.gaps
    assert reader.snapshots == 3  # book, quote and bbo, once
    assert reader.trades[trades] == list(range(reader.trades[trades][0], reader.trades[trades][-1] + 1))
    after = {one["name"]: one["restarts"] for one in running.plant.status()["processes"]}
    assert {name: count - before[name] for name, count in after.items()} == dict.fromkeys(after, 0) | {"web": 2}
    assert running.get("/healthz").json() == {"healthy": True}


def test_values_come_live_and_from_the_store(running: Running) -> None:
    topics = [one["topic"] for one in running.get("/api/v1/topics").json()["topics"]]
    assert [one for one in topics if "hawkes" in one] == [TOPIC]
    reader = StreamReader()
    read(running, TOPIC, reader, lambda: any("records" in event for event in reader.events))
    live = next(event["records"][0] for event in reader.events if "records" in event)

    def stored() -> dict[str, Any] | None:
        question = f"venue=binance&symbol=BTCUSDT&series={NAME}&newest=true"
        rows = running.get(f"/api/v1/history/values?{question}").json()["data"]
        return next((row for row in rows if row["source_seq"] == live["source_seq"]), None)

    row = wait_for("the value to be stored", stored)
    assert (row.pop("series"), row["value_4"], row["venue"], row["symbol"]) == (NAME, None, "binance", "BTCUSDT")
    assert row | live == {**row, "series": 1}
    # Trades and values come through two rings: the one may be stored while the other is not yet.
    data_dir = running.plant.data_dir
    wait_for("its trade to be stored too", lambda: expect_hawkes_over_all_trades(data_dir) >= live["source_seq"])


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        place = Plant(data_dir=str(tmp_path), run_dir=str(tmp_path), control=f"ipc://{tmp_path}/control")
        config = GatewayConfig(port=port)
        spec = GatewaySpec(name="web", plant=place, config=config, engines=[], base=str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-m", "tickplant.gateway"],
            input=msgspec.json.encode(spec), capture_output=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith(f"web: gateways.web.port: 127.0.0.1:{port} cannot be listened on: Address already in use")
    assert "Traceback" not in done.stderr.decode()


# --------------------------------------------------------------------------------------------------------------------
# The examples of docs/gateway.md, as they stand, and the OpenAPI document


@pytest.mark.parametrize(("name", "language", "text"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_an_example_runs(running: Running, tmp_path: Path, name: str, language: str, text: str) -> None:
    assert ADDRESS in text
    text = text.replace(ADDRESS, running.address)
    programs = {"python": [sys.executable, "-c", text], "console": [], "javascript": ["node", "-e", text]}
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("needs node")
    commands = [programs[language]]
    if language == "console":
        commands = [["sh", "-c", line.removeprefix("$ ")] for line in text.splitlines()]
        if shutil.which("curl") is None:
            pytest.skip("needs curl")
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=tmp_path)
        assert done.returncode == 0, f"{name}: {command[-1]}\n{done.stderr}"
        assert "BTCUSDT" in done.stdout, f"{name}: {done.stdout[:500]}"


CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)


@pytest.mark.long
def test_no_question_that_the_document_allows_or_forbids_is_a_fault(running: Running, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"{running.address}/openapi.json", "--url", running.address, "--no-color", "--seed", "1"),
            *("--max-examples", "25", "--exclude-path", "/api/v1/stream", "--request-timeout", "30"),
            *("--checks", ",".join(CHECKS)),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[:9000]
