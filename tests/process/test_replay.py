"""Replay is live again: its subscriber receives what a live subscriber received, byte for byte."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zmq
from listener import Listener
from made_records import make_ticks
from plant_process import DEADLINE_S, free_port, plant, tickplant, wait_for

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BAR, BBO, TICK, GapCause, Kind, Schema
from tickplant.wire import unpack_header
from tickplant.writer.index import load_index
from tickplant.writer.journal import Journal

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.mark.long
def test_a_replay_at_full_speed_is_byte_for_byte_what_was_live(tmp_path: Path) -> None:
    with plant(tmp_path, rate=4000, wait=False) as running:
        listener = Listener(running.publish)
        running.wait_until_up()
        wait_for("some bars", lambda: listener.next_seq.get("binance.BTCUSDT.bar_1s", 0) >= 3)
        assert running.stop() == 0
        live = listener.close()
    assert {"binance.BTCUSDT.trade", "binance.ETHUSDT.book", "binance.BTCUSDT.bbo", "binance.*.status"} <= set(live)
    assert len(np.frombuffer(live["binance.BTCUSDT.bbo"], BBO)) > 10
    assert len(np.frombuffer(live["binance.BTCUSDT.bar_1s"], BAR)) >= 3

    address = f"tcp://127.0.0.1:{free_port()}"
    listener = Listener(address)
    done = tickplant("replay", "--data", running.data_dir, "--speed", "max", "--bind", address)
    assert done.returncode == 0, done.stderr
    again = listener.close()
    # The rings of the engine mix symbols as they came; a derived record's own number is a place in that ring.
    assert again.keys() == live.keys()
    for topic in live:
        assert again[topic] == live[topic], topic


@pytest.mark.long
def test_a_replay_waits_for_its_first_subscriber_and_loses_nothing_for_a_slow_one(tmp_path: Path) -> None:
    with plant(tmp_path, rate=4000) as running:
        wait_for("ticks", lambda: running.process_named("binance")["counters"].get("kinds", {}).get("trade", 0) > 3000)
        running.stop()
    address = f"tcp://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tickplant",
            "replay",
            "--data",
            str(running.data_dir),
            "--speed",
            "max",
            "--bind",
            address,
        ],
        stderr=subprocess.PIPE,
    )
    try:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.set(zmq.RCVHWM, 10)
        socket.subscribe(b"binance.BTCUSDT.trade")
        socket.connect(address)
        next_seq = 0
        while process.poll() is None or socket.poll(500):
            if socket.poll(50):
                _, header, _ = socket.recv_multipart()
                fields = unpack_header(header)
                assert fields.first_seq == next_seq
                next_seq += fields.records
                threading.Event().wait(
                    0.002
                )  # slow on purpose: this is the behaviour under test, not a synchronisation
        assert process.wait(DEADLINE_S) == 0
        socket.close()
        context.term()
    finally:
        process.kill()
        process.communicate()
    out = tmp_path / "trades.parquet"
    tickplant("query", "binance", "BTCUSDT", "--data", running.data_dir, "--kind", "trade", "-o", out)
    import pyarrow.parquet as pq

    assert next_seq == pq.read_metadata(out).num_rows > 0


@pytest.mark.long
def test_a_replay_leaves_damage_out_by_name_and_says_gap_in_its_place(tmp_path: Path) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    for start in range(0, 900, 100):
        journal.append(make_ticks(100, first_seq=start))
        journal.flush()
    journal.close()
    (path,) = journal.directory.glob("*.tpj")
    broken = bytearray(path.read_bytes())
    broken[int(load_index(path).entries[3]["offset"]) + 400] ^= 0xFF
    path.write_bytes(broken)

    address = f"tcp://127.0.0.1:{free_port()}"
    replay = ("replay", "--data", tmp_path, "--speed", "max", "--bind", address)
    listener = Listener(address)
    done = tickplant(*replay)
    assert done.returncode == 1
    assert "records 300 to 399 are missing; --skip-damage leaves it out and goes on" in done.stderr
    listener.close()

    listener = Listener(address)
    done = tickplant(*replay, "--skip-damage")
    assert done.returncode == 0, done.stderr
    assert f"left out: {path}: " in done.stderr
    assert "; seq 300 to 399" in done.stderr
    played = listener.close()
    for symbol in ("AAA", "BBB", "CCC"):
        book = np.frombuffer(played[f"venue.{symbol}.book"], TICK)
        gaps = book[book["kind"] == Kind.GAP]
        assert gaps["price"].tolist() == [GapCause.DAMAGE]
        assert not ((book["seq"] > 300) & (book["seq"] < 400)).any()
