"""Recordings of Kraken played by its simulated venue: a real process, real sockets."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard
from kraken_session import SHARED, Book, is_book, needs_shared, subscribe, until
from sim_process import open_ws, sim_process

pytestmark = pytest.mark.usefixtures("unmeasured")

DEADLINE_S = 90.0


def record(path: Path, depth: int) -> list[str]:
    """Record a simulated venue for a while, as a feed would; returns the frames."""
    frames: list[str] = []
    with (
        sim_process(venue="kraken", symbols=["BTC/USD", "ETH/USD"], messages_per_s=500) as sim,
        open_ws(sim, "/v2") as ws,
    ):
        subscribe(ws, "instrument")
        for channel in ("trade", "ticker"):
            subscribe(ws, channel, ["BTC/USD", "ETH/USD"])
        subscribe(ws, "book", ["BTC/USD", "ETH/USD"], depth=depth)
        while len(frames) < 800:
            frames.append(str(ws.recv(timeout=DEADLINE_S)))
    path.write_bytes(zstandard.compress("".join(f"{time.time_ns()} {one}\n" for one in frames).encode()))
    return frames


def is_played(text: str) -> bool:
    message = json.loads(text)
    return message.get("channel") in ("trade", "ticker", "book") or (
        message.get("channel") == "instrument" and message["type"] == "update"
    )


def test_a_recording_is_played_byte_for_byte_and_a_late_client_goes_on_with_its_book(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r.zst", 25)
    wanted = [text for text in recorded if is_played(text)]
    spec: dict[str, Any] = {"recording": str(tmp_path / "r.zst"), "settle_partial_s": DEADLINE_S}
    with sim_process(venue="kraken", speed="max", **spec) as sim, open_ws(sim, "/v2") as ws:
        pairs = ["BTC/USD", "ETH/USD"]
        subscribe(ws, "trade", pairs)
        subscribe(ws, "ticker", pairs, event_trigger="bbo")
        subscribe(ws, "book", pairs, depth=25)
        subscribe(ws, "instrument")
        got: list[str] = []
        instruments = ""
        while len(got) < len(wanted):
            text = str(ws.recv(timeout=DEADLINE_S))
            if is_played(text):
                got.append(text)
            elif '"channel":"instrument","type":"snapshot"' in text:
                instruments = text
        assert got == wanted
        assert instruments in recorded
        with open_ws(sim, "/v2") as late:
            subscribe(late, "book", ["BTC/USD"], depth=25)
            snapshot = until(late, is_book)
            subscribe(late, "book", ["ETH/USD"], depth=10)
            assert until(late, lambda one: "error" in one)["error"] == "Subscription depth not supported"
    book, last = Book(25), Book(25)
    for text in wanted:
        message = json.loads(text, parse_float=str)
        if is_book(message) and message["data"][0]["symbol"] == "BTC/USD":
            assert book.fits(message)
    assert last.fits(snapshot)
    assert last.sides == book.sides


def lines_of(name: str) -> list[str]:
    with gzip.open(SHARED / "data" / name, "rt") as file:
        return [line.rstrip("\n").partition(" ")[2] for line in file]


@needs_shared
def test_a_real_recording_is_played_whole_and_its_checksums_are_those_of_a_late_client() -> None:
    recorded = [text for text in lines_of("kraken_v2_books.gz") if is_played(text)]
    symbols = list(dict.fromkeys(json.loads(text)["data"][0]["symbol"] for text in recorded))
    path = str(SHARED / "data" / "kraken_v2_books.gz")
    with sim_process(venue="kraken", recording=path, speed="max") as sim, open_ws(sim, "/v2") as ws:
        subscribe(ws, "book", symbols, depth=1000)
        got: list[str] = []
        while len(got) < len(recorded):
            text = str(ws.recv(timeout=DEADLINE_S))
            got += [text] if is_played(text) else []
        assert got == recorded
        books = {symbol: Book(1000) for symbol in symbols}
        for text in recorded:
            message = json.loads(text, parse_float=str)
            assert books[message["data"][0]["symbol"]].fits(message)
        with open_ws(sim, "/v2") as late:
            subscribe(late, "book", symbols, depth=1000)
            for _ in symbols:
                message = until(late, is_book)
                fresh = Book(1000)
                assert fresh.fits(message)
                assert fresh.sides == books[message["data"][0]["symbol"]].sides
