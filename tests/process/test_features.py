"""A feature set of a real plant: through a kill, as Arrow, from history and on a replay, the same to the last bit."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import zmq
from listener import Listener
from plant_process import DEMO, PlantProcess, free_port, plant, relay, tickplant, wait_for

from tickplant.records.layouts import VALUE, Schema
from tickplant.store.reader import Store

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

MEMBERS = ["rsi-5.1s", "microprice.bbo", "macd-3-6-2.1s:3", "hawkes-0.1-0.5-1.trade:2", "spread.bbo"]
SET = f"""
[[engines.engine.derive]]
indicator = "rsi"
bars = "1s"
parameters.period = 5
[[engines.engine.derive]]
indicator = "macd"
bars = "1s"
parameters = {{{{ fast = 3, slow = 6, signal = 2 }}}}
[[engines.engine.derive]]
indicator = "microprice"
[[engines.engine.derive]]
indicator = "spread"
[[engines.engine.derive]]
indicator = "hawkes"
[[engines.engine.features]]
name = "momentum"
version = 3
on = "trade"
members = {MEMBERS}
symbols = ["binance.BTC*"]
"""
TEXT = DEMO.replace("[engines.engine]\n", "[engines.engine]\ncheckpoint_s = 1\n") + SET


EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "linear_model.py"


@contextmanager
def relayed(up: PlantProcess) -> Iterator[str]:
    """The address at which a relay publishes, while this is open."""
    address = f"ipc://{up.file.parent}/arrow"
    words = "features", "momentum", "-c", up.file, "--publish", address, "--source", up.publish
    with relay(*words, says=b"publishing momentum 3"):
        yield address


@contextmanager
def served(folder: Path, example: Path, *words: str | Path) -> Iterator[str]:
    """The address at which an example publishes its predictions, while this is open; `words` but the last one."""
    address = f"ipc://{folder}/{example.stem}"
    command = [sys.executable, str(example), *map(str, words), address]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield address
    finally:
        process.kill()
        process.wait(60)


@contextmanager
def received(address: str, topic: bytes) -> Iterator[Callable[..., list[pa.Table]]]:
    """Gives what has come from there, all of it on this topic; up to so many tables while more may come."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.set(zmq.RCVHWM, 0)
    socket.subscribe(b"")
    socket.connect(address)
    tables: list[pa.Table] = []

    def now(most: int = 1 << 30) -> list[pa.Table]:
        while len(tables) < most and socket.poll(20 if most == 1 else 500):
            name, frame = socket.recv_multipart()
            assert name == topic
            tables.append(pa.ipc.open_stream(frame).read_all())
        return tables

    try:
        yield now
    finally:
        socket.close(0)
        context.term()


