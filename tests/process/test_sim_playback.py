"""The simulated venue playing a recording: real process, real sockets, a recording made by the synthetic market."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from plant_process import wait_for
from sim_process import SimProcess, open_ws, sim_process
from websockets.sync.client import ClientConnection

from tickplant.sim.dialects.binance.instruments import traded
from tickplant.sim.dialects.binance.printer import SPEEDS, binance_templates
from tickplant.sim.market import Market
from tickplant.sim.order_flow import ASK, BID
from tickplant.sim.templates import Renderer, decimals_of, print_price, print_size

pytestmark = pytest.mark.usefixtures("unmeasured")

DATA = Path(__file__).parents[2].parent / "shared" / "data"
DEADLINE_S = 90.0
MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
REST = {"binance": "/api/v3", "binance-usdm": "/fapi/v1"}


def record(path: Path, venue: str, *, seconds: float = 3.0, snapshot: bool = True) -> list[bytes]:
    """Write a recording of a small market, its snapshot after 350 ms; returns the frames, the snapshot among them."""
    instruments = [traded("BTCUSDT", futures=venue != "binance")]
    market = Market(
        instruments,
        seed=3,
        messages_per_s=300.0,
        intervals_ns=[ms * MS for _, ms in SPEEDS[venue]],
        id_step=1 if venue == "binance" else 40,
        depth_levels=50,
    )
    decimals = decimals_of(instruments)
    renderer = Renderer(binance_templates(venue, instruments), decimals)
    wanted = np.ones(market.kinds, np.bool_)
    wanted[[1, *range(4, len(wanted))]] = False  # no aggregates, one speed of depth
    lines: list[tuple[int, bytes]] = []

    def until(time_ns: int) -> None:
        for rows, levels in market.advance(time_ns, wanted):
            chosen = rows[wanted[rows["kind"]]]
            batch = renderer.batch(chosen, levels, sent_ns=START_NS, origin_ns=START_NS, unit_ns=MS)
            lines.extend((START_NS + int(chosen["time"][i]), batch.payload(i)) for i in range(batch.messages))

    until(350 * MS)
    if snapshot:
        sides = {
            name: [
                [print_price(decimals, 0, tick), print_size(decimals, 0, lots)]
                for tick, lots in market.book(0, side, 1000)
            ]
            for name, side in (("bids", BID), ("asks", ASK))
        }
        body = json.dumps({"lastUpdateId": market.update_id(0)} | sides, separators=(",", ":")).encode()
        lines.append((START_NS + 350 * MS, body))
    until(int(seconds * 1000) * MS)
    with gzip.open(path, "wb") as file:
        file.writelines(b"%d %b\n" % line for line in lines)
    return [frame for _, frame in lines]


def is_snapshot(frame: bytes) -> bool:
    return frame.startswith(b'{"lastUpdateId"')


def receive(ws: ClientConnection, count: int) -> list[bytes]:
    return [ws.recv(timeout=DEADLINE_S, decode=False) for _ in range(count)]


ALL = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


class Client:
    """Reads every frame in a thread, so that the order of frames and snapshot can be told."""

    def __init__(self, ws: ClientConnection, count: int) -> None:
        self.frames: list[bytes] = []
        self._ws = ws
        self._thread = threading.Thread(target=self._read, args=(count,))
        self._thread.start()

    def _read(self, count: int) -> None:
        while len(self.frames) < count:
            self.frames.append(self._ws.recv(timeout=DEADLINE_S, decode=False))

    def snapshot(self, sim: SimProcess, venue: str, place: int) -> tuple[bytes, int]:
        """Ask for the book; returns the answer and how many frames have come before the play goes on."""
        request = f"GET {REST[venue]}/depth?symbol=BTCUSDT&limit=1000 HTTP/1.1\r\nHost: {sim.host}\r\n\r\n"
        with socket.create_connection((sim.host, sim.port), DEADLINE_S) as line, line.makefile("rb") as answer:
            line.sendall(request.encode())
            head = dict(
                field.lower().split(b": ") for field in iter(lambda: answer.readline().strip(), b"") if b": " in field
            )
            body = answer.read(int(head[b"content-length"]))
            # The venue holds the play until this connection is closed, so all that has been sent is what came before.
            assert head[b"connection"] == b"close"
            wait_for("the frames before", lambda: len(self.frames) >= place)
            time.sleep(0.3)  # what came although it should not would be there by then
            return body, len(self.frames)

    def join(self) -> list[bytes]:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self.frames


def play_through(sim: SimProcess, venue: str, recorded: list[bytes]) -> None:
    place = next(i for i, frame in enumerate(recorded) if is_snapshot(frame))
    frames = [frame for frame in recorded if not is_snapshot(frame)]
    with open_ws(sim, f"/stream?streams={ALL}") as ws:
        client = Client(ws, len(frames))
        assert client.snapshot(sim, venue, place) == (recorded[place], place)
        assert client.join() == frames
    ledger = sim.ledger()
    assert ledger["source"]["ended"]
    assert ledger["source"]["frames_played"] == ledger["frames_sent"] == len(frames)


@pytest.mark.parametrize("venue", ["binance", "binance-usdm"])
@pytest.mark.parametrize("speed", ["max", 20.0])
def test_a_client_sees_the_recording_as_it_was_the_snapshot_at_its_place(
    tmp_path: Path, venue: str, speed: float | str
) -> None:
    recorded = record(tmp_path / "r.gz", venue)
    with sim_process(venue=venue, recording=str(tmp_path / "r.gz"), speed=speed, hold_s=DEADLINE_S) as sim:
        play_through(sim, venue, recorded)
        # Who asks later gets the book as it is at the end.
        later = sim.get(f"{REST[venue]}/depth?symbol=BTCUSDT&limit=1000").json()
    book, last = rebuild(recorded)
    assert later["lastUpdateId"] == last
    for name, levels in book.items():
        assert dict(later[name]) == levels
    best = [float(later[name][0][0]) for name in ("bids", "asks")]
    assert best == [max(map(float, book["bids"])), min(map(float, book["asks"]))]


def rebuild(recorded: list[bytes]) -> tuple[dict[str, dict[str, str]], int]:
    """The book at the end of a recording."""
    snapshot = json.loads(next(frame for frame in recorded if is_snapshot(frame)))
    book = {name: dict(snapshot[name]) for name in ("bids", "asks")}
    last = snapshot["lastUpdateId"]
    for frame in recorded:
        data = {} if is_snapshot(frame) else json.loads(frame)["data"]
        if data.get("e") == "depthUpdate" and data["u"] > last:
            for name, key in (("bids", "b"), ("asks", "a")):
                for price, size in data[key]:
                    book[name][price] = size
            last = data["u"]
    return {name: {price: size for price, size in levels.items() if float(size)} for name, levels in book.items()}, last


def test_the_raw_form_is_the_inner_part_of_what_was_recorded(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance", snapshot=False)
    with sim_process(recording=str(tmp_path / "r.gz"), speed="max") as sim, open_ws(sim, f"/ws/{ALL}") as ws:
        got = receive(ws, len(recorded))
    assert [json.loads(frame) for frame in got] == [json.loads(frame)["data"] for frame in recorded]
    assert all(raw in frame for raw, frame in zip(got, recorded, strict=True))


def test_a_subscription_matches_the_recorded_stream_at_any_speed(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance", snapshot=False)
    depth = [frame for frame in recorded if frame.startswith(b'{"stream":"btcusdt@depth@100ms"')]
    spec: dict[str, Any] = {"recording": str(tmp_path / "r.gz"), "speed": "max", "settle_partial_s": 0.2}
    with sim_process(**spec) as sim, open_ws(sim, "/stream") as ws:
        ws.send('{"method":"SUBSCRIBE","params":["btcusdt@depth@0ms","btcusdt@depth"],"id":1}')
        assert receive(ws, 1 + len(depth)) == [b'{"result":null,"id":1}', *depth]


def test_each_futures_path_gets_its_part_of_the_recording(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance-usdm", snapshot=False)
    trades = [frame for frame in recorded if b'"e":"trade"' in frame]
    others = [frame for frame in recorded if b'"e":"trade"' not in frame]
    spec: dict[str, Any] = {"recording": str(tmp_path / "r.gz"), "speed": "max", "settle_partial_s": DEADLINE_S}
    with (
        sim_process(venue="binance-usdm", **spec) as sim,
        open_ws(sim, f"/public/stream?streams={ALL}") as public,
        open_ws(sim, "/market/stream") as market,
    ):
        market.send(json.dumps({"method": "SUBSCRIBE", "params": ALL.split("/"), "id": 1}))
        assert receive(market, 1 + len(trades))[1:] == trades
        assert receive(public, len(others)) == others


def test_play_goes_on_where_nobody_asks_for_the_snapshot(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance")
    frames = [frame for frame in recorded if not is_snapshot(frame)]
    with sim_process(recording=str(tmp_path / "r.gz"), speed="max", hold_s=0.2) as sim:
        with open_ws(sim, f"/stream?streams={ALL}") as ws:
            assert receive(ws, len(frames)) == frames
        later = sim.get("/api/v3/depth?symbol=BTCUSDT&limit=5000").json()
    assert (later["lastUpdateId"], dict(later["bids"])) == (rebuild(recorded)[1], rebuild(recorded)[0]["bids"])


def test_play_does_not_hold_where_nobody_follows_the_book(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance")
    trades = [frame for frame in recorded if b'"e":"trade"' in frame]
    spec: dict[str, Any] = {"recording": str(tmp_path / "r.gz"), "hold_s": 3600, "settle_partial_s": 0.1}
    with sim_process(speed="max", **spec) as sim, open_ws(sim, "/stream?streams=btcusdt@trade") as ws:
        assert receive(ws, len(trades)) == trades


def test_a_request_for_the_book_before_its_line_waits_for_it(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    recorded = record(tmp_path / "r.gz", "binance")
    with sim_process(recording=str(tmp_path / "r.gz"), speed="max", hold_s=DEADLINE_S) as sim:
        answer: Future[httpx.Response] = pool.submit(sim.get, "/api/v3/depth?symbol=BTCUSDT&limit=5")
        with open_ws(sim, f"/stream?streams={ALL}") as ws:
            client = Client(ws, len(recorded) - 1)
            assert answer.result(DEADLINE_S).content in recorded
            assert client.join() == [frame for frame in recorded if not is_snapshot(frame)]


def test_who_asks_for_the_book_without_listening_is_told_so_in_time(tmp_path: Path) -> None:
    record(tmp_path / "r.gz", "binance")
    with sim_process(recording=str(tmp_path / "r.gz"), hold_s=0.1) as sim:
        answer = sim.get("/api/v3/depth?symbol=BTCUSDT")
        assert (answer.status_code, answer.json()["code"]) == (503, -1001)


def test_a_recording_s_instruments_have_eight_decimals_and_its_past_trades_are_served(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.gz", "binance", snapshot=False)
    trades = [json.loads(frame)["data"] for frame in recorded if b'"e":"trade"' in frame]
    with sim_process(recording=str(tmp_path / "r.gz"), speed="max") as sim:
        (info,) = sim.get("/api/v3/exchangeInfo").json()["symbols"]
        assert (info["symbol"], info["quotePrecision"], info["baseAssetPrecision"]) == ("BTCUSDT", 8, 8)
        with open_ws(sim, f"/stream?streams={ALL}") as ws:
            receive(ws, len(recorded))
        first = trades[10]["t"]
        rows = sim.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first}&limit=20").json()
        shown = [(row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rows]
        assert shown == [(one["t"], one["p"], one["q"], one["T"], one["m"]) for one in trades[10:30]]


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason="the real recordings are not at hand")
@pytest.mark.parametrize(
    ("name", "venue"),
    [("binance_spot_btcusdt_20240808.gz", "binance"), ("binance_usdm_btcusdt_20240808.gz", "binance-usdm")],
)
def test_a_real_recording_is_played_whole(name: str, venue: str) -> None:
    with gzip.open(DATA / name) as file:
        recorded = [line.rstrip(b"\n").partition(b" ")[2] for line in file]
    with sim_process(venue=venue, recording=str(DATA / name), speed="max", hold_s=DEADLINE_S) as sim:
        play_through(sim, venue, recorded)
