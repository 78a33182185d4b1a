"""An engine that was killed, stopped or overrun has exact books and bars again, and nobody asked the venue."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from checkpoint_proof import expect_as_folded
from listener import Listener
from made_past import derive, fill, past_ticks
from plant_process import DEMO, PlantProcess, free_port, plant, status, wait_for
from plant_process import tickplant as run_tickplant

import tickplant
from tickplant.derive.derivation import Series, Settings
from tickplant.instruments import FEED_SYMBOL, InstrumentTable
from tickplant.records.layouts import BAR, BBO, DTYPES, TRADE_BAR, VALUE, Flag, Kind, Schema
from tickplant.runtime.config import EngineConfig
from tickplant.runtime.control import ProcessStatus
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify

pytestmark = pytest.mark.usefixtures("unmeasured")

PLANT = """
[plant]
restart_backoff_s = 0.2
restart_cap_s = 0.2
restart_intensity = 100
hang_s = 60
"""
TEXT = DEMO.replace("[plant]\n", PLANT).replace("[engines.engine]\n", "[engines.engine]\ncheckpoint_s = 1\n")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
SERIES = """
[[engines.engine.derive]]
indicator = "rsi"
bars = "1s"
parameters.period = 5

[[engines.engine.derive]]
indicator = "hawkes"
symbols = ["binance.BTC*", "binance.ETH*"]

[[engines.engine.derive]]
indicator = "order_flow"

[[engines.engine.derive]]
indicator = "depth"
every = "250ms"

[[engines.engine.derive]]
indicator = "price_to_buy"

[[engines.engine.derive]]
bars = "dollar-100000"

