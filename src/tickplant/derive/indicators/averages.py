"""Moving averages of closing prices: SMA, EMA, WMA, MACD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import exponential, mean, over_windows, together
from tickplant.derive.smoothing import SMOOTHED, complete, smoothed
from tickplant.derive.windows import rolling_sum, rolling_weighted, sum_size
from tickplant.kernels import kernel


@kernel
def run_sma(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `SMA`."""
    rolling_sum(inputs[0], int(parameters[0]), parameters[0], state, out[0])


@kernel
def run_ema(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `EMA`."""
    smoothed(inputs[0], int(parameters[0]), 2.0 / (parameters[0] + 1.0), state, out[0])


@kernel
def run_wma(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `WMA`."""
    period = int(parameters[0])
    rolling_weighted(inputs[0], period, state, out[0])
    weights = period * (period + 1) / 2.0
    for i in range(out.shape[1]):
        out[0, i] /= weights


@kernel
def run_macd(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `MACD`."""
    fast, slow, signal = parameters
    smoothed(inputs[0], int(fast), 2.0 / (fast + 1.0), state[:SMOOTHED], out[0])
    smoothed(inputs[0], int(slow), 2.0 / (slow + 1.0), state[SMOOTHED : 2 * SMOOTHED], out[1])
    for i in range(out.shape[1]):
        out[0, i] -= out[1, i]
    smoothed(out[0], int(signal), 2.0 / (signal + 1.0), state[2 * SMOOTHED :], out[1])
    for i in range(out.shape[1]):
        out[2, i] = out[0, i] - out[1, i]
    complete(out)


def plain_sma(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `SMA`."""
    return together(over_windows(mean, parameters[0], inputs[0].tolist()))


def plain_ema(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `EMA`."""
    return together(exponential(inputs[0].tolist(), parameters[0], 2 / (parameters[0] + 1)))


def plain_wma(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `WMA`."""
    weights = np.arange(1, parameters[0] + 1)

    def weighted(window: list[float]) -> float:
        return float(weights @ np.array(window, np.longdouble) / weights.sum())

    return together(over_windows(weighted, parameters[0], inputs[0].tolist()))


def plain_macd(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `MACD`."""
    fast, slow, signal = parameters
    close = inputs[0].tolist()
    means = zip(exponential(close, fast, 2 / (fast + 1)), exponential(close, slow, 2 / (slow + 1)), strict=True)
    macd = [quick - late for quick, late in means]
    smooth = exponential(macd, signal, 2 / (signal + 1))
    return together(macd, smooth, [value - line for value, line in zip(macd, smooth, strict=True)])


SMA = Indicator(
    name="sma",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 20, 1),),
    outputs=("sma",),
    state_size=lambda given: sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_sma,
    reference=plain_sma,
    formula="mean of the last n closes",
    source="textbook",
)

EMA = Indicator(
    name="ema",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 20, 1),),
    outputs=("ema",),
    state_size=lambda given: SMOOTHED,
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_ema,
    reference=plain_ema,
    formula="e += 2 / (n + 1) * (close - e), begun with the mean of the first n closes",
    source="Roberts 1959",
)

WMA = Indicator(
    name="wma",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 20, 1),),
    outputs=("wma",),
    state_size=lambda given: sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_wma,
    reference=plain_wma,
    formula="mean of the last n closes with the weights 1 (the oldest) to n",
    source="textbook",
)

MACD = Indicator(
    name="macd",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("fast", 12, 1), Parameter("slow", 26, 1), Parameter("signal", 9, 1)),
    outputs=("macd", "signal", "histogram"),
    state_size=lambda given: 3 * SMOOTHED,
    warm_up=lambda given: int(max(given[0], given[1]) + given[2]) - 2,
    kernel=run_macd,
    reference=plain_macd,
    formula="macd = ema(fast) - ema(slow); signal = ema of macd; histogram = macd - signal",
    source="Appel 1979",
)

AVERAGES = (SMA, EMA, WMA, MACD)
