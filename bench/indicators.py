"""Indicators, compared with TA-Lib and polars: ms for ROWS rows on one thread; many indicators at once on all cores.

    float64 column ──kernel──> float64 column     compared with talib.SMA …, polars' rolling_mean, ewm_mean

Each result is compared with the rival's before anything is timed. The thousand indicators are SMA, EMA and RSI of
different periods over one column of SLICE rows, GROUP at a time. polars runs each group as one lazy query of that many
expressions, on all its threads; our kernels run as tasks of a pool of as many threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
import polars as pl
import talib
from numpy.typing import NDArray

from bench.harness import Result, main
from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.catalogue import INDICATORS

Floats = NDArray[np.float64]
Work = Callable[[], object]
Clock = Callable[[], float]

ROWS: Final = 500_000
SLICE: Final = 100_000
MANY: Final = 1000
GROUP: Final = 100
PERIOD: Final = 20
QUICK: Final = 20


def walk(rows: int) -> Floats:
    """Closing prices."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, rows)))


def run_one(indicator: Indicator, inputs: Floats, parameters: Floats) -> Floats:
    """A kernel's outputs for all rows, shape (outputs, rows)."""
    out = np.empty((len(indicator.outputs), inputs.shape[1]))
    indicator.kernel(inputs, parameters, indicator.start(parameters.tolist()), out)
    return out


def rsi_of(close: pl.Expr, period: int) -> pl.Expr:
    """RSI as usual in polars: the means start from one value, not from the mean of `period` values."""
    change = close.diff()
    rises = change.clip(lower_bound=0).ewm_mean(alpha=1 / period, adjust=False)
    falls = (-change).clip(lower_bound=0).ewm_mean(alpha=1 / period, adjust=False)
    return 100 * rises / (rises + falls)


POLARS: Final[dict[str, Callable[[pl.Expr, int], pl.Expr]]] = {
    "sma": lambda close, period: close.rolling_mean(period),
    "ema": lambda close, period: close.ewm_mean(span=period, adjust=False),
    "rsi": rsi_of,
}
TALIB: Final = {"sma": talib.SMA, "ema": talib.EMA, "rsi": talib.RSI}


def elapsed_ms(work: Work, clock: Clock) -> float:
    """Time of one call."""
    begin = clock()
    work()
    return 1e3 * (clock() - begin)


def in_turns(repeats: int, *works: Work, clock: Clock = time.process_time) -> list[float]:
    """Median time of each, in ms. They take turns, so that a slow moment affects all of them.

    CPU time, which is wall time for one thread; pass `time.perf_counter` for several threads.
    """
    times = [[elapsed_ms(work, clock) for work in works] for _ in range(repeats + 1)]
    return [float(np.median(column)) for column in zip(*times[1:], strict=True)]


def single(repeats: int, rows: int) -> list[Result]:
    """Measure SMA, EMA and RSI one by one."""
    results = []
    close = walk(rows)
    inputs, table = close.reshape(1, -1), pl.DataFrame({"close": close}).lazy()
    for name, rival in TALIB.items():
        indicator = INDICATORS[name]
        parameters = indicator.settle({"period": PERIOD})
        own = partial(run_one, indicator, inputs, parameters)
        theirs = partial(rival, close, PERIOD)
        lazy = table.select(POLARS[name](pl.col("close"), PERIOD))
        found = own()[0]
        np.testing.assert_allclose(found, theirs(), rtol=1e-9)
        settled = 50 * PERIOD  # by then it is forgotten what the means began with
        np.testing.assert_allclose(found[settled:], lazy.collect().to_series().to_numpy()[settled:], rtol=1e-6)
        mine, of_talib, of_polars = in_turns(4 * repeats, own, theirs, lazy.collect)
        for peer, other in (("TA-Lib", of_talib), ("polars", of_polars)):
            results.append(Result(name=f"indicators: {name} over {rows:,} rows", value=mine, unit="ms",
                                  compared_with=f"{peer}, {other:.3g} ms", ratio=other / mine))  # fmt: skip
    return results


def many(repeats: int, rows: int, count: int) -> list[Result]:
    """Measure many indicators at once, on all cores."""
    close = walk(rows)
    inputs, table = close.reshape(1, -1), pl.DataFrame({"close": close}).lazy()
    wanted = [(name, 5 + number // 3) for number in range(count) for name in [list(POLARS)[number % 3]]]
    groups = [wanted[begin : begin + GROUP] for begin in range(0, count, GROUP)]
    queries = [
        table.select(POLARS[name](pl.col("close"), period).alias(f"{name}-{period}") for name, period in group)
        for group in groups
    ]

    def of_kernel(name: str, period: int) -> Floats:
        return run_one(INDICATORS[name], inputs, np.array([float(period)]))[0]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def ours() -> None:
            for group in groups:
                list(pool.map(lambda one: of_kernel(*one), group))

        def theirs() -> None:
            for query in queries:
                query.collect()

        for (name, period), column in zip(groups[0], queries[0].collect(), strict=True):
            np.testing.assert_allclose(
                of_kernel(name, period)[60 * period :], column.to_numpy()[60 * period :], rtol=1e-6
            )
        mine, of_polars = in_turns(repeats, ours, theirs, clock=time.perf_counter)
    name = f"indicators: {count:,} at once over {rows:,} rows"
    return [Result(name=name, value=count * rows / mine / 1e3, unit="M rows/s",
                   compared_with=f"polars, lazy, {of_polars / 1e3:.3g} s", ratio=of_polars / mine)]  # fmt: skip


def statistics(repeats: int, rows: int) -> list[Result]:
    """Measure volatility, and mean returns with confidence intervals."""
    close = walk(rows)
    returns = pl.Series(np.diff(np.log(close)))
    results = []
    for name, own_column in (("volatility", 0), ("returns", 1)):
        indicator = INDICATORS[name]
        parameters = indicator.settle({"period": PERIOD})
        own = partial(run_one, indicator, close.reshape(1, -1), parameters)
        expected = returns.rolling_std(PERIOD).to_numpy()[PERIOD - 1 :]
        np.testing.assert_allclose(own()[own_column][PERIOD:], expected, rtol=1e-6)
        lazy = pl.DataFrame({"close": close}).lazy().select(pl.col("close").log().diff().rolling_std(PERIOD))
        mine, of_polars = in_turns(4 * repeats, own, lazy.collect)
        results.append(Result(name=f"indicators: {name} of {PERIOD} bars", value=rows / mine / 1e3, unit="M rows/s",
                              compared_with="polars, the deviation alone", ratio=of_polars / mine))  # fmt: skip
    return results


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure all of them."""
    part = QUICK if quick else 1
    return [
        *single(repeats, ROWS // part),
        *statistics(repeats, ROWS // part),
        *many(repeats, SLICE // part, MANY // part),
    ]


if __name__ == "__main__":
    main(run)
