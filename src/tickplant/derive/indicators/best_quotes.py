"""Indicators over the best bid and offer: spread, microprice, imbalance, order-flow imbalance.

A row with an empty side (its price is NaN) gives NaN and leaves the state unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import NAN, divided, over_windows, together
from tickplant.derive.smoothing import ratio
from tickplant.derive.windows import rolling_sum, sum_size
from tickplant.kernels import kernel

QUOTE = 5
"""State of the flow between two quotes: whether there was a previous quote, and its bid, ask and sizes."""
SIDES = ("bid", "ask", "bid_size", "ask_size")


@kernel
def run_spread(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `SPREAD`."""
    for i in range(out.shape[1]):
        spread = inputs[1, i] - inputs[0, i]
        mid = inputs[0, i] + spread / 2.0
        relative = ratio(spread, mid)
        missing = math.isnan(relative)
        out[0, i] = np.nan if missing else spread
        out[1, i] = np.nan if missing else mid
        out[2, i] = relative


@kernel
def run_microprice(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `MICROPRICE`."""
    for i in range(out.shape[1]):
        bid, ask, bid_size, ask_size = inputs[0, i], inputs[1, i], inputs[2, i], inputs[3, i]
        out[0, i] = bid + (ask - bid) * ratio(bid_size, bid_size + ask_size)


@kernel
def run_imbalance(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `IMBALANCE`."""
    for i in range(out.shape[1]):
        bid_size, ask_size = inputs[2, i], inputs[3, i]
        there = not (math.isnan(inputs[0, i]) or math.isnan(inputs[1, i]))
        out[0, i] = ratio(bid_size - ask_size, bid_size + ask_size) if there else np.nan


@kernel
def run_order_flow(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `ORDER_FLOW`."""
    known = state[0] != 0.0
    last_bid, last_ask, last_bid_size, last_ask_size = state[1], state[2], state[3], state[4]
    for i in range(out.shape[1]):
        bid, ask, bid_size, ask_size = inputs[0, i], inputs[1, i], inputs[2, i], inputs[3, i]
        out[0, i] = np.nan
        if math.isnan(bid) or math.isnan(ask):
            continue
        if known:
            flow = bid_size if bid >= last_bid else 0.0
            flow -= last_bid_size if bid <= last_bid else 0.0
            flow -= ask_size if ask <= last_ask else 0.0
            flow += last_ask_size if ask >= last_ask else 0.0
            out[0, i] = flow
        last_bid, last_ask, last_bid_size, last_ask_size = bid, ask, bid_size, ask_size
        known = True
    state[0] = known
    state[1], state[2], state[3], state[4] = last_bid, last_ask, last_bid_size, last_ask_size
    rolling_sum(out[0], int(parameters[0]), 1.0, state[QUOTE:], out[0])


def plain_spread(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `SPREAD`."""
    quotes = inputs.T.tolist()
    return together(
        [ask - bid for bid, ask in quotes],
        [(bid + ask) / 2 for bid, ask in quotes],
        [divided(ask - bid, (bid + ask) / 2) for bid, ask in quotes],
    )


def plain_microprice(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `MICROPRICE`."""
    return together([divided(bid * sold + ask * bought, bought + sold) for bid, ask, bought, sold in inputs.T.tolist()])


def plain_imbalance(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `IMBALANCE`."""
    quotes = inputs.T.tolist()
    return together([NAN if math.isnan(bid + ask) else divided(b - a, b + a) for bid, ask, b, a in quotes])


def plain_order_flow(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `ORDER_FLOW`."""
    last: list[float] | None = None
    flows = []
    for row in inputs.T.tolist():
        bid, ask, bid_size, ask_size = row
        if math.isnan(bid + ask):
            flows.append(NAN)
            continue
        if last is None:
            flows.append(NAN)
        else:
            bought = (bid_size if bid >= last[0] else 0.0) - (last[2] if bid <= last[0] else 0.0)
            sold = (ask_size if ask <= last[1] else 0.0) - (last[3] if ask >= last[1] else 0.0)
            flows.append(bought - sold)
        last = row
    return together(over_windows(math.fsum, parameters[0], flows))


SPREAD = Indicator(
    name="spread",
    over="bbo",
    inputs=("bid", "ask"),
    parameters=(),
    outputs=("spread", "mid", "relative"),
    state_size=lambda given: 0,
    warm_up=lambda given: 0,
    kernel=run_spread,
    reference=plain_spread,
    formula="ask - bid, their mean, and the first by the second",
    source="textbook",
)

MICROPRICE = Indicator(
    name="microprice",
    over="bbo",
    inputs=SIDES,
    parameters=(),
    outputs=("microprice",),
    state_size=lambda given: 0,
    warm_up=lambda given: 0,
    kernel=run_microprice,
    reference=plain_microprice,
    formula="(bid * ask size + ask * bid size) / (bid size + ask size)",
    source="Gatheral and Oomen 2010",
)

IMBALANCE = Indicator(
    name="imbalance",
    over="bbo",
    inputs=SIDES,
    parameters=(),
    outputs=("imbalance",),
    state_size=lambda given: 0,
    warm_up=lambda given: 0,
    kernel=run_imbalance,
    reference=plain_imbalance,
    formula="(bid size - ask size) / (bid size + ask size)",
    source="textbook",
)

ORDER_FLOW = Indicator(
    name="order_flow",
    over="bbo",
    inputs=SIDES,
    parameters=(Parameter("period", 100, 1),),
    outputs=("order_flow",),
    state_size=lambda given: QUOTE + sum_size(given[0]),
    warm_up=lambda given: int(given[0]),
    kernel=run_order_flow,
    reference=plain_order_flow,
    formula="sum over n changes of what the best bid gained less what the best ask gained, in size",
    source="Cont, Kukanov and Stoikov 2014",
)

BEST_QUOTES = (SPREAD, MICROPRICE, IMBALANCE, ORDER_FLOW)
