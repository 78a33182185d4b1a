"""The simulated venue as its clients meet it: a real process, real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sim_process import SimProcess, ask, open_ws, receive, sim_process
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.usefixtures("unmeasured")

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def spot() -> Iterator[SimProcess]:
    with sim_process(symbols=SYMBOLS, messages_per_s=2000, depth_levels=200) as sim:
        yield sim


@pytest.fixture(scope="module")
def futures() -> Iterator[SimProcess]:
    with sim_process(venue="binance-usdm", symbols=SYMBOLS, messages_per_s=2000, depth_levels=200) as sim:
        yield sim


def test_requests_are_acknowledged_and_data_comes_in_the_form_that_was_asked(spot: SimProcess) -> None:
    with open_ws(spot, "/ws") as ws:
        assert ask(ws, method="SUBSCRIBE", params=["btcusdt@bookTicker"], id=7) == {"result": None, "id": 7}
        assert set(receive(ws)) == {"u", "s", "b", "B", "a", "A"}
        assert ask(ws, method="LIST_SUBSCRIPTIONS", id="l") == {"result": ["btcusdt@bookTicker"], "id": "l"}
        assert ask(ws, method="SET_PROPERTY", params=["combined", True], id=8) == {"result": None, "id": 8}
        assert receive(ws)["stream"] == "btcusdt@bookTicker"
        assert ask(ws, method="NO", id=9)["code"] == 2
    with open_ws(spot, "/stream?streams=btcusdt@trade/ethusdt@depth@100ms") as ws:
        kinds = {(message["stream"], message["data"]["e"]) for message in (receive(ws) for _ in range(100))}
        assert kinds == {("btcusdt@trade", "trade"), ("ethusdt@depth@100ms", "depthUpdate")}


def test_what_does_not_exist_is_acknowledged_and_silent(spot: SimProcess) -> None:
    with open_ws(spot, "/ws") as ws:
        names = ["nosuchusdt@trade", "BTCUSDT@trade", "btcusdt@nothing", "", "btcusdt"]
        assert ask(ws, method="SUBSCRIBE", params=names, id=1) == {"result": None, "id": 1}
        assert ask(ws, method="SUBSCRIBE", params=["btcusdt@trade"], id=2) == {"result": None, "id": 2}
        assert {receive(ws)["e"] for _ in range(50)} == {"trade"}
    entry = spot.ledger()["connections"][-1]
    assert list(entry["streams"]) == ["btcusdt@trade"]
    assert (entry["requests"], entry["replies"]) == (2, 2)


def test_an_ended_subscription_is_silent(spot: SimProcess) -> None:
    with open_ws(spot, "/stream?streams=btcusdt@trade/ethusdt@trade") as ws:
        assert ask(ws, method="UNSUBSCRIBE", params=["btcusdt@trade"], id=1) == {"result": None, "id": 1}
        assert {receive(ws)["stream"] for _ in range(50)} == {"ethusdt@trade"}


def test_futures_paths_serve_their_own_channels(futures: SimProcess) -> None:
    streams = "btcusdt@trade/btcusdt@aggTrade/btcusdt@bookTicker/btcusdt@depth@100ms"
    served = {
        "/public/stream": {"bookTicker", "depthUpdate"},
        "/market/stream": {"trade", "aggTrade"},
        "/stream": {"trade", "aggTrade", "bookTicker", "depthUpdate"},
    }
    for path, kinds in served.items():
        with open_ws(futures, f"{path}?streams={streams}") as ws:
            assert {receive(ws)["data"]["e"] for _ in range(200)} == kinds
    with pytest.raises(InvalidStatus, match="404"):
        open_ws(futures, "/private/ws/x")


def test_microseconds_come_to_who_asks_for_them(spot: SimProcess) -> None:
    for query, digits in (("", 13), ("?timeUnit=MICROSECOND", 16)):
        with open_ws(spot, f"/ws/btcusdt@trade{query}") as ws:
            data = receive(ws)
            assert (len(str(data["E"])), len(str(data["T"]))) == (digits, digits)
            assert data["T"] <= data["E"]
    micro = spot.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"}).json()["serverTime"]
    assert len(str(micro)) == 16


def follow(sim: SimProcess, depth_path: str, *, first: Any, next_: Any) -> None:
    """Keep a book as the venue tells clients to, for a while; compare it with a second snapshot."""
    get = f"{depth_path}?symbol=BTCUSDT&limit=1000"
    with open_ws(sim, "/stream?streams=btcusdt@depth@100ms") as ws:
        held = [receive(ws)["data"] for _ in range(3)]
        snapshot = sim.get(get).json()
        book_id = snapshot["lastUpdateId"]
        sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        last: dict[str, Any] | None = None
        later = None
        while True:
            data = held.pop(0) if held else receive(ws)["data"]
            if data["u"] <= book_id and last is None:
                continue
            assert next_(last, data) if last is not None else first(book_id, data)
            last = data
            if later is not None and data["u"] > later["lastUpdateId"]:
                break
            for side, levels in sides.items():
                for price, size in data[side]:
                    if float(size):
                        levels[price] = size
                    else:
                        levels.pop(price, None)
            if later is None and data["u"] > book_id + 1000:
                later = sim.get(get).json()
        # The diff that straddles the second snapshot holds the state at its end: levels it names may differ.
        for side, name in (("b", "bids"), ("a", "asks")):
            touched = {price for price, _ in last[side]}
            seen = {price: size for price, size in later[name] if price not in touched}
            assert len(seen) > 100
            assert {price: size for price, size in sides[side].items() if price not in touched} == seen


def test_a_spot_book_of_snapshot_and_diffs_equals_a_later_snapshot(spot: SimProcess) -> None:
    follow(
        spot,
        "/api/v3/depth",
        first=lambda book_id, data: data["U"] <= book_id + 1 <= data["u"],
        next_=lambda last, data: data["U"] == last["u"] + 1,
    )


def test_a_futures_book_of_snapshot_and_diffs_equals_a_later_snapshot(futures: SimProcess) -> None:
    follow(
        futures,
        "/fapi/v1/depth",
        first=lambda book_id, data: data["U"] <= book_id <= data["u"] or data["pu"] == book_id,
        next_=lambda last, data: data["pu"] == last["u"],
    )


def test_past_trades_are_the_ones_that_were_sent(spot: SimProcess) -> None:
    with open_ws(spot, "/stream?streams=btcusdt@trade/btcusdt@aggTrade") as ws:
        sent = [receive(ws)["data"] for _ in range(60)]
    trades = {data["t"]: data for data in sent if data["e"] == "trade"}
    first = min(trades)
    answer = spot.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first}&limit=1000").json()
    by_id = {row["id"]: row for row in answer}
    for ident, data in trades.items():
        row = by_id[ident]
        assert (row["price"], row["qty"], row["time"], row["isBuyerMaker"]) == (
            data["p"],
            data["q"],
            data["T"],
            data["m"],
        )
    aggregates = [data for data in sent if data["e"] == "aggTrade"]
    start, end = aggregates[0]["T"], aggregates[-1]["T"]
    for query in (f"fromId={aggregates[0]['a']}", f"startTime={start}&endTime={end}"):
        rows = spot.get(f"/api/v3/aggTrades?symbol=BTCUSDT&limit=1000&{query}").json()
        found = {row["a"]: row for row in rows}
        for data in aggregates:
            assert found[data["a"]] == {key: data[key] for key in "apqflTmM"}
    newest = spot.get("/api/v3/trades?symbol=BTCUSDT&limit=5").json()
    assert [row["id"] for row in newest] == list(range(newest[0]["id"], newest[0]["id"] + 5))


def test_exchange_info_states_the_decimals_that_the_stream_prints(spot: SimProcess, futures: SimProcess) -> None:
    info = {row["symbol"]: row for row in spot.get("/api/v3/exchangeInfo").json()["symbols"]}
    assert list(info) == SYMBOLS
    assert (info["BTCUSDT"]["quotePrecision"], info["BTCUSDT"]["baseAssetPrecision"]) == (8, 8)
    one = spot.get('/api/v3/exchangeInfo?symbols=["ETHUSDT"]').json()["symbols"]
    assert [row["symbol"] for row in one] == ["ETHUSDT"]
    info = {row["symbol"]: row for row in futures.get("/fapi/v1/exchangeInfo").json()["symbols"]}
    bid = futures.get("/fapi/v1/depth?symbol=BTCUSDT&limit=5").json()["bids"][0]
    digits = [len(text.partition(".")[2]) for text in bid]
    assert digits == [info["BTCUSDT"]["pricePrecision"], info["BTCUSDT"]["quantityPrecision"]]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v3/depth?symbol=NOSUCH", 400, -1121),
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=BTCUSDT&limit=x", 400, -1100),
        ("/api/v3/exchangeInfo?symbol=NOSUCH", 400, -1121),
        ("/api/v3/exchangeInfo?symbols=x", 400, -1100),
        ("/api/v3/nothing", 404, -1),
        ("/elsewhere", 404, -1),
    ],
)
def test_a_wrong_rest_request_is_refused_as_the_venue_does(spot: SimProcess, path: str, status: int, code: int) -> None:
    answer = spot.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_depth_limit_that_futures_do_not_know_is_refused(futures: SimProcess) -> None:
    answer = futures.get("/fapi/v1/depth?symbol=BTCUSDT&limit=7")
    assert (answer.status_code, answer.json()["code"]) == (400, -4021)


def test_several_requests_go_over_one_connection(spot: SimProcess) -> None:
    with httpx.Client(base_url=spot.rest_url, timeout=DEADLINE_S, trust_env=False) as client:
        for _ in range(3):
            answer = client.get("/api/v3/ping")
            assert (answer.status_code, answer.content) == (200, b"{}")
        assert answer.headers["connection"] == "keep-alive"


def test_what_is_no_http_request_is_refused(spot: SimProcess) -> None:
    answer = httpx.post(spot.rest_url + "/api/v3/ping", content=b"x", timeout=DEADLINE_S, trust_env=False)
    assert answer.status_code == 400
    with socket.create_connection((spot.host, spot.port), timeout=DEADLINE_S) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_who_sends_too_much_is_cut_off(spot: SimProcess) -> None:
    with open_ws(spot, "/ws") as ws:
        deadline = time.monotonic() + DEADLINE_S
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() < deadline:  # until six of them fall into one second
                for ident in range(6):
                    ws.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": ident}))
                for _ in range(6):
                    receive(ws)
        assert ws.protocol.close_code == 1008


def test_the_ledger_counts_what_each_connection_got(spot: SimProcess) -> None:
    with open_ws(spot, "/stream?streams=btcusdt@trade") as ws:
        ids = [receive(ws)["data"]["t"] for _ in range(30)]
        entry = spot.ledger()["connections"][-1]
        counted = entry["streams"]["btcusdt@trade"]
        while len(ids) < counted["frames"]:
            ids.append(receive(ws)["data"]["t"])
        assert ids[-1] == counted["last_id"]
        assert entry["closed_ns"] is None
