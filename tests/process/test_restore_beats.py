"""An engine that looks for its past in a large store is heard of meanwhile, or it would be killed as one that hangs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from engine_process import EngineProcess, Market, engine
from plant_process import wait_for

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BBO, Schema
from tickplant.runtime.control import Heartbeat
from tickplant.runtime.job_specs import Past
from tickplant.writer.format.chunk_layout import producer_id
from tickplant.writer.format.codec import encode_chunk
from tickplant.writer.journal import journal_dir

pytestmark = pytest.mark.long

CHUNKS = 80_000
ROWS = 8


def write_past(folder: Path) -> None:
    """Best bids and offers of one instrument, many chunks without an index; those of others are looked for in vain."""
    table = InstrumentTable.load(folder / "instruments.jsonl")
    first, *_ = [table.register("binance", symbol, 2, 8) for symbol in ("*", "BTCUSDT", "ETHUSDT")]
    path = journal_dir(folder, "engine", Schema.BBO) / f"{0:020d}.tpj"
    path.parent.mkdir(parents=True)
    bbo = np.zeros(ROWS, BBO)
    bbo["instrument"], bbo["ts_recv"] = first.id, time.time_ns()
    with path.open("wb") as file:
        for number in range(CHUNKS):
            bbo["seq"] = bbo["source_seq"] = number * ROWS + np.arange(ROWS)
            file.write(encode_chunk(bbo, Schema.BBO, 1, producer=producer_id("engine")))


def cpu_s(running: EngineProcess) -> float:
    """What the engine has used so far."""
    used = psutil.Process(running.process.pid).cpu_times()
    return float(used.user + used.system)


def test_heartbeats_come_while_an_engine_scans_a_large_store(tmp_path: Path) -> None:
    write_past(tmp_path)
    with engine(tmp_path, pasts={"test": Past("binance")}) as running:
        running.kill()
        running.publish(Market(running.ids["BTCUSDT"]).ticks(1000))  # now there is a past
        running.start()
        # Its CPU from one heartbeat to the next: how long that takes is a matter of the machine's load.
        apart_s: list[float] = []
        used_s = cpu_s(running)

        def restored() -> bool:
            nonlocal used_s
            told = [message for message in running.heard() if isinstance(message, Heartbeat)]
            beats = sum(bool(message.counters["rebuilding"]) for message in told)
            if beats:
                before_s, used_s = used_s, cpu_s(running)
                apart_s.extend([(used_s - before_s) / beats] * beats)
            return running.counters.get("rebuilds", 0) == 1

        wait_for("the engine to be back", restored)
        assert len(apart_s) >= 5, "it was not a large store for this machine: give it more chunks"
        assert max(apart_s) < 5.0, "ten seconds are the limit of a plant (hang_s)"
