"""The client in JavaScript sees what the Python client sees, whatever is dropped and killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from engine_process import Market, engine
from held_line import HeldLine
from plant_process import DEMO, free_port, plant, relay, status, wait_for

import tickplant
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.runtime.config import beside
from tickplant.wire import unpack_header

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "node"
TOPICS = [f"binance.{symbol}.{channel}" for symbol in ("BTCUSDT", "ETHUSDT") for channel in ("trade", "book", "bbo")]
DROPPED = 4  # messages of each topic, twice

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@needs_node
def test_golden_messages_are_read_alike_in_javascript() -> None:
    golden = ROOT / "tests" / "golden" / "wire-v2.json"
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ readHeader, readRecords, readReply }} from "{(CLIENT / "wire.mjs").as_uri()}";
        const golden = JSON.parse(readFileSync("{golden}"));
        const read = golden.messages.map(({{ header, payload }}) => {{
          const fields = readHeader(Buffer.from(header, "hex"));
          return [fields, readRecords(fields, Buffer.from(payload, "hex"))];
        }});
        const replies = golden.replies.map((reply) => readReply(Buffer.from(reply)));
        const asText = (_, value) => typeof value === "bigint" ? value.toString() : value;
        console.log(JSON.stringify([read, replies], asText));
        for (const [version, older] of [[1, "the engine"], [3, "this client"]]) {{
          const header = Buffer.concat([Buffer.from("TPWM"), Buffer.from([version, 0])]);
          for (const read of [() => readHeader(header), () => readReply(Buffer.from(`{{"version":${{version}}}}`))]) {{
            try {{ read(); }} catch (error) {{ console.log(error.message.includes(`${{older}} is the older side`)); }}
          }}
        }}
    """
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True, timeout=300
    )
    found, *older = [json.loads(line) for line in run.stdout.splitlines()]
    assert older == [True] * 4
    expected = json.loads(golden.read_text())
    assert found[1] == [json.loads(reply) for reply in expected["replies"]]
    for (fields, rows), message in zip(found[0], expected["messages"], strict=True):
        header = unpack_header(bytes.fromhex(message["header"]))
        assert [str(value) for value in fields.values()] == [
            str(getattr(header, name)) for name in header.__struct_fields__
        ]
        records = np.frombuffer(bytes.fromhex(message["payload"]), DTYPES[Schema(header.schema)])
        assert [plain(row) for row in rows] == [plain(record_dict(record)) for record in records]


def record_dict(record: np.void) -> dict[str, Any]:
    return dict(zip(record.dtype.names or (), record.tolist(), strict=True))


