"""An engine that was killed has exact books of orders again, from checkpoints and stored ticks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from made_past import derive, fill, past_ticks
from plant_process import DEMO, PlantProcess, plant, status, wait_for

import tickplant
from tickplant.books.plain_orders import PlainOrderBooks
from tickplant.instruments import FEED_SYMBOL, InstrumentTable
from tickplant.records.layouts import Flag, Kind, Schema, Side
from tickplant.store.verify import verify

pytestmark = pytest.mark.usefixtures("unmeasured")

SYMBOLS = ("BTCUSDT", "ETHUSDT")
TEXT = DEMO.replace("[plant]\n", "[plant]\nrestart_backoff_s = 0.2\nhang_s = 60\n")


def rebuilt(running: PlantProcess, not_by: int = 0) -> int:
    """Pid of an engine that has made up for its past."""
    engine = next(process for process in status(running).processes if process.name == "engine")
    done = engine.counters.get("rebuilds") and not engine.counters["rebuilding"] and engine.pid != not_by
    return int(engine.pid or 0) if done else 0


def test_an_engine_killed_twice_comes_back_with_exact_books_of_orders(tmp_path: Path) -> None:
    """On a store whose books are of orders; since then the feed takes trades only, so they stay as they were."""
    data_dir = tmp_path / "data"
    table = InstrumentTable.load(data_dir / "instruments.jsonl")
    ids = [table.register("binance", symbol, 2, 8).id for symbol in (FEED_SYMBOL, *SYMBOLS)][1:]
    start_ns, step_ns = time.time_ns() - 1250 * 10**9, 10**8
    ticks = past_ticks(ids, 12_000, start_ns=start_ns, step_ns=step_ns, resyncs=0.002, of_orders=frozenset(ids))
    ticks["flags"][ticks["kind"] == Kind.TRADE] |= np.uint16(Flag.AGGREGATE)
    fill(data_dir, Schema.TICK, "binance", ticks)
    for schema, records in derive(table, tmp_path, ticks).items():
        fill(data_dir, schema, "engine", records[records["source_seq"] < 11_500])
    truth = PlainOrderBooks()
    truth.apply(ticks)

    def expect_books(running: PlantProcess) -> None:
        for symbol, id_ in zip(SYMBOLS, ids, strict=True):
            book = tickplant.fetch_book("binance", symbol, address=running.publish, orders=True)
            expected = truth.order_books[id_]
            assert book.stale == (expected.state != "live")
            assert book.bid_orders == expected.orders(Side.BID)
            assert book.ask_orders == expected.orders(Side.ASK)
            assert len(book.bid_orders) > 20
            levels = tickplant.fetch_book("binance", symbol, address=running.publish)
            assert (levels.bids, levels.asks) == (book.bids, book.asks)

    assert all(book.state == "live" for book in truth.order_books.values())
    with plant(tmp_path, TEXT.replace('venue = "binance"', 'venue = "binance"\nchannels = ["trade"]')) as running:
        pid = wait_for("the engine to be back", lambda: rebuilt(running))
        expect_books(running)
        for _ in range(2):
            os.kill(pid, signal.SIGKILL)
            pid = wait_for("another engine", lambda pid=pid: rebuilt(running, not_by=pid))
            expect_books(running)
        assert running.stop() == 0
    report = verify(data_dir)
    assert report.ok and report.reconciled
    (tick_journal,) = (journal for journal in report.journals if journal.schema == "tick")
    assert tick_journal.kinds["order_add"] == np.count_nonzero(ticks["kind"] == Kind.ORDER_ADD)
