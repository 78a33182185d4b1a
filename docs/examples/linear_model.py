"""A model over a feature set: trained on what is stored, then served on what comes.

    python linear_model.py DATA VENUE SYMBOL tcp://127.0.0.1:5600 tcp://127.0.0.1:5601

The set `momentum` of docs/derivations.md, as `tickplant features momentum --publish tcp://127.0.0.1:5600` publishes it.
Predicted is the next change of its first feature, by a linear model (least squares). Each prediction goes out as Arrow
again, at the last address, under `prediction.momentum.VENUE.SYMBOL`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import zmq
from numpy.typing import NDArray

import tickplant

Floats = NDArray[np.float64]

SET = "momentum"


def columns_of(table: pa.Table) -> Floats:
    """The features, (rows, features): all but times and names."""
    return np.column_stack([table[name].to_numpy() for name in table.column_names[4:]])


def with_one(features: Floats) -> Floats:
    """A column of ones behind them, for the constant of the model."""
    return np.column_stack([features, np.ones(len(features))])


def train(data: str, venue: str, symbol: str) -> Floats:
    """The weights of each feature and of a constant, from the rows whose features are all there."""
    features = columns_of(tickplant.Store(data).features(SET, venue, symbol).arrow())
    change = np.diff(features[:, 0])
    whole = np.isfinite(features[:-1]).all(axis=1) & np.isfinite(change)
    weights: Floats = np.linalg.lstsq(with_one(features[:-1][whole]), change[whole], rcond=None)[0]
    return weights


def with_change(table: pa.Table, found: Floats) -> pa.Table:
    """Times and names of these rows, and what was predicted for each."""
    return table.select(["ts_event", "ts_recv", "venue", "symbol"]).append_column("change", pa.array(found))


def predict(weights: Floats, table: pa.Table) -> pa.Table:
    """A prediction for each row; NaN where a feature has no value."""
    return with_change(table, with_one(columns_of(table)) @ weights)


def serve(predicted: Callable[[pa.Table], pa.Table], venue: str, symbol: str, source: str, address: str) -> None:
    """Publish what is predicted of the rows that come, until it is ended."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    features, predictions = context.socket(zmq.SUB), context.socket(zmq.PUB)
    features.subscribe(f"feature.{SET}.{venue}.{symbol}".encode())
    features.connect(source)
    predictions.bind(address)
    while True:
        topic, frame = features.recv_multipart()
        table = predicted(pa.ipc.open_stream(frame).read_all())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        predictions.send_multipart([topic.replace(b"feature", b"prediction", 1), sink.getvalue().to_pybytes()])


def main(data: str, venue: str, symbol: str, source: str, address: str) -> None:
    """Train, then serve until it is ended."""
    weights = train(data, venue, symbol)
    serve(lambda table: predict(weights, table), venue, symbol, source, address)


if __name__ == "__main__":
    main(*sys.argv[1:])
