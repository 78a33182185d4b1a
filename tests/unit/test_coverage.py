"""What is stored of each symbol and day: complete, with gaps, or missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_past import fill
from made_records import START_NS, make_ticks

from tickplant.cli import run
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import GapCause, Schema
from tickplant.records.notes import make_gaps
from tickplant.store.coverage import CoverageGap
from tickplant.store.daily_files import DAY_NS
from tickplant.store.reader import Store
from tickplant.writer.index import load_index

S = 10**9


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Day 0: whole. Day 1: nothing. Day 2: AAA begins with a GAP. BBB is silent from day 1 on."""
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    first = make_ticks(600, instruments=2)
    gap = make_gaps([1], GapCause.RESTART, missing=7, ts_recv=START_NS + 2 * DAY_NS, flags=ALL_STREAMS, seq=600)
    later = make_ticks(300, first_seq=601, instruments=1, start_ns=START_NS + 2 * DAY_NS + S)
    fill(tmp_path, Schema.TICK, "feed", np.concatenate([first, gap, later]), flush=100)
    return Store(tmp_path)


def test_a_table_says_of_each_symbol_and_day_what_is_stored_and_what_is_missing(store: Store) -> None:
    rows = {(row.symbol, row.day): row for row in store.coverage()}
    assert [(*key, row.state, row.records) for key, row in rows.items()] == [
        ("AAA", "2023-11-14", "gaps", 300),
        ("AAA", "2023-11-15", "missing", 0),
        ("AAA", "2023-11-16", "gaps", 300),
        ("BBB", "2023-11-14", "complete", 300),
    ]
    ticks = np.concatenate(list(store.query("venue", "AAA")))
    before = int(ticks["ts_recv"][ticks["seq"] < 600].max())
    midnight = (before // DAY_NS + 1) * DAY_NS
    stream = "trade+quote+book+orders+other"
    lengths = (midnight - before, DAY_NS, START_NS + 2 * DAY_NS - midnight - DAY_NS)
    assert [row.gaps for row in rows.values()] == [
        [CoverageGap("restart", stream, 1, 0, 0, lengths[0])],
        [CoverageGap("restart", stream, 1, 0, 0, lengths[1])],
        [CoverageGap("restart", stream, 1, 7, 0, lengths[2])],
        [],
    ]
    assert (rows["AAA", "2023-11-14"].first_ns, rows["AAA", "2023-11-14"].last_ns) == (ticks["ts_recv"][0], before)
    assert [row.symbol for row in store.coverage("venue", "BBB")] == ["BBB"]
    assert [row.day for row in store.coverage("venue", "AAA", start_ns=START_NS + DAY_NS)] == ["2023-11-16"]
    with pytest.raises(StoreError, match="the store has no records of venue CCC"):
        store.coverage("venue", "CCC")


@pytest.mark.parametrize("how", ["damaged", "removed"])
def test_what_the_store_has_lost_is_a_gap_of_every_symbol(store: Store, how: str) -> None:
    (path, *_), table = store.files("feed", Schema.TICK), store.data_dir / "instruments.jsonl"
    entry = load_index(path).entries[2]
    data = bytearray(path.read_bytes())
    if how == "damaged":
        data[int(entry["offset"]) + 300] ^= 1
        path.write_bytes(data)
    else:
        kept = load_index(path).entries
        path.write_bytes(data[: int(entry["offset"])] + data[int(kept[3]["offset"]) :])
        path.with_suffix(".tpx").unlink()
    assert table.exists()
    lost = [
        (row.symbol, gap.cause, gap.stream, gap.missing)
        for row in store.coverage()
        for gap in row.gaps
        if gap.cause == "damage"
    ]
    assert lost == [("AAA", "damage", "all", 100), ("BBB", "damage", "all", 100)]


def test_query_prints_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(store.data_dir)]
    assert run(["query", "--coverage", *data]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("2023-11-15 venue AAA missing: nothing is stored; 1 x restart of trade+quote")
    assert out[1].endswith("86,400.000 s, 0 records missing")
    assert run(["query", "venue", "BBB", "--coverage", "--json", *data]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["symbol"], row["state"], row["records"], row["gaps"]) == ("BBB", "complete", 300, [])
    for words in (
        ["query", *data],
        ["query", "--coverage", "--kind", "trade", *data],
        ["query", "--coverage", "--where", "price > 1", *data],
    ):
        assert run(words) == 2
        assert "--coverage" in capsys.readouterr().err
