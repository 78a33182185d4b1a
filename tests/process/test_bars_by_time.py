"""Bars of trades by time and by sessions in a real plant, through a kill of its engine, and from history."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from plant_process import DEMO, plant, tickplant, wait_for

from tickplant.derive.plain_trade_bars import PlainTradeBars
from tickplant.records.layouts import Kind, Schema
from tickplant.store.reader import Store

TEXT = (
    DEMO.replace("[engines.engine]\n", "[engines.engine]\ncheckpoint_s = 1\n")
    + """
[[engines.engine.derive]]
bars = "time-0.25"
[[engines.engine.derive]]
bars = "session-XNYS"
[[engines.engine.derive]]
indicator = "vwap_session"
sessions = "XNYS"
"""
)


@pytest.mark.long
def test_bars_by_time_are_those_of_the_trades_through_a_kill(tmp_path: Path) -> None:
    with plant(tmp_path, TEXT, rate=600) as up:

        def bars() -> int:
            return int(up.process_named("engine")["counters"].get("trade_bars", 0))

        wait_for("bars", lambda: bars() > 20)
        pid = up.process_named("engine")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the engine", lambda: up.process_named("engine")["pid"] not in (0, pid))
        wait_for("more bars", lambda: bars() > 20)
        assert up.stop() == 0
    store = Store(up.data_dir)
    assert (up.data_dir / "calendars" / "XNYS.txt").read_text().startswith("# sessions of XNYS")
    number = store.series.names.index("bars.time-0.25") + 1
    for symbol in ("BTCUSDT", "ETHUSDT"):
        ticks = np.concatenate(list(store.query("binance", symbol)))
        ticks = ticks[np.isin(ticks["kind"], (Kind.TRADE, Kind.GAP))]
        expected = PlainTradeBars("time", 0.25e9).apply(ticks)
        found = np.concatenate(list(store.query("binance", symbol, schema=Schema.TRADE_BAR)))
        found = found[found["series"] == number]
        assert len(expected) > 20
        for name in set(found.dtype.names or ()) - {"vwap", "series", "seq"}:
            assert found[name].tolist() == expected[name].tolist(), name
        closes = store.derive("sma", "binance", symbol, bars="time-0.25", period=1).numpy()["sma"]
        assert len(closes) == len(found)
        live = np.concatenate(list(store.query("binance", symbol, schema=Schema.VALUE)))
        again = store.derive("vwap_session", "binance", symbol, sessions="XNYS").numpy()
        assert live["value_1"].tobytes() == again["vwap"].tobytes()
    proved = tickplant("verify", "--deep", "--data", up.data_dir)
    assert proved.returncode == 0, proved.stdout + proved.stderr
