"""A recording in daily files: every reader gets, record by record, what the journal gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from independent import recording
from recorded_store import FEED, ingest

from tickplant.records.layouts import Schema
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.export import export
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.no_cover]

BYTES_A_RECORD = {"spot": 3.41, "usdm": 2.71}
"""Measured: 3.396 and 2.702; 3.56 and 2.79 with `compact_level = 9`, three times as fast."""


def readings(data_dir: Path, venue: str, out: Path) -> dict[str, object]:
    """What readers get: records, columns, the book at some instants, an export."""
    store = Store(data_dir)
    ticks = b"".join(part.tobytes() for part in store.read(FEED, Schema.TICK, Selection()))
    symbol = b"".join(part.tobytes() for part in store.query(venue, "BTCUSDT"))
    times = np.concatenate([part["ts_recv"] for part in store.read(FEED, Schema.TICK, Selection())])
    first, last = int(times.min()), int(times.max())
    books = [store.book(venue, "BTCUSDT", first + (last - first) * part // 7) for part in range(1, 8)]
    out.mkdir()
    blocks = store.blocks(FEED, Schema.TICK, Selection(), ["price"])
    return {
        "ticks": ticks,
        "symbol": symbol,
        "books": [(book.bids.tobytes(), book.asks.tobytes(), book.stale) for book in books],
        "prices": b"".join(block.columns["price"].tobytes() for block in blocks),
        "rows": export(store, venue, "BTCUSDT").write(out / "all.csv"),
        "csv": (out / "all.csv").read_bytes(),
    }


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_a_recording_is_the_same_in_daily_files(market: str, tmp_path: Path) -> None:
    venue = {"spot": "binance", "usdm": "binance-usdm"}[market]
    data_dir = tmp_path / "data"
    ingest(data_dir, recording(f"binance_{market}_btcusdt_20240808.gz"), venue)
    before = readings(data_dir, venue, tmp_path / "before")
    done = Compaction(data_dir, Policy()).run()
    assert (done.trouble, done.damage) == ([], [])
    assert done.bytes <= BYTES_A_RECORD[market] * done.records
    after = readings(data_dir, venue, tmp_path / "after")
    assert after == before
    assert {problem.kind for problem in verify(data_dir).problems} == set()
