"""Plain Python that the references of indicators share: each from its definition, with exact sums, however slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

NAN = math.nan
Values = Sequence[float]


def over_windows(function: Callable[..., float], period: float, *columns: Values) -> list[float]:
    """`function` of the last `period` rows without NaN, a list a column; NaN in rows with one, and before."""
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
    """Exponential means of the values without NaN, the first of `period` values being their mean."""
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
    """Wilder's mean: each value counts 1 / period."""
    return exponential(values, period, 1 / period)


def mean(values: Values) -> float:
    """The mean, exact but for one rounding."""
    return float(sum(map(Fraction, values)) / len(values))


def products(first: Values, second: Values) -> float:
    """Sum of the products of the distances from the two means, exact but for one rounding."""
    one, other = list(map(Fraction, first)), list(map(Fraction, second))
    return float(sum(a * b for a, b in zip(one, other, strict=True)) - sum(one) * sum(other) / len(one))


def squares(values: Values) -> float:
    """Sum of the squares of the distances from the mean, exact but for one rounding."""
    return products(values, values)


def divided(value: float, divisor: float) -> float:
    """NaN for a divisor of 0."""
    return value / divisor if divisor else NAN


def before(values: Values) -> list[float]:
    """The value of the row before; NaN at the first."""
    return [NAN, *values[:-1]] if values else []


def together(*outputs: Values) -> NDArray[np.float64]:
    """An array (outputs, rows); a row with a NaN is NaN throughout."""
    found = np.array(outputs, np.float64)
    found[:, np.isnan(found).any(axis=0)] = np.nan
    return found
