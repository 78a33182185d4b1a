"""Series of users' indicators in a real engine: as good as ours, and gone without harm where they fail."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unruly_indicators
from engine_process import EngineProcess, Market, engine
from listener import Listener
from plant_process import DEMO, free_port, plant, tickplant, wait_for

from tickplant.derive.own_indicators import load
from tickplant.derive.row_columns import row_column
from tickplant.records.layouts import DTYPES, VALUE, Schema
from tickplant.runtime.job_specs import IndicatorRef, SeriesRef
from tickplant.store.reader import Store

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "spread_mean.py"
UNRULY = Path(unruly_indicators.__file__)
SCHEMAS = (Schema.BBO, Schema.BAR, Schema.VALUE)


def ref(source: Path, folder: Path, name: str, attribute: str) -> IndicatorRef:
    """Copied, since a checkout may be one that others of a group can write to."""
    path = folder / source.name
    shutil.copyfile(source, path)
    path.chmod(0o644)
    place = f"{path}:{attribute}"
    return IndicatorRef(name, place, load(name, place).source)


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    """An engine with the example, and those that the test names."""
    refs = [ref(EXAMPLE, tmp_path, "spread_mean", "SPREAD_MEAN")]
    refs += [ref(UNRULY, tmp_path, name.lower(), name) for name in request.param]
    series = [SeriesRef(1, "spread_mean-0.1.bbo"), SeriesRef(2, "spread.bbo")]
    series += [SeriesRef(number, f"{one.name}.bbo") for number, one in enumerate(refs[1:], 3)]
    with engine(tmp_path, series=tuple(series), indicators=tuple(refs), schemas=SCHEMAS, checkpoint_s=60) as made:
        yield made


def records(running: EngineProcess, schema: Schema) -> np.ndarray:
    return np.frombuffer(running.derived(schema), DTYPES[schema])


def publish(running: EngineProcess, market: Market, count: int) -> None:
    for _ in range(0, count, 500):
        running.publish(market.ticks(500))


def wait_for_values(running: EngineProcess) -> np.ndarray:
    """Return the values when each best bid and offer has one of our own series."""

    def all_there() -> list[np.ndarray]:
        running.heard()
        bests, values = records(running, Schema.BBO), records(running, Schema.VALUE)
        done = len(bests) and np.count_nonzero(values["series"] == 2) == len(bests)
        return [values] if done and running.counters.get("records", 0) >= running.producer.position else []

    return wait_for("a value for each best", all_there)[0]


def expect_the_example(running: EngineProcess, values: np.ndarray) -> None:
    """Its values are what it gives over all bests at once."""
    bests, own = records(running, Schema.BBO), values[values["series"] == 1]
    units = np.full((2, 10), 1e2), np.full((2, 10), 1e8)
    example = load("spread_mean", f"{running.folder / EXAMPLE.name}:SPREAD_MEAN").indicator
    made = example.apply({name: row_column(bests, name, *(unit[0] for unit in units)) for name in ("bid", "ask")})
    assert own["source_seq"].tolist() == bests["source_seq"].tolist()
    assert (own["value_1"].tobytes(), own["value_2"].tobytes()) == (made["mean"].tobytes(), made["away"].tobytes())


def left_out(running: EngineProcess) -> dict[str, Any]:
    running.heard()
    return dict(running.counters.get("own_left_out", {}))


@pytest.mark.parametrize("running", [("RAISING", "BEYOND_LATER", "SLOW")], indirect=True)
def test_one_that_fails_ends_alone_and_says_why(running: EngineProcess) -> None:
    market = Market(running.ids["BTCUSDT"])
    publish(running, market, 500)
    expect_the_example(running, wait_for_values(running))
    publish(running, market, 9_500)
    values = wait_for_values(running)
    expect_the_example(running, values)
    assert len(records(running, Schema.BBO)) > 700
    names = {"raising.bbo", "beyond_later.bbo", "slow.bbo"}
    wait_for("all to be left out", lambda: left_out(running).keys() == names)
    why = str(running.counters["left_out"])
    assert "raising.bbo: raised ValueError: the five hundredth row" in why
    assert "beyond_later.bbo: raised IndexError" in why
    assert "slow.bbo: takes " in why
    assert "own_row_us allows 20 us a row" in why
    # Until then each had a value a row, and none since.
    for number in (3, 4):
        own = values[values["series"] == number]
        assert 0 < len(own) < 500
        assert own["value_1"].tobytes() == unruly_mid(running)[: len(own)].tobytes()
    rows, cpu_ns = (dict(running.counters[name]) for name in ("own_rows", "own_cpu_ns"))
    assert rows["spread_mean-0.1.bbo"] >= len(records(running, Schema.BBO))
    assert cpu_ns["slow.bbo"] / rows["slow.bbo"] > 20_000 > cpu_ns["spread_mean-0.1.bbo"] / rows["spread_mean-0.1.bbo"]


def unruly_mid(running: EngineProcess) -> np.ndarray:
    bests = records(running, Schema.BBO)
    units = np.full(10, 1e2), np.full(10, 1e8)
    return (row_column(bests, "bid", *units) + row_column(bests, "ask", *units)) / 2


@pytest.mark.parametrize("running", [("ENDLESS",)], indirect=True)
def test_one_that_never_returns_ends_its_engine_once(running: EngineProcess) -> None:
    market = Market(running.ids["BTCUSDT"])
    publish(running, market, 10_000)
    assert running.process.wait(90) < 0
    running.start()
    publish(running, market, 500)
    wait_for("it to be left out", lambda: left_out(running).keys() == {"endless.bbo"})
    assert "took more than 2 s of CPU over one batch" in str(running.counters["left_out"])
    wait_for("all ticks", lambda: running.heard() is not None and running.counters["records"] >= 500)
    assert running.process.poll() is None


@pytest.mark.parametrize("running", [()], indirect=True)
def test_one_whose_file_changes_is_left_out_by_the_next_engine(running: EngineProcess) -> None:
    running.kill()
    file = running.folder / EXAMPLE.name
    file.write_text(file.read_text() + "\n")
    running.start()
    wait_for("it to be left out", lambda: left_out(running).keys() == {"spread_mean-0.1.bbo"})
    assert "has changed since the plant was started" in str(running.counters["left_out"])


PLANT = """
[indicators]
spread_mean = "spread_mean.py:SPREAD_MEAN"
broken = "unruly_indicators.py:OF_BATCHES"

