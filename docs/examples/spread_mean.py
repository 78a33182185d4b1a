"""An indicator of one's own: how far the spread is from its exponential mean. See docs/derivations.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter


@numba.njit
def run_spread_mean(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """Fill `out`; `state` has whether there is a mean, and the mean."""
    weight = parameters[0]
    for i in range(out.shape[1]):
        spread = inputs[1, i] - inputs[0, i]
        if math.isnan(spread):  # a side of the book is empty
            out[0, i] = out[1, i] = np.nan
            continue
        if state[0] == 0.0:
            state[0], state[1] = 1.0, spread
        state[1] += weight * (spread - state[1])
        out[0, i] = state[1]
        out[1, i] = spread - state[1]


def plain_spread_mean(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """The same from the definition, for all rows at once: what the kernel is tried against."""
    means: list[float] = []
    found = []
    for bid, ask in inputs.T.tolist():
        if not math.isnan(ask - bid):
            last = means[-1] if means else ask - bid
            means.append(last + parameters[0] * (ask - bid - last))
        found.append((means[-1], ask - bid - means[-1]) if not math.isnan(ask - bid) else (math.nan, math.nan))
    return np.array(found).reshape(-1, 2).T


SPREAD_MEAN = Indicator(
    name="spread_mean",
    over="bbo",
    inputs=("bid", "ask"),
    parameters=(Parameter("weight", 0.1, 0.0, whole=False),),
    outputs=("mean", "away"),
    state_size=lambda given: 2,
    warm_up=lambda given: 0,
    kernel=run_spread_mean,
    reference=plain_spread_mean,
    formula="mean += weight * (ask - bid - mean); away = ask - bid - mean",
    source="an example",
)
