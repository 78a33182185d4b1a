"""Parts of kernels over the last `period` values: sums, moments, extremes.

Sums never drift. Values fall into blocks of `period`. A window that ends inside a block consists of a suffix of the
previous block and a prefix of this one. When a block is full, the sums of all its suffixes are computed at once; the
sum of the current prefix grows value by value. So each window is summed afresh from its own values, by at most `period`
additions, and no older value contributes: after a billion rows the error is still that of one sum of `period` values,
and a huge value leaves no trace once it leaves the window. The cost is two additions per value, whatever the period
(van Herk 1992, Gil and Werman 1993, who do this for extremes).

All of them skip NaN: a NaN gives NaN, and the window holds the last `period` numbers. `out` may be `values`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, part

Floats = NDArray[np.float64]

SUM: Final = 3
MOMENTS: Final = 5
COMOMENTS: Final = 9
WEIGHTED: Final = 6
"""Where the slots of a state begin, one for each value of a window, after the fields that exist once."""


def sum_size(period: float) -> int:
    """State of `rolling_sum`, `rolling_weighted` and `rolling_extreme`."""
    return SUM + int(period)


def moments_size(period: float) -> int:
    """State of `rolling_moments`."""
    return MOMENTS + 2 * int(period)


def comoments_size(period: float) -> int:
    """State of `rolling_comoments`."""
    return COMOMENTS + 5 * int(period)


@part
def rolling_sum(values: Floats, period: int, divisor: float, state: Floats, out: Floats) -> None:
    """Sums of the last `period` values, divided by `divisor`; NaN until the window is full.

    |error| <= period * 2**-53 * sum(|value|) / divisor, plus that of the division. With enough values, four blocks are
    summed side by side, each from both ends: eight independent chains of additions, and the sums are the same.
    """
    position = int(state[0])
    full = state[1] != 0.0
    front = state[2]
    slots = state[SUM:]  # values of this block; from `position` on, suffix sums of the previous block
    rows = len(values)
    fronts = np.empty(4 * period if rows > 4 * period else 0)
    tails = np.empty(len(fronts) + period if len(fronts) else 0)
    i = 0
    while i < rows:
        if position == 0 and full and rows - i >= len(fronts) > 0:
            for j in range(period):
                tails[j] = slots[j]
            if _add_blocks(values, i, period, fronts, tails):
                sums = out[i : i + len(fronts)]  # not `out[i + j]`: see `kernel`
                for j in range(len(fronts)):
                    sums[j] = (fronts[j] + tails[j]) / divisor
                for j in range(period):
                    slots[j] = tails[len(fronts) + j]
                i += len(fronts)
                continue
        value = values[i]
        if math.isnan(value):
            out[i] = value
            i += 1
            continue
        front += value
        tail = slots[position]
        slots[position] = value
        position += 1
        if position == period:
            back = 0.0
            for j in range(period - 1, -1, -1):
                value = slots[j]
                slots[j] = back
                back += value
            position = 0
            tail = 0.0
            full = True
        out[i] = (front + tail) / divisor if full else np.nan
        if position == 0:
            front = 0.0
        i += 1
    state[0] = position
    state[1] = full
    state[2] = front


@inlined
def _add_blocks(values: Floats, begin: int, period: int, fronts: Floats, tails: Floats) -> bool:
    """Prefix sums and, after the first `period` of `tails`, suffix sums of four blocks; False if a value is NaN.

    Indices are unsigned: numba checks signed ones for negative values, which takes as long as the additions.
    """
    one, length, first = np.uint64(1), np.uint64(period), np.uint64(begin)
    second, third, fourth = length, length + length, length + length + length
    fifth = fourth + length
    a = b = c = d = 0.0
    back_a = back_b = back_c = back_d = 0.0
    j = np.uint64(0)
    k = length
    while j < length:
        a += values[first + j]
        b += values[first + second + j]
        c += values[first + third + j]
        d += values[first + fourth + j]
        fronts[j] = a
        fronts[second + j] = b
        fronts[third + j] = c
        fronts[fourth + j] = d
        j += one
        k -= one
        tails[second + k] = back_a
        tails[third + k] = back_b
        tails[fourth + k] = back_c
        tails[fifth + k] = back_d
        back_a += values[first + k]
        back_b += values[first + second + k]
        back_c += values[first + third + k]
        back_d += values[first + fourth + k]
    return not math.isnan(a + b + c + d)


@part
def rolling_weighted(values: Floats, period: int, state: Floats, out: Floats) -> None:
    """Sums of the last `period` values with the weights 1 (the oldest) to `period`; NaN until the window is full."""
    position = int(state[0])
    full = state[1] != 0.0
    slots = state[SUM:]
    front = 0.0
    ramp = 0.0
    for j in range(position):  # cheap, so `front` and `ramp` need no place in the state
        front += slots[j]
        ramp += (j + 1.0) * slots[j]
    for i in range(len(values)):
        value = values[i]
        if math.isnan(value):
            out[i] = value
            continue
        tail = slots[position]
        slots[position] = value
        position += 1
        front += value
        ramp += position * value
        if position < period:
            out[i] = tail + ((period - position) * front + ramp) if full else np.nan
            continue
        out[i] = ramp
        back = 0.0
        back_ramp = 0.0
        for j in range(period - 1, -1, -1):
            value = slots[j]
            slots[j] = back_ramp
            back += value
            back_ramp += back
        position = 0
        front = 0.0
        ramp = 0.0
        full = True
    state[0] = position
    state[1] = full


@part
def rolling_extreme(values: Floats, period: int, sign: float, state: Floats, out: Floats) -> None:
    """The largest of the last `period` values if `sign` is 1, the smallest if -1; NaN until the window is full."""
    position = int(state[0])
    full = state[1] != 0.0
    front = state[2]
    slots = state[SUM:]
    for i in range(len(values)):
        value = sign * values[i]
        if math.isnan(value):
            out[i] = value
            continue
        front = value if position == 0 or value > front else front
        tail = slots[position]
        slots[position] = value
        position += 1
        if position < period:
            out[i] = sign * (max(tail, front)) if full else np.nan
            continue
        out[i] = sign * front
        back = -np.inf
        for j in range(period - 1, -1, -1):
            value = slots[j]
            slots[j] = back
            back = max(back, value)
        position = 0
        full = True
    state[0] = position
    state[1] = full
    state[2] = front


@part
def rolling_moments(values: Floats, period: int, state: Floats, mean: Floats, squares: Floats) -> None:
    """Means of the last `period` values, and sums of squared distances from the mean.

    Distances are taken from one value of the window itself, so cancellation loses at most a factor of `period`: the
    relative error of `squares` is at most 4 * period**2 * 2**-53, however large the values are.
    """
    position = int(state[0])
    full = state[1] != 0.0
    pivot = state[2]
    front = state[3]
    front_squares = state[4]
    slots = state[MOMENTS:].reshape(period, 2)
    for i in range(len(values)):
        value = values[i]
        if math.isnan(value):
            mean[i] = value
            squares[i] = value
            continue
        if position == 0 and not full:
            pivot = value
        away = value - pivot
        front += away
        front_squares += away * away
        total = front + slots[position, 0]
        total_squares = front_squares + slots[position, 1]
        slots[position, 0] = value
        position += 1
        if position == period:
            # The value from which distances were taken leaves the window: the newest takes its place.
            pivot = value
            total = 0.0
            total_squares = 0.0
            for j in range(period - 1, -1, -1):
                away = slots[j, 0] - pivot
                slots[j, 0] = total
                slots[j, 1] = total_squares
                total += away
                total_squares += away * away
            position = 0
            front = 0.0
            front_squares = 0.0
            full = True
        if full:
            shift = total / period
            mean[i] = pivot + shift
            squares[i] = max(total_squares - total * shift, 0.0)
        else:
            mean[i] = np.nan
            squares[i] = np.nan
    state[0] = position
    state[1] = full
    state[2] = pivot
    state[3] = front
    state[4] = front_squares


@part
def rolling_comoments(
    first: Floats, second: Floats, period: int, state: Floats, squares: Floats, products: Floats, others: Floats
) -> None:
    """Sums of (a - mean a)**2, (a - mean a)(b - mean b) and (b - mean b)**2 over the last `period` pairs.

    Pairs with NaN are skipped. Error bounds are those of `rolling_moments`. Outputs may be inputs.
    """
    position = int(state[0])
    full = state[1] != 0.0
    pivot_a = state[2]
    pivot_b = state[3]
    a, b, aa, ab, bb = state[4], state[5], state[6], state[7], state[8]
    slots = state[COMOMENTS:].reshape(period, 5)
    for i in range(len(first)):
        value_a = first[i]
        value_b = second[i]
        if math.isnan(value_a) or math.isnan(value_b):
            squares[i] = products[i] = others[i] = np.nan
            continue
        if position == 0 and not full:
            pivot_a = value_a
            pivot_b = value_b
        away_a = value_a - pivot_a
        away_b = value_b - pivot_b
        a += away_a
        b += away_b
        aa += away_a * away_a
        ab += away_a * away_b
        bb += away_b * away_b
        tail = slots[position]
        total_a = a + tail[0]
        total_b = b + tail[1]
        total_aa = aa + tail[2]
        total_ab = ab + tail[3]
        total_bb = bb + tail[4]
        tail[0] = value_a
        tail[1] = value_b
        position += 1
        if position == period:
            pivot_a = value_a
            pivot_b = value_b
            total_a = total_b = total_aa = total_ab = total_bb = 0.0
            for j in range(period - 1, -1, -1):
                slot = slots[j]
                away_a = slot[0] - pivot_a
                away_b = slot[1] - pivot_b
                slot[0] = total_a
                slot[1] = total_b
                slot[2] = total_aa
                slot[3] = total_ab
                slot[4] = total_bb
                total_a += away_a
                total_b += away_b
                total_aa += away_a * away_a
                total_ab += away_a * away_b
                total_bb += away_b * away_b
            position = 0
            a = b = aa = ab = bb = 0.0
            full = True
        if full:
            squares[i] = max(total_aa - total_a * total_a / period, 0.0)
            products[i] = total_ab - total_a * total_b / period
            others[i] = max(total_bb - total_b * total_b / period, 0.0)
        else:
            squares[i] = products[i] = others[i] = np.nan
    state[0] = position
    state[1] = full
    state[2] = pivot_a
    state[3] = pivot_b
    state[4], state[5], state[6], state[7], state[8] = a, b, aa, ab, bb


def volume_moments_size(period: float) -> int:
    """State of `rolling_volume_moments`."""
    return WEIGHTED + 5 * int(period)


@part
def rolling_volume_moments(
    values: Floats, weights: Floats, period: int, state: Floats, mean: Floats, variance: Floats
) -> None:
    """Weighted means and variances of the last `period` values; variances are at least 0. NaN if all weights are 0.

    Pairs with NaN are skipped. Distances are taken from a value of the window, as in `rolling_moments`.
    """
    position = int(state[0])
    full = state[1] != 0.0
    pivot = state[2]
    weight, first, second = state[3], state[4], state[5]
    slots = state[WEIGHTED:].reshape(period, 5)  # value, weight, and the three suffix sums
    for i in range(len(values)):
        value = values[i]
        share = weights[i]
        if math.isnan(value) or math.isnan(share):
            mean[i] = variance[i] = np.nan
            continue
        if position == 0 and not full:
            pivot = value
        away = value - pivot
        weight += share
        first += share * away
        second += share * away * away
        slot = slots[position]
        slot[0] = value
        slot[1] = share
        total = weight + slot[2]
        total_first = first + slot[3]
        total_second = second + slot[4]
        position += 1
        if position == period:
            pivot = value
            total = total_first = total_second = 0.0
            for j in range(period - 1, -1, -1):
                slot = slots[j]
                away = slot[0] - pivot
                slot[2] = total
                slot[3] = total_first
                slot[4] = total_second
                total += slot[1]
                total_first += slot[1] * away
                total_second += slot[1] * away * away
            position = 0
            weight = first = second = 0.0
            full = True
        if full and total != 0.0:
            shift = total_first / total
            mean[i] = pivot + shift
            variance[i] = max(total_second / total - shift * shift, 0.0)
        else:
            mean[i] = variance[i] = np.nan
    state[0] = position
    state[1] = full
    state[2] = pivot
    state[3], state[4], state[5] = weight, first, second
