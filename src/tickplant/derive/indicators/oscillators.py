"""Oscillators over bars: RSI, stochastic, CCI, MFI, Williams %R."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import before, divided, mean, over_windows, together, wilder
from tickplant.derive.smoothing import BEFORE, TURN, changes, complete, ratio
from tickplant.derive.windows import SUM, rolling_extreme, rolling_sum, sum_size
from tickplant.kernels import kernel, part

SAME = 2.0**-50
"""Typical prices within this relative distance count as equal: decimals have no exact floats."""


@kernel
def run_rsi(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `RSI`: `smoothed` of rises and of falls, in one pass, since separate passes would need an array for each."""
    period = int(parameters[0])
    half = 0.5 / period
    kept = 1.0 - 1.0 / period
    close = inputs[0]
    result = out[0]
    seen = int(state[0])  # closes, up to period + 1
    last = state[1]
    up, up_added, down, down_added = state[2], state[3], state[4], state[5]
    power = state[6]
    step = int(state[7])
    for i in range(len(close)):
        value = close[i]
        if math.isnan(value):
            result[i] = value
            continue
        change = value - last
        last = value
        # Without a branch, which the processor would mispredict every other time.
        rise = half * (abs(change) + change)
        fall = half * (abs(change) - change)
        if seen <= period:
            if seen > 0:
                up += rise
                down += fall
            seen += 1
            result[i] = 100.0 * ratio(up, up + down) if seen > period else np.nan
            up_added = down_added = 0.0
            power = 1.0
            continue
        up_added = kept * up_added + rise
        down_added = kept * down_added + fall
        power *= kept
        step += 1
        higher = power * up + up_added
        lower = power * down + down_added
        both = higher + lower
        result[i] = 100.0 * higher / both if both != 0.0 else np.nan
        if step == TURN:
            up = higher
            down = lower
            up_added = down_added = 0.0
            power = 1.0
            step = 0
    state[0] = seen
    state[1] = last
    state[2], state[3], state[4], state[5] = up, up_added, down, down_added
    state[6] = power
    state[7] = step


@part
def place_in_range(
    high: Floats, low: Floats, close: Floats, period: int, state: Floats, highest: Floats, out: Floats
) -> None:
    """Position of the close in the range of the last `period` bars, 0 to 1; `highest` is overwritten."""
    size = len(state) // 2
    rolling_extreme(high, period, 1.0, state[:size], highest)
    rolling_extreme(low, period, -1.0, state[size:], out)
    for i in range(len(close)):
        out[i] = ratio(close[i] - out[i], highest[i] - out[i])


