"""A gateway in a real plant, with the examples of its page, and its server on real sockets: kills, limits, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme
import websockets
from gateway_app import App, gateway_app
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, wait_for
from stream_reader import StreamReader
from value_proof import HAWKES, NAME, TOPIC, expect_hawkes_over_all_trades

from tickplant.gateway import web_server
from tickplant.gateway.admission import Tokens
from tickplant.gateway.metric_catalogue import COUNTED
from tickplant.gateway.web_server import Connections, listen, serving
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
    assert expect_hawkes_over_all_trades(running.plant.data_dir) >= live["source_seq"]


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


# --------------------------------------------------------------------------------------------------------------------
# The server alone


@contextlib.asynccontextmanager
async def served(folder: Path, **config: Any) -> AsyncIterator[tuple[App, Connections, int]]:
    """A gateway's server on a port of its own."""
    tokens = config.pop("credentials", None)
    port = free_port()
    async with gateway_app(folder, folder, tokens=tokens, port=port, **config) as app:
        with listen(app.services.config, key="web") as listener:
            async with serving(
                app.asgi, app.services.config, listener, folder, app.services.hub.end_streams
            ) as connections:
                yield app, connections, port


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # of many kinds
        await asyncio.sleep(0.005)


def test_a_request_that_does_not_arrive_is_cut_off(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, header_s=0.2) as (_, connections, port):
            post = b"POST /api/v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
            for beginning in (b"", b"GET / HTTP/1.1\r\nhost: x", post):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(beginning)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            assert connections.late == 3
            await until(lambda: connections.count == 0)

    run(test())


def test_a_head_that_is_too_long_and_a_body_that_is_too_large_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            served(tmp_path, header_kib=4, body_kib=1) as (_, connections, port),
            httpx.AsyncClient(timeout=DEADLINE_S) as client,
        ):
            url = f"http://127.0.0.1:{port}"
            answer = await client.get(f"{url}/healthz", headers={"x": "y" * 8000})
            assert (answer.status_code, connections.late) == (431, 1)
            answer = await client.post(f"{url}/api/v1/session", json={"token": "x" * 5000})
            assert answer.status_code == 413
            assert (await client.get(f"{url}/healthz")).status_code == 200
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(200):  # a head that never ends
                writer.write(b"x" * 1000)
                if reader.at_eof():
                    break
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionError):
                assert (await reader.read()).startswith(b"HTTP/1.1 4")
            writer.close()

    run(test())


def test_connections_of_an_address_are_counted_and_given_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, connections_per_address=3) as (_, connections, port):
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(3)]
            await until(lambda: connections.count == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            for one in (*writers, writer):
                one.close()
            await until(lambda: connections.count == 0)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
                assert (await client.get("/healthz")).status_code == 200

    run(test())


def test_tls_by_configuration(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def test() -> None:
        async with served(
            tmp_path,
            tls_certificate="cert.pem",
            tls_key="key.pem",
            credentials=Tokens([{"read": "secret"}]),
        ) as (_, __, port):
            async with httpx.AsyncClient(
                base_url=f"https://localhost:{port}", verify=trusting, timeout=DEADLINE_S
            ) as client:
                assert (await client.get("/api/v1/status")).status_code == 401
                answer = await client.get("/api/v1/status", headers={"authorization": "Bearer secret"})
                assert answer.status_code == 200
                assert "strict-transport-security" in answer.headers
                login = await client.post("/api/v1/session", json={"token": "secret"})
                assert "; secure" in login.headers["set-cookie"].lower()
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(f"http://localhost:{port}/healthz")

    run(test())


def test_a_websocket_gets_the_events_and_may_change_its_topics(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path) as (app, connections, port):
            app.engine.trade(1, 100)
            app.engine.clear(2, {50: 5})
            url = f"ws://127.0.0.1:{port}/api/v1/ws"
            async with websockets.connect(f"{url}?topics=venue.S1.trade") as socket_:
                await until(lambda: any(stream.members for stream in app.services.hub.streams.values()))
                app.engine.trade(1, 101)
                event = msgspec.json.decode(await socket_.recv())
                assert (event["type"], event["seq"], event["records"][0]["price"]) == ("records", 1, "1.01")
                cursor = event["id"]
                await socket_.send('{"topics": ["venue.S2.book"]}')
                snapshot = msgspec.json.decode(await socket_.recv())
                assert (snapshot["type"], snapshot["bids"]) == ("snapshot", [["0.50", "0.005"]])
                app.engine.trade(1, 102)
                await socket_.send(msgspec.json.encode({"topics": ["venue.S1.trade"], "after": cursor}).decode())
                event = msgspec.json.decode(await socket_.recv())
                assert (event["seq"], event["records"][0]["price"]) == (2, "1.02")
                await socket_.send("what?")
                assert msgspec.json.decode(await socket_.recv())["type"] == "error"
                await socket_.send('{"topics": []}')
                assert msgspec.json.decode(await socket_.recv())["type"] == "error"
            await until(lambda: not app.services.hub.streams and connections.count == 0)
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, origin="https://evil.example")
            assert refused.value.response.status_code == 403

    run(test())


def test_streams_end_when_the_gateway_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "END_S", DEADLINE_S)  # beyond which a gateway cuts them off

    async def test() -> None:
        async with served(tmp_path) as (app, _, port):
            app.engine.trade(1, 100)

            async def read_all() -> None:
                async with (
                    httpx.AsyncClient(timeout=DEADLINE_S) as client,
                    client.stream("GET", f"http://127.0.0.1:{port}/api/v1/stream?topics=venue") as answer,
                ):
                    async for _ in answer.aiter_raw():
                        pass

            reading = [asyncio.ensure_future(read_all()) for _ in range(3)]
            await until(lambda: sum(len(one.members) for one in app.services.hub.streams.values()) == 3)
        await asyncio.gather(*reading)  # each to its regular end: none was cut off

    run(test())


