"""Parts of kernels that need no window: exponential means, compensated totals, previous values.

All of them skip NaN: a NaN gives NaN, and the state is unchanged. `out` may be `values`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, part

Floats = NDArray[np.float64]

SMOOTHED: Final = 6
"""State of `smoothed`."""
TOTAL: Final = 2
"""State of `running_total`."""
BEFORE: Final = 2
"""State of `changes`."""
TURN: Final = 8


@part
def smoothed(values: Floats, period: int, alpha: float, state: Floats, out: Floats) -> None:
    """Exponential means: `e += alpha * (value - e)`, starting from the mean of the first `period` values; NaN before.

    In each turn of `TURN` values, the mean after k values is `(1 - alpha)**k * e + w`: e is the mean before the turn, w
    what the turn's first k values add. w depends on nothing before the turn, so a processor works on several turns at
    once; the plain recurrence would wait for two operations per value. Errors decay as the weights do.
    """
    seen = int(state[0])
    total = state[1]
    anchor = state[2]
    added = state[3]
    power = state[4]
    step = int(state[5])
    kept = 1.0 - alpha
    rows = len(values)
    powers = powers_of(kept)
    i = 0
    while i < rows:
        if step == 0 and seen >= period and rows - i >= TURN and turn_has_all(values, i):
            for j in range(TURN):
                added = kept * added + alpha * values[i + j]
                out[i + j] = powers[j] * anchor + added
            anchor = powers[TURN - 1] * anchor + added
            added = 0.0
            i += TURN
            continue
        value = values[i]
        if math.isnan(value):
            out[i] = value
        elif seen < period:
            seen += 1
            total += value
            anchor = total / period
            out[i] = anchor if seen == period else np.nan
            added = 0.0
            power = 1.0
        else:
            added = kept * added + alpha * value
            power *= kept
            step += 1
            mean = power * anchor + added
            out[i] = mean
            if step == TURN:
                anchor = mean
                added = 0.0
                power = 1.0
                step = 0
        i += 1
    state[0] = seen
    state[1] = total
    state[2] = anchor
    state[3] = added
    state[4] = power
    state[5] = step


@inlined
def powers_of(kept: float) -> Floats:
    """The weight of the mean before a turn, after each value of the turn."""
    powers = np.empty(TURN)
    power = 1.0
    for j in range(TURN):
        power *= kept
        powers[j] = power
    return powers


@inlined
def turn_has_all(values: Floats, begin: int) -> bool:
    """Whether the turn that begins at `begin` has no NaN."""
    missing = False
    for j in range(TURN):
        missing |= math.isnan(values[begin + j])
    return not missing


@part
def running_total(values: Floats, state: Floats, out: Floats) -> None:
    """Totals since the first row, compensated (Neumaier 1974).

    |error| <= 2**-53 * |total| + rows**2 * 2**-105 * mean(|value|).
    """
    total = state[0]
    lost = state[1]
    for i in range(len(values)):
        value = values[i]
        if math.isnan(value):
            out[i] = value
            continue
        new = total + value
        lost += (total - new) + value if abs(total) >= abs(value) else (value - new) + total
        total = new
        out[i] = total + lost
    state[0] = total
    state[1] = lost


@part
def changes(values: Floats, state: Floats, out: Floats) -> None:
    """Each value minus the previous one; NaN for the first."""
    known = state[0] != 0.0
    before = state[1]
    for i in range(len(values)):
        value = values[i]
        if not math.isnan(value):
            out[i] = value - before if known else np.nan
            before = value
            known = True
        else:
            out[i] = value
    state[0] = known
    state[1] = before


@part
def ratio(value: float, divisor: float) -> float:
    """`value / divisor`, or NaN for a divisor of 0."""
    return value / divisor if divisor != 0.0 else np.nan


@part
def complete(out: Floats) -> None:
    """Set all outputs of a row to NaN if one is NaN, so that a row has all outputs or none."""
    for i in range(out.shape[1]):
        for j in range(len(out)):
            if out[j, i] != out[j, i]:
                out[:, i] = np.nan
                break


@part
def log_ratio(value: float, other: float) -> float:
    """log(value / other), with a relative error of 2**-52 however close the two are; NaN unless both are positive."""
    if not (value > 0.0 and other > 0.0):
        return np.nan
    # 2 atanh(s), s from the difference, which is exact if the prices are close. The series takes a fifth of the time of
    # log1p, and its truncation error is less than 2**-60 of the result.
    s = (value - other) / (value + other)
    if abs(s) > 0.015625:
        return math.log(value / other)
    ss = s * s
    return 2.0 * s + 2.0 * s * ss * (1.0 / 3.0 + ss * (1.0 / 5.0 + ss * (1.0 / 7.0 + ss * (1.0 / 9.0))))


@part
def log_returns(values: Floats, state: Floats, out: Floats) -> None:
    """Logarithm of each value divided by the previous one; NaN for the first, and if one of the two is not positive."""
    known = state[0] != 0.0
    before = state[1]
    for i in range(len(values)):
        value = values[i]
        if math.isnan(value):
            out[i] = value
            continue
        out[i] = log_ratio(value, before) if known else np.nan
        before = value
        known = True
    state[0] = known
    state[1] = before


@part
def lagged(values: Floats, lag: int, state: Floats, out: Floats) -> None:
    """The value `lag` numbers earlier, or NaN if there is none; the state takes `lag + 2` floats."""
    place = int(state[0])
    seen = int(state[1])
    kept = state[2:]
    for i in range(len(values)):
        value = values[i]
        if math.isnan(value):
            out[i] = value
            continue
        out[i] = kept[place] if seen >= lag else np.nan
        kept[place] = value
        place = place + 1 if place + 1 < lag else 0
        seen = min(seen + 1, lag)
    state[0] = place
    state[1] = seen
