"""`tickplant symbols` at a plant that runs: added, removed, kept over kills and restarts, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from plant_process import PlantProcess, plant, tickplant, wait_for

from tickplant.records.layouts import Kind, Schema, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

PLANT = """
[plant]
data = "data"
heartbeat_s = 0.1
restart_backoff_s = 0.01

[sims.market]
symbols = ["BTCUSDT", "ETHUSDT", "BNBUSDT"]
messages_per_s = 300

[feeds.binance]
venue = "binance"
sim = "market"
symbols = ["BTCUSDT", "ETHUSDT"]

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
flush_s = 0.2
"""


def symbols(running: PlantProcess, *words: str) -> tuple[int, str]:
    done = tickplant("symbols", *words, "-c", running.file)
    return done.returncode, done.stdout + done.stderr


def listed(running: PlantProcess) -> dict[str, str]:
    code, text = symbols(running, "list", "binance", "--json")
    assert code == 0, text
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["feed"] for row in rows} == {"binance"}
    return {row["symbol"]: row["origin"] for row in rows}


def trades(running: PlantProcess, symbol: str) -> int:
    """How many are stored."""
    store = Store(running.data_dir)
    ids = [row.id for row in store.instruments.find("binance", symbol)]
    found = 0
    for batch in store.read("binance", Schema.TICK, Selection()) if ids else ():
        found += int((np.isin(batch["instrument"], ids) & (batch["kind"] == Kind.TRADE)).sum())
    return found


def is_recorded(running: PlantProcess, symbol: str) -> None:
    before = trades(running, symbol)
    wait_for(f"trades of {symbol}", lambda: trades(running, symbol) > before)


def codes(running: PlantProcess, symbol: str) -> list[StatusCode]:
    store = Store(running.data_dir)
    ids = [row.id for row in store.instruments.find("binance", symbol)]
    records = np.concatenate([*store.read("binance", Schema.TICK, Selection())])
    mine = records[np.isin(records["instrument"], ids) & (records["kind"] == Kind.STATUS)]
    return [StatusCode(code) for code in mine["price"].tolist() if code != StatusCode.RESYNC]


def test_symbols_are_added_and_removed_and_stay_so(tmp_path: Path) -> None:
    with plant(tmp_path, PLANT) as running:
        assert symbols(running, "add", "binance", "BNBUSDT") == (0, "binance: BNBUSDT is added\n")
        is_recorded(running, "BNBUSDT")
        assert symbols(running, "remove", "binance", "ETHUSDT") == (0, "binance: ETHUSDT is removed\n")
        assert listed(running) == {"BTCUSDT": "configured", "BNBUSDT": "added", "ETHUSDT": "removed"}
        assert running.status()["symbols"]["binance"]["added"] == ["BNBUSDT"]
        said = tickplant("status", "-c", running.file)
        assert said.returncode == 0, said
        assert "binance: 2 symbols; added BNBUSDT; removed ETHUSDT" in said.stdout

        # A feed that is killed goes on with the same ones.
        before = running.process_named("binance")
        os.kill(before["pid"], signal.SIGKILL)
        wait_for("another feed", lambda: running.process_named("binance")["pid"] not in (0, before["pid"]))
        is_recorded(running, "BNBUSDT")
        is_recorded(running, "BTCUSDT")
        stored = trades(running, "ETHUSDT")

        # What cannot be is refused with the reason, and changes nothing.
        for words, reason in (
            (("add", "binance", "bnbusdt"), "'bnbusdt' is not a symbol: the venue writes 'BNBUSDT'"),
            (("add", "binance", "BTC/USDT"), "'BTC/USDT' is not a symbol: 1 to 64 letters, digits, _ and -"),
            (("add", "binance", "SOLUSDT"), "[sims.market] does not have SOLUSDT"),
            (("add", "binance", "BNBUSDT"), "binance records BNBUSDT already"),
            (("remove", "binance", "ETHUSDT"), "binance has no symbol ETHUSDT; it has BTCUSDT, BNBUSDT"),
            (("remove", "binance", "BTCUSDT", "BNBUSDT"), "binance would have no symbol left"),
            (("add", "kraken", "BTC/USD"), "no feed is named kraken; the feeds are binance"),
        ):
            code, text = symbols(running, *words)
            assert code != 0 and reason in text, text
        assert listed(running) == {"BTCUSDT": "configured", "BNBUSDT": "added", "ETHUSDT": "removed"}
        assert running.stop() == 0
        assert trades(running, "ETHUSDT") == stored
        assert codes(running, "ETHUSDT")[-2:] == [StatusCode.DISCONNECTED, StatusCode.REMOVED]
        assert codes(running, "BNBUSDT")[0] == StatusCode.ADDED

    # So does the plant, without a word in its configuration.
    with plant(tmp_path, PLANT) as running:
        assert listed(running) == {"BTCUSDT": "configured", "BNBUSDT": "added", "ETHUSDT": "removed"}
        is_recorded(running, "BNBUSDT")
        assert trades(running, "ETHUSDT") == stored
        assert symbols(running, "add", "binance", "ETHUSDT") == (0, "binance: ETHUSDT is added\n")
        assert symbols(running, "remove", "binance", "BNBUSDT") == (0, "binance: BNBUSDT is removed\n")
        is_recorded(running, "ETHUSDT")
        assert listed(running) == {"BTCUSDT": "configured", "ETHUSDT": "configured"}
        assert json.loads((running.data_dir / "symbols.json").read_bytes()) == {}
        assert running.stop() == 0
    done = tickplant("verify", "--data", running.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    done = tickplant("symbols", "list", "-c", running.file)
    assert (done.returncode, done.stdout) == (0, "binance  BTCUSDT\nbinance  ETHUSDT\n")
