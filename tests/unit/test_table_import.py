"""Tables of others into a store: exact, or refused with the column."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tickplant.cli import run
from tickplant.errors import StoreError
from tickplant.records.layouts import Flag
from tickplant.store.reader import Store
from tickplant.store.table_import import import_table

MAPPING = {"price": "price", "size": "amount", "side": "side", "ts_event": "timestamp", "venue_seq": "id"}
CSV = """exchange,timestamp,id,side,price,amount
b,1700000000000001,17,buy,0.10,1e-3
b,1700000000000002,18,sell,61837.63000001,2
b,1700000000000003,19,,1,3
"""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    path.write_text(CSV)
    return path


def load(path: Path, target: Path, **options: Any) -> int:
    return import_table(path, target, "v", "S", MAPPING, **{"producer": "import-trades", "time_unit": "us"} | options)


def test_every_value_of_a_csv_is_exact_and_is_stored_once(csv: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    assert load(csv, target) == 3
    assert load(csv, target) == 0
    table = Store(target).trades("v", "S").arrow()
    assert table["price"].to_pylist() == [Decimal("0.10000000"), Decimal("61837.63000001"), Decimal("1.00000000")]
    assert table["size"].to_pylist() == [Decimal("0.00100000"), Decimal("2.00000000"), Decimal("3.00000000")]
    assert table["side"].to_pylist() == ["buy", "sell", None]
    assert table["venue_seq"].to_pylist() == [17, 18, 19]
    found = Store(target).trades().numpy()
    assert found["ts_event"].tolist() == found["ts_recv"].tolist()
    assert found["ts_event"][0] == 1_700_000_000_000_001_000
    assert set(found["flags"]) == {Flag.LAST | Flag.BACKFILL}
    csv.write_text(CSV + "b,1700000000000004,20,buy,2,2\n")  # a file that grew, or an import that was stopped
    assert load(csv, target) == 1
    csv.write_text(CSV.replace("0.10", "0.11"))
    with pytest.raises(StoreError, match="holds other records of import-trades"):
        load(csv, target)


def test_parquet_of_any_number_type_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    times = np.array([1_700_000_000_000_000_001, 5], "M8[ns]")
    for prices in (
        pa.array([0.1, 61837.63]),
        pa.array(["0.1", "61837.63"]),
        pa.array([Decimal("0.10"), Decimal("61837.63")]),
    ):
        pq.write_table(
            pa.table({"price": prices, "amount": [1, 2], "side": ["B", "S"], "timestamp": times, "id": [1, 2]}), path
        )
        target = tmp_path / str(prices.type)
        assert load(path, target, time_unit=None) == 2
        found = Store(target).trades(columns=["ts_event", "price"]).numpy()
        assert found["price"].tolist() == [10_000_000, 6_183_763_000_000]
        assert found["ts_event"].tolist() == times.astype(np.int64).tolist()


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (CSV, {"time_unit": None}, "column 'timestamp' is not a valid ts_event: whole numbers need a unit"),
        (CSV, {"price_scale": 2}, "column 'price' is not a valid price"),
        (CSV.replace("sell", "sold"), {}, "column 'side' is not a valid side: 'sold'"),
        (CSV.replace("amount", "qty"), {}, "has no column 'amount'; choose from exchange, timestamp"),
        (CSV.replace("61837.63000001", "99999999999999999999"), {}, "does not fit 63 bits"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_column(
    csv: Path, tmp_path: Path, text: str, options: dict[str, Any], words: str
) -> None:
    csv.write_text(text)
    with pytest.raises(StoreError) as caught:
        load(csv, tmp_path / "data", **options)
    assert words in str(caught.value)
    assert str(csv) in str(caught.value)


def test_the_command_takes_a_mapping(csv: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["import", str(csv), "--data", str(tmp_path / "data")]
    assert run(arguments) == 2
    assert "a single file needs --venue, --symbol and --map" in capfd.readouterr().err
    maps = [part for pair in MAPPING.items() for part in ("--map", "=".join(pair))]
    assert run([*arguments, "--venue", "v", "--symbol", "S", "--time-unit", "us", *maps]) == 0
    assert "3 records stored" in capfd.readouterr().out
