"""A plant that is offered more than it can take says what it sheds, and goes on by itself; nothing is unaccounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plant_process import PlantProcess, free_port, tickplant, wait_for
from sim_process import sim_process

from tickplant.client.subscription import subscribe
from tickplant.records.layouts import Flag, GapCause, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured", "left_behind")]

SYMBOLS = ("BTCUSDT", "ETHUSDT")
CONFIG = """
[plant]
data = "data"
heartbeat_s = 0.2

[feeds.feed]
venue = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
channels = ["trade", "quote"]
ws_url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}"
ring_records = 4096
full_wait_ms = 1
reconnect_cap_s = 0.5

[engines.engine]
publish = "tcp://127.0.0.1:{publish}"

[writers.writer]
"""
FLOOD: dict[str, Any] = {"symbols": SYMBOLS, "messages_per_s": 3_000_000, "prepared_messages": 1 << 14}
CALM: dict[str, Any] = {"symbols": SYMBOLS, "messages_per_s": 200, "prepared_messages": 1 << 10}


def test_a_plant_beyond_its_knee_says_what_it_sheds_and_recovers_by_itself(tmp_path: Path) -> None:
    file, port = tmp_path / "plant.toml", free_port()
    file.write_text(CONFIG.format(port=port, publish=free_port()))
    with sim_process(port=port, settle_s=0.0, **FLOOD):
        plant = PlantProcess(file)
        try:
            plant.wait_until_up()
            shed = wait_for("records to be shed", lambda: _counters(plant, "feed").get("ring_dropped"))
        except BaseException:
            plant.clean_up()
            raise
    try:
        with sim_process(port=port, settle_s=0.0, **CALM) as calm, subscribe("binance", address=plant.publish) as live:
            wait_for("the feed on the venue that has come back", lambda: _counters(plant, "feed")["connections_open"])
            wait_for("all that was shed to be said", lambda: _told(plant))
            wait_for("the engine", lambda: not _counters(plant, "engine")["rebuilding"])
            names = {f"binance.{symbol}.{channel}" for symbol in SYMBOLS for channel in ("trade", "quote")}
            frames = sum(one["frames"] for one in calm.ledger()["connections"][-1]["streams"].values())
            wait_for("more of the calm market", lambda: _frames(calm.ledger()) > frames + 100)
            seen: set[str] = set()

            def take() -> bool:
                message = live.receive(1.0)
                if message is not None and message.kind == "live":
                    seen.add(message.topic)
                return names <= seen

            wait_for("live messages of every topic", take)
        assert _counters(plant, "feed")["ring_dropped"] >= shed
        accounts = plant.status()["accounts"]
        assert accounts and not [account for account in accounts if account["off"]]
        assert plant.stop() == 0
        done = tickplant("verify", "--data", plant.data_dir, timeout_s=600)
        assert done.returncode == 0, done.stdout
        _check_trades(plant.data_dir)
    finally:
        plant.clean_up()


def _counters(plant: PlantProcess, name: str) -> dict[str, Any]:
    return dict(plant.process_named(name)["counters"])


def _told(plant: PlantProcess) -> bool:
    """Whether GAPs speak of all that the ring had no room for."""
    (drops,) = (account for account in plant.status()["accounts"] if account["total"] == "ticks dropped")
    return bool(drops["count"]) and drops["parts"]["told"] == drops["count"]


def _frames(ledger: dict[str, Any]) -> int:
    return sum(one["frames"] for one in ledger["connections"][-1]["streams"].values())


def _check_trades(data_dir: Path) -> None:
    """The ids of the stored trades go on without a hole, but where GAPs before the next trade cover it."""
    store = Store(data_dir)
    ticks = np.concatenate(list(store.read("feed", Schema.TICK, Selection())))
    of_trades = (ticks["kind"] == Kind.TRADE) | ((ticks["kind"] == Kind.GAP) & (ticks["flags"] & Flag.ON_TRADE > 0))
    causes = set(ticks["price"][ticks["kind"] == Kind.GAP].tolist())
    assert GapCause.RING_FULL in causes
    for symbol in SYMBOLS:
        (row,) = store.find("binance", symbol)
        reached = covered = holes = 0  # ids of the last trade, and of the last one that is there or said to be missing
        for tick in ticks[of_trades & (ticks["instrument"] == row.id)]:
            if tick["kind"] == Kind.GAP:
                if tick["order_id"] <= covered:
                    covered = max(covered, int(tick["venue_seq"]) - 1)
                continue
            ident = int(tick["venue_seq"])
            if reached:
                assert reached < ident <= covered + 1, f"{symbol}: {reached} is followed by {ident}"
                holes += ident > reached + 1
            reached = covered = ident
        assert holes, f"{symbol} lost nothing"
