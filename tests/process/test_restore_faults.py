"""An engine comes back although it is killed as it reads the past, or cannot read it: exact books or stale ones."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from plant_process import DEMO, PlantProcess, plant, tickplant, wait_for

import tickplant as tp
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.writer.index import load_index

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

PLANT = """[plant]
restart_backoff_s = 0.2
restart_cap_s = 0.2
restart_intensity = 1000
hang_s = 60
"""
# So small a ring that an engine which was away has to be played what is stored.
TEXT = (
    DEMO.replace("[plant]\n", PLANT)
    .replace("[feeds.binance]\n", "[feeds.binance]\nring_records = 8192\n")
    .replace("[engines.engine]\n", "[engines.engine]\nrestore_s = {restore_s}\n")
)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def text(restore_s: float = 60.0) -> str:
    return TEXT.replace("{restore_s}", str(restore_s))


def counters(running: PlantProcess, process: str = "engine") -> dict[str, int]:
    found = running.process_named(process)
    return dict(found["counters"]) | {"pid": found["pid"]}


def wait_for_a_past(running: PlantProcess) -> None:
    """More than the ring holds."""
    wait_for("books", lambda: counters(running).get("books_live") == len(SYMBOLS))
    wait_for("a past", lambda: counters(running, "writer").get("records", 0) > 20_000)


def kill_engine(running: PlantProcess) -> int:
    pid = counters(running)["pid"]
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_until_rebuilt(running: PlantProcess, dead: int) -> None:
    def rebuilt() -> bool:
        now = counters(running)
        return now["pid"] not in (0, dead) and now.get("rebuilds", 0) >= 1 and now["rebuilding"] == 0

    wait_for("the engine to be back", rebuilt)


def expect_exact_books(running: PlantProcess, *, or_stale: bool = False) -> None:
    """Each live book is the stored one of the same moment."""
    for symbol in SYMBOLS:

        def fetched(symbol: str = symbol) -> tp.Book | None:
            book = tp.fetch_book("binance", symbol, address=running.publish)
            return book if or_stale or not book.stale else None

        # An engine that stands still for a second is overrun in so small a ring, and is live again by itself.
        live = wait_for(f"a live book of {symbol}", fetched)
        if live.stale:
            continue

        def stored(symbol: str = symbol, live: tp.Book = live) -> bool:
            book = Store(running.data_dir).book("binance", symbol, live.ts_recv)
            return [[tuple(row) for row in side.tolist()] for side in (book.bids, book.asks)] == [live.bids, live.asks]

        wait_for(f"the stored book of {symbol} to be the live one", stored, timeout_s=90)


def expect_live_after_resync(running: PlantProcess) -> None:
    """A new snapshot from the venue makes every book live, and the plant ends in order."""
    assert tickplant("resync", "binance", "-c", running.file).returncode == 0
    wait_for("live books", lambda: counters(running).get("books_live") == len(SYMBOLS))
    expect_exact_books(running)
    assert running.process.poll() is None
    assert running.stop() == 0
    assert running.segments() == set()


@contextlib.contextmanager
def damaged(running: PlantProcess) -> Iterator[None]:
    """One stored chunk of ticks is not what was written, meanwhile."""
    chunks = [
        (path, int(entry["offset"]), int(entry["header"]["length_bytes"]))
        for path in Store(running.data_dir).files("binance", Schema.TICK)
        for entry in load_index(path).entries
    ]
    path, offset, length_bytes = chunks[len(chunks) // 2]
    at = offset + length_bytes // 2
    with path.open("r+b", buffering=0) as file:
        was = os.pread(file.fileno(), 8, at)
        os.pwrite(file.fileno(), bytes(byte ^ 0xFF for byte in was), at)
        try:
            yield
        finally:
            os.pwrite(file.fileno(), was, at)


def test_an_engine_killed_while_it_reads_begins_anew_and_books_are_stale_and_never_wrong_where_it_finds_damage(
    tmp_path: Path,
) -> None:
    with plant(tmp_path, text(), rate=5000) as running:
        wait_for_a_past(running)
        for age_s in (0.0, 0.1, 0.3):
            dead = kill_engine(running)
            wait_for("another engine", lambda dead=dead: counters(running)["pid"] not in (0, dead))
            with contextlib.suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
                psutil.Process(counters(running)["pid"]).wait(age_s)
        wait_until_rebuilt(running, kill_engine(running))
        expect_exact_books(running)
        feed = counters(running, "binance")
        # Where the writer has stood still so small a ring runs full, and the feed asks for other reasons.
        assert feed["resyncs"] == 0 or feed["ring_dropped"] > 0
        with damaged(running):
            wait_until_rebuilt(running, kill_engine(running))
        expect_exact_books(running, or_stale=True)
        expect_live_after_resync(running)
        assert tickplant("verify", "--data", running.data_dir).returncode == 0


def test_an_engine_whose_past_cannot_be_read_goes_on_with_stale_books(tmp_path: Path) -> None:
    with plant(tmp_path, text(restore_s=3.0), rate=5000) as running:
        wait_for_a_past(running)
        journal = running.data_dir / "journal" / "binance" / "tick"
        away = journal.with_name("away")
        journal.rename(away)
        journal.write_text("in the way")
        try:
            wait_until_rebuilt(running, kill_engine(running))
            log = (running.data_dir / "log" / "plant.log").read_text()
            assert "no stored ticks arrive: continuing without them" in log
            assert all(tp.fetch_book("binance", symbol, address=running.publish).stale for symbol in SYMBOLS)
        finally:
            journal.unlink()
            away.rename(journal)
        expect_live_after_resync(running)
