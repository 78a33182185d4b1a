"""Generated rows to try indicators on: random rows that resemble a market, or small ones with ties and zeros."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import Indicator

Floats = NDArray[np.float64]

LEVELS = 12  # per side of generated books


def market(rows: int, seed: int = 1, *, ties: bool = False) -> dict[str, Floats]:
    """Every column of bars, trades and bests, float64 (rows,); with `ties`, few distinct prices and sizes."""
    random = np.random.default_rng(seed)
    # Prices stay around 100: a random walk would reach a bound, where prices would all be equal.
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


def books(rows: int, seed: int = 1, *, ties: bool = False) -> dict[str, Floats]:
    """Every column of books, float64 (rows, LEVELS).

    With `ties`, few distinct prices and sizes, sides of few levels or none, and books by level among those of orders.
    """
    random = np.random.default_rng(seed)
    shape, tick = (rows, LEVELS), 1.0 if ties else 0.01
    best = np.round(100 + random.normal(0, 0.3, (rows, 1)), 0 if ties else 2)
    counted = random.random((rows, 1)) < 0.7
    columns = {}
    for side, sign in (("bid", -1), ("ask", 1)):
        away = tick * np.cumsum(random.integers(1, 2 if ties else 4, shape), axis=1)
        there = np.arange(LEVELS) < random.integers(0 if ties else LEVELS, LEVELS + 1, (rows, 1))
        columns[f"{side}_price"] = best + sign * away
        columns[f"{side}_size"] = random.integers(1, 3 if ties else 1000, shape).astype(np.float64)
        columns[f"{side}_orders"] = np.where(counted | (not ties), random.integers(1, 9, shape), np.nan)
        for name in ("price", "size", "orders"):
            columns[f"{side}_{name}"][~there] = np.nan
    return columns


def inputs_of(indicator: Indicator, columns: dict[str, Floats]) -> Floats:
    """The indicator's inputs, shape (columns, rows), or (columns, rows, levels) over books."""
    return np.ascontiguousarray([columns[name] for name in indicator.inputs])


def made_inputs(indicator: Indicator, parameters: Floats, rows: int, seed: int = 1, *, ties: bool = False) -> Floats:
    """Generated rows as an indicator with these parameters gets them."""
    inputs = inputs_of(indicator, (books if indicator.over == "book" else market)(rows, seed, ties=ties))
    depth = indicator.depth(parameters.tolist()) if indicator.depth else LEVELS
    return np.ascontiguousarray(inputs[..., :depth]) if indicator.over == "book" else inputs


def run(indicator: Indicator, inputs: Floats, parameters: Floats, cuts: list[int] | None = None) -> Floats:
    """The kernel's output over rows that are cut at `cuts`, with one state throughout."""
    state = indicator.start(parameters.tolist())
    parts = []
    for part in np.split(inputs, cuts or [], axis=1):
        out = np.full((len(indicator.outputs), part.shape[1]), -12345.0)
        indicator.kernel(np.ascontiguousarray(part), parameters, state, out)
        parts.append(out)
    return np.concatenate(parts, axis=1)
