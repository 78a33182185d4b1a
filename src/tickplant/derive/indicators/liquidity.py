"""Measures of liquidity and order flow: Kyle's lambda, VPIN, Roll's and Amihud's measures, Hawkes intensity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import before, divided, mean, over_windows, products, squares, together
from tickplant.derive.smoothing import BEFORE, changes, lagged, ratio
from tickplant.derive.windows import comoments_size, rolling_comoments, rolling_sum, sum_size
from tickplant.kernels import kernel

HAWKES_STATE = 5
"""State of `run_hawkes`: whether there was a trade, its time, and three sums of decayed trades."""


@kernel
def run_kyle(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `KYLE`."""
    rows = out.shape[1]
    signed, unused = np.empty(rows), np.empty(rows)
    for i in range(rows):
        signed[i] = 2.0 * inputs[2, i] - inputs[1, i]
    changes(inputs[0], state[:BEFORE], out[0])
    rolling_comoments(signed, out[0], int(parameters[0]), state[BEFORE:], signed, out[0], unused)
    for i in range(rows):
        out[0, i] = ratio(out[0, i], signed[i])


@kernel
def run_vpin(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `VPIN`."""
    period = int(parameters[0])
    size = len(state) // 2
    totals = np.empty(out.shape[1])
    for i in range(out.shape[1]):
        out[0, i] = abs(2.0 * inputs[1, i] - inputs[0, i])
    rolling_sum(out[0], period, 1.0, state[:size], out[0])
    rolling_sum(inputs[0], period, 1.0, state[size:], totals)
    for i in range(out.shape[1]):
        out[0, i] = ratio(out[0, i], totals[i])


@kernel
def run_roll(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `ROLL`."""
    period = int(parameters[0])
    rows = out.shape[1]
    last, unused = np.empty(rows), np.empty(rows)
    changes(inputs[0], state[:BEFORE], out[0])
    lagged(out[0], 1, state[BEFORE : BEFORE + 3], last)
    rolling_comoments(out[0], last, period, state[BEFORE + 3 :], last, out[0], unused)
    for i in range(rows):
        out[0, i] = math.copysign(2.0 * math.sqrt(abs(out[0, i]) / (period - 1)), -out[0, i])


@kernel
def run_amihud(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `AMIHUD`."""
    changes(inputs[0], state[:BEFORE], out[0])
    for i in range(out.shape[1]):
        close = inputs[0, i]
        out[0, i] = ratio(ratio(abs(out[0, i]), abs(close - out[0, i])), abs(close) * inputs[1, i])
    rolling_sum(out[0], int(parameters[0]), parameters[0], state[BEFORE:], out[0])


@kernel
def run_hawkes(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `HAWKES`."""
    base, jump, decay = parameters
    begun = state[0] != 0.0
    last, trades, buys, sells = state[1], state[2], state[3], state[4]
    for i in range(out.shape[1]):
        sign = inputs[0, i]
        time_ns = inputs[1, i]
        if begun and time_ns > last:  # an older trade counts as if it came at the last one's time
            left = math.exp(-decay * 1e-9 * (time_ns - last))
            trades *= left
            buys *= left
            sells *= left
        if not begun or time_ns > last:
            last = time_ns
        begun = True
        trades += 1.0
        buys += 1.0 if sign > 0.0 else 0.0
        sells += 1.0 if sign < 0.0 else 0.0
        out[0, i] = base + jump * trades
        out[1, i] = base + jump * buys
        out[2, i] = base + jump * sells
    state[0] = begun
    state[1], state[2], state[3], state[4] = last, trades, buys, sells


def plain_kyle(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `KYLE`."""
    close, volume, bought = inputs.tolist()
    flow = [bought[row] - (volume[row] - bought[row]) for row in range(len(close))]
    moves = [value - last for value, last in zip(close, before(close), strict=True)]

    def slope(signed: list[float], change: list[float]) -> float:
        return divided(products(signed, change), squares(signed))

    return together(over_windows(slope, parameters[0], flow, moves))


def plain_vpin(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `VPIN`."""

    def vpin(volume: list[float], bought: list[float]) -> float:
        apart = [abs(bought[row] - (volume[row] - bought[row])) for row in range(len(volume))]
        return divided(math.fsum(apart), math.fsum(volume))

    return together(over_windows(vpin, parameters[0], *inputs.tolist()))


def plain_roll(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `ROLL`."""
    period = int(parameters[0])
    price = inputs[0].tolist()
    moves = [value - last for value, last in zip(price, before(price), strict=True)]
    covariances = [value / (period - 1) for value in over_windows(products, period, moves, before(moves))]
    return together([2 * math.sqrt(-value) if value <= 0 else -2 * math.sqrt(value) for value in covariances])


def plain_amihud(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `AMIHUD`."""
    close, volume = inputs.tolist()
    costs = [
        divided(abs(divided(value - last, last)), abs(value) * amount)
        for value, last, amount in zip(close, before(close), volume, strict=True)
    ]
    return together(over_windows(mean, parameters[0], costs))


def plain_hawkes(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `HAWKES`: at each trade, the sum over all trades so far."""
    base, jump, decay = parameters
    signs, times = inputs.tolist()
    latest = [max(times[: row + 1]) for row in range(len(times))]

    def intensity(row: int, wanted: set[float]) -> float:
        decayed = (
            math.exp(-decay * (latest[row] - latest[past]) * 1e-9) for past in range(row + 1) if signs[past] in wanted
        )
        return base + jump * math.fsum(decayed)

    return together(*([intensity(row, of) for row in range(len(times))] for of in ({-1.0, 0.0, 1.0}, {1.0}, {-1.0})))


KYLE = Indicator(
    name="kyle",
    over="bar",
    inputs=("close", "volume", "buy_volume"),
    parameters=(Parameter("period", 50, 2),),
    outputs=("kyle",),
    state_size=lambda given: BEFORE + comoments_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_kyle,
    reference=plain_kyle,
    formula="slope of the regression of n changes of the close on the volume bought less that sold",
    source="Kyle 1985, as Hasbrouck 2009 estimates it",
)

VPIN = Indicator(
    name="vpin",
    over="bar",
    inputs=("volume", "buy_volume"),
    parameters=(Parameter("period", 50, 1),),
    outputs=("vpin",),
    state_size=lambda given: 2 * sum_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_vpin,
    reference=plain_vpin,
    formula="sum of |bought - sold| / sum of volume of n bars; bars of equal volume are what it is defined over",
    source="Easley, Lopez de Prado and O'Hara 2012, with the aggressors that the venue names",
)

ROLL = Indicator(
    name="roll",
    over="trade",
    inputs=("price",),
    parameters=(Parameter("period", 100, 2),),
    outputs=("roll",),
    state_size=lambda given: BEFORE + 3 + comoments_size(given[0]),
    warm_up=lambda given: int(given[0]) + 1,
    kernel=run_roll,
    reference=plain_roll,
    formula="2 * sqrt(-covariance (n - 1) of n changes of price with the one before), -2 * sqrt(c) where c is positive",
    source="Roll 1984",
)

AMIHUD = Indicator(
    name="amihud",
    over="bar",
    inputs=("close", "volume"),
    parameters=(Parameter("period", 20, 1),),
    outputs=("amihud",),
    state_size=lambda given: BEFORE + sum_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_amihud,
    reference=plain_amihud,
    formula="mean of |close / last close - 1| / (close * volume) of n bars that traded",
    source="Amihud 2002",
)

HAWKES = Indicator(
    name="hawkes",
    over="trade",
    inputs=("sign", "time_ns"),
    parameters=(
        Parameter("base", 0.1, 0.0, whole=False),
        Parameter("jump", 0.5, 0.0, whole=False),
        Parameter("decay", 1.0, 0.0, whole=False),
    ),
    outputs=("intensity", "buy", "sell"),
    state_size=lambda given: HAWKES_STATE,
    warm_up=lambda given: 0,
    kernel=run_hawkes,
    reference=plain_hawkes,
    formula="base + jump * sum of exp(-decay * age) of all trades, of buys, of sells, this one included; per second",
    source="Hawkes 1971",
)

LIQUIDITY = (KYLE, VPIN, ROLL, AMIHUD, HAWKES)
