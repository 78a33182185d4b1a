"""Simulated Kraken as its clients meet it: a real process, real sockets; its messages beside recorded ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from kraken_session import SHARED, Book, is_book, needs_shared, receive, subscribe, until
from plant_process import wait_for
from sim_process import SimProcess, open_ws, sim_process
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.usefixtures("unmeasured")

DEADLINE_S = 90.0
SYMBOLS = ["BTC/USD", "ETH/USD", "SHIB/USD"]


def messages_of(sim: SimProcess) -> int:
    """How many the market has made."""
    return int(sim.ledger()["source"]["messages"])


@pytest.fixture(scope="module")
def sim() -> Iterator[SimProcess]:
    with sim_process(venue="kraken", messages_per_s=600, depth_levels=200) as running:
        yield running


def test_a_connection_is_greeted_acknowledged_and_given_snapshots_before_updates(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        status = receive(ws)
        assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
        assert status["data"][0]["connection_id"] > 2**63
        subscribe(ws, "book", SYMBOLS, depth=25)
        messages = [receive(ws) for _ in range(60)]
    acks = messages[: len(SYMBOLS)]
    assert [(one["result"]["symbol"], one["req_id"], one["success"]) for one in acks] == [
        (symbol, 7, True) for symbol in SYMBOLS
    ]
    snapshots = messages[len(SYMBOLS) : 2 * len(SYMBOLS)]
    assert [(one["type"], one["data"][0]["symbol"]) for one in snapshots] == [("snapshot", one) for one in SYMBOLS]
    assert {one.get("type", one["channel"]) for one in messages[2 * len(SYMBOLS) :]} <= {"update", "heartbeat"}


@pytest.mark.parametrize("depth", [10, 1000])
def test_a_book_of_snapshot_and_updates_has_the_checksum_of_each_of_them(sim: SimProcess, depth: int) -> None:
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "book", ["BTC/USD", "SHIB/USD"], depth=depth)
        books = {symbol: Book(depth) for symbol in ("BTC/USD", "SHIB/USD")}
        for _ in range(200):
            message = until(ws, is_book)
            assert books[message["data"][0]["symbol"]].fits(message)


def test_trades_follow_their_snapshot_without_a_hole(sim: SimProcess) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with open_ws(sim, "/v2") as ws:
        ids: list[int] = []
        while len(ids) < 50:  # a young market has few trades
            assert time.monotonic() < deadline
            subscribe(ws, "trade", ["BTC/USD"], snapshot=True)
            snapshot = until(ws, lambda one: one.get("type") == "snapshot")
            ids = [trade["trade_id"] for trade in snapshot["data"]]
            while len(ids) < 200:
                message = until(ws, lambda one: one.get("channel") == "trade")
                ids += [trade["trade_id"] for trade in message["data"]]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert len(snapshot["data"]) <= 50


def test_trades_that_were_missed_are_served_by_rest(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "trade", ["BTC/USD"])
        sent: dict[int, Any] = {}
        while len(sent) < 20:
            message = until(ws, lambda one: one.get("channel") == "trade")
            sent |= {one["trade_id"]: one for one in message["data"]}
    answer = sim.get("/0/public/Trades?pair=BTC/USD&count=1000")
    rows = {row[6]: row for row in json.loads(answer.content, parse_float=str)["result"]["BTC/USD"]}
    for ident, one in sent.items():
        price, size, seconds, side, kind, _, _ = rows[ident]
        assert (price, size) == (one["price"], one["qty"])
        assert (side, kind) == (one["side"][0], one["ord_type"][0])
        assert seconds[-9:-3] == one["timestamp"][-7:-1]
    sim.fault("rest", endpoint="Trades", status=429)
    refused = sim.get("/0/public/Trades?pair=BTC/USD")
    assert (refused.status_code, refused.json()) == (429, {"error": ["EAPI:Rate limit exceeded"]})


def test_heartbeats_come_each_second_and_pings_are_answered(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "instrument")
        beats: list[float] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(beats) < 3 or not 1.5 < beats[-1] - beats[-3] < 2.5:  # some may be late on a busy machine
            assert time.monotonic() < deadline, np.diff(beats)
            until(ws, lambda one: one == {"channel": "heartbeat"})
            beats.append(time.monotonic())
        ws.send('{"method":"ping","req_id":99}')
        pong = until(ws, lambda one: one.get("method") == "pong")
        assert list(pong) == ["method", "req_id", "time_in", "time_out"]


def test_a_refused_or_hasty_request_leaves_the_connection_as_it_was(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        sim.fault("refuse-subscription")
        subscribe(ws, "trade", ["BTC/USD", "ETH/USD"])
        for symbol in ("BTC/USD", "ETH/USD"):
            answer = until(ws, lambda one: "error" in one)
            assert (answer["error"], answer["symbol"]) == ("Exceeded msg rate", symbol)
        answer: dict[str, Any] = {}
        deadline = time.monotonic() + DEADLINE_S
        while "Error" not in answer and time.monotonic() < deadline:  # once the pings of one second were too many
            for _ in range(60):
                ws.send('{"method":"ping"}')
            ws.send('{"method":"ping","req_id":99}')
            answer = until(ws, lambda one: "Error" in one or one.get("req_id") == 99)
        assert answer == {"Error": "Exceeded msg rate"}
        while not answer.get("success"):  # until a second has passed
            assert time.monotonic() < deadline
            time.sleep(0.1)  # a pace, below the rate
            subscribe(ws, "trade", ["BTC/USD"])
            answer = until(ws, lambda one: "Error" in one or one.get("req_id") == 7)
        until(ws, lambda one: one.get("channel") == "trade")
    with pytest.raises(InvalidStatus, match="404"):
        open_ws(sim, "/v1")


@pytest.mark.parametrize(
    "options",
    # One update alone may be made good by the next one.
    [{"fault": "drop", "count": 20}, {"fault": "corrupt"}, {"fault": "corrupt", "key": "price"}],
)
def test_a_lost_or_corrupt_update_shows_in_the_checksum_and_a_new_snapshot_mends_it(
    sim: SimProcess, options: dict[str, Any]
) -> None:
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "book", ["BTC/USD"])
        book = Book(10)
        for _ in range(5):
            assert book.fits(until(ws, is_book))
        number = sim.fault(**options, stream="BTC/USD@book-10")
        for _ in range(200):
            if not book.fits(until(ws, is_book)):
                break
        else:
            raise AssertionError("every checksum fits")
        ledger = sim.ledger()
        assert ledger["faults"][number - 1]["hits"] == options.get("count", 1)
        assert ledger["connections"][-1]["faults"] == {options["fault"]: options.get("count", 1)}
        for method in ("unsubscribe", "subscribe"):
            ws.send(json.dumps({"method": method, "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}}))
        assert book.fits(until(ws, lambda one: one.get("type") == "snapshot"))
        for _ in range(20):
            assert book.fits(until(ws, is_book))


def test_an_update_twice_changes_nothing_and_an_old_snapshot_does(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        sim.fault("stale-snapshot", symbol="ETH/USD")
        sent = messages_of(sim)
        wait_for("the market to go on", lambda: messages_of(sim) > sent + 300)
        subscribe(ws, "book", ["BTC/USD", "ETH/USD"])
        number = sim.fault("duplicate", stream="BTC/USD@book-10")
        books = {symbol: Book(10) for symbol in ("BTC/USD", "ETH/USD")}
        newest = ""  # update of BTC/USD
        wrong = twice = 0
        while not (wrong and twice):
            text = str(ws.recv(timeout=DEADLINE_S))
            message = json.loads(text, parse_float=str)
            if is_book(message):
                symbol = message["data"][0]["symbol"]
                fits = books[symbol].fits(message)
                wrong += symbol == "ETH/USD" and not fits
                assert fits or symbol == "ETH/USD"
                if symbol == "BTC/USD":
                    twice += text == newest
                    newest = text
        assert sim.ledger()["faults"][number - 1]["hits"] == 1


def test_a_pair_is_halted_and_a_connection_is_announced_to_end(sim: SimProcess) -> None:
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "instrument")
        until(ws, lambda one: one.get("type") == "snapshot" and one["channel"] == "instrument")
        sim.fault("halt", symbol="ETH/USD", for_s=0.2)
        for status in ("maintenance", "online"):
            change = until(ws, lambda one: one.get("channel") == "instrument")
            assert (change["type"], change["data"]["assets"]) == ("update", [])
            assert [(pair["symbol"], pair["status"]) for pair in change["data"]["pairs"]] == [("ETH/USD", status)]
        sim.fault("cut", after_s=0.1)
        notice = until(ws, lambda one: one.get("channel") == "status" and one["data"][0]["system"] != "online")
        assert notice["data"][0]["system"] == "maintenance"
        with pytest.raises(ConnectionClosed):
            until(ws, lambda one: False)


def test_a_seed_commits_faults_that_befall_this_venue() -> None:
    kinds = ["drop", "corrupt", "duplicate"]
    market: dict[str, Any] = {"venue": "kraken", "symbols": ["BTC/USD"], "messages_per_s": 1000}
    with sim_process(**market, fault_seed=5, faults_per_s=40.0, fault_kinds=kinds) as own, open_ws(own, "/v2") as ws:
        subscribe(ws, "book", ["BTC/USD"])
        deadline = time.monotonic() + DEADLINE_S
        while {fault["fault"]["fault"] for fault in own.ledger()["faults"] if fault["hits"]} != set(kinds):
            assert time.monotonic() < deadline
            receive(ws)


def shape(value: Any) -> Any:
    """What a message looks like: keys in order, kinds of values; of a list, the shapes that its entries have."""
    if isinstance(value, dict):
        return [(key, shape(one)) for key, one in value.items()]
    if isinstance(value, list):
        return sorted({str(shape(one)) for one in value})
    return type(value).__name__


def name_of(message: Any) -> tuple[str, ...]:
    """What kind of message it is, as far as shapes are to be equal."""
    if "channel" in message:
        return message["channel"], message.get("type", "")
    if "result" in message:
        return message["method"], message["result"]["channel"]
    return message.get("method", ""), "error" if "error" in message else "Error" if "Error" in message else ""


@needs_shared
def test_each_message_has_the_fields_of_the_recorded_ones_in_their_order(sim: SimProcess) -> None:
    golden = [json.loads(line) for line in (SHARED / "golden" / "kraken.jsonl").read_text().splitlines()]
    texts = [line["raw"] for line in golden if not line.get("note", "").startswith("older")]
    (capture,) = (SHARED / "data" / "kraken").glob("kraken_btcusd_d10_*")
    received = [line.partition('"frame": ')[2][:-1] for line in capture.read_text().splitlines() if '"dir"' not in line]
    texts += [text for text in received if text]
    known: dict[tuple[str, ...], set[str]] = {}
    for text in texts:
        message = json.loads(text, parse_float=Decimal)
        known.setdefault(name_of(message), set()).add(str(shape(message)))

    seen: dict[tuple[str, ...], set[str]] = {}
    with open_ws(sim, "/v2") as ws:
        subscribe(ws, "trade", ["BTC/USD"])
        until(ws, lambda one: one.get("channel") == "trade")  # a snapshot has something to show
    with open_ws(sim, "/v2") as ws:
        for channel in ("trade", "ticker", "book"):
            subscribe(ws, channel, ["BTC/USD", "SHIB/USD"], snapshot=True)
        subscribe(ws, "book", ["ETH/USD"], depth=7)
        subscribe(ws, "instrument")
        ws.send('{"method":"ping","req_id":1}')
        sim.fault("halt", symbol="SHIB/USD", for_s=0.1)
        for _ in range(60):
            ws.send('{"method":"ping","req_id":1}')
        for _ in range(1500):
            message = json.loads(ws.recv(timeout=DEADLINE_S), parse_float=Decimal)
            seen.setdefault(name_of(message), set()).add(str(shape(message)))
    for name, shapes in known.items():
        # An update may have levels on one side alone, so its shape is one of several.
        assert shapes & seen.get(name, set()), f"{name}: {seen.get(name)} is not among {shapes}"
