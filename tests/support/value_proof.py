"""Compares the stored values of a series over trades with its indicator, computed over all stored trades at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tickplant.derive.indicators.catalogue import indicator
from tickplant.derive.row_columns import row_column, trades_of
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store

HAWKES = """
[[engines.engine.derive]]
indicator = "hawkes"
symbols = ["binance.BTC*"]
"""
NAME = "hawkes-0.1-0.5-1.trade"
TOPIC = "binance.BTCUSDT.hawkes-0_1-0_5-1_trade"


def expect_hawkes_over_all_trades(data_dir: Path) -> int:
    """Assert that each stored trade has exactly one value, equal to the last bit. Returns the last such trade's seq."""
    store = Store(data_dir)
    values = np.concatenate(list(store.query("binance", "BTCUSDT", schema=Schema.VALUE)))
    trades = trades_of(np.concatenate(list(store.query("binance", "BTCUSDT", kinds=["trade"]))))
    values, trades = (rows[: min(len(values), len(trades))] for rows in (values, trades))  # as far as both are stored
    units = np.full((2, store.find("binance", "BTCUSDT")[0].id + 1), 1e8)
    hawkes = indicator("hawkes")
    made = hawkes.apply({column: row_column(trades, column, *units) for column in hawkes.inputs})
    assert {store.series.names[number - 1] for number in values["series"].tolist()} == {NAME}
    assert values["source_seq"].tolist() == trades["seq"].tolist()
    for place, output in enumerate(hawkes.outputs, 1):
        assert values[f"value_{place}"].tobytes() == made[output].tobytes()
    return int(values["source_seq"][-1])