def test_a_set_is_the_same_live_as_arrow_from_history_and_on_a_replay(tmp_path: Path) -> None:
    with plant(tmp_path, TEXT, rate=1000) as up:

        def counter(name: str) -> int:
            return int(up.process_named("engine")["counters"].get(name, 0))

        def wait_for_more(count: int = 5_000) -> None:
            least = counter("values") + count
            wait_for("values", lambda: counter("values") > least)

        wait_for("values", lambda: counter("values") > 0)
        wait_for("the set", lambda: "feature_momentum-3-1.trade" in (up.data_dir / "series.jsonl").read_text())
        with (
            relayed(up) as source,
            received(source, b"feature.momentum.binance.BTCUSDT") as tables,
            served(tmp_path, EXAMPLE, up.data_dir, "binance", "BTCUSDT", source) as model,
            received(model, b"prediction.momentum.binance.BTCUSDT") as predictions,
        ):
            wait_for_more()
            wait_for("states", lambda: counter("states") > 1)
            pid = up.process_named("engine")["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_for(
                "the engine", lambda: up.process_named("engine")["pid"] not in (0, pid) and counter("rebuilds") == 1
            )
            wait_for_more()
            wait_for("predictions", lambda: predictions(1))
            assert up.stop() == 0
            live, predicted = (pa.concat_tables(each()) for each in (tables, predictions))
    store = Store(up.data_dir)
    numbers = {name: number for number, name in enumerate(store.series.names, 1)}
    stored = np.concatenate(list(store.query("binance", "BTCUSDT", schema=Schema.VALUE)))
    history = store.features("momentum", "binance", "BTCUSDT").numpy()
    trades = np.concatenate(list(store.query("binance", "BTCUSDT", kinds=["trade"])))
    # Stored by two engines, the same as one run over everything.
    for place, member in enumerate(MEMBERS):
        part = stored[stored["series"] == numbers[f"feature_momentum-3-{place // 4}.trade"]]
        assert part["source_seq"].tolist() == trades["seq"].tolist()
        assert part[f"value_{place % 4 + 1}"].tobytes() == history[member].tobytes(), member
        assert np.isfinite(history[member]).sum() > 100
    assert (
        not list(store.query("binance", "ETHUSDT", schema=Schema.VALUE))
        or not np.isin(
            np.concatenate(list(store.query("binance", "ETHUSDT", schema=Schema.VALUE)))["series"],
            [numbers["feature_momentum-3-0.trade"]],
        ).any()
    )
    # What the relay gave, across the kill, is a part of that without a hole.
    assert live.schema.metadata[b"version"] == b"3"
    assert live.column_names == ["ts_event", "ts_recv", "venue", "symbol", *MEMBERS]
    times = live["ts_recv"].cast(pa.int64()).to_numpy()
    first = int(np.flatnonzero(history["ts_recv"] == times[0])[0])
    assert len(times) > 200
    assert times.tolist() == history["ts_recv"][first : first + len(times)].tolist()
    for member in MEMBERS:
        assert live[member].to_numpy().tobytes() == history[member][first : first + len(times)].tobytes()
    assert set(predicted["ts_recv"].cast(pa.int64()).to_pylist()) <= set(times.tolist())
    assert np.isfinite(predicted["change"].to_numpy()).any()
    # And a replay makes it again.
    listener = Listener(address := f"tcp://127.0.0.1:{free_port()}")
    done = tickplant("replay", "--data", up.data_dir, "--speed", "max", "--bind", address)
    topics = listener.close()
    assert done.returncode == 0, done.stderr
    for part in (0, 1):
        again = np.frombuffer(topics[f"binance.BTCUSDT.feature_momentum-3-{part}_trade"], VALUE)
        own = stored[stored["series"] == numbers[f"feature_momentum-3-{part}.trade"]]
        assert [one.tobytes()[:-8] for one in again] == [one.tobytes()[:-8] for one in own]
    out = tmp_path / "set.parquet"
    assert tickplant("features", "momentum", "binance", "BTCUSDT", "-c", up.file, "-o", out).returncode == 0
    assert pa.parquet.read_table(out).num_rows == len(trades)


def test_a_model_of_scikit_learn_is_served_as_onnx_on_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "the example needs scikit-learn, skl2onnx and onnxruntime, which are no dependencies"
    for name in ("sklearn", "skl2onnx", "onnxruntime"):
        pytest.importorskip(name, reason=reason)
    example, file = EXAMPLE.with_name("onnx_model.py"), tmp_path / "model.onnx"
    monkeypatch.syspath_prepend(str(example.parent))
    onnx_model = importlib.import_module("onnx_model")
    with plant(tmp_path, TEXT, rate=1000) as up:

        def rows() -> int:
            return int(onnx_model.samples(str(up.data_dir), "binance", "BTCUSDT").num_rows)

        wait_for("the set", lambda: "feature_momentum-3-1.trade" in (up.data_dir / "series.jsonl").read_text())
        # Values of macd need eight seconds with trades.
        wait_for("samples", lambda: rows() > 3_000)
        words = [sys.executable, str(example), "train", up.data_dir, "binance", "BTCUSDT", file]
        trained = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "R2 of the last fifth" in trained.stdout
        with (
            relayed(up) as source,
            served(tmp_path, example, "serve", file, "binance", "BTCUSDT", source) as model,
            received(model, b"prediction.momentum.binance.BTCUSDT") as predictions,
        ):
            wait_for("predictions", lambda: predictions(1))
            assert up.stop() == 0
            predicted = pa.concat_tables(predictions())
    # What was served live is what the model makes of the stored samples, and what scikit-learn makes of them.
    history = onnx_model.samples(str(up.data_dir), "binance", "BTCUSDT")
    again = onnx_model.Predictor(file)(history)
    times, known = (table["ts_recv"].cast(pa.int64()).to_numpy() for table in (predicted, again))
    first = int(np.flatnonzero(known == times[0])[0])
    own = again["change"].to_numpy()
    np.testing.assert_allclose(predicted["change"].to_numpy(), own[first : first + len(times)], rtol=1e-12, atol=1e-15)
    fitted = onnx_model.train(history)
    onnx_model.export(fitted, history, file)
    features = onnx_model.columns_of(history)
    whole = np.isfinite(features).all(axis=1)
    assert whole.sum() > 100
    theirs = fitted.predict(features[whole])
    found = onnx_model.Predictor(file)(history)["change"].to_numpy()
    np.testing.assert_allclose(found[whole], theirs, rtol=1e-9, atol=1e-12)
    assert np.isnan(found[~whole]).all()
    with pytest.raises(SystemExit, match="train again"):
        onnx_model.Predictor(file)(history.rename_columns([*history.column_names[:-1], "x"]))