[[engines.engine.derive]]
indicator = "ema"
bars = "tick-9"
"""
DERIVED = {Schema.BBO: BBO, Schema.BAR: BAR}
WITH_SERIES = DERIVED | {Schema.TRADE_BAR: TRADE_BAR, Schema.VALUE: VALUE}


def process_named(running: PlantProcess, name: str) -> ProcessStatus:
    return next(process for process in status(running).processes if process.name == name)


def counter(running: PlantProcess, process: str, name: str) -> int:
    value = process_named(running, process).counters.get(name, 0)
    assert isinstance(value, int)
    return value


def requests_at_start(running: PlantProcess) -> int | None:
    """How often the feed has asked the venue: for its instruments, and for each book."""
    asked = counter(running, "binance", "rest_requests")
    return asked if asked > len(SYMBOLS) else None


def rebuilt(running: PlantProcess, not_by: int = 0) -> bool:
    engine = process_named(running, "engine")
    counters = engine.counters
    done = counters.get("rebuilds") and not counters["rebuilding"] and counters["books_live"] == len(SYMBOLS)
    return bool(done and engine.pid != not_by)


def expect_live_books_as_stored(running: PlantProcess) -> None:
    """Each live book equals what the store says of the same moment."""
    for symbol in SYMBOLS:
        live = tickplant.fetch_book("binance", symbol, address=running.publish)
        assert not live.stale
        assert len(live.bids) > 100

        def stored(symbol: str = symbol, live: tickplant.Book = live) -> bool:
            book = Store(running.data_dir).book("binance", symbol, live.ts_recv)
            sides = [[tuple(row) for row in side.tolist()] for side in (book.bids, book.asks)]
            return sides == [live.bids, live.asks] and not book.stale and book.ts_recv == live.ts_recv

        wait_for(f"the stored book of {symbol} to be the live one", stored, timeout_s=90)


def replayed(data_dir: Path) -> dict[Schema, np.ndarray]:
    """Every derived record that a replay of the whole store gives."""
    address = f"tcp://127.0.0.1:{free_port()}"
    listener = Listener(address)
    done = run_tickplant("replay", "--data", data_dir, "--speed", "max", "--bind", address)
    received = listener.close()
    assert done.returncode == 0, done.stderr
    found: dict[Schema, list[bytes]] = {schema: [] for schema in WITH_SERIES}
    for topic, records in received.items():
        channel = topic.rpartition(".")[2]
        schema = {"bbo": Schema.BBO, "bar": Schema.BAR, "bars": Schema.TRADE_BAR}.get(channel.partition("_")[0])
        if schema or "-" in channel:
            found[schema or Schema.VALUE].append(records)
    return {schema: np.frombuffer(b"".join(parts), DTYPES[schema]) for schema, parts in found.items()}


def rows(records: np.ndarray) -> list[bytes]:
    """Records as rows to compare, whatever their order and `seq`, which stands last; as bytes: NaN equals nothing."""
    return sorted(record.tobytes()[:-8] for record in records)


def expect_derived_as_replayed(data_dir: Path, derived: dict[Schema, np.dtype[np.void]] = DERIVED) -> None:
    """Every derived record is stored once, and is what a replay gives."""
    again = replayed(data_dir)
    for schema, dtype in derived.items():
        stored = np.concatenate([np.zeros(0, dtype), *Store(data_dir).scan(schema=schema)])
        assert len(stored) > 0
        assert rows(stored) == rows(again[schema])
    (proof,) = verify(data_dir, deep=True).deep
    assert (proof.flaws, proof.unproved, proof.lacking, proof.stopped) == ([], 0, 0, "")
    assert (proof.values > 0) == (Schema.VALUE in derived)


def expect_one_hash(data_dir: Path, folder: Path, *, times: int = 10) -> None:
    """The stored ticks, cut into batches at random, lead to what was stored, byte for byte, each time."""
    store = Store(data_dir)
    ticks = np.concatenate(list(store.read("binance", Schema.TICK, Selection())))
    series = tuple(Series(number, name) for number, name in enumerate(store.series.names, 1))
    settings = Settings(bar_s=EngineConfig().bar_s, checkpoint_s=1, series=series)
    stored = b"".join(part.tobytes() for schema in WITH_SERIES for part in store.read("engine", schema, Selection()))
    hashes = {sha256(stored).hexdigest()}
    random = np.random.default_rng(1)
    for _ in range(times):
        cuts = np.sort(random.choice(len(ticks), int(random.integers(1, 500)), replace=False)).tolist()
        made = derive(store.instruments, folder, ticks, settings, cuts=cuts)
        hashes.add(sha256(b"".join(made[schema].tobytes() for schema in WITH_SERIES)).hexdigest())
    assert len(hashes) == 1


def expect_checkpoints_as_folded(data_dir: Path) -> None:
    """Every stored checkpoint is the fold of the stored ticks before it."""
    store = Store(data_dir)
    ticks, made = (
        np.concatenate(list(store.read(producer, schema, Selection())))
        for producer, schema in (("binance", Schema.TICK), ("engine", Schema.CHECKPOINT))
    )
    assert expect_as_folded(made, ticks) >= len(SYMBOLS)


@pytest.mark.long
def test_an_engine_killed_at_any_instant_comes_back_with_exact_books_and_bars(tmp_path: Path) -> None:
    moments = random.Random(7)
    with plant(tmp_path, TEXT + SERIES, rate=2000) as running:
        wait_for("books", lambda: counter(running, "engine", "books_live") == len(SYMBOLS))
        asked = wait_for("the requests at the start", lambda: requests_at_start(running))
        for _ in range(3):
            pid = process_named(running, "engine").pid
            if pid:
                os.kill(pid, signal.SIGKILL)
            more = counter(running, "binance", "ticks") + moments.randrange(6000)
            wait_for("more ticks", lambda more=more: counter(running, "binance", "ticks") >= more)
        wait_for("the engine to be back", lambda pid=pid: rebuilt(running, not_by=pid))
        expect_live_books_as_stored(running)
        assert counter(running, "binance", "rest_requests") == asked
        assert counter(running, "binance", "resyncs") == 0
        assert running.stop() == 0
        assert running.segments() == set()

    # Started again, it goes on with the bars that were open and with what the last engine had not stored.
    again = PlantProcess(running.file)
    try:
        again.wait_until_up()
        wait_for(
            "ticks", lambda: counter(again, "engine", "rebuilds") == 1 and counter(again, "binance", "ticks") > 500
        )
        wait_for("checkpoints", lambda: counter(again, "engine", "checkpoints") >= len(SYMBOLS))
        assert again.stop() == 0
    finally:
        again.clean_up()
    expect_derived_as_replayed(running.data_dir, WITH_SERIES)
    expect_one_hash(running.data_dir, tmp_path)
    expect_checkpoints_as_folded(running.data_dir)


@pytest.mark.long
def test_an_engine_that_was_overrun_comes_back_with_exact_books_and_bars(tmp_path: Path) -> None:
    text = TEXT.replace("[feeds.binance]\n", "[feeds.binance]\nring_records = 4096\n")
    with plant(tmp_path, text + SERIES, rate=2000) as running:
        wait_for("books", lambda: counter(running, "engine", "books_live") == len(SYMBOLS))
        asked = wait_for("the requests at the start", lambda: requests_at_start(running))
        pid = process_named(running, "engine").pid
        ticks = counter(running, "binance", "ticks")
        os.kill(pid, signal.SIGSTOP)
        wait_for("the ring to go round", lambda: counter(running, "binance", "ticks") > ticks + 3 * 4096)
        os.kill(pid, signal.SIGCONT)
        wait_for("the engine to be back", lambda: rebuilt(running))
        assert process_named(running, "engine").pid == pid
        assert counter(running, "engine", "overruns") >= 1
        expect_live_books_as_stored(running)
        assert counter(running, "binance", "rest_requests") == asked
        wait_for("checkpoints", lambda: counter(running, "engine", "checkpoints") >= len(SYMBOLS))
        assert running.stop() == 0
    expect_derived_as_replayed(running.data_dir, WITH_SERIES)
    expect_checkpoints_as_folded(running.data_dir)


@pytest.mark.long
def test_an_engine_comes_back_from_the_last_checkpoints_before_the_bars_that_are_open(tmp_path: Path) -> None:
    """On a store of the last twenty minutes, whose best bids and offers and bars end before its ticks."""
    data_dir = tmp_path / "data"
    table = InstrumentTable.load(data_dir / "instruments.jsonl")
    ids = [table.register("binance", symbol, 2, 8).id for symbol in (FEED_SYMBOL, *SYMBOLS)][1:]
    start_ns, step_ns = time.time_ns() - 1250 * 10**9, 10**8
    ticks = past_ticks(ids, 12_000, start_ns=start_ns, step_ns=step_ns, resyncs=0.002)
    ticks["flags"][ticks["kind"] == Kind.TRADE] |= np.uint16(
        Flag.AGGREGATE
    )  # not of the stream whose missed trades are fetched
    fill(data_dir, Schema.TICK, "binance", ticks)
    for schema, records in derive(table, tmp_path, ticks).items():
        fill(data_dir, schema, "engine", records[records["source_seq"] < 11_500])
    with plant(tmp_path, TEXT) as running:
        wait_for("the engine to be back", lambda: rebuilt(running))
        wait_for("checkpoints", lambda: counter(running, "engine", "checkpoints") > 3)
        expect_live_books_as_stored(running)
        assert running.stop() == 0
    lines = [json.loads(line) for path in (data_dir / "log").iterdir() for line in path.read_text().splitlines()]
    restoring = next(line for line in lines if line["event"] == "restoring")
    assert 0 < restoring["first_seq"] <= 11_500 - 6_000
    assert restoring["checkpoint_records"] > len(SYMBOLS)
    expect_derived_as_replayed(data_dir)
    expect_checkpoints_as_folded(data_dir)
    at_ns = int(ticks["ts_recv"][9_000])
    books = [Store(data_dir).book("binance", symbol, at_ns) for symbol in SYMBOLS]
    shutil.rmtree(data_dir / "journal" / "engine" / "checkpoint")
    for symbol, book in zip(SYMBOLS, books, strict=True):
        again = Store(data_dir).book("binance", symbol, at_ns)
        assert (again.bids.tolist(), again.asks.tolist()) == (book.bids.tolist(), book.asks.tolist())
        assert (again.ts_recv, again.stale) == (book.ts_recv, book.stale)
