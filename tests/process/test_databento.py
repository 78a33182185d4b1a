"""The simulated gateway and a feed as processes: nothing is lost at a rate, and a wrong key ends the feed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feed_process import feed_process
from made_dbn import orders, write
from plant_process import tickplant
from sim_process import sim_process

from tickplant.records.layouts import Kind
from tickplant.runtime.job_specs import Live

pytestmark = pytest.mark.usefixtures("unmeasured")

COUNT = 3000
MESSAGES = 4 * COUNT
FEED: dict[str, Any] = {"venue": "databento", "symbols": ("GLBX.MDP3/TEST",), "channels": ("orders", "trade")}


def test_a_file_in_a_loop_arrives_whole_and_orders_of_one_turn_are_not_those_of_another(tmp_path: Path) -> None:
    recording = str(write(tmp_path / "a.dbn", orders(1, COUNT)))
    spec: dict[str, Any] = {"recording": recording, "recording_per_s": 20_000, "loop": True, "limit_messages": MESSAGES}
    with sim_process(venue="databento", **spec) as sim:
        source = Live(ws_url=f"tcp://{sim.host}:{sim.port}")
        with feed_process(tmp_path, source, **FEED) as feed:
            feed.wait_for("all records", lambda: len(feed.records) >= MESSAGES + 5)  # and CONNECTED, a clear each turn
            assert feed.stop() == 0
            records = feed.records
            assert [account for account in feed.accounts if account.off] == []
    assert np.count_nonzero(records["kind"] == Kind.CLEAR) == 8
    market = np.isin(records["kind"], (Kind.ORDER_ADD, Kind.ORDER_CANCEL, Kind.TRADE))
    assert np.count_nonzero(market) == MESSAGES - 4
    added = records["order_id"][records["kind"] == Kind.ORDER_ADD]
    assert len(np.unique(added)) == len(added)
    assert feed.counters["gaps"] == 0


def test_a_wrong_key_ends_the_feed_with_a_sentence(tmp_path: Path) -> None:
    recording = str(write(tmp_path / "a.dbn", orders(1, 10)))
    with sim_process(venue="databento", recording=recording, key="db-right") as sim:
        source = Live(ws_url=f"tcp://{sim.host}:{sim.port}")
        with feed_process(tmp_path, source, **FEED) as feed:
            assert feed.wait_for_end() == 1
            assert "the key was refused: Authentication failed." in feed.errors.read_text()


@pytest.mark.long
def test_ingest_knows_a_file_of_dbn_and_names_a_bad_one(tmp_path: Path) -> None:
    file = write(tmp_path / "a.dbn.zst", orders(1, 500), zstd=True)
    done = tickplant("ingest", file, "--data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "frames 500" in done.stdout
    assert (
        "this is a databento file, not a kraken recording"
        in tickplant("ingest", file, "--venue", "kraken", "--data", "x").stderr
    )
    file.write_bytes(write(tmp_path / "b.dbn", orders(1, 500)).read_bytes()[:3] + b"\x09" + bytes(100))
    bad = tickplant("ingest", file, "--data", tmp_path / "data")
    assert bad.returncode == 1
    assert "DBN version 9: versions 1 to 3 can be read" in bad.stderr
    assert "Traceback" not in bad.stderr
