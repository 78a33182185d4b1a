"""A plant whose venue makes a tick size smaller: not well while it rejects, and well again under a new id."""

from __future__ import annotations

from pathlib import Path

import pytest
from plant_process import PlantProcess, plant, wait_for
from sim_process import sim_process

from tickplant.records.layouts import GapCause, Kind, Schema, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

pytestmark = pytest.mark.usefixtures("unmeasured")

PLANT = """
[plant]
data = "data"
heartbeat_s = 0.1

[feeds.binance]
venue = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
ws_url = "WS"
rest_url = "REST"

[engines.engine]
publish = "tcp://127.0.0.1:{port}"

[writers.writer]
flush_s = 0.2
"""


@pytest.mark.long
def test_a_plant_that_rejects_a_stream_is_not_well_until_the_venue_states_the_new_scales(tmp_path: Path) -> None:
    market = {"symbols": ["BTCUSDT", "ETHUSDT"], "messages_per_s": 200.0, "depth_levels": 50}
    with sim_process(**market) as sim:
        text = PLANT.replace("WS", sim.ws_url).replace("REST", sim.rest_url)
        with plant(tmp_path, text) as running:
            wait_for("a plant that is well", lambda: running.status()["healthy"])
            wait_for(
                "books", lambda: running.process_named("binance")["counters"].get("kinds", {}).get("clear", 0) == 2
            )
            sim.fault("rest", endpoint="exchangeInfo", status=500, count=3)
            sim.fault("refine", symbol="BTCUSDT")
            trouble = wait_for("trouble", lambda: trouble_of(running))
            assert "BTCUSDT" in trouble
            assert "scale" in trouble
            wait_for("a new id", lambda: len(rows_of(running.data_dir)) == 2)
            wait_for("a plant that is well again", lambda: running.status()["healthy"])
            wait_for("its book", lambda: running.process_named("binance")["counters"]["kinds"]["clear"] >= 3)
            assert running.stop() == 0
            said = running.errors.read_text()
    assert "binance cannot record: every " in said
    assert "binance records again" in said
    old, new = rows_of(running.data_dir)
    assert (old.price_scale, new.price_scale) == (8, 9)
    records = [tick for batch in Store(running.data_dir).read("binance", Schema.TICK, Selection()) for tick in batch]
    first_gap = next(t for t in records if t["kind"] == Kind.GAP and t["price"] == GapCause.REJECTED)
    assert first_gap["instrument"] == old.id
    changed = [
        int(t["instrument"])
        for t in records
        if t["kind"] == Kind.STATUS and t["price"] == StatusCode.INSTRUMENT_CHANGED
    ]
    assert changed == [old.id, new.id]
    ids = {int(t["venue_seq"]) for t in records if t["kind"] == Kind.TRADE and t["instrument"] in (old.id, new.id)}
    gaps = [t for t in records if t["kind"] == Kind.GAP and t["instrument"] in (old.id, new.id)]
    missing = set(range(min(ids), max(ids) + 1)) - ids
    assert all(any(gap["order_id"] < ident < gap["venue_seq"] for gap in gaps) for ident in missing)


def trouble_of(running: PlantProcess) -> str:
    """What the feed suffers from in a plant that is not well, which passes by itself: both of one moment."""
    status = running.status()
    feed = next(process for process in status["processes"] if process["name"] == "binance")
    return "" if status["healthy"] else str(feed["counters"]["trouble"])


def rows_of(data_dir: Path) -> list:
    return Store(data_dir).instruments.find("binance", "BTCUSDT")
