"""Indicators give what TA-Lib, polars and scipy give, where these have them, within stated bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import scipy.stats
import talib

from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.made_rows import books, inputs_of, market, run

ROWS = 3000
# In steps of 1/64, sums of prices are exact: whether a mean price rose is a matter of rounding otherwise, in TA-Lib.
COLUMNS = {name: np.round(column * 64) / 64 for name, column in market(ROWS, seed=7).items()}
HIGH, LOW, CLOSE, VOLUME = (COLUMNS[name] for name in ("high", "low", "close", "volume"))

QUOTE, BOOK = ("bid", "bid_size", "ask", "ask_size"), ("bid_price", "bid_size", "ask_price", "ask_size")


def values(name: str, **parameters: float) -> np.ndarray:
    indicator = INDICATORS[name]
    return run(indicator, inputs_of(indicator, COLUMNS), indicator.settle(parameters))


# Of each: parameters, what the oracle gives (None where it has no such output), and the relative bound.
TALIB: dict[str, tuple[dict[str, float], Callable[[], tuple[np.ndarray | None, ...]], float]] = {
    "sma": ({"period": 20}, lambda: (talib.SMA(CLOSE, 20),), 1e-12),
    "ema": ({"period": 20}, lambda: (talib.EMA(CLOSE, 20),), 1e-12),
    "wma": ({"period": 20}, lambda: (talib.WMA(CLOSE, 20),), 1e-12),
    "rsi": ({"period": 14}, lambda: (talib.RSI(CLOSE, 14),), 1e-10),
    "atr": ({"period": 14}, lambda: (talib.ATR(HIGH, LOW, CLOSE, 14),), 1e-12),
    "adx": (
        {"period": 14},
        lambda: (
            talib.ADX(HIGH, LOW, CLOSE, 14),
            talib.PLUS_DI(HIGH, LOW, CLOSE, 14),
            talib.MINUS_DI(HIGH, LOW, CLOSE, 14),
        ),
        1e-10,
    ),
    # Its deviation is the root of a difference of large numbers: its error, not ours.
    "bollinger": ({}, lambda: (*(talib.BBANDS(CLOSE, 20, 2.0, 2.0)[i] for i in (1, 0, 2)), None), 1e-8),
    "donchian": ({"period": 20}, lambda: (None, talib.MAX(HIGH, 20), talib.MIN(LOW, 20)), 0.0),
    "stochastic": ({}, lambda: talib.STOCH(HIGH, LOW, CLOSE, 14, 3, 0, 3, 0), 1e-10),
    "williams_r": ({"period": 14}, lambda: (talib.WILLR(HIGH, LOW, CLOSE, 14),), 1e-10),
    "cci": ({"period": 20}, lambda: (talib.CCI(HIGH, LOW, CLOSE, 20),), 1e-8),
    "mfi": ({"period": 14}, lambda: (talib.MFI(HIGH, LOW, CLOSE, VOLUME, 14),), 1e-10),
    "obv": ({}, lambda: (talib.OBV(CLOSE, VOLUME),), 1e-12),
}


@pytest.mark.parametrize("name", TALIB)
def test_it_equals_talib(name: str) -> None:
    parameters, oracle, bound = TALIB[name]
    found = values(name, **parameters)
    warm = INDICATORS[name].warm_up(INDICATORS[name].settle(parameters).tolist())
    for own, theirs in zip(found, oracle(), strict=True):
        if theirs is not None:
            np.testing.assert_allclose(own[warm:], theirs[warm:], rtol=bound, atol=bound)
    shorter = [theirs for theirs in oracle() if theirs is not None]
    # One with several outputs begins with the last of them.
    assert max(int(np.isnan(theirs).sum()) for theirs in shorter) == warm


def test_macd_is_of_talibs_averages_and_in_the_end_its_macd() -> None:
    macd, signal, histogram = values("macd")
    expected = talib.EMA(CLOSE, 12) - talib.EMA(CLOSE, 26)
    np.testing.assert_allclose(macd[33:], expected[33:], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(signal[33:], talib.EMA(expected, 9)[33:], rtol=1e-9, atol=1e-11)
    # TA-Lib begins its fast average as late as the slow one; that is forgotten after some hundred bars.
    for own, theirs in zip((macd, signal, histogram), talib.MACD(CLOSE, 12, 26, 9), strict=True):
        np.testing.assert_allclose(own[400:], theirs[400:], rtol=1e-9, atol=1e-11)


def test_returns_and_volatility_equal_polars_and_scipy() -> None:
    period = 25
    returns = pl.Series(np.diff(np.log(CLOSE)))
    mean, deviation, lower, upper = values("returns", period=period)
    np.testing.assert_allclose(mean[period:], returns.rolling_mean(period).to_numpy()[period - 1 :], atol=1e-14)
    np.testing.assert_allclose(deviation[period:], returns.rolling_std(period).to_numpy()[period - 1 :], rtol=1e-9)
    np.testing.assert_array_equal(values("volatility", period=period)[0], deviation)
    yearly = values("volatility", period=period, per_year=365)[0]
    np.testing.assert_allclose(yearly[period:], deviation[period:] * np.sqrt(365), rtol=1e-14)
    for row in (period, 1000, ROWS - 1):
        window = returns.to_numpy()[row - period : row]
        around, error = window.mean(), scipy.stats.sem(window)
        expected = scipy.stats.norm.interval(0.95, around, error)
        np.testing.assert_allclose((lower[row], upper[row]), expected, rtol=1e-9, atol=1e-14)
        student = scipy.stats.t.interval(0.95, period - 1, around, error)
        own = values("returns", period=period, quantile=float(scipy.stats.t.ppf(0.975, period - 1)))
        np.testing.assert_allclose(own[2:, row], student, rtol=1e-9, atol=1e-14)


def test_regressions_and_correlations_equal_scipy() -> None:
    period = 30
    changes = np.diff(CLOSE)
    flow = (2 * COLUMNS["buy_volume"] - VOLUME)[1:]
    kyle = values("kyle", period=period)[0]
    returns = np.diff(np.log(CLOSE))
    correlated = values("autocorrelation", period=period, lag=3)[0]
    roll = values("roll", period=period)[0]
    for row in (period + 3, 1000, ROWS - 1):
        slope = scipy.stats.linregress(flow[row - period : row], changes[row - period : row]).slope
        assert kyle[row] == pytest.approx(slope, rel=1e-10)
        now, then = returns[row - period : row], returns[row - period - 3 : row - 3]
        assert correlated[row] == pytest.approx(scipy.stats.pearsonr(now, then).statistic, rel=1e-9)
        covariance = np.cov(changes[row - period : row], changes[row - period - 1 : row - 1])[0, 1]
        assert roll[row] == pytest.approx(2 * np.sign(-covariance) * np.sqrt(abs(covariance)), rel=1e-10)
    assert (roll[period + 1 :] > 0).all()


def test_rolls_measure_is_negative_where_changes_go_on() -> None:
    price = np.cumsum(np.tile([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 20))
    indicator = INDICATORS["roll"]
    assert (run(indicator, price.reshape(1, -1), indicator.settle({"period": 12}))[0, 13:] < 0).all()


def test_polars_rolling_sums_give_vwap_vpin_and_amihud() -> None:
    typical = (HIGH + LOW + CLOSE) / 3
    table = pl.DataFrame(COLUMNS).with_columns(typical=typical)
    vwap = table.select(
        (pl.col("typical") * pl.col("volume")).rolling_sum(20) / pl.col("volume").rolling_sum(20)
    ).to_series()
    vpin = table.select(
        (2 * pl.col("buy_volume") - pl.col("volume")).abs().rolling_sum(50) / pl.col("volume").rolling_sum(50)
    ).to_series()
    amihud = table.select(
        ((pl.col("close") / pl.col("close").shift(1) - 1).abs() / (pl.col("close") * pl.col("volume"))).rolling_mean(20)
    ).to_series()
    np.testing.assert_allclose(values("vwap")[0], vwap.cast(float).to_numpy(), rtol=1e-12)
    np.testing.assert_allclose(values("vpin")[0], vpin.to_numpy(), rtol=1e-12)
    np.testing.assert_allclose(values("amihud")[0], amihud.to_numpy(), rtol=1e-9)


def test_a_hawkes_process_of_steady_trades_reaches_its_fixed_point() -> None:
    # One trade a second: the sum of exp(-decay * k) is 1 / (1 - exp(-decay)).
    columns = {"sign": np.ones(200), "time_ns": 1.7e18 + 1e9 * np.arange(200)}
    indicator = INDICATORS["hawkes"]
    parameters = indicator.settle({"base": 0.5, "jump": 0.25, "decay": 2.0})
    intensity, buy, sell = run(indicator, inputs_of(indicator, columns), parameters)
    assert intensity[-1] == pytest.approx(0.5 + 0.25 / (1 - np.exp(-2.0)), rel=1e-12)
    assert (buy == intensity).all()
    assert (sell == 0.5).all()


def test_flow_of_one_level_is_that_of_best_quotes_and_flows_of_levels_add_up() -> None:
    book = books(500, seed=5, ties=True)
    best = {name: book[column][:, 0] for name, column in zip(QUOTE, BOOK, strict=True)}
    single, deep = INDICATORS["order_flow"], INDICATORS["book_order_flow"]
    expected = run(single, inputs_of(single, best), single.settle({"period": 7}))
    inputs = inputs_of(deep, book)
    found = [run(deep, inputs, deep.settle({"levels": levels, "period": 7})) for levels in (1, 2, 3)]
    np.testing.assert_array_equal(found[0], expected)
    # A book whose first levels are the second ones of the other: what two levels have above one.
    both = np.isnan(inputs[:, :, :2]).any(axis=(0, 2))
    second = np.where(both, np.nan, inputs[:, :, 1:2])
    whole = inputs[:, ~both]
    flows = run(deep, np.ascontiguousarray(second[:, ~both]), deep.settle({"levels": 1, "period": 7}))
    one, two = (run(deep, whole, deep.settle({"levels": levels, "period": 7})) for levels in (1, 2))
    np.testing.assert_allclose(two - one, flows, rtol=0, atol=1e-9)


def test_flow_of_levels_of_a_book_that_is_known() -> None:
    # The best bid is filled, so that each bid moves up by a level; the second ask grows, and a third one comes.
    nan = np.nan
    before, after = (
        ([100, 99, 98], [5, 7, 2], [101, 102, nan], [4, 6, nan]),
        ([99, 98, nan], [7, 2, nan], [101, 102, 103], [4, 9, 3]),
    )
    inputs = np.array([before, after], np.float64).transpose(1, 0, 2)
    flow = INDICATORS["book_order_flow"]
    for levels, expected in ((1, -5), (2, -5 - 7 - 3), (3, -5 - 7 - 2 - 3 - 3), (10, -5 - 7 - 2 - 3 - 3)):
        found = run(flow, np.ascontiguousarray(inputs), flow.settle({"levels": levels}))
        np.testing.assert_array_equal(found, [[nan, expected]])


def test_volatilities_of_simulated_bars_estimate_the_volatility_they_were_made_with() -> None:
    # Bars of 2,000 steps each of a random walk without drift: the estimators of ranges see all but 2% of them.
    random, bars, steps, sigma = np.random.default_rng(3), 600, 2000, 0.01
    path = np.cumsum(random.normal(0, sigma / np.sqrt(steps), bars * steps)).reshape(bars, steps)
    start = np.concatenate([[0.0], path[:-1, -1]])
    columns = {
        "open": np.exp(start),
        "high": np.exp(np.maximum(path.max(axis=1), start)),
        "low": np.exp(np.minimum(path.min(axis=1), start)),
        "close": np.exp(path[:, -1]),
    }
    for name in ("volatility", "parkinson", "garman_klass", "yang_zhang"):
        indicator = INDICATORS[name]
        found = run(indicator, inputs_of(indicator, columns), indicator.settle({"period": bars - 1}))[0, -1]
        assert found == pytest.approx(sigma, rel=0.08), name
