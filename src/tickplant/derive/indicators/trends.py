"""Trend and range indicators over bars: ATR, ADX; bands: Bollinger, Donchian, Keltner."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import (
    NAN,
    before,
    divided,
    exponential,
    mean,
    over_windows,
    squares,
    together,
    wilder,
)
from tickplant.derive.smoothing import SMOOTHED, complete, ratio, smoothed
from tickplant.derive.windows import moments_size, rolling_extreme, rolling_moments, sum_size
from tickplant.kernels import kernel, part

RANGES = 2
"""State of `true_ranges`."""


@part
def true_ranges(high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    """The span of each bar together with the previous close; NaN at the first bar."""
    known = state[0] != 0.0
    last = state[1]
    for i in range(len(close)):
        out[i] = max(high[i], last) - min(low[i], last) if known else np.nan
        last = close[i]
        known = True
    state[0] = known
    state[1] = last


@part
def mean_ranges(high: Floats, low: Floats, close: Floats, period: int, state: Floats, out: Floats) -> None:
    """Wilder's mean of true ranges."""
    true_ranges(high, low, close, state[:RANGES], out)
    smoothed(out, period, 1.0 / period, state[RANGES:], out)


@kernel
def run_atr(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `ATR`."""
    mean_ranges(inputs[0], inputs[1], inputs[2], int(parameters[0]), state, out[0])


@kernel
def run_adx(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `ADX`."""
    period = int(parameters[0])
    high, low, close = inputs[0], inputs[1], inputs[2]
    seen = int(state[0])  # bars, up to period
    last_high, last_low, last_close = state[1], state[2], state[3]
    rises, falls, ranges = state[4], state[5], state[6]
    for i in range(len(close)):
        rise = max(high[i] - last_high, 0.0)
        fall = max(last_low - low[i], 0.0)
        span = max(high[i], last_close) - min(low[i], last_close)
        last_high, last_low, last_close = high[i], low[i], close[i]
        if seen == 0:
            rise = fall = span = 0.0
        if seen >= period:
            rises -= rises / period
            falls -= falls / period
            ranges -= ranges / period
        rises += rise if rise > fall else 0.0
        falls += fall if fall > rise else 0.0
        ranges += span
        if seen < period:
            seen += 1
            out[0, i] = out[1, i] = out[2, i] = np.nan
            continue
        out[0, i] = 100.0 * ratio(abs(rises - falls), rises + falls)
        out[1, i] = 100.0 * ratio(rises, ranges)
        out[2, i] = 100.0 * ratio(falls, ranges)
    state[0] = seen
    state[1], state[2], state[3] = last_high, last_low, last_close
    state[4], state[5], state[6] = rises, falls, ranges
    smoothed(out[0], period, 1.0 / period, state[7:], out[0])
    complete(out)


@kernel
def run_bollinger(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `BOLLINGER`."""
    period, width = int(parameters[0]), parameters[1]
    rolling_moments(inputs[0], period, state, out[0], out[3])
    for i in range(out.shape[1]):
        deviation = math.sqrt(out[3, i] / period)
        out[1, i] = out[0, i] + width * deviation
        out[2, i] = out[0, i] - width * deviation
        out[3, i] = deviation


@kernel
def run_donchian(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `DONCHIAN`."""
    period = int(parameters[0])
    size = len(state) // 2
    rolling_extreme(inputs[0], period, 1.0, state[:size], out[1])
    rolling_extreme(inputs[1], period, -1.0, state[size:], out[2])
    for i in range(out.shape[1]):
        out[0, i] = (out[1, i] + out[2, i]) / 2.0


@kernel
def run_keltner(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `KELTNER`."""
    smoothed(inputs[2], int(parameters[0]), 2.0 / (parameters[0] + 1.0), state[:SMOOTHED], out[0])
    mean_ranges(inputs[0], inputs[1], inputs[2], int(parameters[1]), state[SMOOTHED:], out[2])
    for i in range(out.shape[1]):
        away = parameters[2] * out[2, i]
        out[1, i] = out[0, i] + away
        out[2, i] = out[0, i] - away
    complete(out)


def plain_ranges(inputs: Floats) -> list[float]:
    """True ranges of bars with high, low and close."""
    high, low, close = inputs.tolist()
    rows = zip(high, low, before(close), strict=True)
    return [
        max(top - bottom, abs(top - last), abs(bottom - last)) if not math.isnan(last) else NAN
        for top, bottom, last in rows
    ]


def plain_atr(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `ATR`."""
    return together(wilder(plain_ranges(inputs), parameters[0]))


def plain_adx(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `ADX`."""
    period = int(parameters[0])

    def summed(values: list[float]) -> list[float]:
        # Wilder's sums: the plain sum of the first period - 1 values; each step then keeps 1 - 1 / period of the sum.
        total = math.fsum(values[1:period])
        found = [NAN] * min(period, len(values))
        for value in values[period:]:
            total = total - total / period + value
            found.append(total)
        return found

    high, low, _ = inputs.tolist()
    moves = [
        (max(top - last_top, 0), max(last_bottom - bottom, 0))
        for top, bottom, last_top, last_bottom in zip(high, low, before(high), before(low), strict=True)
    ]
    rises = summed([up if up > down else 0.0 for up, down in moves])
    falls = summed([down if down > up else 0.0 for up, down in moves])
    ranges = summed(plain_ranges(inputs))
    index = [100 * divided(abs(up - down), up + down) for up, down in zip(rises, falls, strict=True)]
    plus = [100 * divided(up, span) for up, span in zip(rises, ranges, strict=True)]
    minus = [100 * divided(down, span) for down, span in zip(falls, ranges, strict=True)]
    return together(wilder(index, period), plus, minus)


def plain_bollinger(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `BOLLINGER`."""
    period, width = parameters
    close = inputs[0].tolist()
    middle = over_windows(mean, period, close)
    deviations = over_windows(lambda window: math.sqrt(squares(window) / period), period, close)
    upper = [value + width * deviation for value, deviation in zip(middle, deviations, strict=True)]
    lower = [value - width * deviation for value, deviation in zip(middle, deviations, strict=True)]
    return together(middle, upper, lower, deviations)


def plain_donchian(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `DONCHIAN`."""
    upper = over_windows(max, parameters[0], inputs[0].tolist())
    lower = over_windows(min, parameters[0], inputs[1].tolist())
    return together([(high + low) / 2 for high, low in zip(upper, lower, strict=True)], upper, lower)


def plain_keltner(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `KELTNER`."""
    period, range_period, width = parameters
    middle = exponential(inputs[2].tolist(), period, 2 / (period + 1))
    away = [width * span for span in wilder(plain_ranges(inputs), range_period)]
    rows = list(zip(middle, away, strict=True))
    return together(middle, [value + span for value, span in rows], [value - span for value, span in rows])


ATR = Indicator(
    name="atr",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(Parameter("period", 14, 1),),
    outputs=("atr",),
    state_size=lambda given: RANGES + SMOOTHED,
    warm_up=lambda given: int(given[0]),
    kernel=run_atr,
    reference=plain_atr,
    formula="m += (r - m) / n, begun with n of them, r = max(high, last close) - min(low, last close)",
    source="Wilder 1978",
)

ADX = Indicator(
    name="adx",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(Parameter("period", 14, 2),),
    outputs=("adx", "plus_di", "minus_di"),
    state_size=lambda given: 7 + SMOOTHED,
    warm_up=lambda given: 2 * int(given[0]) - 1,
    kernel=run_adx,
    reference=plain_adx,
    formula=(
        "adx = Wilder's mean of 100 * |rises - falls| / (rises + falls); di = 100 * rises or falls / ranges; "
        "each sum s += x - s / n, begun with n - 1 of them"
    ),
    source="Wilder 1978, begun as TA-Lib does",
)

BOLLINGER = Indicator(
    name="bollinger",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 20, 1), Parameter("width", 2.0, 0.0, whole=False)),
    outputs=("middle", "upper", "lower", "deviation"),
    state_size=lambda given: moments_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_bollinger,
    reference=plain_bollinger,
    formula="mean of n closes, and the same plus and minus width * their standard deviation (divided by n)",
    source="Bollinger 2001",
)

DONCHIAN = Indicator(
    name="donchian",
    over="bar",
    inputs=("high", "low"),
    parameters=(Parameter("period", 20, 1),),
    outputs=("middle", "upper", "lower"),
    state_size=lambda given: 2 * sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_donchian,
    reference=plain_donchian,
    formula="upper = highest high, lower = lowest low of n bars, middle their mean",
    source="Donchian 1960",
)

KELTNER = Indicator(
    name="keltner",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(
        Parameter("period", 20, 1),
        Parameter("range_period", 10, 1),
        Parameter("width", 2.0, 0.0, whole=False),
    ),
    outputs=("middle", "upper", "lower"),
    state_size=lambda given: RANGES + 2 * SMOOTHED,
    warm_up=lambda given: int(max(given[0] - 1, given[1])),
    kernel=run_keltner,
    reference=plain_keltner,
    formula="middle = ema(close, n), and the same plus and minus width * atr(range_period)",
    source="Keltner 1960, as Raschke computes it",
)

TRENDS = (ATR, ADX, BOLLINGER, DONCHIAN, KELTNER)
