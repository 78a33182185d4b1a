"""Faults of the simulated venue as a client sees them: a real server process, a real WebSocket, its log and ledger."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sim_process import SimProcess, sim_process
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.usefixtures("unmeasured")

DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimProcess]:
    log = tmp_path_factory.mktemp("sim") / "sent.log"
    with sim_process(symbols=["BTCUSDT", "ETHUSDT"], messages_per_s=1000, log=str(log), ping_interval_s=0.1) as running:
        yield running


def open_ws(sim: SimProcess, path: str = "/stream?streams=btcusdt@trade") -> ClientConnection:
    return connect(
        sim.ws_url + path, max_size=None, max_queue=None, proxy=None, close_timeout=1.0, open_timeout=DEADLINE_S
    )


def receive(ws: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(ws.recv(timeout=DEADLINE_S)))


def closed(ws: ClientConnection) -> tuple[int, str]:
    """Read on to the end: the close code of either side, 1006 where there was none, and the last text before it."""
    last = ""
    try:
        while True:
            last = str(ws.recv(timeout=DEADLINE_S))
    except ConnectionClosed as error:
        frame = error.rcvd or error.sent
        return (1006 if frame is None else frame.code), last


def armed(sim: SimProcess, number: int) -> dict[str, Any]:
    return dict(sim.ledger()["faults"][number - 1])


def test_log_and_ledger_explain_every_trade_that_did_not_come(sim: SimProcess, tmp_path: Path) -> None:
    log = tmp_path / "sent.log"
    kinds = ("drop", "duplicate", "reorder", "truncate", "garbage")
    faults = [{"fault": {"fault": kind, "stream": "*@trade", "skip": 5}, "at_message": 20} for kind in kinds]
    with sim_process(symbols=["BTCUSDT"], messages_per_s=1000, log=str(log), faults=faults) as own:
        with open_ws(own) as ws:
            received = [ws.recv(timeout=DEADLINE_S, decode=False) for _ in range(120)]
        ledger = own.ledger()
    assert [fault["hits"] for fault in ledger["faults"]] == [1] * 5
    entry = ledger["connections"][0]
    assert entry["faults"] == dict.fromkeys(kinds, 1)
    assert entry["streams"]["btcusdt@trade"]["lost"] == 2
    expected = []
    for line in log.read_bytes().splitlines():
        _, number, text = line.split(b" ", 2)
        mark, _, payload = text.partition(b" ") if text.startswith(b"!") else (b"", b"", text)
        if number == b"0" or mark in (b"!drop", b"!reorder"):
            continue
        if mark == b"!truncate":
            payload = payload[: len(payload) // 2]
        elif mark == b"!garbage":
            payload = ast.literal_eval(payload.decode())
        expected.append(payload)
    assert expected[:120] == received
    # With what the log says was withheld, the ids are all there are.
    said = [line.split(b" ", 2)[2] for line in log.read_bytes().splitlines() if line.split(b" ", 2)[1] == b"1"]
    ids = {json.loads(text[text.index(b"{") :])["data"]["t"] for text in said if not text.startswith(b"!garbage")}
    assert ids == set(range(min(ids), max(ids) + 1))


@pytest.mark.parametrize(("options", "code"), [({"code": 1012}, 1012), ({"close_frame": False}, 1006)])
def test_a_connection_ends_with_or_without_a_close_frame(sim: SimProcess, options: dict[str, Any], code: int) -> None:
    with open_ws(sim) as ws:
        receive(ws)
        number = sim.fault("disconnect", **options)
        assert closed(ws)[0] == code
    assert armed(sim, number)["hits"] == 1


def test_a_cut_is_announced_and_then_comes(sim: SimProcess) -> None:
    with open_ws(sim) as ws:
        receive(ws)
        sim.fault("cut", after_s=0.2)
        while "serverShutdown" not in (message := receive(ws)).get("stream", ""):
            pass
        assert message["data"]["e"] == "serverShutdown"
        assert closed(ws)[0] == 1001


def test_a_frame_that_is_too_large_says_so_in_its_header(sim: SimProcess) -> None:
    with connect(sim.ws_url + "/ws/btcusdt@trade", max_size=1 << 20, proxy=None, open_timeout=DEADLINE_S) as ws:
        sim.fault("oversize")
        assert closed(ws)[0] == 1009


def test_a_refused_subscription_delivers_nothing_and_the_next_one_does(sim: SimProcess) -> None:
    with open_ws(sim, "/stream") as ws:
        sim.fault("refuse-subscription")
        for expected in (
            {"code": 2, "msg": "Invalid request: too many requests in flight", "id": 7},
            {"result": None, "id": 7},
        ):
            ws.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 7}))
            assert receive(ws) == expected
        assert receive(ws)["stream"] == "btcusdt@trade"


def test_a_handshake_is_refused_with_a_status_and_a_time(sim: SimProcess) -> None:
    sim.fault("refuse-connection", status=429, retry_after_s=3)
    with pytest.raises(InvalidStatus) as caught, open_ws(sim):
        pass
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "3"
    with open_ws(sim) as ws:
        receive(ws)


def test_a_silent_subscription_is_acknowledged_while_others_deliver(sim: SimProcess) -> None:
    number = sim.fault("silent", stream="btcusdt@trade", new_connections=1)
    with open_ws(sim, "/stream") as ws:
        ws.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade"], "id": 1}))
        assert receive(ws) == {"result": None, "id": 1}
        assert {receive(ws)["stream"] for _ in range(50)} == {"ethusdt@trade"}
        assert sim.ledger()["connections"][-1]["streams"]["btcusdt@trade"]["lost"] > 0
    assert armed(sim, number)["left"] == 0


@pytest.mark.parametrize("pings", [True, False])
def test_a_stalled_connection_sends_pings_or_not_even_those(sim: SimProcess, pings: bool) -> None:
    with open_ws(sim) as ws:
        receive(ws)
        number = sim.fault("stall", pings=pings)
        deadline = time.monotonic() + DEADLINE_S
        while armed(sim, number)["hits"] < 100:
            assert time.monotonic() < deadline
        before = sim.ledger()["connections"][-1]["pings"]
        assert ws.ping().wait(DEADLINE_S if pings else 0.5) == pings
        while pings and sim.ledger()["connections"][-1]["pings"] == before:
            assert time.monotonic() < deadline
        after = sim.ledger()["connections"][-1]
        assert pings or after["pings"] == before
        assert after["faults"]["stall"] >= 100


def test_rest_is_slow_fails_limits_and_hangs_up_as_often_as_told(sim: SimProcess) -> None:
    path = "/api/v3/depth?symbol=BTCUSDT&limit=5"
    sim.fault("rest", endpoint="depth", status=500, count=2)
    sim.fault("rest", endpoint="depth", status=429, retry_after_s=7)
    sim.fault("rest", endpoint="depth", status=418, retry_after_s=120)
    answers = [sim.get(path) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [500, 500, 429, 418, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == [None, None, "7", "120", None]
    assert answers[2].json()["code"] == -1003
    sim.fault("rest", endpoint="depth", cut=True)
    assert sim.get("/api/v3/ping").status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        sim.get(path)
    sim.fault("rest", endpoint="depth", delay_s=0.3)
    started = time.monotonic()
    assert sim.get(path).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_stale_snapshot_is_the_book_of_an_earlier_moment(sim: SimProcess) -> None:
    path = "/api/v3/depth?symbol=BTCUSDT&limit=5"
    before = sim.get(path).json()["lastUpdateId"]
    sim.fault("stale-snapshot", symbol="BTC*")
    after = before
    while after == before:
        time.sleep(0)
        after = sim.ledger()["source"]["symbols"]["BTCUSDT"]["update_id"]
    with open_ws(sim, "/stream?streams=btcusdt@depth@100ms") as ws:
        later = receive(ws)["data"]["u"]
    stale, fresh = sim.get(path).json(), sim.get(path).json()
    assert before <= stale["lastUpdateId"] < later <= fresh["lastUpdateId"]
    assert len(stale["bids"]) == len(stale["asks"]) == 5


def test_a_mistaken_fault_is_refused_in_a_sentence(sim: SimProcess) -> None:
    for body, words in (({"fault": "none"}, "this is not a fault"), ({"fault": "drop", "count": -1}, "at `$.count`")):
        answer = httpx.post(sim.rest_url + "/sim/fault", json=body, timeout=DEADLINE_S, trust_env=False)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    elsewhere = httpx.post(sim.rest_url + "/sim/nothing", content=b"{}", timeout=DEADLINE_S, trust_env=False)
    assert elsewhere.status_code == 404


@pytest.mark.long
def test_a_seed_commits_faults_by_itself() -> None:
    spec = {"fault_seed": 3, "faults_per_s": 50.0, "fault_kinds": ["drop", "duplicate"]}
    with sim_process(symbols=["BTCUSDT"], messages_per_s=1000, **spec) as own, open_ws(own) as ws:
        deadline = time.monotonic() + DEADLINE_S
        while sum(fault["hits"] for fault in own.ledger()["faults"]) < 10:
            assert time.monotonic() < deadline
            receive(ws)
        assert {fault["fault"]["fault"] for fault in own.ledger()["faults"]} == {"drop", "duplicate"}
