"""Rows to try indicators on: random ones that look like a market, or small ones with ties and zeros."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import Indicator

Floats = NDArray[np.float64]


def market(rows: int, seed: int = 1, *, ties: bool = False) -> dict[str, Floats]:
    """Every column that an indicator may ask for, float64 (rows,); with `ties`, few different prices and sizes."""
    random = np.random.default_rng(seed)
    # Around 100 for ever: prices that end at a bound would be equal there.
    steps = random.normal(0, 0.3, rows)
    drift = np.cumsum(steps) if rows < 1000 else 20 * np.sin(np.arange(rows) / 3e4) + steps
    close = np.maximum(np.round(100 + drift, 0 if ties else 2), 1.0)
    opened = np.concatenate([close[:1], close[:-1]]) + np.round(random.normal(0, 0.1, rows), 0 if ties else 2)
    opened = np.maximum(opened, 0.5)
    spread = np.round(np.abs(random.normal(0, 0.4, rows)), 0 if ties else 2)
    volume = random.integers(0 if ties else 1, 3 if ties else 1000, rows).astype(np.float64)
    tick = 1.0 if ties else 0.01
    bid = close - tick * random.integers(0 if ties else 1, 3, rows)
    return {
        "open": opened,
        "high": np.maximum(opened, close) + spread,
        "low": np.maximum(np.minimum(opened, close) - spread, 0.25),
        "close": close,
        "volume": volume,
        "buy_volume": np.floor(volume * random.random(rows)),
        "trades": random.integers(1, 9, rows).astype(np.float64),
        "price": close,
        "size": volume,
        "sign": random.integers(-1, 2, rows).astype(np.float64),
        "time_ns": 1.7e18 + np.cumsum(random.exponential(5e8, rows).round()),
        "bid": np.where(random.random(rows) < (0.1 if ties else 0), np.nan, bid),
        "ask": np.where(random.random(rows) < (0.1 if ties else 0), np.nan, bid + tick * random.integers(1, 4, rows)),
        "bid_size": volume,
        "ask_size": random.integers(0 if ties else 1, 3 if ties else 1000, rows).astype(np.float64),
    }


def inputs_of(indicator: Indicator, columns: dict[str, Floats]) -> Floats:
    """The indicator's inputs, (columns, rows)."""
    return np.ascontiguousarray([columns[name] for name in indicator.inputs])


def run(indicator: Indicator, inputs: Floats, parameters: Floats, cuts: list[int] | None = None) -> Floats:
    """What the kernel gives over rows that are cut there, one state throughout."""
    state = indicator.start(parameters.tolist())
    parts = []
    for part in np.split(inputs, cuts or [], axis=1):
        out = np.full((len(indicator.outputs), part.shape[1]), -12345.0)
        indicator.kernel(np.ascontiguousarray(part), parameters, state, out)
        parts.append(out)
    return np.concatenate(parts, axis=1)
