"""Sliding sums and moments do not drift, and forget what has left their window."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.made_rows import inputs_of, run

U = 2.0**-53


def sma(close: np.ndarray, period: int) -> np.ndarray:
    indicator = INDICATORS["sma"]
    return run(indicator, close.reshape(1, -1), indicator.settle({"period": period}))[0]


@pytest.mark.parametrize("rows", [100_000, pytest.param(10_000_000, marks=pytest.mark.long)])
def test_after_many_rows_each_mean_is_that_of_its_own_window_alone(rows: int) -> None:
    # Prices of 1e9 and of 1e-3 in turns: a sum that is carried on would keep 1e-7 of each of the large ones.
    random = np.random.default_rng(5)
    close = random.random(rows) * np.where(np.arange(rows) // 5000 % 2, 1e9, 1e-3)
    period = 50
    found = sma(close, period)
    for row in (*random.integers(period, rows, 2000).tolist(), rows - 1):
        window = close[row - period + 1 : row + 1]
        assert abs(found[row] - math.fsum(window) / period) <= (period + 1) * U * math.fsum(window) / period
    # A naive running sum does not hold that bound, so this data tells them apart.
    total = np.cumsum(close)
    naive = (total[period:] - total[:-period]) / period
    quiet = close[1:][period - 1 :] < 1
    assert (np.abs(naive - found[period:]) > (period + 1) * U * 1e-3)[quiet].any()


def test_a_mean_does_not_depend_on_rows_before_the_block_before() -> None:
    random = np.random.default_rng(6)
    close, period = random.random(10_000) * 100, 30
    later = 4 * period
    assert (sma(close, period)[later + period :] == sma(close[later:], period)[period:]).all()


def test_infinity_leaves_with_its_window() -> None:
    close = np.ones(200)
    close[50] = math.inf
    found = sma(close, 10)
    assert np.isinf(found[50:60]).all()
    assert (found[60:] == 1).all()


def test_a_deviation_keeps_its_digits_at_any_size_of_price() -> None:
    random = np.random.default_rng(8)
    small = random.integers(0, 8, 5000).astype(np.float64)
    indicator = INDICATORS["bollinger"]
    parameters = indicator.settle({})
    plain = run(indicator, small.reshape(1, -1), parameters)
    high = run(indicator, (small + 2.0**40).reshape(1, -1), parameters)
    # The sum of squares that most compute, of 1e12, has no digit of this deviation.
    np.testing.assert_array_equal(high[3], plain[3])


def test_a_total_of_millions_of_rows_is_exact() -> None:
    indicator = INDICATORS["obv"]
    close = np.arange(1_000_000) % 2 + 1.0
    volume = np.where(close == 2, 0.1, 0.3) + 1e9 * (np.arange(len(close)) < 10)
    found = run(indicator, inputs_of(indicator, {"close": close, "volume": volume}), indicator.settle({}))[0]
    signed = np.where(close == 2, volume, -volume)
    signed[0] = volume[0]
    assert found[-1] == pytest.approx(math.fsum(signed), rel=2**-52)
