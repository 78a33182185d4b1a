"""Plain Python shared by the indicators' references: each follows its definition, with exact sums, however slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

NAN = math.nan
Values = Sequence[float]


def over_windows(function: Callable[..., float], period: float, *columns: Values) -> list[float]:
    """`function` of the last `period` rows without NaN, one list per column; NaN in rows with a NaN and until then."""
    kept: list[tuple[float, ...]] = []
    found = []
    for row in zip(*columns, strict=True):
        if any(math.isnan(value) for value in row):
            found.append(NAN)
            continue
        kept = [*kept, row][-int(period) :]
        found.append(function(*map(list, zip(*kept, strict=True))) if len(kept) == int(period) else NAN)
    return found


def exponential(values: Values, period: float, alpha: float) -> list[float]:
    """Exponential means of the values without NaN, starting from the plain mean of the first `period` values."""
    found: list[float] = []
    first: list[float] = []
    mean = NAN
    for value in values:
        if math.isnan(value):
            found.append(NAN)
            continue
        if len(first) < period:
            first.append(value)
            mean = math.fsum(first) / period if len(first) == period else NAN
        else:
            mean += alpha * (value - mean)
        found.append(mean)
    return found


def wilder(values: Values, period: float) -> list[float]:
    """Wilder's mean: exponential, with alpha = 1 / period."""
    return exponential(values, period, 1 / period)


def mean(values: Values) -> float:
    """The mean, exact except for one rounding."""
    return float(sum(map(Fraction, values)) / len(values))


def products(first: Values, second: Values) -> float:
    """Sum of the products of the distances from the two means, exact except for one rounding."""
    one, other = list(map(Fraction, first)), list(map(Fraction, second))
    return float(sum(a * b for a, b in zip(one, other, strict=True)) - sum(one) * sum(other) / len(one))


def squares(values: Values) -> float:
    """Sum of the squares of the distances from the mean, exact except for one rounding."""
    return products(values, values)


def divided(value: float, divisor: float) -> float:
    """`value / divisor`, or NaN for a divisor of 0."""
    return value / divisor if divisor else NAN


def before(values: Values) -> list[float]:
    """The previous row's value for each row; NaN for the first."""
    return [NAN, *values[:-1]] if values else []


def together(*outputs: Values) -> NDArray[np.float64]:
    """The outputs as an array (outputs, rows); a row with a NaN is NaN throughout."""
    found = np.array(outputs, np.float64)
    found[:, np.isnan(found).any(axis=0)] = np.nan
    return found
