"""A model of scikit-learn over a feature set, exported to ONNX, and served by onnxruntime on what comes.

    pip install scikit-learn skl2onnx onnxruntime
    python onnx_model.py train DATA VENUE SYMBOL model.onnx 2026-01-05 2026-01-06
    python onnx_model.py serve model.onnx VENUE SYMBOL tcp://127.0.0.1:5600 tcp://127.0.0.1:5601

The first command trains on the samples of a day of a store, recorded or replayed; the second one needs onnxruntime
alone. Set, stream and predictions are those of linear_model.py, which stands beside this file. The model file names
the set and its features, and rows with others are refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from linear_model import SET, columns_of, serve, with_change

import tickplant


def samples(data: str, venue: str, symbol: str, *range_: str) -> pa.Table:
    """The samples of the set in a range of time, all without one."""
    return tickplant.Store(data).features(SET, venue, symbol, *range_).arrow()


def train(table: pa.Table) -> Any:
    """A pipeline of scikit-learn that predicts the next change of the first feature.

    Fitted to the first four fifths of the rows whose features are all there; the rest, which is later, says how good it
    is.
    """
    from sklearn.linear_model import Ridge  # noqa: PLC0415  # to serve needs none of it
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    features = columns_of(table)
    change = np.diff(features[:, 0])
    whole = np.isfinite(features[:-1]).all(axis=1) & np.isfinite(change)
    known, wanted = features[:-1][whole], change[whole]
    cut = len(known) * 4 // 5
    model = make_pipeline(StandardScaler(), Ridge())
    model.fit(known[:cut], wanted[:cut])
    sys.stdout.write(f"{len(known)} rows; R2 of the last fifth {model.score(known[cut:], wanted[cut:]):.3f}\n")
    return model


def export(model: Any, table: pa.Table, file: Path) -> None:
    """Write the model as ONNX, in float64: prices have more digits than a float32."""
    from onnx.helper import set_model_props  # noqa: PLC0415
    from skl2onnx import to_onnx  # noqa: PLC0415
    from skl2onnx.common.data_types import DoubleTensorType  # noqa: PLC0415

    members = table.column_names[4:]
    made = to_onnx(model, initial_types=[("features", DoubleTensorType([None, len(members)]))])
    set_model_props(made, {"feature_set": SET, "features": json.dumps(members)})
    file.write_bytes(made.SerializeToString())


class Predictor:
    """A model file as it runs. Raises SystemExit for rows that it was not trained on."""

    def __init__(self, file: Path) -> None:
        import onnxruntime  # noqa: PLC0415  # to train needs none of it

        self._session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        self._members = json.loads(self._session.get_modelmeta().custom_metadata_map["features"])

    def __call__(self, table: pa.Table) -> pa.Table:
        """A prediction for each row; NaN where a feature has no value."""
        if table.column_names[4:] != self._members:
            raise SystemExit(f"the model is of {self._members}, the rows are of {table.column_names[4:]}: train again")
        (found,) = self._session.run(None, {"features": columns_of(table)})
        return with_change(table, np.asarray(found, np.float64).reshape(-1))


def main(command: str, *words: str) -> None:
    """Train and write a model, or serve one until it is ended."""
    if command == "train":
        data, venue, symbol, file, *range_ = words
        table = samples(data, venue, symbol, *range_)
        export(train(table), table, Path(file))
    else:
        file, venue, symbol, source, address = words
        serve(Predictor(Path(file)), venue, symbol, source, address)


if __name__ == "__main__":
    main(*sys.argv[1:])