@kernel
def run_stochastic(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `STOCHASTIC`."""
    period, slowing, smoothing = int(parameters[0]), int(parameters[1]), int(parameters[2])
    first = 2 * (SUM + period)
    second = first + SUM + slowing
    place_in_range(inputs[0], inputs[1], inputs[2], period, state[:first], out[1], out[0])
    rolling_sum(out[0], slowing, slowing / 100.0, state[first:second], out[0])
    rolling_sum(out[0], smoothing, float(smoothing), state[second:], out[1])
    complete(out)


@kernel
def run_williams_r(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `WILLIAMS_R`."""
    highest = np.empty(out.shape[1])
    place_in_range(inputs[0], inputs[1], inputs[2], int(parameters[0]), state, highest, out[0])
    for i in range(out.shape[1]):
        out[0, i] = 100.0 * (out[0, i] - 1.0)


@kernel
def run_cci(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `CCI`."""
    period = int(parameters[0])
    filled = int(state[0])
    oldest = int(state[1])
    window = state[2:]
    for i in range(out.shape[1]):
        typical = (inputs[0, i] + inputs[1, i] + inputs[2, i]) / 3.0
        if math.isnan(typical):
            out[0, i] = typical
            continue
        window[oldest] = typical
        oldest = oldest + 1 if oldest + 1 < period else 0
        filled = min(filled + 1, period)
        if filled < period:
            out[0, i] = np.nan
            continue
        total = 0.0  # sum of distances from the newest: exactly 0 if all are equal
        for j in range(period):
            total += window[j] - typical
        shift = total / period
        away = 0.0
        for j in range(period):
            away += abs(window[j] - typical - shift)
        out[0, i] = ratio(-shift, 0.015 * away / period)
    state[0] = filled
    state[1] = oldest


@kernel
def run_mfi(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `MFI`."""
    period = int(parameters[0])
    rows = out.shape[1]
    size = (len(state) - 2) // 2
    typical = np.empty(rows)
    flow = np.empty(rows)
    for i in range(rows):
        typical[i] = (inputs[0, i] + inputs[1, i] + inputs[2, i]) / 3.0 if inputs[3, i] == inputs[3, i] else np.nan
    changes(typical, state[:2], out[0])
    for i in range(rows):
        change = out[0, i]
        moved = abs(change) > SAME * abs(typical[i])
        flow[i] = np.nan if math.isnan(change) else typical[i] * inputs[3, i] if moved else 0.0
        out[0, i] = 0.0 if change < 0.0 and moved else flow[i]
    rolling_sum(out[0], period, 1.0, state[2 : 2 + size], out[0])
    rolling_sum(flow, period, 1.0, state[2 + size :], flow)
    for i in range(rows):
        out[0, i] = 100.0 * ratio(out[0, i], flow[i])


def plain_rsi(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `RSI`."""
    close = inputs[0].tolist()
    change = [value - last for value, last in zip(close, before(close), strict=True)]
    up = wilder([value if value > 0 or math.isnan(value) else 0.0 for value in change], parameters[0])
    down = wilder([-value if value < 0 or math.isnan(value) else 0.0 for value in change], parameters[0])
    return together([100 * divided(rise, rise + fall) for rise, fall in zip(up, down, strict=True)])


def _place(highs: list[float], lows: list[float], closes: list[float]) -> float:
    return divided(closes[-1] - min(lows), max(highs) - min(lows))


def plain_stochastic(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `STOCHASTIC`."""
    period, slowing, smoothing = parameters
    raw = [100 * value for value in over_windows(_place, period, *inputs.tolist())]
    slow = over_windows(mean, slowing, raw)
    return together(slow, over_windows(mean, smoothing, slow))


def plain_williams_r(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `WILLIAMS_R`."""
    return together([100 * value - 100 for value in over_windows(_place, parameters[0], *inputs.tolist())])


def plain_cci(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `CCI`."""

    def cci(window: list[float]) -> float:
        middle = mean(window)
        return divided(window[-1] - middle, 0.015 * mean([abs(value - middle) for value in window]))

    typical = [(high + low + close) / 3 for high, low, close in inputs.T.tolist()]
    return together(over_windows(cci, parameters[0], typical))


def plain_mfi(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `MFI`."""

    def index(change: list[float], flow: list[float]) -> float:
        rising = sum(amount for up, amount in zip(change, flow, strict=True) if up > 0)
        falling = sum(amount for up, amount in zip(change, flow, strict=True) if up < 0)
        return 100 * divided(rising, rising + falling)

    typical = [(high + low + close) / 3 for high, low, close, _ in inputs.T.tolist()]
    change = [
        0.0 if abs(value - last) <= SAME * abs(value) else value - last
        for value, last in zip(typical, before(typical), strict=True)
    ]
    flow = [value * volume for value, volume in zip(typical, inputs[3].tolist(), strict=True)]
    return together(over_windows(index, parameters[0], change, flow))


RSI = Indicator(
    name="rsi",
    over="bar",
    inputs=("close",),
    parameters=(Parameter("period", 14, 1),),
    outputs=("rsi",),
    state_size=lambda given: 8,
    warm_up=lambda given: int(given[0]),
    kernel=run_rsi,
    reference=plain_rsi,
    formula="100 * up / (up + down), the means of rises and falls of the close: m += (x - m) / n, begun with n of them",
    source="Wilder 1978",
)

STOCHASTIC = Indicator(
    name="stochastic",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(Parameter("period", 14, 1), Parameter("slowing", 3, 1), Parameter("smoothing", 3, 1)),
    outputs=("k", "d"),
    state_size=lambda given: 2 * sum_size(given[0]) + sum_size(given[1]) + sum_size(given[2]),
    warm_up=lambda given: int(sum(given)) - 3,
    kernel=run_stochastic,
    reference=plain_stochastic,
    formula="k = sma(slowing) of 100 * (close - lowest) / (highest - lowest) of n bars; d = sma(smoothing) of k",
    source="Lane 1984",
)

WILLIAMS_R = Indicator(
    name="williams_r",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(Parameter("period", 14, 1),),
    outputs=("williams_r",),
    state_size=lambda given: 2 * sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_williams_r,
    reference=plain_williams_r,
    formula="-100 * (highest - close) / (highest - lowest) of n bars",
    source="Williams 1973",
)

CCI = Indicator(
    name="cci",
    over="bar",
    inputs=("high", "low", "close"),
    parameters=(Parameter("period", 20, 1),),
    outputs=("cci",),
    state_size=lambda given: 2 + int(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_cci,
    reference=plain_cci,
    formula="(t - mean t) / (0.015 * mean |t - mean t|) of n bars, t = (high + low + close) / 3",
    source="Lambert 1980",
)

MFI = Indicator(
    name="mfi",
    over="bar",
    inputs=("high", "low", "close", "volume"),
    parameters=(Parameter("period", 14, 1),),
    outputs=("mfi",),
    state_size=lambda given: BEFORE + 2 * sum_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_mfi,
    reference=plain_mfi,
    formula="100 * up / (up + down): sums of t * volume of those of n bars whose t = (high + low + close) / 3 did so",
    source="Quong and Soudack 1989",
)

OSCILLATORS = (RSI, STOCHASTIC, WILLIAMS_R, CCI, MFI)