[[engines.engine.derive]]
indicator = "spread_mean"

[[engines.engine.derive]]
indicator = "broken"
"""


@pytest.mark.long
@pytest.mark.usefixtures("unmeasured")
def test_a_plant_makes_its_own_series_through_a_kill_and_a_replay_makes_them_again(tmp_path: Path) -> None:
    for source in (EXAMPLE, UNRULY):
        ref(source, tmp_path, "any", "SPREAD_MEAN" if source is EXAMPLE else "RAISING")
    text = DEMO.replace("[engines.engine]\n", "[engines.engine]\ncheckpoint_s = 1\n") + PLANT
    with plant(tmp_path, text) as up:
        engine_now = lambda: up.process_named("engine")  # noqa: E731
        wait_for("values", lambda: engine_now()["counters"].get("own_rows", {}).get("spread_mean-0.1.bbo", 0) > 300)
        assert "its values depend on where rows are cut" in engine_now()["counters"]["left_out"]
        assert up.status()["healthy"]
        wait_for("checkpoints", lambda: engine_now()["counters"].get("states", 0) > 1)
        os.kill(pid := engine_now()["pid"], signal.SIGKILL)
        wait_for(
            "another engine", lambda: engine_now()["pid"] not in (0, pid) and engine_now()["counters"].get("rebuilds")
        )
        wait_for("values", lambda: engine_now()["counters"].get("own_rows", {}).get("spread_mean-0.1.bbo", 0) > 300)
        shown = tickplant("status", "-c", up.file)
        assert "engine leaves out broken: its values depend" in " ".join(shown.stdout.split())
        assert up.stop() == 0
    store = Store(up.data_dir)
    stored = np.concatenate(list(store.scan(schema=Schema.VALUE)))
    listener = Listener(address := f"tcp://127.0.0.1:{free_port()}")
    done = tickplant("replay", "-c", up.file, "--speed", "max", "--bind", address)
    topics = listener.close()
    assert done.returncode == 0, done.stderr
    again = b"".join(part for topic, part in topics.items() if topic.endswith(".spread_mean-0_1_bbo"))
    assert len(stored) > 300
    assert rows(np.frombuffer(again, VALUE)) == rows(stored)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        found = store.derive(f"{tmp_path / EXAMPLE.name}:SPREAD_MEAN", "binance", symbol).numpy()
        own = np.concatenate(list(store.query("binance", symbol, schema=Schema.VALUE)))
        assert found["away"].tobytes() == own["value_2"].tobytes()


def rows(records: np.ndarray) -> list[bytes]:
    """Without `seq`, which stands last."""
    return sorted(record.tobytes()[:-8] for record in records)
