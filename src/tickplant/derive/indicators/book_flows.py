"""Order flow at several levels of a book: what bids gained minus what asks gained, from one sample to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.indicators.book_levels import LEVELS, SIDES, Levels, sides_of, up_to
from tickplant.derive.plain_windows import NAN, over_windows, together
from tickplant.derive.windows import rolling_sum, sum_size
from tickplant.kernels import kernel, part

BEFORE = 1
"""Where the previous row's levels begin in the state: 4 numbers each, as in the inputs. state[0]: whether any exist."""


@part
def gain(price: float, size: float, last_price: float, last_size: float, sign: float) -> float:
    """What a level gained: its whole size if the price improved, minus its old size if it worsened, else the change.

    `sign` is 1 for a bid, -1 for an ask. A missing level is NaN, and worse than any other.
    """
    there, was = not math.isnan(price), not math.isnan(last_price)
    gained = size if there and (not was or sign * price >= sign * last_price) else 0.0
    return gained - (last_size if was and (not there or sign * price <= sign * last_price) else 0.0)


@kernel
def run_book_order_flow(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `BOOK_ORDER_FLOW`."""
    levels, period = int(parameters[0]), int(parameters[1])
    before = state[BEFORE : BEFORE + 4 * levels].reshape((4, levels))
    row = np.empty((4, levels))
    for i in range(out.shape[1]):
        out[0, i] = np.nan
        if math.isnan(inputs[0, i, 0]) or math.isnan(inputs[2, i, 0]):
            continue
        flow = 0.0
        for j in range(levels):
            for column in range(4):
                row[column, j] = inputs[column, i, j] if j < inputs.shape[2] else np.nan
            flow += gain(row[0, j], row[1, j], before[0, j], before[1, j], 1.0)
            flow -= gain(row[2, j], row[3, j], before[2, j], before[3, j], -1.0)
        if state[0]:
            out[0, i] = flow
        state[0] = 1.0
        before[:] = row
    rolling_sum(out[0], period, 1.0, state[BEFORE + 4 * levels :], out[0])


def plain_gain(now: Levels, before: Levels, level: int, sign: int) -> float:
    """What the level with this number, counted from 0, gained; `sign` is 1 for bids, -1 for asks."""
    (price, size), (last_price, last_size) = (
        side[level] if level < len(side) else (-sign * math.inf, 0.0) for side in (now, before)
    )
    better, worse = sign * price >= sign * last_price, sign * price <= sign * last_price
    return (size if better else 0.0) - (last_size if worse else 0.0)


def plain_book_order_flow(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `BOOK_ORDER_FLOW`."""
    levels, period = int(parameters[0]), parameters[1]
    last: list[Levels] | None = None
    flows = []
    for row in range(inputs.shape[1]):
        bids, asks = sides_of(inputs[:, row])
        if not bids or not asks:
            flows.append(NAN)
            continue
        if last is None:
            flows.append(NAN)
        else:
            bought = math.fsum(plain_gain(bids, last[0], level, 1) for level in range(levels))
            sold = math.fsum(plain_gain(asks, last[1], level, -1) for level in range(levels))
            flows.append(bought - sold)
        last = [bids, asks]
    return together(over_windows(math.fsum, period, flows))


BOOK_ORDER_FLOW = Indicator(
    name="book_order_flow",
    over="book",
    inputs=SIDES,
    parameters=(LEVELS, Parameter("period", 1, 1)),
    outputs=("order_flow",),
    state_size=lambda given: BEFORE + 4 * int(given[0]) + sum_size(given[1]),
    warm_up=lambda given: int(given[1]),
    kernel=run_book_order_flow,
    reference=plain_book_order_flow,
    formula="sum over n changes from sample to sample, and over so many levels, of what the m-th best bid gained less "
    "what the m-th best ask gained, in size",
    source="Xu, Gould and Howison 2018, after Cont, Kukanov and Stoikov 2014",
    depth=up_to,
)

BOOK_FLOWS = (BOOK_ORDER_FLOW,)
