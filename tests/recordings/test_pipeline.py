"""Real recordings through the whole plant: what is stored equals an independent reading, however it got there."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folded_book import FoldedBook
from independent import Expected, Row, read, recording
from plant_process import free_port, plant, tickplant, wait_for
from sim_process import sim_process

from tickplant.records.layouts import Side

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("pipeline"), pytest.mark.usefixtures("unmeasured")]


class Case(NamedTuple):
    """One recording, what it should say, and the store it was ingested into."""

    venue: str
    file: Path
    expected: Expected
    data_dir: Path
    summary: dict[str, Any]


@pytest.fixture(
    scope="module",
    params=[
        ("binance", "binance_spot_btcusdt_20240808.gz"),
        ("binance-usdm", "binance_usdm_btcusdt_20240808.gz"),
    ],
    ids=["spot", "usdm"],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    venue, name = request.param
    file = recording(name)
    data_dir = tmp_path_factory.mktemp(venue) / "data"
    done = tickplant("ingest", file, "--venue", venue, "--data", data_dir, "--json", timeout_s=300)
    assert done.returncode == 0, done.stderr
    return Case(venue, file, read(file), data_dir, json.loads(done.stdout.splitlines()[-1]))


def table(data_dir: Path, venue: str, *kinds: str) -> pa.Table:
    """What `tickplant query` writes."""
    out = data_dir.parent / f"{'-'.join(kinds) or 'all'}.parquet"
    words = [word for kind in kinds for word in ("--kind", kind)]
    done = tickplant("query", venue, "BTCUSDT", "--data", data_dir, *words, "-o", out)
    assert done.returncode == 0, done.stderr
    return pq.read_table(out)


def stored(data_dir: Path, venue: str, *kinds: str) -> list[Row]:
    """Rows of `tickplant query` as the independent reading has them."""
    rows = table(data_dir, venue, *kinds)
    assert rows.column_names == [
        *("ts_event", "ts_recv", "venue", "symbol", "kind", "side", "price", "size"),
        *("venue_seq", "order_id", "flags", "seq"),
    ]
    columns = [rows[name].to_pylist() for name in ("kind", "side", "price", "size")]
    columns += [rows[name].cast("int64").to_pylist() for name in ("ts_event", "ts_recv", "venue_seq")]
    return list(zip(*columns, strict=True))


def test_ingest_counts_what_the_recording_holds(case: Case) -> None:
    summary, expected = case.summary, case.expected
    assert summary["frames"] == expected.frames
    assert summary["trade"] == len(expected.trades)
    assert summary["quote"] == len(expected.quotes)
    assert summary["level"] + summary["clear"] == len(expected.book)
    assert summary["rejected"] == summary["gaps"] == 0


def test_stored_trades_quotes_and_levels_equal_an_independent_reading(case: Case) -> None:
    assert stored(case.data_dir, case.venue, "trade") == case.expected.trades
    assert stored(case.data_dir, case.venue, "quote") == case.expected.quotes
    assert stored(case.data_dir, case.venue, "level", "clear") == case.expected.book


def test_the_book_at_a_time_equals_an_independent_reconstruction(case: Case) -> None:
    events = case.expected.events
    snapshot = next(index for index, event in enumerate(events) if event and event[0][0] == "clear")
    for index in (snapshot, snapshot + 3, len(events) // 2, len(events) - 1):
        at = max(row[5] for event in events[: index + 1] for row in event) + 1
        book = FoldedBook()
        for event in events:
            if event and event[0][5] < at:
                book.apply_event(event)
        done = tickplant("book", case.venue, "BTCUSDT", "--data", case.data_dir, "--at", str(at), "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert not answer["stale"]
        for name, side in (("bids", Side.BID), ("asks", Side.ASK)):
            assert [(Decimal(price), Decimal(size)) for price, size in answer[name]] == book.side(side)


def test_verify_finds_the_store_whole_and_complete(case: Case) -> None:
    done = tickplant("verify", "--data", case.data_dir, "--json")
    assert done.returncode == 0, done.stdout + done.stderr


PLAYED = """
[plant]
data = "data"
heartbeat_s = 0.2
[feeds.{venue}]
venue = "{venue}"
symbols = ["BTCUSDT"]
ws_url = "ws://{address}"
rest_url = "http://{address}"
transport = "{transport}"
[engines.engine]
publish = "tcp://127.0.0.1:{port}"
[writers.writer]
flush_s = 0.2
"""


@pytest.mark.parametrize(("transport", "speed"), [("picows", 50.0), ("websockets", "max")])
def test_the_recording_played_over_sockets_is_stored_like_the_recording_itself(
    case: Case, tmp_path: Path, transport: str, speed: float | str
) -> None:
    with sim_process(venue=case.venue, recording=str(case.file), speed=speed) as sim:
        text = PLAYED.format(venue=case.venue, transport=transport, address=f"{sim.host}:{sim.port}", port=free_port())
        with plant(tmp_path, text.replace("{", "{{").replace("}", "}}")) as running:
            total = case.summary["ticks"]
            wait_for(
                "every tick to be received",
                lambda: sum(running.process_named(case.venue)["counters"].get("kinds", {}).get(kind, 0)
                            for kind in ("trade", "quote", "level", "clear")) >= total,
            )  # fmt: skip
            assert running.stop() == 0
    played = table(tmp_path / "data", case.venue, "trade", "quote", "level", "clear").drop_columns(["ts_recv", "seq"])
    assert played.equals(table(case.data_dir, case.venue).drop_columns(["ts_recv", "seq"]))
