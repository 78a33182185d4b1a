"""A real engine process and its rings: what it stores, who waits for whom, how it sleeps and ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_process import EngineProcess, Market, engine
from plant_process import state_of, wait_for

from tickplant.books.plain_books import DictBooks
from tickplant.records.layouts import Schema
from tickplant.shm.ring import Mode

QUIET_S = 60


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EngineProcess]:
    with engine(tmp_path) as made:
        yield made


def test_derived_records_do_not_depend_on_how_the_ticks_were_batched(tmp_path: Path) -> None:
    outputs = []
    for name, size in (("whole", 4000), ("cut", 37)):
        folder = tmp_path / name
        folder.mkdir()
        with engine(folder) as running:
            ticks = Market(running.ids["BTCUSDT"]).ticks(4000)
            for start in range(0, len(ticks), size):
                running.publish(ticks[start : start + size])
            assert running.stop() == 0
            outputs.append((running.derived(Schema.BBO), running.derived(Schema.BAR)))
    assert outputs[0] == outputs[1]
    assert len(outputs[0][0]) > 72 * 100
    assert len(outputs[0][1]) > 2 * 104


def test_a_stopped_engine_works_off_what_its_ring_holds(running: EngineProcess) -> None:
    ticks = Market(running.ids["BTCUSDT"]).ticks(20_000)
    ticks["seq"] = np.arange(len(ticks))
    running.publish(ticks)
    assert running.stop() == 0
    bbo = DictBooks().apply(ticks)
    assert len(running.derived(Schema.BBO)) == bbo.nbytes


def test_a_live_engine_drops_and_counts_what_a_stuck_writer_has_no_room_for(tmp_path: Path) -> None:
    with engine(tmp_path, out_records=1024) as running:
        ring = running.rings[Schema.BBO]
        with ring.consumer("writer", Mode.GATING):
            market = Market(running.ids["BTCUSDT"])
            for number in range(1, 4):
                running.publish(market.ticks(10_000))
                running.wait_for_counter("records", 10_000 * number)
            running.wait_for_counter("derived_dropped", 1)
            statistics = ring.statistics()
            assert statistics.head == 1024
            assert statistics.dropped + 1024 == running.counters["bbo"]


def test_an_engine_whose_source_can_wait_waits_for_the_writer(tmp_path: Path) -> None:
    with engine(tmp_path, out_records=1024, gating=True) as running:
        ticks = Market(running.ids["BTCUSDT"]).ticks(40_000)
        got = []
        with running.rings[Schema.BBO].consumer("writer", Mode.GATING) as writer:
            running.publish(ticks)
            bbo = DictBooks().apply(ticks)
            assert len(bbo) > 2048, "more than the ring holds"
            while sum(map(len, got)) < len(bbo):
                assert writer.wait(QUIET_S)
                got.append(writer.read(300))
                writer.commit(writer.position)
        assert np.concatenate([part["source_seq"] for part in got]).tolist() == bbo["source_seq"].tolist()
        assert np.concatenate([part["seq"] for part in got]).tolist() == list(range(len(bbo)))


def test_an_idle_engine_sleeps(running: EngineProcess) -> None:
    running.publish(Market(running.ids["BTCUSDT"]).ticks(100))
    running.wait_for_counter("records", 100)

    def slept() -> int:
        return int(
            Path(f"/proc/{running.process.pid}/status").read_text().split("voluntary_ctxt_switches:")[1].split()[0]
        )

    running.heard()
    before, reports = slept(), 0
    wait_for("it to sleep", lambda: state_of(running.process.pid) in "SD")
    while reports < 10:
        reports += len(wait_for("heartbeats", running.heard))
    assert slept() - before < 20 * reports, "a handful of wake-ups for each report"


def test_a_signal_ends_an_idle_engine_at_once(running: EngineProcess) -> None:
    assert running.stop() == 0
