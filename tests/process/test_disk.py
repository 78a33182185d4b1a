"""A disk that is full, or read-only, under a whole plant: it stays up, says so, and goes on with every loss told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from plant_process import DEMO, PlantProcess, plant, tickplant, wait_for
from small_disk import fill, mount, small_disk, unmount

import tickplant as tp
from tickplant.records.layouts import GapCause, Kind
from tickplant.store.reader import Store

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

TEXT = DEMO.replace("[feeds.binance]\n", "[feeds.binance]\nring_records = 16384\n")
DISK_BYTES = 96 << 20


def counter(running: PlantProcess, process: str, name: str) -> int:
    return int(running.process_named(process)["counters"].get(name, 0))


def expect_trouble(running: PlantProcess, reason: str) -> None:
    """The plant says what does not work, where and why, and a ring that is full makes it drop."""
    wait_for("trouble", lambda: running.process_named("writer")["counters"].get("trouble"))
    done = tickplant("status", "-c", running.file)
    shown = done.stdout.replace("\n", " ")
    assert done.returncode == 1
    assert "writer cannot store, records wait in the ring: " in shown
    assert f"{running.data_dir}/journal" in shown
    assert reason in shown
    assert "writer cannot store" in running.errors.read_text()
    wait_for("the ring to be full", lambda: counter(running, "binance", "ring_dropped") > 1000)
    status = running.status()
    assert not status["healthy"]
    assert all(process["pid"] for process in status["processes"])


def expect_everything_told(running: PlantProcess) -> None:
    """From here on all is stored again; what is missing from the store is what the GAPs of the full ring say."""
    wait_for("no trouble", lambda: running.process_named("writer")["counters"]["trouble"] == "")
    assert "writer stores again" in running.errors.read_text()
    wait_for("gaps", lambda: counter(running, "binance", "ring_gaps") > 0)
    ticks = counter(running, "binance", "ticks")
    wait_for("new ticks", lambda: counter(running, "binance", "ticks") > ticks + 5000)
    wait_for("live books", lambda: counter(running, "engine", "books_live") == 2)
    assert running.status()["healthy"]
    restarts = {process["name"]: process["restarts"] for process in running.status()["processes"]}
    assert restarts["engine"] == restarts["binance"] == 0
    live = {symbol: tp.fetch_book("binance", symbol, address=running.publish) for symbol in ("BTCUSDT", "ETHUSDT")}
    assert running.stop() == 0
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = 0
    store = Store(running.data_dir)
    for symbol, book in live.items():
        records = np.concatenate(list(store.query("binance", symbol)))
        trades = np.unique(records["venue_seq"][records["kind"] == Kind.TRADE]).astype(np.int64)
        holes = np.flatnonzero(np.diff(trades) > 1)
        gaps = records[(records["kind"] == Kind.GAP) & (records["price"] == GapCause.RING_FULL)]
        told += len(gaps)
        for hole in holes.tolist():
            first, last = int(trades[hole]) + 1, int(trades[hole + 1]) - 1
            spans = zip(gaps["order_id"].tolist(), gaps["venue_seq"].tolist(), strict=True)
            assert any(before < first and last < after for before, after in spans), f"{symbol}: {first} to {last}"
        assert not book.stale and not store.book("binance", symbol, book.ts_recv).stale
    assert told > 0


def test_a_full_disk_costs_what_no_longer_fits_into_the_ring_and_the_gaps_say_what(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", DISK_BYTES), plant(tmp_path, TEXT, rate=2000) as running:
        wait_for("records on disk", lambda: counter(running, "writer", "records") > 2000)
        ballast = fill(running.data_dir)
        expect_trouble(running, "No space left on device")
        ballast.unlink()
        expect_everything_told(running)


def test_a_journal_that_became_read_only_is_waited_for_also_by_a_new_writer(tmp_path: Path) -> None:
    with plant(tmp_path, TEXT, rate=2000) as running:
        wait_for("records on disk", lambda: counter(running, "writer", "records") > 2000)
        journal = running.data_dir / "journal"
        mount("--bind", journal, journal)
        try:
            mount("-o", "remount,bind,ro", journal)
            # What it has open it may go on writing to; its successor may not open anything.
            os.kill(running.process_named("writer")["pid"], signal.SIGKILL)
            expect_trouble(running, "Read-only file system")
        finally:
            unmount(journal)
        expect_everything_told(running)