@pytest.mark.long
def test_a_client_that_takes_nothing_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, stalled_s=8.0, queue_kib=256) as (app, connections, port):
            app.engine.trade(1, 1)
            stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            for one in stalled:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.sendall(b"GET /api/v1/stream?topics=venue.S1.trade HTTP/1.1\r\nhost: localhost\r\n\r\n")
            reader = StreamReader()
            async with (
                httpx.AsyncClient(timeout=DEADLINE_S) as client,
                client.stream("GET", f"http://127.0.0.1:{port}/api/v1/stream?topics=venue.S1.trade") as answer,
            ):
                parts = answer.aiter_raw()
                await until(lambda: sum(len(one.members) for one in app.services.hub.streams.values()) == 4)
                number = 1
                while app.services.counts["stalled"] < 3:
                    for _ in range(200):
                        number += 1
                        app.engine.trade(1, number)
                    while reader.end("venue.S1.trade") < number:
                        reader.feed(await anext(parts))
            assert not reader.gaps
            assert len(reader.trades["venue.S1.trade"]) == number - 1
            await until(lambda: connections.count == 0)
            for one in stalled:
                one.close()

    run(test())


@pytest.mark.long
def test_a_thousand_clients_that_break_off_leave_no_descriptor(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, connections_per_address=500) as (app, connections, port):
            app.engine.trade(1, 1)
            app.engine.clear(2, dict.fromkeys(range(1, 200), 5))
            upgrade = b"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: %s==\r\n\r\n" % (
                b"A" * 22
            )
            requests = [
                b"GET /api/v1/stream?topics=venue HTTP/1.1\r\nhost: localhost\r\n\r\n",
                b"GET /api/v1/book?venue=venue&symbol=S2 HTTP/1.1\r\nhost: localhost\r\n\r\n",
                b"GET /api/v1/str",
                b"GET /api/v1/ws?topics=venue HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n" + upgrade,
            ]

            def descriptors() -> int:
                return len(list(Path("/proc/self/fd").iterdir()))

            before = descriptors()
            for number in range(1000):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(requests[number % len(requests)])
                if number % 3:
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        async with asyncio.timeout(0.02):
                            await reader.read(10)
                app.engine.trade(1, number)
                writer.transport.abort()
            counts = app.services.counts
            try:
                async with asyncio.timeout(DEADLINE_S / 2):
                    await until(lambda: connections.count == 0 and not app.services.hub.streams)
            except TimeoutError:
                raise AssertionError((connections.count, app.services.hub.streams, counts)) from None
            await until(lambda: descriptors() <= before and counts["sse_clients"] == counts["ws_clients"] == 0)

    run(test())
