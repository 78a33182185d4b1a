"""Realised volatility over bars, mean return with its confidence interval, autocorrelation of returns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import NAN, before, divided, mean, over_windows, products, squares, together
from tickplant.derive.smoothing import BEFORE, lagged, log_ratio, log_returns, ratio
from tickplant.derive.windows import (
    MOMENTS,
    comoments_size,
    moments_size,
    rolling_comoments,
    rolling_moments,
    rolling_sum,
    sum_size,
)
from tickplant.kernels import kernel

NORMAL_95 = 1.959963984540054
"""95% of the normal distribution lie within this many standard deviations of the mean."""


@kernel
def run_volatility(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `VOLATILITY`."""
    period = int(parameters[0])
    unused = np.empty(out.shape[1])
    log_returns(inputs[0], state[:BEFORE], out[0])
    rolling_moments(out[0], period, state[BEFORE:], unused, out[0])
    for i in range(out.shape[1]):
        out[0, i] = math.sqrt(parameters[1] * out[0, i] / (period - 1))


@kernel
def run_parkinson(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `PARKINSON`."""
    for i in range(out.shape[1]):
        out[0, i] = log_ratio(inputs[0, i], inputs[1, i]) ** 2
    rolling_sum(out[0], int(parameters[0]), 4.0 * math.log(2.0) * parameters[0], state, out[0])
    for i in range(out.shape[1]):
        out[0, i] = math.sqrt(parameters[1] * out[0, i])


@kernel
def run_garman_klass(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `GARMAN_KLASS`."""
    share = 2.0 * math.log(2.0) - 1.0
    for i in range(out.shape[1]):
        span = log_ratio(inputs[1, i], inputs[2, i])
        move = log_ratio(inputs[3, i], inputs[0, i])
        out[0, i] = 0.5 * span * span - share * move * move
    rolling_sum(out[0], int(parameters[0]), parameters[0], state, out[0])
    for i in range(out.shape[1]):
        out[0, i] = math.sqrt(parameters[1] * max(out[0, i], 0.0)) if not math.isnan(out[0, i]) else np.nan


@kernel
def run_yang_zhang(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `YANG_ZHANG`."""
    period = int(parameters[0])
    rows = out.shape[1]
    moments = MOMENTS + 2 * period
    known = state[0] != 0.0
    last = state[1]
    gaps, moves, spans = np.empty(rows), np.empty(rows), np.empty(rows)
    for i in range(rows):
        first, high, low, close = inputs[0, i], inputs[1, i], inputs[2, i], inputs[3, i]
        gap = log_ratio(first, last) if known else np.nan
        last = close
        known = True
        move = log_ratio(close, first)
        up = log_ratio(high, first)
        down = log_ratio(low, first)
        span = up * (up - move) + down * (down - move)
        # All three windows hold the same bars: a bar that lacks one of the numbers counts in none of them.
        missing = math.isnan(gap) or math.isnan(span)
        gaps[i] = np.nan if missing else gap
        moves[i] = np.nan if missing else move
        spans[i] = np.nan if missing else span
    state[0] = known
    state[1] = last
    rolling_moments(gaps, period, state[BEFORE : BEFORE + moments], out[0], gaps)
    rolling_moments(moves, period, state[BEFORE + moments : BEFORE + 2 * moments], out[0], moves)
    rolling_sum(spans, period, parameters[0], state[BEFORE + 2 * moments :], spans)
    share = 0.34 / (1.34 + (period + 1.0) / (period - 1.0))
    for i in range(rows):
        variance = (gaps[i] + share * moves[i]) / (period - 1) + (1.0 - share) * spans[i]
        out[0, i] = math.sqrt(parameters[1] * max(variance, 0.0)) if not math.isnan(variance) else np.nan


@kernel
def run_returns(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `RETURNS`."""
    period = int(parameters[0])
    log_returns(inputs[0], state[:BEFORE], out[0])
    rolling_moments(out[0], period, state[BEFORE:], out[0], out[1])
    for i in range(out.shape[1]):
        deviation = math.sqrt(out[1, i] / (period - 1))
        away = parameters[1] * deviation / math.sqrt(parameters[0])
        out[1, i] = deviation
        out[2, i] = out[0, i] - away
        out[3, i] = out[0, i] + away


@kernel
def run_autocorrelation(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `AUTOCORRELATION`."""
    period, lag = int(parameters[0]), int(parameters[1])
    rows = out.shape[1]
    earlier, others = np.empty(rows), np.empty(rows)
    log_returns(inputs[0], state[:BEFORE], out[0])
    lagged(out[0], lag, state[BEFORE : BEFORE + 2 + lag], earlier)
    rolling_comoments(out[0], earlier, period, state[BEFORE + 2 + lag :], earlier, out[0], others)
    for i in range(rows):
        out[0, i] = ratio(out[0, i], math.sqrt(earlier[i] * others[i]))


def _log_ratio(value: float, other: float) -> float:
    return math.log(value / other) if value > 0 and other > 0 else NAN


def _returns(closes: list[float]) -> list[float]:
    return [_log_ratio(value, last) for value, last in zip(closes, before(closes), strict=True)]


def plain_volatility(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `VOLATILITY`."""
    period, per_year = parameters
    spread = over_windows(squares, period, _returns(inputs[0].tolist()))
    return together([math.sqrt(per_year * value / (period - 1)) for value in spread])


def plain_parkinson(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `PARKINSON`."""
    period, per_year = parameters
    spans = [_log_ratio(high, low) ** 2 / (4 * math.log(2)) for high, low in inputs.T.tolist()]
    return together([math.sqrt(per_year * value) for value in over_windows(mean, period, spans)])


def plain_garman_klass(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `GARMAN_KLASS`."""
    period, per_year = parameters
    parts = [
        _log_ratio(high, low) ** 2 / 2 - (2 * math.log(2) - 1) * _log_ratio(close, first) ** 2
        for first, high, low, close in inputs.T.tolist()
    ]
    return together(
        [math.sqrt(per_year * max(0.0, v)) if not math.isnan(v) else NAN for v in over_windows(mean, period, parts)]
    )


def plain_yang_zhang(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `YANG_ZHANG`."""
    period, per_year = parameters
    weight = 0.34 / (1.34 + (period + 1) / (period - 1))

    def variance(gaps: list[float], moves: list[float], spans: list[float]) -> float:
        overnight = squares(gaps) / (period - 1)
        return overnight + weight * squares(moves) / (period - 1) + (1 - weight) * mean(spans)

    gaps, moves, spans = [], [], []
    for (first, high, low, close), last in zip(inputs.T.tolist(), before(inputs[3].tolist()), strict=True):
        gaps.append(_log_ratio(first, last))
        moves.append(_log_ratio(close, first))
        spans.append(
            _log_ratio(high, close) * _log_ratio(high, first) + _log_ratio(low, close) * _log_ratio(low, first)
        )
    found = over_windows(variance, period, gaps, moves, spans)
    return together([math.sqrt(per_year * max(0.0, value)) if not math.isnan(value) else NAN for value in found])


def plain_returns(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `RETURNS`."""
    period, quantile = parameters
    found = _returns(inputs[0].tolist())
    middle = over_windows(mean, period, found)
    deviation = [math.sqrt(value / (period - 1)) for value in over_windows(squares, period, found)]
    rows = [(value, quantile * spread / math.sqrt(period)) for value, spread in zip(middle, deviation, strict=True)]
    return together(middle, deviation, [value - away for value, away in rows], [value + away for value, away in rows])


def plain_autocorrelation(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `AUTOCORRELATION`."""

    def correlation(first: list[float], second: list[float]) -> float:
        return divided(products(first, second), math.sqrt(squares(first) * squares(second)))

    period, lag = int(parameters[0]), int(parameters[1])
    found = _returns(inputs[0].tolist())
    earlier = ([NAN] * lag + found)[: len(found)]
    return together(over_windows(correlation, period, found, earlier))


PERIOD = Parameter("period", 20, 2)
PER_YEAR = Parameter("per_year", 1.0, 0.0, whole=False)

VOLATILITY = Indicator(
    name="volatility",
    over="bar",
    inputs=("close",),
    parameters=(PERIOD, PER_YEAR),
    outputs=("volatility",),
    state_size=lambda given: BEFORE + moments_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_volatility,
    reference=plain_volatility,
    formula="sqrt(per_year * variance (divided by n - 1) of n log returns of the close); per_year: bars in a year",
    source="textbook",
)

PARKINSON = Indicator(
    name="parkinson",
    over="bar",
    inputs=("high", "low"),
    parameters=(PERIOD, PER_YEAR),
    outputs=("parkinson",),
    state_size=lambda given: sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_parkinson,
    reference=plain_parkinson,
    formula="sqrt(per_year * mean of log(high / low)**2 / (4 log 2) of n bars)",
    source="Parkinson 1980",
)

GARMAN_KLASS = Indicator(
    name="garman_klass",
    over="bar",
    inputs=("open", "high", "low", "close"),
    parameters=(PERIOD, PER_YEAR),
    outputs=("garman_klass",),
    state_size=lambda given: sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_garman_klass,
    reference=plain_garman_klass,
    formula="sqrt(per_year * mean of log(high / low)**2 / 2 - (2 log 2 - 1) * log(close / open)**2 of n bars)",
    source="Garman and Klass 1980",
)

YANG_ZHANG = Indicator(
    name="yang_zhang",
    over="bar",
    inputs=("open", "high", "low", "close"),
    parameters=(PERIOD, PER_YEAR),
    outputs=("yang_zhang",),
    state_size=lambda given: BEFORE + 2 * moments_size(given[0]) + sum_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_yang_zhang,
    reference=plain_yang_zhang,
    formula=(
        "sqrt(per_year * (o + k * c + (1 - k) * r)): variances of log(open / last close) and of log(close / open), "
        "mean of Rogers and Satchell's of n bars; k = 0.34 / (1.34 + (n + 1) / (n - 1))"
    ),
    source="Yang and Zhang 2000",
)

RETURNS = Indicator(
    name="returns",
    over="bar",
    inputs=("close",),
    parameters=(PERIOD, Parameter("quantile", NORMAL_95, 0.0, whole=False)),
    outputs=("mean", "deviation", "lower", "upper"),
    state_size=lambda given: BEFORE + moments_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_returns,
    reference=plain_returns,
    formula="mean of n log returns, their deviation s (n - 1), and mean -+ quantile * s / sqrt(n)",
    source="textbook; the quantile of 95% of the normal distribution unless given",
)

AUTOCORRELATION = Indicator(
    name="autocorrelation",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 50, 2), Parameter("lag", 1, 1)),
    outputs=("autocorrelation",),
    state_size=lambda given: BEFORE + 2 + int(given[1]) + comoments_size(given[0]),
    warm_up=lambda given: int(given[0] + given[1]),
    kernel=run_autocorrelation,
    reference=plain_autocorrelation,
    formula="correlation of n log returns with those lag bars before",
    source="Pearson 1895",
)

VOLATILITIES = (VOLATILITY, PARKINSON, GARMAN_KLASS, YANG_ZHANG, RETURNS, AUTOCORRELATION)
