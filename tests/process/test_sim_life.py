"""How a simulated venue ends connections, and how its process begins and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from plant_process import wait_for
from sim_process import SimProcess, ask, closed_with, open_ws, receive, sim_process
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.sync.client import ClientConnection
from websockets.uri import parse_uri

pytestmark = pytest.mark.usefixtures("unmeasured")

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
DEADLINE_S = 90.0


def test_too_much_weight_is_refused_until_the_next_minute() -> None:
    minute = -1
    while time.time() // 60 != minute:  # all within one minute; else anew, with a venue that has counted nothing yet
        with sim_process(symbols=SYMBOLS, weight_per_minute=270) as sim:
            minute = time.time() // 60
            answers = [sim.get("/api/v3/depth?symbol=BTCUSDT&limit=5000"), sim.get("/api/v3/exchangeInfo")]
            answers += [sim.get("/api/v3/ping")]
            refused = sim.ledger()["rest_statuses"].get("429")
    assert [answer.headers["x-mbx-used-weight-1m"] for answer in answers] == ["250", "270", "271"]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["code"] == -1003
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert refused == 1


def test_the_server_pings_and_cuts_off_who_does_not_answer() -> None:
    for timeout_s in (1.0, 5.0, 25.0):  # a longer one where the client that answers has stood still for too long
        with sim_process(symbols=SYMBOLS, ping_interval_s=0.1, pong_timeout_s=timeout_s) as sim:
            # A client that answers outlives the timeout …
            with open_ws(sim, "/ws") as ws:
                # … and one that reads but never writes does not.
                assert mute_client_frames(sim)[-1].data[:2] == (1008).to_bytes(2, "big")
                outlived = is_served(ws)
            entries = sim.ledger()["connections"]
            assert entries[1]["end"] == "1008 Pong timeout"
            assert entries[1]["pings"] >= 2
        if outlived:
            return
    raise AssertionError("a client that answers is cut off each time")


def is_served(ws: ClientConnection) -> bool:
    """Whether the connection lives and has an answer."""
    try:
        return bool(ask(ws, method="LIST_SUBSCRIPTIONS", id=1) == {"result": [], "id": 1})
    except ConnectionClosed:
        return False


def mute_client_frames(sim: SimProcess) -> list[Frame]:
    """Connect, read all that comes until the server closes, and answer nothing."""
    protocol = ClientProtocol(parse_uri(sim.ws_url + "/ws"))
    with socket.create_connection((sim.host, sim.port), timeout=DEADLINE_S) as client:
        protocol.send_request(protocol.connect())
        client.sendall(b"".join(protocol.data_to_send()))
        frames: list[Frame] = []
        while data := client.recv(65536):
            protocol.receive_data(data)
            frames += [event for event in protocol.events_received() if isinstance(event, Frame)]
        return frames


def test_a_connection_ends_at_its_age() -> None:
    with sim_process(symbols=SYMBOLS, life_s=0.3) as sim, open_ws(sim, "/ws/btcusdt@trade") as ws:
        assert closed_with(ws) == 1001


def test_a_client_that_falls_far_behind_is_dropped() -> None:
    with sim_process(symbols=SYMBOLS, messages_per_s=50_000, max_buffer_bytes=1 << 20) as sim:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        with slow:
            slow.connect((sim.host, sim.port))
            protocol = ClientProtocol(parse_uri(sim.ws_url + "/ws/btcusdt@bookTicker"))
            protocol.send_request(protocol.connect())
            slow.sendall(b"".join(protocol.data_to_send()))
            deadline = time.monotonic() + DEADLINE_S
            while not (entries := sim.ledger()["connections"]) or entries[0]["closed_ns"] is None:
                assert time.monotonic() < deadline
            assert entries[0]["end"] == "the client was too slow"


def test_the_log_holds_every_frame_that_was_sent(tmp_path: Path) -> None:
    log = tmp_path / "sent.log"
    with sim_process(symbols=SYMBOLS, messages_per_s=2000, log=str(log)) as sim:
        received = []
        with open_ws(sim, "/stream?streams=btcusdt@trade/ethusdt@bookTicker") as ws:
            received += [ws.recv(timeout=DEADLINE_S, decode=False) for _ in range(20)]
            ask_answer = {"method": "LIST_SUBSCRIPTIONS", "id": 1}
            ws.send(json.dumps(ask_answer))
            while received[-1] != b'{"result":["btcusdt@trade","ethusdt@bookTicker"],"id":1}':
                received.append(ws.recv(timeout=DEADLINE_S, decode=False))
        assert sim.ledger()["connections"][0]["connection"] == 1
        lines = [line.split(b" ", 2) for line in log.read_bytes().splitlines()]
        sent = [frame for _, number, frame in lines if number == b"1"]
        assert sent[: len(received)] == received
        times = [int(time_ns) for time_ns, _, _ in lines]
        assert times == sorted(times)


def test_a_venue_that_is_started_again_goes_on_with_higher_ids() -> None:
    ids = []
    for _ in range(2):
        with sim_process(symbols=SYMBOLS, seed=1) as sim:
            ids.append(sim.ledger()["source"]["symbols"]["BTCUSDT"])
    assert all(ids[0][name] < ids[1][name] for name in ("update_id", "trade_id", "aggregate_id"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_tells_its_clients(number: signal.Signals) -> None:
    with sim_process(symbols=SYMBOLS) as sim, open_ws(sim, "/ws/btcusdt@trade") as ws:
        sim.process.send_signal(number)
        assert closed_with(ws) == 1001
        assert sim.process.wait(DEADLINE_S) == 0


def test_the_process_ends_with_its_parent() -> None:
    start = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'tickplant.sim'], "
    start += "stdin=subprocess.DEVNULL, stdout=subprocess.PIPE); "
    start += "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        sim = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([sim], timeout=DEADLINE_S)[1] == []


def refused(**spec: Any) -> str:
    """What a process with this spec says before it ends with status 1."""
    command = [sys.executable, "-m", "tickplant.sim"]
    done = subprocess.run(
        command, input=json.dumps(spec), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_mistakes_of_the_user_are_told_in_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "none.gz"
    assert refused(recording=str(missing)) == f"{missing}: the recording cannot be read: No such file or directory"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused(port=port)
    assert "cannot be opened for the log" in refused(log=str(tmp_path / "no" / "log"))
    assert "the spec is wrong" in refused(venue="nowhere")


def test_prepared_messages_begin_with_the_first_subscriber_and_end_at_their_limit() -> None:
    options = {"prepared_messages": 100, "limit_messages": 250, "settle_s": 0.0, "settle_partial_s": 0.0}
    with sim_process(symbols=("BTCUSDT",), messages_per_s=10_000, **options) as sim:
        assert sim.ledger()["source"]["messages"] == 0
        with open_ws(sim, "/stream?streams=btcusdt@trade/btcusdt@bookTicker") as ws:
            streams = Counter(receive(ws)["stream"] for _ in range(250))
        wait_for("the end of the market", lambda: sim.ledger()["source"]["ended"])
        source, entry = sim.ledger()["source"], sim.ledger()["connections"][-1]
        assert (source["mode"], source["messages"]) == ("prepared", 250)
        assert {name: one["frames"] for name, one in entry["streams"].items()} == streams