def plain(row: dict[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in row.items()}


class LossyProxy:
    """Passes on what an engine publishes, but for the next messages of some topics when it is asked to drop them."""

    def __init__(self, publish: str) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.dropping: Counter[bytes] = Counter()  # so many more of a topic
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front = self._context.socket(zmq.PUB)
        self._front.set(zmq.SNDHWM, 0)
        self._front.bind(self.address)
        self._back = self._context.socket(zmq.SUB)
        self._back.set(zmq.RCVHWM, 0)
        self._back.set(zmq.RECONNECT_IVL, 10)
        self._back.subscribe(b"")
        self._back.connect(publish)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._back.poll(50):
                topic, *frames = self._back.recv_multipart()
                if self.dropping[topic] > 0:
                    self.dropping[topic] -= 1
                else:
                    self._front.send_multipart([topic, *frames])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._front.close(0)
        self._back.close(0)
        self._context.term()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client with the package that it needs, in a folder of its own."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(CLIENT, folder)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if run.returncode:
        pytest.skip(f"npm cannot install the package zeromq here: {run.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def follows(installed: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts the client; its lines go to a file."""
    started: list[subprocess.Popen[bytes]] = []
    lines, errors = tmp_path / "lines.jsonl", tmp_path / "errors"

    def start(address: str, requests: str) -> Path:
        command = ["node", "tickplant.mjs", "--address", address, "--requests", requests, *TOPICS]
        with lines.open("wb") as out, errors.open("wb") as err:
            started.append(subprocess.Popen(command, cwd=installed, stdout=out, stderr=err))
        return lines

    yield start
    for process in started:
        process.terminate()
        assert process.wait(90) == 0, errors.read_text()


def rows_of(lines: Path) -> dict[str, list[dict[str, Any]]]:
    """What the client has printed, by topic."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines.read_bytes().split(b"\n")[:-1]:
        row = json.loads(line)
        found[row["topic"]].append(row)
    return found


@needs_node
@pytest.mark.long
def test_a_client_in_javascript_sees_what_the_python_client_sees(follows: Any, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[str, dict[str, int]]]] = defaultdict(list)
    epochs: dict[str, set[int]] = defaultdict(set)
    with plant(tmp_path, DEMO, rate=600) as running:
        proxy = LossyProxy(running.publish)
        try:
            requests = beside(running.publish)
            lines = follows(proxy.address, requests)
            wait_for("its first lines", lambda: len(rows_of(lines)) == len(TOPICS))
            with tickplant.subscribe(*TOPICS, address=proxy.address, requests=requests, snapshot=False) as messages:

                def take(count: int) -> None:
                    """Have both so many records more of each topic."""
                    least = {topic: len(seen[topic]) + count for topic in TOPICS}
                    while any(len(seen[topic]) < least[topic] for topic in TOPICS):
                        message = messages.receive(60.0)
                        assert message is not None
                        assert message.kind != "lost", message
                        epochs[message.topic].add(message.epoch)
                        seen[message.topic] += [
                            (message.producer, plain(record_dict(record))) for record in message.records
                        ]

                for _ in range(2):
                    take(20)
                    proxy.dropping.update({topic.encode(): DROPPED for topic in TOPICS})
                    wait_for("messages to be dropped", lambda: not any(proxy.dropping.values()))
                take(20)
                assert messages.recovered_records > 0
                engine = next(process for process in status(running).processes if process.role == "engine")
                os.kill(engine.pid, signal.SIGKILL)
                while any(len(epochs[topic]) < 2 for topic in TOPICS):
                    take(10)
                take(50)
            until = {topic: max(row["seq"] for producer, row in seen[topic] if producer) for topic in TOPICS}

            def reached() -> bool:
                rows = rows_of(lines)
                return all(
                    any(row.get("producer") and int(row["seq"]) >= until[topic] for row in rows[topic])
                    for topic in TOPICS
                )

            wait_for("the other client to be as far", reached)
        finally:
            proxy.close()
    for topic, rows in rows_of(lines).items():
        assert [row for row in rows if row["how"] == "lost"] == []
        assert {row["how"] for row in rows} == {"live", "recovered"}
        names = seen[topic][0][1].keys()
        printed = [(row["producer"], {name: int(row[name]) for name in names}) for row in rows]
        first = next(place for place, one in enumerate(printed) if one == seen[topic][0])
        assert printed[first : first + len(seen[topic])] == seen[topic], topic


@needs_node
@pytest.mark.long
def test_what_an_engine_publishes_before_it_hears_of_a_client_in_javascript_is_printed(
    follows: Any, tmp_path: Path
) -> None:
    topic = "binance.BTCUSDT.trade"
    with engine(tmp_path) as running, HeldLine(running.address) as line:
        market = Market(running.ids["BTCUSDT"])

        def publish() -> int:
            least = running.counters.get("records", 0) + 500
            ticks = market.ticks(500)
            running.publish(ticks)
            running.wait_for_counter("records", least)
            return int(np.count_nonzero(ticks["kind"] == Kind.TRADE))

        before = publish()
        lines = follows(line.address, beside(running.address))
        running.wait_for_counter("requests", 1)
        unheard = publish()
        line.open()
        running.wait_for_counter("subscriptions", len(TOPICS))
        until = before + unheard + publish()
        wait_for("its lines", lambda: any(row["topic_seq"] == until - 1 for row in rows_of(lines)[topic]))
    assert [row["topic_seq"] for row in rows_of(lines)[topic]] == list(range(before, until))
    assert {row["how"] for row in rows_of(lines)[topic]} <= {"recovered", "live"}


@needs_node
@pytest.mark.long
def test_a_client_in_javascript_follows_a_relay_of_conflated_topics(follows: Any, tmp_path: Path) -> None:
    topics = {topic for topic in TOPICS if not topic.endswith("book")}
    address = f"tcp://127.0.0.1:{free_port()}"
    with plant(tmp_path, DEMO, rate=600) as running:
        words = "conflate", *topics, "-c", running.file, "--every", "100", "--publish", address
        with relay(*words, says=b"publishing"):
            lines = follows(address, beside(address))
            wait_for("lines", lambda: all(len(rows_of(lines)[topic]) > 5 for topic in topics))
    rows = rows_of(lines)
    assert set(rows) == topics
    assert {row["how"] for of_topic in rows.values() for row in of_topic} == {"live"}
