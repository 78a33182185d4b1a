"""Indicators of price and volume: OBV, and VWAP over bars or a session, with bands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tickplant.derive.indicator import SESSION_S, Floats, Indicator, Parameter
from tickplant.derive.plain_windows import NAN, before, divided, over_windows, together
from tickplant.derive.smoothing import BEFORE, TOTAL, changes, running_total
from tickplant.derive.windows import rolling_volume_moments, volume_moments_size
from tickplant.kernels import kernel

SESSION = 5
"""State of `run_vwap_session`: session, total size, mean, sum of squares, whether a session has begun."""


@kernel
def run_obv(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `OBV`."""
    changes(inputs[0], state[:BEFORE], out[0])
    for i in range(out.shape[1]):
        change = out[0, i]
        volume = inputs[1, i]
        out[0, i] = -volume if change < 0.0 else volume if change != 0.0 else 0.0  # the first change is NaN
    running_total(out[0], state[BEFORE:], out[0])


@kernel
def run_vwap(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `VWAP`."""
    for i in range(out.shape[1]):
        out[1, i] = (inputs[0, i] + inputs[1, i] + inputs[2, i]) / 3.0
    rolling_volume_moments(out[1], inputs[3], int(parameters[0]), state, out[0], out[2])
    for i in range(out.shape[1]):
        away = parameters[1] * math.sqrt(out[2, i])
        out[1, i] = out[0, i] + away
        out[2, i] = out[0, i] - away


@kernel
def run_vwap_session(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `VWAP_SESSION`; means and squares are updated as in West 1979.

    If `session_s` is 0, the sessions of a calendar follow the parameters: open and close of each, ns.
    """
    session_ns = parameters[0] * 1e9
    sessions = parameters[2:]
    since = until = 0.0  # the session found last
    begun = state[4] != 0.0
    session, total, mean, away = state[0], state[1], state[2], state[3]
    for i in range(out.shape[1]):
        price = inputs[0, i]
        size = inputs[1, i]
        time = inputs[2, i]
        if session_ns > 0.0:
            own = math.floor(time / session_ns)
        else:
            if not since <= time < until:
                behind = np.searchsorted(sessions, time, side="right")
                if behind % 2 == 0:  # between two sessions
                    out[0, i] = out[1, i] = out[2, i] = np.nan
                    continue
                since, until = sessions[behind - 1], sessions[behind]
            own = since
        if not begun or own > session:  # a trade of an earlier session counts into this one
            session = own
            total = mean = away = 0.0
            begun = True
        if size > 0.0:
            total += size
            distance = price - mean
            mean += distance * (size / total)
            away += size * distance * (price - mean)
        if total > 0.0:
            width = parameters[1] * math.sqrt(max(away / total, 0.0))
            out[0, i] = mean
            out[1, i] = mean + width
            out[2, i] = mean - width
        else:
            out[0, i] = out[1, i] = out[2, i] = np.nan
    state[0], state[1], state[2], state[3] = session, total, mean, away
    state[4] = begun


def plain_obv(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `OBV`."""
    close, volume = inputs.tolist()
    signed = [
        amount if math.isnan(last) or value > last else -amount if value < last else 0.0
        for value, last, amount in zip(close, before(close), volume, strict=True)
    ]
    return together([math.fsum(signed[: row + 1]) for row in range(len(signed))])


def _volume_mean(prices: list[float], volumes: list[float]) -> float:
    return divided(math.fsum(p * v for p, v in zip(prices, volumes, strict=True)), math.fsum(volumes))


def _volume_deviation(prices: list[float], volumes: list[float]) -> float:
    middle = _volume_mean(prices, volumes)
    return math.sqrt(_volume_mean([(price - middle) ** 2 for price in prices], volumes))


def plain_vwap(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `VWAP`."""
    period, width = parameters
    typical = [(high + low + close) / 3 for high, low, close, _ in inputs.T.tolist()]
    middle = over_windows(_volume_mean, period, typical, inputs[3].tolist())
    away = [width * value for value in over_windows(_volume_deviation, period, typical, inputs[3].tolist())]
    rows = list(zip(middle, away, strict=True))
    return together(middle, [value + part for value, part in rows], [value - part for value, part in rows])


def plain_vwap_session(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `VWAP_SESSION`."""
    session_s, width, *times = parameters
    session, prices, sizes = -math.inf, list[float](), list[float]()
    found = []
    for price, size, time_ns in inputs.T.tolist():
        if session_s:
            own = time_ns // (session_s * 1e9)
        else:
            opens = [begin for begin, end in zip(times[::2], times[1::2], strict=True) if begin <= time_ns < end]
            if not opens:
                found.append((NAN, NAN, NAN))
                continue
            own = opens[0]
        if own > session:
            session, prices, sizes = own, [], []
        prices.append(price)
        sizes.append(size)
        middle = _volume_mean(prices, sizes)
        away = NAN if math.isnan(middle) else width * _volume_deviation(prices, sizes)
        found.append((middle, middle + away, middle - away))
    return together(*(zip(*found, strict=True) if found else ((), (), ())))


OBV = Indicator(
    name="obv",
    over="bar",
    inputs=("close", "volume"),
    parameters=(),
    outputs=("obv",),
    state_size=lambda given: BEFORE + TOTAL,
    warm_up=lambda given: 0,
    kernel=run_obv,
    reference=plain_obv,
    formula="sum since the first bar, whose volume counts, of volume where the close rose and -volume where it fell",
    source="Granville 1963, begun as TA-Lib does",
)

VWAP = Indicator(
    name="vwap",
    over="bar",
    inputs=("high", "low", "close", "volume"),
    parameters=(Parameter("period", 20, 1), Parameter("width", 2.0, 0.0, whole=False)),
    outputs=("vwap", "upper", "lower"),
    state_size=lambda given: volume_moments_size(given[0]),
    warm_up=lambda given: int(given[0]) - 1,
    kernel=run_vwap,
    reference=plain_vwap,
    formula="mean of (high + low + close) / 3 of n bars by volume, and plus and minus width * its deviation by volume",
    source="Berkowitz, Logue and Noser 1988",
)

VWAP_SESSION = Indicator(
    name="vwap_session",
    over="trade",
    inputs=("price", "size", "time_ns"),
    parameters=(Parameter(SESSION_S, 86_400, 0), Parameter("width", 2.0, 0.0, whole=False)),
    outputs=("vwap", "upper", "lower"),
    state_size=lambda given: SESSION,
    warm_up=lambda given: 0,
    kernel=run_vwap_session,
    reference=plain_vwap_session,
    formula="mean price by size since the last multiple of session_s, UTC, or since a session of a calendar began, "
    "plus and minus width * deviation by size",
    source="Berkowitz, Logue and Noser 1988",
)

VOLUMES = (OBV, VWAP, VWAP_SESSION)
